"""HL7 v2 messages and FHIR bundles of invented people, good and bad in many ways."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from tests.city import START, id_number

LOINC: Final = "http://loinc.org"
V2_0203: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
EXAMS: Final = ("2823-3^钾^LN", "2951-2^钠^LN", "2075-0^氯^LN")


def stamp(days_ago: float = 2) -> str:
    """A time as HL7 writes it, in the hospitals' zone."""
    return f"{START - timedelta(days=days_ago) + timedelta(hours=8):%Y%m%d%H%M%S}"


def pid(person: int, *, patient_id: str = "", name: str = "") -> str:
    """A PID segment with a PatientID and an identity card."""
    sex = "M" if person % 2 else "F"
    return f"PID|1||{patient_id or f'P{person}'}^^^A^MR~{id_number(person)}^^^CN^NNCHN||{name or '林^晓渝'}||19800517|{sex}"


def header(control: str, charset: str = "UNICODE UTF-8", sender: str = "LIS|A") -> str:
    """An MSH segment."""
    return f"MSH|^~\\&|{sender}|HUREN|CQ|{stamp(0)}||ORU^R01^ORU_R01|{control}|P|2.5.1||||||{charset}"


def laboratory(
    control: str, person: int, filler: str, *, value: str = "4.1", status: str = "F", days_ago: float = 2
) -> list[str]:
    """An ORU^R01 with three electrolytes, as segments."""
    return [
        header(control),
        pid(person),
        f"OBR|1||{filler}|ELEC^电解质^L|||{stamp(days_ago)}|||||||||||||||{stamp(days_ago)}||CH|{status}",
        *(
            f"OBX|{number}|NM|{exam}||{value}|mmol/L|3.5-5.3|N|||{status}|||{stamp(days_ago)}|||ISE^离子选择电极法^L"
            for number, exam in enumerate(EXAMS, 1)
        ),
    ]


def imaging(
    control: str,
    person: int,
    filler: str,
    *,
    status: str = "F",
    days_ago: float = 2,
    conclusion: str = "未见明显异常。",
) -> list[str]:
    """An ORU^R01 with findings and a conclusion, as segments."""
    return [
        header(control),
        pid(person),
        f"OBR|1||{filler}|CT07^胸部CT平扫^L||||||||||||||{filler}||||{stamp(days_ago)}||CT|{status}|||||||D1&王&医生",
        f"OBX|1|TX|59776-5^所见^LN||双肺纹理清晰。||||||{status}",
        f"OBX|2|TX|19005-8^印象^LN||{conclusion}||||||{status}",
    ]


def wire(segments: list[str], codec: str = "utf-8") -> bytes:
    """The bytes of a message."""
    return ("\r".join(segments) + "\r").encode(codec)


def _replaced(old: str, new: str) -> Callable[[list[str]], bytes]:
    return lambda segments: wire([segment.replace(old, new) for segment in segments])


def _without(name: str) -> Callable[[list[str]], bytes]:
    return lambda segments: wire([segment for segment in segments if not segment.startswith(name)])


# what is done to a good laboratory message, how it must be answered, and where the error is said to be
BAD_MESSAGES: Final[tuple[tuple[str, Callable[[list[str]], bytes], str, str, str], ...]] = (
    ("no PID", _without("PID"), "AE", "100", "PID^1"),
    ("no OBR", _without("OBR"), "AE", "100", "OBR^1"),
    ("another event", _replaced("ORU^R01^ORU_R01", "ORU^R03^ORU_R01"), "AR", "201", "MSH^1^9"),
    ("another message", _replaced("ORU^R01^ORU_R01", "ADT^A01^ADT_A01"), "AR", "200", "MSH^1^9"),
    ("a test message", _replaced("|P|2.5.1", "|D|2.5.1"), "AR", "202", "MSH^1^11"),
    ("another version", _replaced("|P|2.5.1", "|P|3.0"), "AR", "203", "MSH^1^12"),
    ("an unknown sender", _replaced("|LIS|A|", "|LIS|Z|"), "AR", "103", "MSH^1^3"),
    ("a wrong check digit", lambda s: wire([_wrong_digit(x) for x in s]), "AE", "102", "PID^1^3^2^1"),
    ("no value that is a number", _replaced("||4.1|", "||四点一|"), "AE", "102", "OBX^1^5"),
    ("an unknown value type", _replaced("|NM|", "|ZZ|"), "AE", "103", "OBX^1^2"),
    ("an unknown report status", _replaced("||CH|F", "||CH|Q"), "AE", "103", "OBR^1^25"),
    ("no observation code", _replaced("|NM|2951-2^钠^LN|", "|NM||"), "AE", "101", "OBX^2^3"),
    ("no filler number", lambda s: wire([_cut(x) for x in s]), "AE", "101", "OBR^1^3"),
    ("a birth date that is none", _replaced("||19800517|", "||19801399|"), "AE", "102", "PID^1^7"),
    ("the same value twice", _replaced("2951-2^钠", "2823-3^钾"), "AE", "102", "OBX^1^5"),
    ("a report of the future", _replaced(f"|{stamp(2)}||CH", "|20990101||CH"), "AE", "102", "OBR^1^22"),
    ("a time that is none", _replaced(f"|{stamp(2)}||CH", "|2026-06-30||CH"), "AE", "102", "OBR^1^22"),
    ("no control id", lambda s: wire([_no_control(x) for x in s]), "AR", "101", "MSH^1^10"),
    ("no message at all", lambda _: b"GET / HTTP/1.1\r\n\r\n", "AR", "100", "MSH^1"),
    ("an empty final value", _replaced("||4.1|", "|||"), "AE", "101", "OBX^1^5"),
)


def _wrong_digit(segment: str) -> str:
    if not segment.startswith("PID"):
        return segment
    number = segment.split("~")[1].split("^")[0]
    last = "1" if number[-1] != "1" else "2"
    return segment.replace(number, number[:-1] + last)


def _cut(segment: str) -> str:
    fields = segment.split("|")
    if fields[0] == "OBR":
        fields[3] = ""
    return "|".join(fields)


def _no_control(segment: str) -> str:
    fields = segment.split("|")
    if fields[0] == "MSH":
        fields[9] = ""
    return "|".join(fields)


Json = dict[str, Any]
