"""Windows of packs: whatever is asked for comes whole and in order, in few reads, and multiparts are as they say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import pack_windows
from catalog.errors import NotFound, ObjectStoreDown
from exchange import multipart
from exchange.image_stream import Readers, Step, stream, windows
from exchange.multipart import Accepted, Part, accepted, frame_type
from exchange.store_threads import StoreThreads

PACKS = {"a": bytes(range(256)) * 40, "b": bytes(reversed(range(256))) * 40}
ranges = st.tuples(st.sampled_from("ab"), st.integers(0, 9000), st.integers(0, 1200))
steps = st.lists(st.one_of(st.binary(max_size=30), ranges), max_size=25)


class Store:
    """Ranges of the packs, and how often it was asked."""

    def __init__(self) -> None:
        self.reads = 0

    def read_range(self, key: str, at: int, size: int) -> bytes:
        self.reads += 1
        assert at + size <= len(PACKS[key])
        return PACKS[key][at : at + size]


def streamed(given: list[Step], store: Any, still: Any = None, readers: Any = None) -> bytes:
    async def allowed() -> None:
        return None

    async def run() -> bytes:
        threads = StoreThreads()
        try:
            found = readers or Readers()
            pieces: AsyncIterator[bytes] = stream(store, threads, found, given, still or allowed)
            return b"".join([piece async for piece in pieces])
        finally:
            threads.close()

    return asyncio.run(run())


@given(given=steps, window=st.sampled_from([64, 1000, 1 << 20]), gap=st.sampled_from([0, 50, 5000]))
def test_what_is_asked_for_comes_whole_and_in_order(given: list[Step], window: int, gap: int) -> None:
    wanted = b"".join(
        each if isinstance(each, bytes) else PACKS[each[0]][each[1] : each[1] + each[2]] for each in given
    )
    readers = Readers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "one_more", lambda: nullcontext(window))
        patch.setattr(pack_windows, "_GAP_BYTES", gap)
        planned = list(windows(given, window))
        assert all(each.end - each.start <= window for each in planned)
        assert streamed(given, Store(), readers=readers) == wanted


def test_neighbours_are_read_together() -> None:
    store = Store()
    parts: list[Step] = []
    for number in range(18):
        parts += [b"head", ("a", number * 512, 500)]
    streamed(parts, store)
    assert store.reads == 1
    streamed([("a", 0, 10), ("b", 0, 10), ("a", 20, 10)], store)
    assert store.reads == 4


def test_what_all_readers_hold_is_bounded_and_too_many_are_refused() -> None:
    readers, sizes = Readers(), []
    with ExitStack() as crowd:
        for _ in range(512):
            readers.refuse_more()
            sizes.append(crowd.enter_context(readers.one_more()))
        assert sizes[0] == pack_windows.WINDOW_BYTES
        assert sizes == sorted(sizes, reverse=True)
        assert 2 * sum(sizes) <= 100 << 20
        with pytest.raises(ObjectStoreDown):
            readers.refuse_more()
    with readers.one_more() as again:
        assert again == sizes[0]


def test_a_stream_ends_where_the_right_to_it_ends() -> None:
    asked = 0

    async def revoked_at_the_second() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise NotFound("没有", "none")

    with pytest.raises(NotFound):
        streamed([("a", 0, 10), ("b", 0, 10), ("a", 20, 10)], Store(), revoked_at_the_second)
    assert asked == 2


@given(contents=st.lists(st.binary(max_size=60), min_size=1, max_size=8))
def test_a_multipart_is_read_back_by_its_own_lengths(contents: list[bytes]) -> None:
    parts = [Part("application/dicom", f"/{n}", (("a", 0, len(each)),)) for n, each in enumerate(contents)]
    heads = multipart.heads(parts, "boundary")
    rest = b"".join(head + content for head, content in zip(heads, [*contents, b""], strict=True))
    for number, content in enumerate(contents):
        head, _, rest = rest.partition(b"\r\n\r\n")
        assert head.startswith(b"--boundary\r\nContent-Type: application/dicom\r\n")
        assert f"Content-Location: /{number}".encode() in head
        assert rest.startswith(content)
        rest = rest[len(content) :].removeprefix(b"\r\n")
    assert rest == b"--boundary--\r\n"


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("", True),
        ("*/*", True),
        ('multipart/related; type="application/octet-stream"; transfer-syntax=*', True),
        ("multipart/related; type=image/jls; transfer-syntax=1.2.840.10008.1.2.4.80", True),
        ('multipart/related;type="image/*"', True),
        ("text/html, multipart/related", True),
        ('multipart/related; type="image/jp2"', False),
        ("multipart/related; type=image/jls; transfer-syntax=1.2.840.10008.1.2.4.90", False),
        ("multipart/related; q=0", False),
        ("application/json", False),
    ],
)
def test_a_frame_is_given_where_the_form_it_is_stored_in_is_accepted(header: str, allowed: bool) -> None:
    syntax = "1.2.840.10008.1.2.4.80"
    found = accepted(header)
    assert any(each.allows(True, frame_type(syntax), syntax) for each in found) is allowed
    assert all(isinstance(each, Accepted) for each in found)
