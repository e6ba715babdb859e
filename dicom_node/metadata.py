"""The header of one instance as DICOM JSON (PS3.18 Annex F), up to its pixel data, read from raw bytes.

Texts are decoded by `catalog.charset` from what was sent, so the JSON is right where the declared character
set is not. Long values stay where they are: the element has no value and `bulk` says where its bytes lie.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson
from pydicom.uid import UID

from catalog.charset import DecodedText
from dicom_node.dataset import (
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Element,
    Encoding,
    Truncated,
    Unreadable,
    Window,
    encoding_in,
    encoding_of,
    follows_pixels,
    read_element,
    vr_in_dictionary,
)
from dicom_node.facts import PATIENT_NAME, PIXEL_REPRESENTATION, SOP_CLASS, WANTED, Found
from dicom_node.pixel_data import PIXEL_DATA_TAGS, PixelData, fragments, read_pixel_data
from dicom_node.values import BINARY_VRS, inline_binary, texts_of, values_of

MAX_DEPTH: Final = 32
INLINE_BINARY_BYTES: Final = 1024
INLINE_TEXT_BYTES: Final = 64 << 10
METADATA_LIMIT_BYTES: Final = 48 << 20
_REMEMBERED_BYTES: Final = 128
_ROWS: Final = (0, 0x00280010)
_PIXEL_DATA_PROVIDER_URL: Final = (0, 0x00287FE0)
_CHARACTER_SET: Final = 0x00080005
_IMPLICIT_LITTLE: Final = Encoding(little=True, implicit=True)


class Scope(NamedTuple):
    """Where an element stands: in which item, how deep, and by which rules it is read."""

    encoding: Encoding
    declared: tuple[str, ...] = ()
    path: str = ""
    parent: int = 0
    depth: int = 0


@dataclass(slots=True)
class Metadata:
    """What the header of one instance says; `bulk` maps a path of tags and item numbers to (position, size)."""

    json: bytes = b"{}"
    found: Found = field(default_factory=dict)
    name: DecodedText | None = None
    declared: tuple[str, ...] = ()
    flaws: set[str] = field(default_factory=set)
    bulk: dict[str, tuple[int, int]] = field(default_factory=dict)
    pixel_data: PixelData | None = None


def read_metadata(window: Window, TransferSyntaxUID: str) -> Metadata:
    """Read one data set. Raises Unreadable (`nested_too_deep`, `header_too_large`)."""
    return _DatasetReader(window, TransferSyntaxUID).read()


class _DatasetReader:
    def __init__(self, window: Window, TransferSyntaxUID: str) -> None:
        self._window = window
        self._syntax = TransferSyntaxUID
        self._metadata = Metadata()
        self._size = 0

    def read(self) -> Metadata:
        declared = encoding_of(self._syntax)
        encoding = encoding_in(self._window, declared)
        if encoding != declared:
            self._metadata.flaws.add("transfer_syntax_mismatch")
        parts: dict[int, bytes] = {}
        try:
            self._top_level(Scope(encoding), parts)
        except Truncated:
            self._metadata.flaws.add("truncated")
        # The JSON is UTF-8 whatever was declared (PS3.18 §F.2).
        parts[_CHARACTER_SET] = b'"00080005":{"vr":"CS","Value":["ISO_IR 192"]}'
        self._metadata.json = _joined(parts)
        return self._metadata

    def _top_level(self, scope: Scope, parts: dict[int, bytes]) -> None:
        at, end = 0, self._window.size
        while at < end and not self._is_padding(at):
            element = read_element(self._window, at, end, scope.encoding)
            if element.tag in PIXEL_DATA_TAGS:
                self._read_pixel_data(element, parts)
                return
            at, scope = self._read_into(parts, element, end, scope)
        if _promises_pixels(self._metadata.found):
            self._metadata.flaws.add("pixel_data_missing")

    def _is_padding(self, at: int) -> bool:
        """A few zero bytes at the very end hold no element."""
        rest = self._window.size - at
        return rest < 8 and not any(self._window.read(at, rest))

    def _read_pixel_data(self, element: Element, parts: dict[int, bytes]) -> None:
        parts[element.tag] = b'"%08X":{"vr":"%s"}' % (element.tag, element.vr.encode())
        table = read_pixel_data(self._window, element, self._metadata.found, self._syntax)
        self._metadata.pixel_data = table
        self._metadata.flaws.update(table.flaws)
        if not self._window.inflated:
            self._metadata.bulk[f"{element.tag:08X}"] = (table.at, table.size)

    def _read_into(
        self, parts: dict[int, bytes], element: Element, end: int, scope: Scope
    ) -> tuple[int, Scope]:
        """Read one element into `parts`; returns the position after it and the scope that applies from there."""
        json, after = self._read_value(element, end, scope)
        if element.tag == _CHARACTER_SET:
            return after, self._declare(element, scope)
        if element.tag in parts:
            self._metadata.flaws.add("repeated_element")
        elif json and element.tag & 0xFFFF:  # group lengths are left out
            self._size += len(json)
            if self._size > METADATA_LIMIT_BYTES:
                raise Unreadable("header_too_large")
            parts[element.tag] = json
        return after, scope

    def _declare(self, element: Element, scope: Scope) -> Scope:
        raw = self._window.read(element.value_at, min(element.length, INLINE_BINARY_BYTES))
        declared = (
            tuple(text.strip(" \0") for text in raw.decode("latin-1").split("\\"))
            if raw.strip(b" \0")
            else ()
        )
        if scope.depth == 0:
            self._metadata.declared = declared
        return scope._replace(declared=declared)

    def _read_value(self, element: Element, end: int, scope: Scope) -> tuple[bytes, int]:
        if element.odd:
            self._metadata.flaws.add("unreadable_element")
        if _is_sequence(element):
            return self._read_sequence(element, end, scope)
        if element.length == UNDEFINED:
            after = fragments(self._window, element.value_at, end)[1]
            return self._left_where_it_is(element, element.vr, after - element.value_at, scope), after
        after = element.value_at + element.length
        if after > end:
            raise Truncated
        return self._read_plain(element, scope), after

    def _read_plain(self, element: Element, scope: Scope) -> bytes:
        vr, encoding = element.vr, scope.encoding
        if vr == "UN" and not element.odd:
            # Values of UN are implicit little endian; the dictionary knows what the sender did not (PS3.5 §6.2.2).
            vr, encoding = vr_in_dictionary(element.tag), _IMPLICIT_LITTLE
        if vr == "US" and encoding.implicit and follows_pixels(element.tag):
            vr = "SS" if self._metadata.found.get(PIXEL_REPRESENTATION) == [1] else "US"
        binary = vr in BINARY_VRS
        if element.length > (INLINE_BINARY_BYTES if binary else INLINE_TEXT_BYTES):
            return self._left_where_it_is(element, vr, element.length, scope)
        raw = self._window.read(element.value_at, element.length)
        if binary:
            return _binary_json(element.tag, vr, raw, encoding)
        render = _remembered if len(raw) <= _REMEMBERED_BYTES else _rendered
        try:
            json, values = render(element.tag, vr, raw, scope.declared, encoding)
        except ValueError:
            self._metadata.flaws.add("unreadable_element")
            return _binary_json(element.tag, "UN", raw, encoding)
        self._note(element.tag, vr, raw, values, scope)
        return json

    def _note(self, tag: int, vr: str, raw: bytes, values: list[Any], scope: Scope) -> None:
        place = (scope.parent, tag)
        if place in WANTED:
            self._metadata.found.setdefault(place, []).extend(values)
        if place == PATIENT_NAME and values:
            self._metadata.name = texts_of(vr, raw, scope.declared)[0]

    def _left_where_it_is(self, element: Element, vr: str, size: int, scope: Scope) -> bytes:
        if not self._window.inflated:
            self._metadata.bulk[f"{scope.path}{element.tag:08X}"] = (element.value_at, size)
        return b'"%08X":{"vr":"%s"}' % (element.tag, vr.encode())

    def _read_sequence(self, element: Element, end: int, scope: Scope) -> tuple[bytes, int]:
        if scope.depth >= MAX_DEPTH:
            raise Unreadable("nested_too_deep")
        inner = scope._replace(parent=element.tag, depth=scope.depth + 1)
        if element.vr == "UN":  # implicit little endian, whatever the rest is (PS3.5 §6.2.2)
            inner = inner._replace(encoding=_IMPLICIT_LITTLE)
        if element.length == UNDEFINED:
            items, after = self._read_items(element, end, inner, closed=False)
            return _sequence_json(element.tag, items), after
        after = element.value_at + element.length
        if after > end:
            raise Truncated
        try:
            items, _ = self._read_items(element, after, inner, closed=True)
        except Truncated:
            self._metadata.flaws.add("unreadable_element")
            items = []
        return _sequence_json(element.tag, items), after

    def _read_items(
        self, element: Element, end: int, scope: Scope, *, closed: bool
    ) -> tuple[list[bytes], int]:
        items: list[bytes] = []
        at = element.value_at
        while at < end:
            item = read_element(self._window, at, end, scope.encoding)
            if item.tag == SEQUENCE_END:
                return items, item.value_at
            if item.tag != ITEM:
                raise Truncated
            place = scope._replace(path=f"{scope.path}{element.tag:08X}/{len(items)}/")
            json, at = self._read_item(item, end, place)
            items.append(json)
        if not closed:
            raise Truncated
        return items, at

    def _read_item(self, item: Element, end: int, scope: Scope) -> tuple[bytes, int]:
        item_end = end if item.length == UNDEFINED else item.value_at + item.length
        if item_end > end:
            raise Truncated
        parts: dict[int, bytes] = {}
        at = item.value_at
        while at < item_end:
            element = read_element(self._window, at, item_end, scope.encoding)
            if element.tag == ITEM_END:
                return _joined(parts), element.value_at
            at, scope = self._read_into(parts, element, item_end, scope)
        if item.length == UNDEFINED:
            raise Truncated
        return _joined(parts), at


def _is_sequence(element: Element) -> bool:
    """SQ, or written as UN by someone who did not know it (PS3.5 §6.2.2): of undefined length, or in PS3.6."""
    if element.length == UNDEFINED:
        return element.vr not in ("OB", "OW")
    return element.vr == "SQ" or (
        element.vr == "UN" and not element.odd and vr_in_dictionary(element.tag) == "SQ"
    )


def _promises_pixels(found: Found) -> bool:
    """Rows or an image's SOP class say there are pixels, unless they lie elsewhere ((0028,7FE0), JPIP)."""
    if found.get(_PIXEL_DATA_PROVIDER_URL):
        return False
    return bool(found.get(_ROWS)) or any(_is_image(str(uid)) for uid in found.get(SOP_CLASS, ()))


@lru_cache(maxsize=256)
def _is_image(SOPClassUID: str) -> bool:
    return "Image Storage" in UID(SOPClassUID).name


def _joined(parts: dict[int, bytes]) -> bytes:
    return b"{" + b",".join(parts[tag] for tag in sorted(parts)) + b"}"


def _rendered(
    tag: int, vr: str, raw: bytes, declared: tuple[str, ...], encoding: Encoding
) -> tuple[bytes, list[Any]]:
    values = values_of(vr, raw, declared, encoding)
    return _values_json(tag, vr, values), values


# The instances of a series repeat most of their elements.
_remembered = lru_cache(maxsize=8192)(_rendered)


def _values_json(tag: int, vr: str, values: list[Any]) -> bytes:
    if not values:
        return b'"%08X":{"vr":"%s"}' % (tag, vr.encode())
    return b'"%08X":{"vr":"%s","Value":%s}' % (tag, vr.encode(), orjson.dumps(values))


def _binary_json(tag: int, vr: str, raw: bytes, encoding: Encoding) -> bytes:
    if not raw:
        return _values_json(tag, vr, [])
    value = inline_binary(vr, raw, encoding).encode()
    return b'"%08X":{"vr":"%s","InlineBinary":"%s"}' % (tag, vr.encode(), value)


def _sequence_json(tag: int, items: list[bytes]) -> bytes:
    if not items:
        return b'"%08X":{"vr":"SQ"}' % tag
    return b'"%08X":{"vr":"SQ","Value":[%s]}' % (tag, b",".join(items))
