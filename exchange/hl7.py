"""HL7 v2 messages as text: characters, delimiters, escapes, times (HL7 v2.5.1 chapter 2). Pure.

Written here rather than with a library: `hl7apy` needs about 14 ms for a message with five values and keeps to
one grammar per version, where laboratories send what their own version of it is; `hl7` gives no more than the
splitting below. What is read here is compared with `hl7apy` in the tests.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cached_property
from typing import Final

from catalog.charset import decode
from catalog.rules import HOSPITAL_ZONE

SEGMENTS_LIMIT: Final = 5000
# MSH-18, table 0211, and what is met beside it; the keys are compared without blanks, dashes, dots and slashes.
_CHARSETS: Final = {
    "UNICODEUTF8": "ISO_IR 192",
    "UTF8": "ISO_IR 192",
    "UNICODE": "ISO_IR 192",
    "GB18030": "GB18030",
    "GB180302000": "GB18030",
    "GB18030200": "GB18030",
    "GBK": "GB18030",
    "GB2312": "GB18030",
    "CP936": "GB18030",
    "88591": "ISO_IR 100",
}
_TIME: Final = re.compile(
    r"(\d{4})(?:(\d{2})(?:(\d{2})(?:(\d{2})(\d{2})(?:(\d{2})(?:\.(\d{1,4}))?)?)?)?)?([+-]\d{4})?", re.ASCII
)
_FORMATTING: Final = {"br": "\n", "sp": "\n", "fi": "", "nf": "", "in": "", "ti": "", "sk": " ", "ce": "\n"}


class Malformed(ValueError):
    """The bytes are no HL7 v2 message, or cannot be read as text; `code` says which."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Delimiters:
    """MSH-1 and MSH-2; `subcomponent` and `escape` may be absent in old messages."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment: its name, its place among those of its name (from 1), and its raw fields.

    `field(3)` is XXX-3, in MSH as well, where the field separator itself counts as MSH-1.
    """

    name: str
    sequence: int
    raw: tuple[str, ...]
    delimiters: Delimiters = field(repr=False)

    def field(self, number: int) -> str:
        """Return a field as sent, escapes and all; "" where it is absent or the explicit null."""
        text = self.raw[number] if number < len(self.raw) else ""
        return "" if text == '""' else text

    def repetitions(self, number: int) -> list[str]:
        """Return the repetitions of a field, as sent."""
        text = self.field(number)
        return text.split(self.delimiters.repetition) if text else []

    def text(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """Return one component of a field's first repetition, its escapes resolved."""
        first = next(iter(self.repetitions(number)), "")
        return self.component(first, component, subcomponent)

    def component(self, repetition: str, component: int, subcomponent: int = 1) -> str:
        """Return one component of a repetition, its escapes resolved."""
        parts = repetition.split(self.delimiters.component)
        part = parts[component - 1] if component <= len(parts) else ""
        subs = part.split(self.delimiters.subcomponent)
        found = subs[subcomponent - 1] if subcomponent <= len(subs) else ""
        return unescape(found, self.delimiters).strip()

    def whole(self, number: int) -> str:
        """Return a field as one text: repetitions on lines of their own, escapes resolved."""
        return "\n".join(unescape(part, self.delimiters).strip() for part in self.repetitions(number))


@dataclass(frozen=True)
class Message:
    """A message: its segments in order, and the character set that was used."""

    segments: tuple[Segment, ...]
    charset: str

    @cached_property
    def header(self) -> Segment:
        """Return MSH."""
        return self.segments[0]

    def first(self, name: str) -> Segment | None:
        """Return the first segment of a name."""
        return next((segment for segment in self.segments if segment.name == name), None)

    def groups(self, name: str) -> Iterator[list[Segment]]:
        """Yield each segment of a name with those that follow it until the next one."""
        group: list[Segment] = []
        for segment in self.segments:
            if segment.name == name:
                if group:
                    yield group
                group = [segment]
            elif group:
                group.append(segment)
        if group:
            yield group


def parse(raw: bytes) -> Message:
    """Read a message, tolerating line feeds for segment ends. Raises Malformed (`not_hl7`, `charset`, `too_long`)."""
    if not raw.lstrip(b"\r\n").startswith(b"MSH"):
        raise Malformed("not_hl7")
    text, charset = read_text(raw)
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    if len(lines) > SEGMENTS_LIMIT:
        raise Malformed("too_long")
    delimiters = _delimiters(lines[0])
    counts: dict[str, int] = {}
    segments = []
    for line in lines:
        fields = line.split(delimiters.field)
        name = fields[0].strip()
        counts[name] = counts.get(name, 0) + 1
        if name == "MSH":
            fields.insert(1, delimiters.field)
        segments.append(Segment(name, counts[name], tuple(fields), delimiters))
    return Message(tuple(segments), charset)


def read_text(raw: bytes) -> tuple[str, str]:
    """Return the text of a message and its character set: MSH-18 as declared, or what was really sent.

    The second byte of a GB 18030 character can be 0x5C, 0x5E, 0x7C or 0x7E, so text comes before delimiters.
    Raises Malformed (`charset`).
    """
    declared = _declared(raw)
    found = decode(raw, declared, vr="UT")
    if found.confidence != "low":
        return found.text, found.charset
    try:
        return raw.decode("gb18030"), "GB18030"
    except UnicodeDecodeError:
        raise Malformed("charset") from None


def unescape(text: str, delimiters: Delimiters) -> str:
    r"""Return a text with its escape sequences resolved (§2.7): \F\ \S\ \T\ \R\ \E\ \Xdd..\ and formatting."""
    if not delimiters.escape or delimiters.escape not in text:
        return text
    mark = re.escape(delimiters.escape)
    return re.sub(rf"{mark}([^\r{mark}]*){mark}", lambda found: _escaped(found[1], delimiters), text)


def escape(text: str) -> str:
    """Return a text as it may stand in a field of a message with the usual delimiters."""
    marks = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\r": " ", "\n": " "}
    return "".join(marks.get(char, char) for char in text)


def moment(text: str) -> datetime | None:
    """Return a TS or DTM in UTC; without an offset it is the hospitals' time. None if it is no time."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    try:
        at = datetime(year, month or 1, day or 1, hour, minute, second, tzinfo=_zone(found[8]))
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _zone(offset: str | None) -> tzinfo:
    if not offset:
        return HOSPITAL_ZONE
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _declared(raw: bytes) -> tuple[str, ...]:
    """Return MSH-18 as a DICOM term; MSH itself up to there is ASCII but for names of institutions."""
    line = re.split(rb"[\r\n]", raw.lstrip(b"\r\n"), maxsplit=1)[0]
    fields = line.split(line[3:4]) if len(line) > 3 else []
    value = fields[17].decode("ascii", "replace") if len(fields) > 17 else ""
    name = re.sub(r"[\s./-]", "", value.split("~")[0].split("^")[0]).upper()
    term = _CHARSETS.get(name)
    return (term,) if term else ()


def _delimiters(header: str) -> Delimiters:
    if len(header) < 8 or header[3].isalnum():
        raise Malformed("not_hl7")
    marks = header[4:].split(header[3], 1)[0]
    if not 2 <= len(marks) <= 5 or any(mark.isalnum() for mark in marks):
        raise Malformed("not_hl7")
    escape_mark, subcomponent = marks[2:3], marks[3:4] or "\0"  # a mark that occurs nowhere
    return Delimiters(header[3], marks[0], marks[1], escape_mark, subcomponent)


def _escaped(body: str, delimiters: Delimiters) -> str:
    plain = {
        "F": delimiters.field,
        "S": delimiters.component,
        "T": delimiters.subcomponent,
        "R": delimiters.repetition,
        "E": delimiters.escape,
        "H": "",
        "N": "",
    }
    if body in plain:
        return plain[body]
    if body.startswith("."):
        return _FORMATTING.get(body[1:3].lower(), "")
    if body[:1] == "X":
        try:
            return bytes.fromhex(body[1:]).decode("gb18030", "replace").translate({0: None})
        except ValueError:
            return ""
    return ""
