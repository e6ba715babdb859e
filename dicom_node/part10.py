"""The frame of a DICOM file around its data set: preamble, prefix, file meta information (PS3.10 §7.1)."""

import struct
from dataclasses import dataclass

from catalog.errors import InvalidInput

IMPLEMENTATION_CLASS_UID = "2.25.59420102964339463980865443267548501561"
IMPLEMENTATION_VERSION_NAME = "HUREN_0.1"
FILE_META_LIMIT_BYTES = 65_536

_PREAMBLE = bytes(128) + b"DICM"
_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the file meta information says, and where the data set begins (bytes from the file's start)."""

    SOPClassUID: str
    SOPInstanceUID: str
    TransferSyntaxUID: str
    dataset_offset: int


def encode_file_meta(
    SOPClassUID: str, SOPInstanceUID: str, TransferSyntaxUID: str, source_ae_title: str = ""
) -> bytes:
    """Give everything before the data set of a Part 10 file: a zero preamble, DICM and group 0002."""
    group = b"".join(
        (
            b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01",
            _element(0x0002, b"UI", SOPClassUID, b"\0"),
            _element(0x0003, b"UI", SOPInstanceUID, b"\0"),
            _element(0x0010, b"UI", TransferSyntaxUID, b"\0"),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0"),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" "),
            _element(0x0016, b"AE", source_ae_title, b" ") if _is_representable(source_ae_title) else b"",
        )
    )
    return _PREAMBLE + b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(group)) + group


def read_file_meta(head: bytes) -> FileMeta:
    """Read the file meta information at the start of a Part 10 file.

    `head` is the file's beginning, up to `FILE_META_LIMIT_BYTES`. The group ends where another group begins,
    whatever (0002,0000) claims.

    Raises:
        InvalidInput: it is not a Part 10 file, or a UID that names the instance is missing.
    """
    if head[128:132] != b"DICM":
        raise InvalidInput("不是 DICOM 文件", "not a DICOM file", code="not_dicom")
    values, dataset_offset = _read_group_0002(head)
    try:
        return FileMeta(
            SOPClassUID=_uid(values[0x0002]),
            SOPInstanceUID=_uid(values[0x0003]),
            TransferSyntaxUID=_uid(values[0x0010]),
            dataset_offset=dataset_offset,
        )
    except (KeyError, UnicodeDecodeError):
        raise InvalidInput(
            "文件元信息不完整", "the file meta information is incomplete", code="incomplete_file_meta"
        ) from None


def _read_group_0002(head: bytes) -> tuple[dict[int, bytes], int]:
    values, at = {}, 132
    while head[at : at + 2] == b"\x02\x00" and at + 12 <= len(head):
        element = int.from_bytes(head[at + 2 : at + 4], "little")
        if head[at + 4 : at + 6] in _LONG_VRS:
            begin, length = at + 12, int.from_bytes(head[at + 8 : at + 12], "little")
        else:
            begin, length = at + 8, int.from_bytes(head[at + 6 : at + 8], "little")
        values[element] = head[begin : begin + length]
        at = begin + length
    if at > len(head):
        raise InvalidInput("文件元信息被截断", "the file meta information is cut off", code="truncated")
    return values, at


def _uid(value: bytes) -> str:
    uid = value.rstrip(b"\0 ").decode("ascii")
    if not uid:
        raise KeyError("empty")
    return uid


def _element(element: int, vr: bytes, text: str, pad: bytes) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:
        value += pad
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def _is_representable(ae_title: str) -> bool:
    # VR AE: up to 16 characters of the default repertoire without backslash (PS3.5 §6.2).
    return 0 < len(ae_title) <= 16 and ae_title.isascii() and ae_title.isprintable() and "\\" not in ae_title
