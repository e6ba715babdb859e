"""A multipart body as it comes (RFC 2046 §5.1, RFC 2387): its parts one after another, nothing of them kept. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from catalog.errors import InvalidInput

MOST_PREAMBLE_BYTES: Final = 64 << 10
MOST_HEAD_BYTES: Final = 8 << 10
_MOST_PADDING_BYTES: Final = 256
_MOST_HEADERS: Final = 32
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_PARAMETER: Final = re.compile(r';\s*([\w-]+)\s*=\s*(?:"([^"]*)"|([^;\s"]*))')
_LINE_END: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class MediaType:
    """A Content-Type, in small letters but for the values of its parameters."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part begins; its headers by name in small letters."""

    headers: Mapping[str, str]


class PartEnd:
    """A part is whole."""


Event = PartBegin | memoryview | PartEnd


class MalformedBody(InvalidInput):
    """The body is no multipart, or breaks off; parts that were given before were whole."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(zh, en, code="malformed_multipart")


class _Now(Enum):
    PREAMBLE = auto()
    LINE = auto()
    HEAD = auto()
    BODY = auto()
    EPILOGUE = auto()


class PartReader:
    """Reads parts between delimiters of one boundary, however the bytes are cut; `is_whole` once the last one came."""

    def __init__(self, boundary: str) -> None:
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._now = _Now.PREAMBLE
        self._held = _LINE_END  # the first delimiter may stand at the very beginning
        self._preamble_bytes = 0

    @property
    def is_whole(self) -> bool:
        """Say whether the closing delimiter has come; what follows it says nothing."""
        return self._now is _Now.EPILOGUE

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield what the next bytes bring. Raises MalformedBody, and then takes nothing more."""
        data, at = self._held + piece, 0
        self._held = b""
        while at < len(data) and self._now is not _Now.EPILOGUE:
            if self._now in (_Now.PREAMBLE, _Now.BODY):
                end, next_at = self._before_delimiter(data, at)
                if self._now is _Now.BODY and end > at:
                    yield memoryview(data)[at:end]
                elif self._now is _Now.PREAMBLE:
                    self._count_preamble(end - at)
                if next_at is not None and self._now is _Now.BODY:
                    yield PartEnd()
                self._now = self._now if next_at is None else _Now.LINE
            elif self._now is _Now.LINE:
                end, next_at = at, self._behind_line(data, at)
            else:
                end, next_at = at, self._behind_head(data, at)
                if next_at is not None:
                    yield PartBegin(_headers(data[at + 2 : max(at + 2, next_at - 4)]))
            if next_at is None:
                self._held = data[end:]
                return
            at = next_at

    def _before_delimiter(self, data: bytes, at: int) -> tuple[int, int | None]:
        """Return how far it surely goes on before a delimiter, and where what follows that one begins, if it is there."""
        found = data.find(self._delimiter, at)
        if found >= 0:
            return found, found + len(self._delimiter)
        end = data.find(b"\r", max(at, len(data) - len(self._delimiter) + 1))
        while end >= 0 and not self._delimiter.startswith(data[end:]):
            end = data.find(b"\r", end + 1)
        return (end if end >= 0 else len(data)), None

    def _count_preamble(self, size_bytes: int) -> None:
        self._preamble_bytes += size_bytes
        if self._preamble_bytes > MOST_PREAMBLE_BYTES:
            raise MalformedBody("正文中找不到分隔符", "The boundary is not found in the body")

    def _behind_line(self, data: bytes, at: int) -> int | None:
        """Return where the line of a delimiter ends, its end being the first of the part's head."""
        if data.startswith(b"--", at):
            self._now = _Now.EPILOGUE
            return len(data)
        end = data.find(_LINE_END, at)
        padding = data[at : len(data) if end < 0 else end]
        if end < 0 and padding in (b"-", b"\r"):
            return None
        if (
            padding.removesuffix(b"\r" if end < 0 else b"").strip(b" \t")
            or len(padding) > _MOST_PADDING_BYTES
        ):
            raise MalformedBody("分隔符之后有多余内容", "Something follows the boundary on its line")
        self._now = self._now if end < 0 else _Now.HEAD
        return None if end < 0 else end

    def _behind_head(self, data: bytes, at: int) -> int | None:
        end = data.find(2 * _LINE_END, at)
        if (len(data) if end < 0 else end) - at > MOST_HEAD_BYTES:
            raise MalformedBody("分部的头部过大", "The head of a part is too large")
        if end < 0:
            return None
        self._now = _Now.BODY
        return end + 4


def media_type(header: str) -> MediaType:
    """Read a Content-Type; of a parameter given twice the first counts for nothing: it is left empty."""
    name, _, _ = header.partition(";")
    parameters: dict[str, str] = {}
    for each, quoted, bare in _PARAMETER.findall(header):
        parameters[each.lower()] = "" if each.lower() in parameters else quoted or bare
    return MediaType(name.strip().lower(), parameters)


def boundary_of(given: MediaType) -> str:
    """Return the boundary (RFC 2046 §5.1.1: 1 to 70 characters of a few kinds). Raises MalformedBody."""
    boundary = given.parameters.get("boundary", "")
    if _BOUNDARY.fullmatch(boundary) is None:
        raise MalformedBody(
            "Content-Type 须有有效的 boundary", "The Content-Type needs a boundary as RFC 2046 has it"
        )
    return boundary


def _headers(head: bytes) -> dict[str, str]:
    lines = re.sub(rb"\r\n[ \t]+", b" ", head).split(_LINE_END) if head else []
    if len(lines) > _MOST_HEADERS:
        raise MalformedBody("分部的头部过多", "A part has too many headers")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, text = line.decode("latin-1").partition(":")
        if not colon or not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name):
            raise MalformedBody("分部的头部有误", "A header of a part is malformed")
        headers[name.lower()] = text.strip()
    return headers
