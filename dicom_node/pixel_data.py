"""Where the frames of an instance lie, found from lengths alone; no pixel is decoded."""

import struct
from dataclasses import dataclass
from typing import Final

from dicom_node.dataset import (
    ITEM,
    SEQUENCE_END,
    UNDEFINED,
    Element,
    Encoding,
    Truncated,
    Window,
    read_element,
)
from dicom_node.facts import Found

FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA: Final = 0x7FE00009
PIXEL_DATA: Final = 0x7FE00010
PIXEL_DATA_TAGS: Final = frozenset({FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA, PIXEL_DATA})
MAX_FRAMES: Final = 200_000
_MAX_FRAGMENTS: Final = 1_000_000
_NATIVE: Final = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_VIDEO: Final = "1.2.840.10008.1.2.4.10"  # MPEG-2, MPEG-4 and HEVC: one bit stream holds every frame
_LITTLE: Final = Encoding(little=True, implicit=False)

Fragment = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PixelData:
    """The value of the pixel data element, (position, size), and its frames.

    A frame is a flat list of position, size pairs: one pair, or one for each of its fragments.
    """

    at: int
    size: int
    frames: tuple[tuple[int, ...], ...] = ()
    flaws: frozenset[str] = frozenset()


def read_pixel_data(window: Window, element: Element, found: Found, TransferSyntaxUID: str) -> PixelData:
    """Return the frame table of a pixel data element. Raises Truncated where the bytes end too early."""
    native = TransferSyntaxUID in _NATIVE or TransferSyntaxUID == _DEFLATED
    if element.length == UNDEFINED:
        table = _read_encapsulated(window, element, found, TransferSyntaxUID)
    else:
        table = _read_native(window, element, found)
    if native == (element.length == UNDEFINED):
        return PixelData(table.at, table.size, (), frozenset({"pixel_data_encoding"}))
    return PixelData(table.at, table.size, (), table.flaws) if window.inflated else table


def fragments(window: Window, at: int, end: int) -> tuple[list[Fragment], int]:
    """Return the fragments from `at` to the sequence delimiter as (position, size), and the position after it.

    PS3.5 §A.4: every one has a defined length, and the delimiter must be there. Raises Truncated.
    """
    found: list[Fragment] = []
    while True:
        item = read_element(window, at, end, _LITTLE)
        if item.tag == SEQUENCE_END:
            return found, item.value_at
        at = item.value_at + item.length
        if item.tag != ITEM or item.length == UNDEFINED or len(found) == _MAX_FRAGMENTS:
            raise Truncated
        found.append((item.value_at, item.length))


def _read_native(window: Window, element: Element, found: Found) -> PixelData:
    if element.value_at + element.length > window.size:
        raise Truncated
    bits = _frame_bits(element.tag, found)
    count = _number(found, 0x00280008, 1)
    expected = -(-bits * count // 8)
    fits = bits and element.length in (expected, expected + expected % 2)
    flaws = frozenset[str]() if fits else frozenset({"pixel_data_length"})
    if not bits or element.length < expected:
        return PixelData(element.value_at, element.length, (), flaws)
    if count > MAX_FRAMES:
        return PixelData(element.value_at, element.length, (), flaws | {"too_many_frames"})
    if bits % 8 and count > 1:  # frames of one-bit pixels that begin inside a byte cannot be addressed
        return PixelData(element.value_at, element.length, (), flaws)
    size = -(-bits // 8)
    frames = tuple((element.value_at + size * number, size) for number in range(count))
    return PixelData(element.value_at, element.length, frames, flaws)


def _frame_bits(tag: int, found: Found) -> int:
    fixed = {FLOAT_PIXEL_DATA: 32, DOUBLE_FLOAT_PIXEL_DATA: 64}
    bits = fixed.get(tag) or _number(found, 0x00280100, 0)
    samples = _number(found, 0x00280002, 1)
    photometric = found.get((0, 0x00280004)) or [""]
    if samples == 3 and str(photometric[0]).endswith(
        "_422"
    ):  # two pixels share their chrominance (PS3.3 C.7.6.3.1.2)
        samples = 2
    return _number(found, 0x00280010, 0) * _number(found, 0x00280011, 0) * samples * bits


def _read_encapsulated(window: Window, element: Element, found: Found, syntax: str) -> PixelData:
    parts, after = fragments(window, element.value_at, window.size)
    size = after - element.value_at
    count = _number(found, 0x00280008, 1)
    table, frames = parts[:1], parts[1:]
    if not table or (len(frames) < count and not syntax.startswith(_VIDEO)):
        return PixelData(element.value_at, size, (), frozenset({"pixel_data_frames"}))
    if count > MAX_FRAMES:
        return PixelData(element.value_at, size, (), frozenset({"too_many_frames"}))
    return PixelData(element.value_at, size, _frames(window, table[0], frames, count))


def _frames(
    window: Window, table: Fragment, parts: list[Fragment], count: int
) -> tuple[tuple[int, ...], ...]:
    if len(parts) == count:
        return tuple(parts)
    if count == 1:
        return (tuple(number for part in parts for number in part),)
    starts = _basic_offsets(window, table)
    if len(starts) != count or not parts:
        return ()
    return _by_offsets(starts, parts)


def _basic_offsets(window: Window, table: Fragment) -> list[int]:
    at, size = table
    if size % 4 or size > 4 * MAX_FRAMES:
        return []
    return list(struct.unpack(f"<{size // 4}I", window.read(at, size)))


def _by_offsets(starts: list[int], parts: list[Fragment]) -> tuple[tuple[int, ...], ...]:
    """Offsets count from the item tag of the first fragment (PS3.5 §A.4)."""
    base = parts[0][0] - 8
    frames: list[list[int]] = [[] for _ in starts]
    number = -1
    for at, size in parts:
        if number + 1 < len(starts) and at - 8 - base == starts[number + 1]:
            number += 1
        if number < 0:
            return ()
        frames[number] += (at, size)
    return tuple(tuple(frame) for frame in frames) if number == len(starts) - 1 else ()


def _number(found: Found, tag: int, default: int) -> int:
    """Return a number of the header; what is missing is `default`, what is no count is 0."""
    values = found.get((0, tag))
    if not values or values[0] is None:
        return default
    return values[0] if isinstance(values[0], int) and values[0] >= 0 else 0
