"""What can be wrong with a message, and the acknowledgement that says so (HL7 v2.5.1 §2.9, §2.15.5, table 0357)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from catalog.errors import HurenError, InvalidInput, Unavailable
from catalog.rules import HOSPITAL_ZONE
from exchange.hl7 import Message, escape

Ack = Literal["AA", "AE", "AR"]

ERROR_TEXTS: Final = {
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "207": "Application internal error",
}


class Fault(Exception):
    """A message that cannot be taken; `place` is where (SEG^sequence^field^repetition^component)."""

    def __init__(self, ack: Ack, number: str, place: str, zh: str, en: str) -> None:
        super().__init__(f"{number} at {place}")
        self.ack = ack
        self.number = number
        self.place = place
        self.zh = zh
        self.en = en


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """How a message was answered, and the bytes of the answer."""

    code: Ack
    content: bytes
    fault: Fault | None = None


def missing(place: str, zh: str, en: str) -> Fault:
    """Return the fault of a field that must be there."""
    return Fault("AE", "101", place, zh, en)


def not_of_type(place: str, zh: str, en: str) -> Fault:
    """Return the fault of a value that is not of its data type."""
    return Fault("AE", "102", place, zh, en)


def not_in_table(place: str, zh: str, en: str) -> Fault:
    """Return the fault of a code that is none."""
    return Fault("AE", "103", place, zh, en)


def fault_of(error: HurenError, places: dict[str, str]) -> Fault:
    """Return the fault for an error of the domain; `places` says where the parts of a report come from.

    A store that is down is AR: the message is sound, and sending it again later is right (§2.9.2).
    """
    if isinstance(error, Unavailable):
        return Fault("AR", "207", "MSH^1", error.zh, error.en)
    if isinstance(error, InvalidInput):
        return Fault("AE", "102", places.get(error.field, "OBR^1"), error.zh, error.en)
    if error.code in ("report_erased", "study_erased"):
        # final: sending it again is refused again
        return Fault("AE", "204", places.get("number", "OBR^1^3"), error.zh, error.en)
    number = "205" if error.code.startswith("report_of_another") else "207"
    return Fault("AE", number, places.get("number", "OBR^1^3"), error.zh, error.en)


def acknowledge(
    message: Message | None, now: datetime, control: str, fault: Fault | None = None
) -> Acknowledgement:
    """Return the acknowledgement of a message, in the character set it came in; no patient data in it."""
    code: Ack = fault.ack if fault else "AA"
    charset = message.charset if message else "ISO_IR 192"
    codec, declared = ("gb18030", "GB 18030-2000") if charset == "GB18030" else ("utf-8", "UNICODE UTF-8")
    asked = message.header if message else None
    to_application = asked.field(3) if asked else ""
    to_facility = asked.field(4) if asked else ""
    event = asked.text(9, 2) if asked else ""
    message_type = escape_parts("ACK", event, "ACK") if event.isalnum() else "ACK"
    at = now.astimezone(HOSPITAL_ZONE).strftime("%Y%m%d%H%M%S%z")
    header = [
        "MSH|^~\\&|HUREN|HUREN",
        _plain(to_application),
        _plain(to_facility),
        at,
        "",
        message_type,
        f"{escape(control)[:180] or 'NONE'}-ACK",
        (asked.text(11) if asked else "") or "P",
        (asked.text(12) if asked else "") or "2.5.1",
        "|||||" + declared,
    ]
    segments = ["|".join(_safe(part) for part in header), f"MSA|{code}|{escape(control)}"]
    if fault is not None:
        error = escape_parts(fault.number, ERROR_TEXTS[fault.number], "HL70357")
        segments.append(f"ERR||{fault.place}|{error}|E||||{escape(f'{fault.zh} / {fault.en}')}")
    return Acknowledgement(code, ("\r".join(segments) + "\r").encode(codec, "replace"), fault)


def escape_parts(*parts: str) -> str:
    """Return components joined into a field."""
    return "^".join(escape(part) for part in parts)


def _plain(field: str) -> str:
    """Return a sender's own field for the way back, short and on one line."""
    return field[:180].replace("|", "")


def _safe(part: str) -> str:
    return part.replace("\r", " ").replace("\n", " ")
