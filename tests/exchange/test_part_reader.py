"""Multipart bodies as they come: any cut of the bytes gives the same parts, and nothing hostile is held."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.part_reader import (
    MOST_HEAD_BYTES,
    MOST_PREAMBLE_BYTES,
    MalformedBody,
    PartBegin,
    PartEnd,
    PartReader,
    boundary_of,
    media_type,
)

Parts = list[tuple[dict[str, str], bytes]]
BOUNDARIES = st.text("0123456789abcXYZ'()+_,-./:=?", min_size=1, max_size=70)
# what looks like a boundary, and nearly is one
CONTENT = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"--", b"-", b"\0", b"DICM", b"\r\n--"]) | st.binary(max_size=9)
)
NAMES = st.from_regex(r"[a-z][a-z\-]{0,9}", fullmatch=True)
HEADERS = st.dictionaries(NAMES, st.from_regex(r"[!-~]{0,12}", fullmatch=True), max_size=4)


def read(reader: PartReader, pieces: Iterable[bytes]) -> Parts:
    """The whole parts of a body."""
    parts: Parts = []
    content = bytearray()
    headers: dict[str, str] = {}
    for piece in pieces:
        for event in reader.feed(piece):
            if isinstance(event, PartBegin):
                headers, content = dict(event.headers), bytearray()
            elif isinstance(event, PartEnd):
                parts.append((headers, bytes(content)))
            else:
                assert len(event) > 0
                content += event
    return parts


def write(parts: Parts, boundary: str, before: bytes = b"", padding: bytes = b"") -> bytes:
    line = b"--" + boundary.encode()
    body = before
    for headers, content in parts:
        head = b"".join(f"{name}: {text}\r\n".encode() for name, text in headers.items())
        body += line + padding + b"\r\n" + head + b"\r\n" + content + b"\r\n"
    return body + line + b"--"


def cut(body: bytes, at: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(each % (len(body) + 1) for each in at), len(body)]
    return [body[begin:end] for begin, end in pairwise(places)]


@given(
    boundary=BOUNDARIES,
    drawn=st.lists(st.tuples(HEADERS, CONTENT), max_size=4),
    before=st.sampled_from([b"", b"\r\n", b"a preamble\r\n", b"--\r\n"]),
    padding=st.sampled_from([b"", b" ", b" \t "]),
    after=st.binary(max_size=30),
    places=st.lists(st.integers(0, 10_000), max_size=12),
)
def test_any_cut_of_the_bytes_gives_the_parts_that_were_written(
    boundary: str,
    drawn: list[tuple[dict[str, str], list[bytes]]],
    before: bytes,
    padding: bytes,
    after: bytes,
    places: list[int],
) -> None:
    delimiter = b"\r\n--" + boundary.encode()
    parts = [(headers, b"".join(pieces)) for headers, pieces in drawn]
    parts = [
        (headers, content) for headers, content in parts if delimiter not in b"\r\n" + content + b"\r\n--"
    ]
    body = write(parts, boundary, before, padding) + after
    if (b"\r\n" + before).find(delimiter) >= 0:
        return
    for pieces in (cut(body, places), [body[at : at + 1] for at in range(len(body))]):
        reader = PartReader(boundary)
        assert read(reader, pieces) == parts
        assert reader.is_whole


@given(body=st.binary(max_size=400), places=st.lists(st.integers(0, 400), max_size=6))
def test_what_is_no_multipart_never_is_more_than_malformed_however_it_is_cut(
    body: bytes, places: list[int]
) -> None:
    def outcome(pieces: list[bytes]) -> tuple[Parts | None, bool]:
        reader = PartReader("x")
        try:
            return read(reader, pieces), reader.is_whole
        except MalformedBody:
            return None, False

    spiced = body.replace(b"\x01", b"\r\n--x").replace(b"\x02", b"\r\n\r\n")
    assert outcome([spiced]) == outcome(cut(spiced, places))


@pytest.mark.parametrize(
    "body",
    [
        b"--x junk\r\n\r\n",
        b"--xy\r\n\r\n",
        b"--x" + b" " * 300 + b"\r\n\r\n",
        b"--x\r\nno colon\r\n\r\n",
        b"--x\r\nbad name : y\r\n\r\n",
        b"--x\r\n" + b"a: b\r\n" * 40 + b"\r\n",
        b"--x\r\na: " + b"b" * MOST_HEAD_BYTES,
        b"p" * (MOST_PREAMBLE_BYTES + 1),
    ],
)
def test_a_body_that_is_not_one_is_refused_before_much_of_it_is_held(body: bytes) -> None:
    for pieces in ([body], [body[at : at + 1] for at in range(len(body))]):
        reader = PartReader("x")
        with pytest.raises(MalformedBody):
            read(reader, pieces)
        assert len(reader._held) <= MOST_HEAD_BYTES + 2


def test_content_without_an_end_is_never_held() -> None:
    reader = PartReader("x")
    assert read(reader, [b"--x\r\n\r\n"]) == []
    for _ in range(100):
        assert read(reader, [b"\r\n-" * 10_000]) == []
        assert len(reader._held) < 10
    assert not reader.is_whole


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', "abc"),
        ('Multipart/Related;boundary="a b:c";TYPE="application/dicom"', "a b:c"),
        (f"multipart/related; boundary={'a' * 70}", "a" * 70),
        (f"multipart/related; boundary={'a' * 71}", None),
        ("multipart/related", None),
        ("multipart/related; boundary=", None),
        ('multipart/related; boundary="a "', None),
        ('multipart/related; boundary="é"', None),
        ("multipart/related; boundary=a; boundary=b", None),
        ('multipart/related; boundary="a\r\nb"', None),
    ],
)
def test_a_boundary_is_one_to_seventy_characters_of_the_few_kinds(header: str, boundary: str | None) -> None:
    if boundary is None:
        with pytest.raises(MalformedBody):
            boundary_of(media_type(header))
    else:
        assert boundary_of(media_type(header)) == boundary
        assert media_type(header).name == "multipart/related"
