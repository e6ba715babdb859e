"""A data set as it was sent: its bytes in blocks and its element headers, no length believed unchecked."""

import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from pydicom.datadict import dictionary_VR

from catalog.errors import InvalidInput

UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
# Deflated Explicit VR Little Endian, and the two deflated forms of JPIP references (PS3.5 A.5, A.7, A.11).
DEFLATED: Final = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
INFLATED_LIMIT_BYTES: Final = 64 << 20
_IMPLICIT: Final = "1.2.840.10008.1.2"
_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
_BLOCK_BYTES: Final = 256 << 10
_LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())

REASONS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "digest_mismatch": (
            "数据集与收到时的摘要不符",
            "the data set is no longer the one that was received",
        ),
        "empty": ("数据集为空", "the data set is empty"),
        "inflates_too_large": ("解压后过大", "the data set inflates beyond the limit"),
        "not_deflated": ("声明为压缩传输语法但无法解压", "declared as deflated but cannot be inflated"),
        "nested_too_deep": ("序列嵌套过深", "sequences are nested too deeply"),
        "header_too_large": ("数据集头过大", "the header is larger than the limit"),
        "header_memory": ("解析数据集头所需内存超限", "reading the header takes more memory than allowed"),
        "header_stopped": ("解析数据集头超时或中止", "reading the header took too long or broke down"),
        "header_failed": ("无法解析数据集头", "the header cannot be read"),
        "study_uid_missing": ("缺少 StudyInstanceUID", "StudyInstanceUID is missing"),
        "study_uid_invalid": ("StudyInstanceUID 无效", "StudyInstanceUID is not a UID"),
        "series_uid_missing": ("缺少 SeriesInstanceUID", "SeriesInstanceUID is missing"),
        "series_uid_invalid": ("SeriesInstanceUID 无效", "SeriesInstanceUID is not a UID"),
        "instance_uid_missing": ("缺少 SOPInstanceUID", "SOPInstanceUID is missing"),
        "instance_uid_mismatch": (
            "SOPInstanceUID 与传输命令不一致",
            "SOPInstanceUID differs from the command's",
        ),
        "patient_id_invalid": ("PatientID 过长", "PatientID is too long"),
    }
)


class Unreadable(InvalidInput):
    """An instance that cannot be catalogued; `code` is one of REASONS."""

    def __init__(self, code: str) -> None:
        super().__init__(*REASONS[code], code=code)


class Truncated(Exception):
    """The bytes end before what a length promises."""


class Encoding(NamedTuple):
    """How elements are written (PS3.5 §10 and Annex A)."""

    little: bool
    implicit: bool


class Element(NamedTuple):
    """The header of an element: where its value begins and how long it is, UNDEFINED included.

    `odd` says that the VR field held no VR of the standard.
    """

    tag: int
    vr: str
    value_at: int
    length: int
    odd: bool = False


@dataclass(slots=True)
class Window:
    """Random access to the bytes of one data set; positions count from its start.

    A deflated data set is inflated in memory (`inflated`), and its positions then mean nothing in the file.
    """

    fd: int
    start: int
    size: int
    inflated: bool = False
    _block: bytes = b""
    _block_at: int = 0

    def read(self, at: int, length: int) -> bytes:
        """Return `length` bytes from `at`. Raises Truncated where there are fewer."""
        if at + length > self.size or length < 0:
            raise Truncated
        if not self._block_at <= at <= at + length <= self._block_at + len(self._block):
            self._load(at, length)
        return self._block[at - self._block_at : at - self._block_at + length]

    def _load(self, at: int, length: int) -> None:
        wanted = min(max(length, _BLOCK_BYTES), self.size - at)
        self._block, self._block_at = os.pread(self.fd, wanted, self.start + at), at
        if len(self._block) < wanted:
            raise Truncated


def open_window(fd: int, start: int, size: int, TransferSyntaxUID: str) -> Window:
    """Return the data set of `size` bytes at `start` of an open file, inflated if its syntax says so.

    Raises Unreadable (`empty`, `not_deflated`, `inflates_too_large`).
    """
    if size == 0:
        raise Unreadable("empty")
    if TransferSyntaxUID not in DEFLATED:
        return Window(fd, start, size)
    content = _inflate(fd, start, size)
    return Window(fd, 0, len(content), inflated=True, _block=content)


def encoding_of(TransferSyntaxUID: str) -> Encoding:
    """Return how a transfer syntax writes elements; every compressed one is explicit little endian."""
    return Encoding(TransferSyntaxUID != _BIG_ENDIAN, TransferSyntaxUID == _IMPLICIT)


def encoding_in(window: Window, declared: Encoding) -> Encoding:
    """Return how the first element is really written: some senders write the other VR than negotiated."""
    if window.size < 8:
        return declared
    vr = window.read(0, 6)[4:]
    if declared.implicit and (vr in _SHORT_VRS or vr in _LONG_VRS):
        return Encoding(declared.little, False)
    if not declared.implicit and declared.little and not _is_letters(vr):
        return Encoding(declared.little, True)
    return declared


def read_element(window: Window, at: int, end: int, encoding: Encoding) -> Element:
    """Read the element header at `at` (PS3.5 §7.1). Raises Truncated where the bytes up to `end` do not hold it."""
    if at + 8 > end:
        raise Truncated
    head = window.read(at, 8)
    order = "<" if encoding.little else ">"
    group, element, length = struct.unpack(order + "HHI", head)
    tag, vr = group << 16 | element, head[4:6]
    if encoding.implicit or group == 0xFFFE:
        return Element(tag, vr_in_dictionary(tag), at + 8, length)
    if vr in _LONG_VRS:
        if at + 12 > end:
            raise Truncated
        (length,) = struct.unpack(order + "I", window.read(at + 8, 4))
        return Element(tag, vr.decode("ascii"), at + 12, length)
    if vr in _SHORT_VRS or _is_letters(vr):
        (length,) = struct.unpack(order + "H", head[6:])
        return Element(
            tag, vr.decode("ascii") if vr in _SHORT_VRS else "UN", at + 8, length, vr not in _SHORT_VRS
        )
    # Some writers fall back to implicit VR inside an explicit data set.
    return Element(tag, vr_in_dictionary(tag), at + 8, length, odd=True)


def _inflate(fd: int, start: int, size: int) -> bytes:
    """PS3.5 A.5: a raw deflate stream; one with a zlib header is met as well."""
    compressed = os.pread(fd, min(size, INFLATED_LIMIT_BYTES), start)
    for window_bits in (-zlib.MAX_WBITS, zlib.MAX_WBITS):
        inflater = zlib.decompressobj(window_bits)
        try:
            content = inflater.decompress(compressed, INFLATED_LIMIT_BYTES)
        except zlib.error:
            continue
        if inflater.unconsumed_tail or len(compressed) < size:
            raise Unreadable("inflates_too_large")
        if content:
            return content
    raise Unreadable("not_deflated")


def _is_letters(vr: bytes) -> bool:
    return vr.isalpha() and vr.isupper()


@lru_cache(maxsize=8192)
def vr_in_dictionary(tag: int) -> str:
    """Return the VR of PS3.6 for a tag; UN where it is unknown or private."""
    if tag & 0xFFFF == 0:
        return "UL"
    if (tag >> 16) & 1:  # private: creators are LO, the rest is not ours to know (PS3.5 §7.8)
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    try:
        # "US or SS", "OB or OW": the first one, except that pixel data of implicit VR is OW (PS3.5 A.1).
        choices = dictionary_VR(tag).split(" or ")
    except KeyError:
        return "UN"
    return "OW" if "OW" in choices else choices[0]


@lru_cache(maxsize=8192)
def follows_pixels(tag: int) -> bool:
    """Say whether a value is signed where the pixels are: "US or SS" in PS3.6, ruled by (0028,0103)."""
    try:
        return dictionary_VR(tag).startswith("US or SS")
    except KeyError:
        return False
