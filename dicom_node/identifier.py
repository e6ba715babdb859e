"""Identifiers of query/retrieve (PS3.4 Annex C): what is asked is read as hostile, what is answered is written here."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from catalog.errors import InvalidInput
from catalog.image_index import Json
from dicom_node.command import CANNOT_UNDERSTAND
from dicom_node.dataset import Unreadable, Window, encoding_of
from dicom_node.metadata import read_metadata
from dicom_node.query_asked import Refusal

CHARACTER_SET: Final = "00080005"
_MOST_KEYS: Final = 512
_UTF_8: Final = "ISO_IR 192"
_GB18030: Final = "GB18030"
_CODECS: Final = {_UTF_8: "utf-8", _GB18030: "gb18030"}
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_TEXTS: Final = frozenset(
    ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]
)
_LONG_VRS: Final = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
_SHORT_LIMIT_BYTES: Final = 65_534
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


@dataclass(frozen=True, slots=True)
class Identifier:
    """The keys of a request by tag, each with what is wanted, empty for anything; and how texts are answered."""

    wanted: Mapping[str, str] = field(repr=False)
    character_set: str = _UTF_8

    def get(self, tag: str) -> str:
        """Return what is wanted of an attribute; empty where that is anything, or it is not named."""
        text = self.wanted.get(tag, "").strip(" ")
        return "" if text == "*" else text


def read_identifier(dataset: bytes, TransferSyntaxUID: str) -> Identifier:
    """Read the identifier of a request, by the reader that trusts no length.

    Raises Refusal (0xC000) where it cannot be read, or names very many keys.
    """
    try:
        metadata = read_metadata(Window(-1, 0, len(dataset), True, dataset), TransferSyntaxUID)
    except (Unreadable, InvalidInput):
        raise Refusal(CANNOT_UNDERSTAND, "the identifier cannot be read") from None
    if metadata.flaws & {"truncated", "unreadable_element"}:
        raise Refusal(CANNOT_UNDERSTAND, "the identifier cannot be read")
    found: Json = orjson.loads(metadata.json)
    if len(found) > _MOST_KEYS:
        raise Refusal(CANNOT_UNDERSTAND, "the identifier has too many keys")
    wanted = {tag: _joined(element) for tag, element in found.items() if tag != CHARACTER_SET}
    declared = "".join(metadata.declared).upper()
    return Identifier(wanted, _GB18030 if declared.startswith("GB") else _UTF_8)


def encode_identifier(row: Mapping[str, Json], TransferSyntaxUID: str, character_set: str) -> bytes:
    """Encode DICOM JSON in implicit or explicit little endian; what has no plain value is written empty."""
    implicit = encoding_of(TransferSyntaxUID).implicit
    parts = []
    for tag in sorted(row):
        vr = row[tag]["vr"]
        value = _value(vr, row[tag].get("Value", []), _CODECS[character_set])
        if not implicit and vr not in _LONG_VRS and len(value) > _SHORT_LIMIT_BYTES:
            value = b""
        parts.append(_element(int(tag, 16), vr, value, implicit))
    return b"".join(parts)


def uid_list(tag: str, uids: Sequence[str]) -> dict[str, Json]:
    """Return a row of one list of UIDs, as many as fit into an element."""
    length, kept = 0, []
    for uid in uids:
        length += len(uid) + 1
        if length > _SHORT_LIMIT_BYTES:
            break
        kept.append(uid)
    return {tag: {"vr": "UI", "Value": kept}}


def _joined(element: Json) -> str:
    """Return the values of an element as they were sent; nothing for a sequence or bytes."""
    if element["vr"] == "SQ":
        return ""
    return "\\".join(_text(value) for value in element.get("Value", []))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        groups = [str(value.get(group, "")) for group in _GROUPS]
        return "=".join(groups).rstrip("=")
    return "" if value is None else str(value)


def _value(vr: str, values: Sequence[Any], codec: str) -> bytes:
    if vr in _NUMBERS:
        return _packed(_NUMBERS[vr], values)
    if vr not in _TEXTS:
        return b""
    raw = "\\".join(map(_text, values)).encode(codec, "replace")
    return raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)


def _packed(code: str, values: Sequence[Any]) -> bytes:
    try:
        return struct.pack(f"<{len(values)}{code}", *values)
    except struct.error:
        return b""  # a number written as a string: NaN, or what no number is


def _element(tag: int, vr: str, value: bytes, implicit: bool) -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return head + struct.pack("<I", len(value)) + value
    if vr in _LONG_VRS:
        return head + vr.encode("ascii") + struct.pack("<HI", 0, len(value)) + value
    return head + vr.encode("ascii") + struct.pack("<H", len(value)) + value
