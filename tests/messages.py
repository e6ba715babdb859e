"""HL7 v2 messages and FHIR bundles of invented people, good and bad in many ways."""

import json
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


# --- FHIR R4 --------------------------------------------------------------------------------------------

Resource = dict[str, Any]


def patient(person: int, *, patient_id: str = "") -> Resource:
    """A Patient with the hospital's number and an identity card."""
    return {
        "resourceType": "Patient",
        "identifier": [
            {"type": {"coding": [{"system": V2_0203, "code": "MR"}]}, "value": patient_id or f"P{person}"},
            {"type": {"coding": [{"system": V2_0203, "code": "NNCHN"}]}, "value": id_number(person)},
        ],
        "name": [{"text": "林晓渝"}],
        "gender": "male" if person % 2 else "female",
        "birthDate": "1980-05-17",
    }


def observation(
    code: str, name: str, value: float, *, status: str = "final", days_ago: float = 2
) -> Resource:
    """An Observation with a LOINC code."""
    return {
        "resourceType": "Observation",
        "status": status,
        "code": {"coding": [{"system": LOINC, "code": code, "display": name}]},
        "effectiveDateTime": (START - timedelta(days=days_ago)).isoformat(),
        "valueQuantity": {"value": value, "unit": "mmol/L"},
        "referenceRange": [{"low": {"value": 3.5}, "high": {"value": 5.3}}],
        "method": {"text": "离子选择电极法"},
        "interpretation": [{"coding": [{"code": "N"}]}],
    }


def report(number: str, *, status: str = "final", days_ago: float = 2, **more: Any) -> Resource:
    """A DiagnosticReport of imaging, without subject or study."""
    return {
        "resourceType": "DiagnosticReport",
        "identifier": [{"value": number}],
        "status": status,
        "category": [{"coding": [{"code": "RAD"}]}],
        "code": {"text": "胸部CT平扫"},
        "issued": (START - timedelta(days=days_ago)).isoformat(),
        "conclusion": "未见明显异常。",
    } | more


def entry(resource: Resource, full_url: str = "") -> Resource:
    """An entry that posts a resource."""
    made: Resource = {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}
    return made | ({"fullUrl": full_url} if full_url else {})


def bundle(
    person: int,
    number: str,
    *,
    value: float = 4.1,
    status: str = "final",
    days_ago: float = 2,
    kind: str = "transaction",
) -> Resource:
    """A transaction: a patient, three electrolytes and their report."""
    exams = [exam.split("^")[:2] for exam in EXAMS]
    observations = [
        entry(observation(code, name, value, status=status, days_ago=days_ago), f"urn:uuid:{number}-{code}")
        for code, name in exams
    ]
    lab = report(
        number,
        status=status,
        days_ago=days_ago,
        category=[{"coding": [{"code": "LAB"}]}],
        code={"text": "电解质"},
        subject={"reference": f"urn:uuid:{number}-p"},
        result=[{"reference": each["fullUrl"]} for each in observations],
    )
    del lab["conclusion"]
    return {
        "resourceType": "Bundle",
        "type": kind,
        "entry": [entry(patient(person), f"urn:uuid:{number}-p"), *observations, entry(lab)],
    }


def _spoiled(*path: Any, to: Any) -> Callable[[Resource], Any]:
    def spoil(resource: Resource) -> Any:
        at: Any = resource
        for step in path[:-1]:
            at = at[step]
        if to is None:
            del at[path[-1]]
        else:
            at[path[-1]] = to
        return resource

    return spoil


_REPORT: Final = ("entry", 4, "resource")
# what is done to a good bundle, and how it must be refused: HTTP status, issue code, expression
BAD_BUNDLES: Final[tuple[tuple[str, Callable[[Resource], Any], int, str, str], ...]] = (
    ("no status", _spoiled(*_REPORT, "status", to=None), 400, "required", "Bundle.entry[4].resource.status"),
    (
        "an unknown status",
        _spoiled(*_REPORT, "status", to="done"),
        400,
        "code-invalid",
        "Bundle.entry[4].resource.status",
    ),
    (
        "no identifier",
        _spoiled(*_REPORT, "identifier", to=[]),
        400,
        "required",
        "Bundle.entry[4].resource.identifier",
    ),
    ("no code", _spoiled(*_REPORT, "code", to=None), 400, "required", "Bundle.entry[4].resource.code"),
    (
        "a date that is none",
        _spoiled(*_REPORT, "issued", to="2026-13-40T00:00:00Z"),
        400,
        "value",
        "Bundle.entry[4].resource.issued",
    ),
    (
        "a future report",
        _spoiled(*_REPORT, "issued", to="2099-01-01T00:00:00Z"),
        422,
        "value",
        "Bundle.entry[4].resource.issued",
    ),
    (
        "a dead reference",
        _spoiled(*_REPORT, "result", 1, "reference", to="urn:uuid:none"),
        422,
        "not-found",
        "Bundle.entry[4].resource.result[1]",
    ),
    (
        "a text for a number",
        _spoiled("entry", 1, "resource", "valueQuantity", "value", to="4.1"),
        400,
        "value",
        "Bundle.entry[1].resource.valueQuantity.value",
    ),
    (
        "a final without value",
        _spoiled("entry", 2, "resource", "valueQuantity", to=None),
        422,
        "required",
        "Bundle.entry[2].resource.value",
    ),
    (
        "a wrong check digit",
        _spoiled("entry", 0, "resource", "identifier", 1, "value", to="999999198005170021"),
        422,
        "value",
        "Bundle.entry[0].resource.identifier[1].value",
    ),
    (
        "a patient without number",
        _spoiled("entry", 0, "resource", "identifier", to=[]),
        422,
        "required",
        "Bundle.entry[0].resource.identifier",
    ),
    (
        "another gender",
        _spoiled("entry", 0, "resource", "gender", to="女"),
        400,
        "code-invalid",
        "Bundle.entry[0].resource.gender",
    ),
    (
        "a resource not taken",
        _spoiled("entry", 0, "resource", "resourceType", to="Medication"),
        422,
        "invalid",
        "Bundle.entry[0].request.url",
    ),
    (
        "a deletion",
        _spoiled("entry", 4, "request", "method", to="DELETE"),
        422,
        "not-supported",
        "Bundle.entry[4].request",
    ),
    (
        "a modifier extension",
        _spoiled(*_REPORT, "modifierExtension", to=[{"url": "urn:x"}]),
        400,
        "extension",
        "Bundle.entry[4].resource.modifierExtension",
    ),
    ("a searchset", _spoiled("type", to="searchset"), 400, "code-invalid", "Bundle.type"),
    (
        "an observation nobody asks for",
        _spoiled(*_REPORT, "result", 2, to=None),
        422,
        "business-rule",
        "Bundle.entry[3].resource",
    ),
    (
        "the same fullUrl twice",
        _spoiled("entry", 2, "fullUrl", to="urn:uuid:{n}-2823-3"),
        400,
        "duplicate",
        "Bundle.entry[2].fullUrl",
    ),
    ("no entry", _spoiled("entry", to=[]), 400, "required", "Bundle.entry"),
    (
        "a control character",
        _spoiled(*_REPORT, "code", "text", to="电解质\u0000"),
        422,
        "value",
        "Bundle.entry[4].resource.code.text",
    ),
)


def spoiled_bundle(index: int, number: str) -> tuple[Resource, int, str, str]:
    """A bundle spoiled in one of the ways, and how it must be refused."""
    _, spoil, status, kind, expression = BAD_BUNDLES[index % len(BAD_BUNDLES)]
    made = spoil(bundle(900, number))
    text = json.dumps(made).replace("{n}", number)
    return json.loads(text), status, kind, expression
