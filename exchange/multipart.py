"""Which form of an image is asked for, and multipart/related answers (PS3.18 §8.7, RFC 2387). Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from catalog.image_index import IndexedInstance
from catalog.pack_windows import Range

DICOM: Final = "application/dicom"
OCTETS: Final = "application/octet-stream"
_RELATED: Final = "multipart/related"
# The media type of a frame as it is stored (Tables 8.7.3-2, 8.7.3-4 and 8.7.3-5); others are octets.
_FRAMES: Final = {
    **dict.fromkeys(("50", "51", "57", "70"), "image/jpeg"),
    **dict.fromkeys(("80", "81"), "image/jls"),
    **dict.fromkeys(("90", "91"), "image/jp2"),
    **dict.fromkeys(("92", "93"), "image/jpx"),
    **dict.fromkeys(("201", "202", "203"), "image/jphc"),
    **dict.fromkeys(("110", "111", "112"), "image/jxl"),
    **dict.fromkeys(("100", "101", "100.1", "101.1"), "video/mpeg"),
}
_ENCAPSULATED: Final = "1.2.840.10008.1.2.4."
_RLE: Final = "1.2.840.10008.1.2.5"
_PARAMETER: Final = re.compile(r';\s*([\w-]+)\s*=\s*(?:"([^"]*)"|([^;\s]*))')


@dataclass(frozen=True, slots=True)
class Accepted:
    """One thing an Accept header allows: `type` and `transfer_syntax` are what is wanted inside a multipart."""

    media_type: str
    type: str = ""
    transfer_syntax: str = ""

    def allows(self, multipart: bool, media_type: str, TransferSyntaxUID: str) -> bool:
        """Say whether content of this type, as it is stored, is what was asked for.

        Without a transfer syntax the stored one is, which every answer names.
        """
        if self.transfer_syntax not in ("", "*", TransferSyntaxUID):
            return False
        if self.media_type == "*/*":
            return True
        if not multipart:
            return self.media_type == media_type
        inside = self.type or media_type
        return self.media_type == _RELATED and (
            inside in (media_type, OCTETS, "*/*") or _fits(inside, media_type)
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart: what kind of thing it is, where it is said to be, and its bytes in the object store."""

    content_type: str
    location: str
    ranges: tuple[Range, ...]

    @property
    def size_bytes(self) -> int:
        """Return how long its content is."""
        return sum(size for _, _, size in self.ranges)


def accepted(header: str) -> list[Accepted]:
    """Return what an Accept header allows, all of it where there is none; what has q=0 is left out."""
    found = []
    for each in _split(header or "*/*"):
        media_type, _, _ = each.partition(";")
        parameters = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(each)}
        if not re.fullmatch(r"0(\.0*)?", parameters.get("q", "1")):
            inside, syntax = parameters.get("type", ""), parameters.get("transfer-syntax", "")
            found.append(Accepted(media_type.strip().lower(), inside.lower(), syntax))
    return found


def frame_type(TransferSyntaxUID: str) -> str:
    """Return the media type of a frame stored in a transfer syntax."""
    if TransferSyntaxUID == _RLE:
        return "image/dicom-rle"
    return _FRAMES.get(TransferSyntaxUID.removeprefix(_ENCAPSULATED), OCTETS)


def file_part(instance: IndexedInstance, root: str) -> Part:
    """Return the part that is the file of an instance."""
    content_type = f"{DICOM};transfer-syntax={instance.TransferSyntaxUID}"
    return Part(
        content_type, location(instance, root), ((instance.key, instance.offset, instance.size_bytes),)
    )


def frame_part(instance: IndexedInstance, number: int, root: str) -> Part:
    """Return the part that is a frame, the first being 1, as it is stored. Raises IndexError where there is none."""
    if number < 1:
        raise IndexError(number)
    flat = instance.frames[number - 1]
    ranges = tuple((instance.key, at, size) for at, size in zip(flat[::2], flat[1::2], strict=True))
    content_type = f"{frame_type(instance.TransferSyntaxUID)};transfer-syntax={instance.TransferSyntaxUID}"
    return Part(content_type, f"{location(instance, root)}/frames/{number}", ranges)


def location(instance: IndexedInstance, root: str) -> str:
    """Return where an instance is, below the address of a study."""
    return f"{root}/series/{instance.SeriesInstanceUID}/instances/{instance.SOPInstanceUID}"


def heads(parts: Sequence[Part], boundary: str) -> list[bytes]:
    """Return what goes before each part, and, last, what ends them all."""
    before = [
        f"\r\n--{boundary}\r\nContent-Type: {part.content_type}\r\nContent-Length: {part.size_bytes}\r\n"
        f"Content-Location: {part.location}\r\n\r\n".encode()
        for part in parts
    ]
    before[0] = before[0].removeprefix(b"\r\n")
    return [*before, f"\r\n--{boundary}--\r\n".encode()]


def related(boundary: str, content_type: str) -> str:
    """Return the Content-Type of a multipart whose parts are all of one type."""
    inside, _, _ = content_type.partition(";")
    return f'{_RELATED}; type="{inside}"; boundary={boundary}'


def _split(header: str) -> Iterable[str]:
    """Split at commas outside quotes."""
    return (each for each in re.findall(r'(?:[^,"]|"[^"]*")+', header) if each.strip())


def _fits(wanted: str, media_type: str) -> bool:
    kind, _, sub = wanted.partition("/")
    return sub == "*" and media_type.startswith(f"{kind}/")
