"""Bytes of packs on their way to a reader: read from the object store in windows, at the reader's pace.

Neighbours in a pack are read together, so a series of a thousand slices is some dozens of reads. A reader holds no
thread and no connection while it takes its time: only the window that comes next is read ahead. What all of them
hold is bounded: the more there are, the smaller their windows, and too many are refused.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from catalog.errors import HurenError
from catalog.pack_windows import WINDOW_BYTES, Step, Window, windows
from exchange.problems import Unauthenticated
from exchange.store_threads import StoreThreads, store_busy

_LEAST_WINDOW_BYTES: Final = 64 << 10
_TOGETHER_BYTES: Final = 32 << 20
_HELD_WINDOWS: Final = 2  # the one that is sent and the one that is read ahead
_PARTS: Final = 8
_AT_ONCE: Final = 512
_PIECE_BYTES: Final = 256 << 10

_ASK_SECONDS: Final = 2.0
_HEARD_SECONDS: Final = 0.05
_LOG: Final = logging.getLogger("huren.exchange")

Abort = Callable[[], None]
StillAllowed = Callable[[], Awaitable[None]]  # raises what stands against it


class Packs(Protocol):
    """What packs are read from: the object store, or what was read of it before."""

    def read_range(self, key: str, start: int, size: int, /) -> bytes | bytearray:
        """Return `size` bytes from `start`."""


class Readers:
    """How many are served from one event loop, and how much may be held for all of them."""

    def __init__(self) -> None:
        self.count = 0
        self._reserved_bytes = 0

    def refuse_more(self) -> None:
        """Raise ObjectStoreDown where there are too many."""
        if self.count >= _AT_ONCE:
            raise store_busy()

    @contextmanager
    def one_more(self) -> Iterator[int]:
        """Serve one more; yields how long its windows may be: a part of what is left, so that some is always left."""
        left = _TOGETHER_BYTES - self._reserved_bytes
        size = max(_LEAST_WINDOW_BYTES, min(WINDOW_BYTES, left // _PARTS))
        self.count += 1
        self._reserved_bytes += size * _HELD_WINDOWS
        try:
            yield size
        finally:
            self.count -= 1
            self._reserved_bytes -= size * _HELD_WINDOWS


async def stream(
    packs: Packs,
    threads: StoreThreads,
    readers: Readers,
    steps: Sequence[Step],
    still_allowed: StillAllowed,
    abort: Abort | None = None,
) -> AsyncIterator[bytes | memoryview]:
    """Yield the bytes of some steps. Raises what the store does, and `still_allowed`, which is asked at each window.

    It is asked every other second besides, however slowly the reader takes what is sent: where it does not hold any
    more, `abort` cuts the connection.
    """
    watch = asyncio.ensure_future(_watch(still_allowed, abort)) if abort else None
    try:
        with readers.one_more() as window_bytes:
            async for piece in _pieces(packs, threads, windows(steps, window_bytes), still_allowed):
                yield piece
    except (HurenError, Unauthenticated) as error:
        if abort is None:
            raise
        _tell_cut(error)
        abort()
        await asyncio.sleep(_HEARD_SECONDS)  # the server is to know of it before the answer ends too early
    finally:
        if watch is not None:
            watch.cancel()


async def _pieces(
    packs: Packs, threads: StoreThreads, planned: Iterator[Window], still_allowed: StillAllowed
) -> AsyncIterator[bytes | memoryview]:
    following: asyncio.Future[bytes | bytearray] | None = None
    try:
        window = next(planned, None)
        while window is not None:
            await still_allowed()
            content = memoryview(await (following or _read(packs, threads, window)))
            after = next(planned, None)
            following = _read(packs, threads, after) if after is not None else None
            for each in window.sent:
                if isinstance(each, bytes):
                    yield each
                    continue
                begin = each[0] - window.start
                for at in range(begin, begin + each[1], _PIECE_BYTES):
                    yield content[at : min(at + _PIECE_BYTES, begin + each[1])]
            window = after
    finally:
        if following is not None:
            following.cancel()
            following.add_done_callback(lambda done: done.cancelled() or done.exception())


async def _watch(still_allowed: StillAllowed, abort: Abort) -> None:
    while True:
        await asyncio.sleep(_ASK_SECONDS)
        try:
            await still_allowed()
        except (HurenError, Unauthenticated) as error:
            _tell_cut(error)
            abort()
            return


def _tell_cut(error: HurenError | Unauthenticated) -> None:
    why = error.code if isinstance(error, HurenError) else error.reason
    _LOG.warning("images on their way to a reader were cut off: %s", why)


def _read(packs: Packs, threads: StoreThreads, window: Window) -> "asyncio.Future[bytes | bytearray]":
    async def read() -> bytes | bytearray:
        size = window.end - window.start
        if not size:
            return b""
        return await threads.run(lambda: packs.read_range(window.key, window.start, size))

    return asyncio.ensure_future(read())
