"""The protocol data units of the upper layer (PS3.8 §9.3), as bytes.

pynetdicom's A-ASSOCIATE codec aborts on sub-items it does not know, which PS3.8 §9.3.1 asks to ignore, and on AE
titles outside ASCII; so this one reads the structure itself and leaves what it does not need untouched.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from dicom_node.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

ASSOCIATE_RQ: Final = 0x01
ASSOCIATE_AC: Final = 0x02
ASSOCIATE_RJ: Final = 0x03
P_DATA_TF: Final = 0x04
RELEASE_RQ: Final = 0x05
RELEASE_RP: Final = 0x06
ABORT: Final = 0x07

HEADER: Final = struct.Struct(">BxI")
PDV_HEADER: Final = struct.Struct(">IBB")
PDV_HEADER_BYTES: Final = 6
COMMAND_FRAGMENT: Final = 0x01
LAST_FRAGMENT: Final = 0x02

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"  # PS3.7 Annex A
RELEASE_REPLY: Final = HEADER.pack(RELEASE_RP, 4) + bytes(4)
RELEASE_REQUEST: Final = HEADER.pack(RELEASE_RQ, 4) + bytes(4)

_FIXED_BYTES = 68  # protocol version, titles and reserved fields before the items
_ITEM = struct.Struct(">BxH")


class MalformedPDU(Exception):
    """The peer sent what PS3.8 does not allow; `source` and `reason` are those of the A-ABORT (§9.3.8)."""

    def __init__(self, what: str, *, reason: int, source: int = 2) -> None:
        super().__init__(what)
        self.source = source
        self.reason = reason


UNRECOGNIZED_PDU: Final = 1
UNEXPECTED_PDU: Final = 2
UNEXPECTED_PARAMETER: Final = 5
INVALID_PARAMETER: Final = 6


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One presentation context of an A-ASSOCIATE-RQ; the syntaxes in the requestor's order."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """One presentation context of an A-ASSOCIATE-AC; result 0 is acceptance (PS3.8 Table 9-18)."""

    context_id: int
    result: int
    transfer_syntax: str


@dataclass(slots=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ, titles as the bytes that came; `roles` maps SOP class → (SCU, SCP)."""

    called: bytes
    calling: bytes
    protocol_version: int = 1
    application_context: str = APPLICATION_CONTEXT
    contexts: list[ProposedContext] = field(default_factory=list)
    max_length: int = 0
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    proposes_async: bool = False


@dataclass(slots=True)
class AssociateAnswer:
    """An A-ASSOCIATE-AC; `max_length` 0 means that the peer takes any length."""

    contexts: list[AnsweredContext] = field(default_factory=list)
    max_length: int = 0


def decode_associate_rq(body: bytes) -> AssociateRequest:
    """Decode an A-ASSOCIATE-RQ without its six header bytes (PS3.8 §9.3.2).

    Raises:
        MalformedPDU: lengths that contradict each other, an item missing, a context identifier used twice.
    """
    if len(body) < _FIXED_BYTES:
        raise MalformedPDU("A-ASSOCIATE-RQ too short", reason=INVALID_PARAMETER)
    request = AssociateRequest(called=body[4:20], calling=body[20:36])
    request.protocol_version = int.from_bytes(body[0:2], "big")
    request.application_context = ""
    for item_type, value in _items(body, _FIXED_BYTES):
        if item_type == 0x10:
            request.application_context = _uid(value)
        elif item_type == 0x20:
            request.contexts.append(_decode_proposed_context(value))
        elif item_type == 0x50:
            _decode_user_information(request, value)
    _check_context_ids([context.context_id for context in request.contexts])
    return request


def encode_associate_rq(request: AssociateRequest) -> bytes:
    """Encode an A-ASSOCIATE-RQ (PS3.8 §9.3.2)."""
    contexts = b"".join(_encode_proposed_context(context) for context in request.contexts)
    user = _item(0x51, struct.pack(">I", request.max_length)) + _implementation_items()
    user += b"".join(_encode_role(uid, role) for uid, role in request.roles.items())
    return _associate(ASSOCIATE_RQ, request.called, request.calling, contexts + _item(0x50, user))


def decode_associate_ac(body: bytes) -> AssociateAnswer:
    """Decode an A-ASSOCIATE-AC without its six header bytes (PS3.8 §9.3.3).

    Raises:
        MalformedPDU: lengths that contradict each other.
    """
    answer = AssociateAnswer()
    for item_type, value in _items(body, _FIXED_BYTES):
        if item_type == 0x21 and len(value) >= 4:
            syntaxes = [_uid(sub) for kind, sub in _items(value, 4) if kind == 0x40]
            answer.contexts.append(AnsweredContext(value[0], value[2], syntaxes[0] if syntaxes else ""))
        elif item_type == 0x50:
            lengths = [sub for kind, sub in _items(value, 0) if kind == 0x51 and len(sub) == 4]
            answer.max_length = int.from_bytes(lengths[0], "big") if lengths else 0
    return answer


def encode_associate_ac(
    request: AssociateRequest,
    contexts: list[AnsweredContext],
    roles: dict[str, tuple[bool, bool]],
    max_length: int,
) -> bytes:
    """Encode the A-ASSOCIATE-AC that answers `request`; the titles are echoed byte for byte (PS3.8 §9.3.3).

    An asynchronous window is answered as 1/1 (PS3.7 D.3.3.3); user identity and extended negotiation get no
    reply, which says that they are not supported (PS3.7 D.3.3.5, D.3.3.7).
    """
    items = b"".join(_encode_answered_context(context) for context in contexts)
    user = _item(0x51, struct.pack(">I", max_length)) + _implementation_items()
    if request.proposes_async:
        user += _item(0x53, struct.pack(">HH", 1, 1))
    user += b"".join(_encode_role(uid, role) for uid, role in roles.items())
    return _associate(ASSOCIATE_AC, request.called, request.calling, items + _item(0x50, user))


def encode_associate_rj(result: int, source: int, reason: int) -> bytes:
    """Encode an A-ASSOCIATE-RJ (PS3.8 §9.3.4)."""
    return HEADER.pack(ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))


def encode_abort(source: int, reason: int) -> bytes:
    """Encode an A-ABORT (PS3.8 §9.3.8)."""
    return HEADER.pack(ABORT, 4) + bytes((0, 0, source, reason))


def encode_p_data(context_id: int, flags: int, fragment: bytes) -> bytes:
    """Encode a P-DATA-TF with one presentation data value (PS3.8 §9.3.5)."""
    header = HEADER.pack(P_DATA_TF, len(fragment) + PDV_HEADER_BYTES)
    return header + PDV_HEADER.pack(len(fragment) + 2, context_id, flags) + fragment


def encode_command(context_id: int, command: bytes, peer_max_length: int) -> bytes:
    """Encode a command set as P-DATA-TF PDUs none of which is longer than the peer takes (0: any)."""
    step = max(peer_max_length - PDV_HEADER_BYTES, 1) if peer_max_length else len(command)
    pieces = [command[at : at + step] for at in range(0, len(command), step)]
    flags = [COMMAND_FRAGMENT] * (len(pieces) - 1) + [COMMAND_FRAGMENT | LAST_FRAGMENT]
    return b"".join(encode_p_data(context_id, *piece) for piece in zip(flags, pieces, strict=True))


def encode_dataset(context_id: int, dataset: bytes, peer_max_length: int) -> bytes:
    """Encode a small data set as P-DATA-TF PDUs none of which is longer than the peer takes (0: any)."""
    step = max(peer_max_length - PDV_HEADER_BYTES, 2) & ~1 if peer_max_length else len(dataset)
    pieces = [dataset[at : at + step] for at in range(0, len(dataset), step)]
    flags = [0] * (len(pieces) - 1) + [LAST_FRAGMENT]
    return b"".join(encode_p_data(context_id, *piece) for piece in zip(flags, pieces, strict=True))


def encode_fragments(context_id: int, pieces: Iterable[bytes], peer_max_length: int) -> Iterator[bytes]:
    """Encode a data set that comes in pieces, as P-DATA-TF PDUs none of which is longer than `peer_max_length`.

    Fragments are even (PS3.8 Annex E.2); a deflated stream or a cut-off file can be odd: NULL pads it (PS3.5 A.5).
    """
    step = max(peer_max_length - PDV_HEADER_BYTES, 2) & ~1
    held = b""
    for piece in pieces:
        held = held + piece if held else piece
        at = 0
        while len(held) - at > step:  # the last fragment says that it is, so something is always kept back
            yield encode_p_data(context_id, 0, held[at : at + step])
            at += step
        held = held[at:]
    yield encode_p_data(context_id, LAST_FRAGMENT, held + b"\0" * (len(held) % 2))


def ae_text(title: bytes) -> str:
    """Give an AE title as text that is safe to log: GBK bytes become characters, control bytes question marks.

    PS3.8 Table 9-11 allows 16 characters of ISO 646 without significance of spaces at either end.
    """
    raw = title.strip(b" \0")
    try:
        text = raw.decode("gb18030")
    except UnicodeDecodeError:
        text = raw.decode("ascii", "replace")
    return "".join(character if character.isprintable() else "?" for character in text)


def ae_bytes(title: str) -> bytes:
    """Give the 16 bytes of an AE title field.

    Raises:
        ValueError: it does not fit.
    """
    raw = title.encode("gb18030")
    if not 0 < len(raw) <= 16:
        raise ValueError("an AE title has 1 to 16 bytes")
    return raw.ljust(16)


def _items(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at < len(data):
        begin = at + _ITEM.size
        if begin > len(data):
            raise MalformedPDU("item header cut off", reason=INVALID_PARAMETER)
        item_type, length = _ITEM.unpack_from(data, at)
        at = begin + length
        if at > len(data):
            raise MalformedPDU("item longer than what holds it", reason=INVALID_PARAMETER)
        yield item_type, data[begin:at]


def _decode_proposed_context(value: bytes) -> ProposedContext:
    if len(value) < 4:
        raise MalformedPDU("presentation context too short", reason=INVALID_PARAMETER)
    sub_items = list(_items(value, 4))
    abstract = [_uid(sub) for kind, sub in sub_items if kind == 0x30]
    transfer = tuple(_uid(sub) for kind, sub in sub_items if kind == 0x40)
    if len(abstract) != 1 or not transfer:
        raise MalformedPDU("presentation context without its syntaxes", reason=INVALID_PARAMETER)
    return ProposedContext(value[0], abstract[0], transfer)


def _decode_user_information(request: AssociateRequest, value: bytes) -> None:
    for kind, sub in _items(value, 0):
        if kind == 0x51 and len(sub) == 4:
            request.max_length = int.from_bytes(sub, "big")
        elif kind == 0x53:
            request.proposes_async = True
        elif kind == 0x54:
            length = int.from_bytes(sub[:2], "big")
            if len(sub) != length + 4:
                raise MalformedPDU("role selection of the wrong length", reason=INVALID_PARAMETER)
            request.roles[_uid(sub[2 : 2 + length])] = (bool(sub[-2]), bool(sub[-1]))


def _check_context_ids(ids: list[int]) -> None:
    if not ids or len(set(ids)) != len(ids) or any(context_id % 2 == 0 for context_id in ids):
        raise MalformedPDU("presentation context identifiers", reason=INVALID_PARAMETER)


def _uid(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", "replace")


def _associate(pdu_type: int, called: bytes, calling: bytes, items: bytes) -> bytes:
    fixed = struct.pack(">HH16s16s32x", 1, 0, called, calling)
    body = fixed + _item(0x10, APPLICATION_CONTEXT.encode()) + items
    return HEADER.pack(pdu_type, len(body)) + body


def _encode_proposed_context(context: ProposedContext) -> bytes:
    syntaxes = b"".join(_item(0x40, syntax.encode()) for syntax in context.transfer_syntaxes)
    abstract = _item(0x30, context.abstract_syntax.encode())
    return _item(0x20, bytes((context.context_id, 0, 0, 0)) + abstract + syntaxes)


def _encode_answered_context(context: AnsweredContext) -> bytes:
    head = bytes((context.context_id, 0, context.result, 0))
    return _item(0x21, head + _item(0x40, context.transfer_syntax.encode("ascii", "replace")))


def _encode_role(SOPClassUID: str, role: tuple[bool, bool]) -> bytes:
    uid = SOPClassUID.encode("ascii", "replace")
    return _item(0x54, struct.pack(">H", len(uid)) + uid + bytes(role))


def _implementation_items() -> bytes:
    return _item(0x52, IMPLEMENTATION_CLASS_UID.encode()) + _item(0x55, IMPLEMENTATION_VERSION_NAME.encode())


def _item(item_type: int, value: bytes) -> bytes:
    return _ITEM.pack(item_type, len(value)) + value
