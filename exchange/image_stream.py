"""Bytes of packs on their way to a reader: read from the object store in windows, at the reader's pace.

Neighbours in a pack are read together, so a series of a thousand slices is some dozens of reads. A reader holds no
thread and no connection while it takes its time: only the window that comes next is read ahead. What all of them
hold is bounded: the more there are, the smaller their windows, and too many are refused.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, Protocol

from catalog.pack_windows import WINDOW_BYTES, Step, Window, windows
from exchange.store_threads import StoreThreads, store_busy

_LEAST_WINDOW_BYTES: Final = 128 << 10
_TOGETHER_BYTES: Final = 16 << 20
_AT_ONCE: Final = 512
_PIECE_BYTES: Final = 256 << 10

StillAllowed = Callable[[], Awaitable[None]]  # raises what stands against it


class Packs(Protocol):
    """What packs are read from: the object store, or what was read of it before."""

    def read_range(self, key: str, start: int, size: int, /) -> bytes | bytearray:
        """Return `size` bytes from `start`."""


class Readers:
    """How many are served from one event loop, and how much may be held for each."""

    def __init__(self) -> None:
        self.count = 0

    def refuse_more(self) -> None:
        """Raise ObjectStoreDown where there are too many."""
        if self.count >= _AT_ONCE:
            raise store_busy()

    def window_bytes(self) -> int:
        """Return how long the windows of one more may be."""
        return max(_LEAST_WINDOW_BYTES, min(WINDOW_BYTES, _TOGETHER_BYTES // (self.count + 1)))


async def stream(
    packs: Packs,
    threads: StoreThreads,
    readers: Readers,
    steps: Sequence[Step],
    still_allowed: StillAllowed,
) -> AsyncIterator[bytes | memoryview]:
    """Yield the bytes of some steps. Raises what the store does, and `still_allowed`, which is asked at each window."""
    following: asyncio.Future[bytes | bytearray] | None = None
    planned = list(windows(steps, readers.window_bytes()))
    readers.count += 1
    try:
        for number, window in enumerate(planned):
            await still_allowed()
            content = memoryview(await (following or _read(packs, threads, window)))
            following = _read(packs, threads, planned[number + 1]) if number + 1 < len(planned) else None
            for each in window.sent:
                if isinstance(each, bytes):
                    yield each
                    continue
                begin = each[0] - window.start
                for at in range(begin, begin + each[1], _PIECE_BYTES):
                    yield content[at : min(at + _PIECE_BYTES, begin + each[1])]
    finally:
        readers.count -= 1
        if following is not None:
            following.cancel()
            following.add_done_callback(lambda done: done.cancelled() or done.exception())


def _read(packs: Packs, threads: StoreThreads, window: Window) -> "asyncio.Future[bytes | bytearray]":
    async def read() -> bytes | bytearray:
        size = window.end - window.start
        if not size:
            return b""
        return await threads.run(lambda: packs.read_range(window.key, window.start, size))

    return asyncio.ensure_future(read())
