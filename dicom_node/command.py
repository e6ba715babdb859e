"""Command sets (PS3.7 §6.3.1, Annex E): group 0000, Implicit VR Little Endian, always."""

import struct
from dataclasses import dataclass
from typing import Final

C_STORE_RQ: Final = 0x0001
C_GET_RQ: Final = 0x0010
C_FIND_RQ: Final = 0x0020
C_MOVE_RQ: Final = 0x0021
C_ECHO_RQ: Final = 0x0030
N_EVENT_REPORT_RQ: Final = 0x0100
N_ACTION_RQ: Final = 0x0130
C_CANCEL_RQ: Final = 0x0FFF
RESPONSE: Final = 0x8000

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_INSTANCE: Final = 0x0112
INVALID_ARGUMENT: Final = 0x0115
INVALID_SOP_INSTANCE: Final = 0x0117
NO_SUCH_CLASS: Final = 0x0118
CLASS_INSTANCE_CONFLICT: Final = 0x0119
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
NO_SUCH_ACTION: Final = 0x0123
NOT_AUTHORIZED: Final = 0x0124
UNRECOGNIZED_OPERATION: Final = 0x0211
RESOURCE_LIMITATION: Final = 0x0213
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_COUNT: Final = 0xA701
CANNOT_PERFORM: Final = 0xA702
DESTINATION_UNKNOWN: Final = 0xA801
DATA_SET_DOES_NOT_MATCH: Final = 0xA900
SOME_FAILED: Final = 0xB000
CANNOT_UNDERSTAND: Final = 0xC000
CANNOT_PROCESS: Final = 0xC001
CANCELLED: Final = 0xFE00
PENDING: Final = 0xFF00
PENDING_WITHOUT_SOME_KEYS: Final = 0xFF01

_NO_DATA_SET = 0x0101
_ELEMENT = struct.Struct("<HHI")
_AFFECTED_CLASS, _FIELD, _MESSAGE_ID, _ANSWERED_ID = 0x0002, 0x0100, 0x0110, 0x0120
_DATA_SET_TYPE, _STATUS, _ERROR_COMMENT, _AFFECTED_INSTANCE = 0x0800, 0x0900, 0x0902, 0x1000
_REQUESTED_CLASS, _REQUESTED_INSTANCE, _EVENT_TYPE, _ACTION_TYPE = 0x0003, 0x1001, 0x1002, 0x1008
_MOVE_DESTINATION, _ORIGINATOR_AE, _ORIGINATOR_MESSAGE_ID = 0x0600, 0x1030, 0x1031
_REMAINING, _COMPLETED, _FAILED, _WARNING = 0x1020, 0x1021, 0x1022, 0x1023
_MOST_COUNTED = 65_535


class MalformedCommand(ValueError):
    """The bytes are no command set, or one that cannot be answered."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command set; the UIDs are as sent, trailing padding removed, empty when absent.

    They are the affected ones, or those requested where an operation names what it is about so; `type_id` is
    the action type of an N-ACTION, `destination` the AE title a C-MOVE names.
    """

    field: int
    message_id: int
    has_dataset: bool
    SOPClassUID: str = ""
    SOPInstanceUID: str = ""
    status: int = SUCCESS
    comment: str = ""
    type_id: int = 0
    destination: str = ""


@dataclass(frozen=True, slots=True)
class SubOperations:
    """How far a retrieval is; `remaining` is told while it goes on or was cancelled (PS3.7 §9.1.4.1)."""

    completed: int = 0
    failed: int = 0
    warning: int = 0
    remaining: int | None = None


def decode_command(data: bytes | bytearray) -> Command:
    """Decode a command set.

    Raises:
        MalformedCommand: an element overruns the end, another group appears, or what an answer needs is missing.
    """
    elements, at = {}, 0
    while at < len(data):
        if at + _ELEMENT.size > len(data):
            raise MalformedCommand("element header cut off")
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size + length
        if group != 0 or at > len(data):
            raise MalformedCommand("not an element of group 0000")
        elements[element] = bytes(data[at - length : at])
    field = _number(elements.get(_FIELD))
    # A C-CANCEL has no number of its own, only that of what it cancels (PS3.7 §9.3.2.3).
    answered = _ANSWERED_ID if field & RESPONSE or field == C_CANCEL_RQ else _MESSAGE_ID
    return Command(
        field=field,
        message_id=_number(elements.get(answered)),
        has_dataset=_number(elements.get(_DATA_SET_TYPE)) != _NO_DATA_SET,
        SOPClassUID=_text(elements.get(_AFFECTED_CLASS) or elements.get(_REQUESTED_CLASS, b"")),
        SOPInstanceUID=_text(elements.get(_AFFECTED_INSTANCE) or elements.get(_REQUESTED_INSTANCE, b"")),
        status=_number(elements[_STATUS]) if _STATUS in elements else SUCCESS,
        comment=_text(elements.get(_ERROR_COMMENT, b"")),
        type_id=_number(elements[_ACTION_TYPE]) if _ACTION_TYPE in elements else 0,
        destination=_text(elements.get(_MOVE_DESTINATION, b"")).strip(" "),
    )


def encode_response(
    request: Command,
    status: int,
    comment: str = "",
    *,
    counts: SubOperations | None = None,
    has_dataset: bool = False,
) -> bytes:
    """Encode the response to a request; `comment` is an Error Comment of up to 64 bytes."""
    elements = [
        _element(_AFFECTED_CLASS, _uid_bytes(request.SOPClassUID)),
        _element(_FIELD, struct.pack("<H", request.field | RESPONSE)),
        _element(_ANSWERED_ID, struct.pack("<H", request.message_id)),
        _element(_DATA_SET_TYPE, struct.pack("<H", 1 if has_dataset else _NO_DATA_SET)),
        _element(_STATUS, struct.pack("<H", status)),
        _element(_ERROR_COMMENT, _even(comment.encode("ascii", "replace")[:64], b" ")) if comment else b"",
        _element(_AFFECTED_INSTANCE, _uid_bytes(request.SOPInstanceUID)),
        _counted(counts) if counts else b"",
    ]
    return _with_group_length(b"".join(elements))


def encode_store_rq(
    message_id: int, SOPClassUID: str, SOPInstanceUID: str, originator: tuple[str, int] | None = None
) -> bytes:
    """Encode a C-STORE-RQ with a data set, priority medium (PS3.7 Table 9.3-1).

    `originator` is the AE title and the message that asked for it by C-MOVE.
    """
    elements = [
        _element(_AFFECTED_CLASS, _uid_bytes(SOPClassUID)),
        _element(_FIELD, struct.pack("<H", C_STORE_RQ)),
        _element(_MESSAGE_ID, struct.pack("<H", message_id)),
        _element(0x0700, struct.pack("<H", 0)),
        _element(_DATA_SET_TYPE, struct.pack("<H", 1)),
        _element(_AFFECTED_INSTANCE, _uid_bytes(SOPInstanceUID)),
    ]
    if originator is not None:
        elements.append(_element(_ORIGINATOR_AE, originator[0].encode("gb18030")[:16].ljust(16)))
        elements.append(_element(_ORIGINATOR_MESSAGE_ID, struct.pack("<H", originator[1])))
    return _with_group_length(b"".join(elements))


def encode_event_report_rq(
    message_id: int, SOPClassUID: str, SOPInstanceUID: str, event_type_id: int
) -> bytes:
    """Encode an N-EVENT-REPORT-RQ with a data set (PS3.7 Table 10.3-1)."""
    elements = [
        _element(_AFFECTED_CLASS, _uid_bytes(SOPClassUID)),
        _element(_FIELD, struct.pack("<H", N_EVENT_REPORT_RQ)),
        _element(_MESSAGE_ID, struct.pack("<H", message_id)),
        _element(_DATA_SET_TYPE, struct.pack("<H", 1)),
        _element(_AFFECTED_INSTANCE, _uid_bytes(SOPInstanceUID)),
        _element(_EVENT_TYPE, struct.pack("<H", event_type_id)),
    ]
    return _with_group_length(b"".join(elements))


def encode_echo_rq(message_id: int) -> bytes:
    """Encode a C-ECHO-RQ (PS3.7 Table 9.3-12)."""
    elements = [
        _element(_AFFECTED_CLASS, _uid_bytes("1.2.840.10008.1.1")),
        _element(_FIELD, struct.pack("<H", C_ECHO_RQ)),
        _element(_MESSAGE_ID, struct.pack("<H", message_id)),
        _element(_DATA_SET_TYPE, struct.pack("<H", _NO_DATA_SET)),
    ]
    return _with_group_length(b"".join(elements))


def _counted(counts: SubOperations) -> bytes:
    told = (_REMAINING, counts.remaining), (_COMPLETED, counts.completed), (_FAILED, counts.failed)
    return b"".join(
        _element(element, struct.pack("<H", min(number, _MOST_COUNTED)))
        for element, number in (*told, (_WARNING, counts.warning))
        if number is not None
    )


def _with_group_length(elements: bytes) -> bytes:
    return _element(0x0000, struct.pack("<I", len(elements))) + elements


def _element(element: int, value: bytes) -> bytes:
    if element in (_AFFECTED_CLASS, _AFFECTED_INSTANCE) and not value:
        return b""
    return _ELEMENT.pack(0, element, len(value)) + value


def _uid_bytes(uid: str) -> bytes:
    return _even(uid.encode("latin-1", "replace"), b"\0")


def _even(value: bytes, pad: bytes) -> bytes:
    return value + pad if len(value) % 2 else value


def _number(value: bytes | None) -> int:
    if value is None or len(value) != 2:
        raise MalformedCommand("a number is missing or has the wrong size")
    return int.from_bytes(value, "little")


def _text(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("latin-1")
