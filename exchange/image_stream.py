"""Bytes of packs on their way to a reader: read from the object store in windows, at the reader's pace.

Neighbours in a pack are read together, so a series of a thousand slices is some dozens of reads. A reader holds no
thread and no connection while it takes its time: only the window that comes next is read ahead. What all of them
hold is bounded: the more there are, the smaller their windows, and too many are refused.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from exchange.multipart import Range
from exchange.store_threads import StoreThreads, store_busy

_WINDOW_BYTES: Final = 4 << 20
_LEAST_WINDOW_BYTES: Final = 128 << 10
_TOGETHER_BYTES: Final = 48 << 20
_AT_ONCE: Final = 512
_GAP_BYTES: Final = 64 << 10
_PIECE_BYTES: Final = 256 << 10

Step = bytes | Range  # what is sent as it is, or read first
StillAllowed = Callable[[], Awaitable[None]]  # raises what stands against it


class Packs(Protocol):
    """What packs are read from: the object store, or what was read of it before."""

    def read_range(self, key: str, start: int, size: int, /) -> bytes:
        """Return `size` bytes from `start`."""


@dataclass(slots=True)
class Window:
    """A stretch of a pack that is read at once, and what is sent of it, in order, with what comes between."""

    key: str
    start: int
    end: int
    most_bytes: int = _WINDOW_BYTES
    sent: list[bytes | tuple[int, int]] = field(default_factory=list)

    def takes(self, key: str, at: int, size: int) -> bool:
        """Say whether a range may be read with the rest."""
        near = self.end <= at <= self.end + _GAP_BYTES
        return key == self.key and near and at + size - self.start <= self.most_bytes


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
        return max(_LEAST_WINDOW_BYTES, min(_WINDOW_BYTES, _TOGETHER_BYTES // (self.count + 1)))


def windows(steps: Iterable[Step], most_bytes: int = _WINDOW_BYTES) -> Iterator[Window]:
    """Yield the windows in which steps are read; what is sent as it is goes with the range before it."""
    window = Window("", 0, 0, most_bytes)
    for step in _short(steps, most_bytes):
        if isinstance(step, bytes):
            window.sent.append(step)
            continue
        key, at, size = step
        if not window.takes(key, at, size):
            if window.sent:
                yield window
            window = Window(key, at, at, most_bytes)
        window.sent.append((at, size))
        window.end = at + size
    if window.sent:
        yield window


async def stream(
    packs: Packs,
    threads: StoreThreads,
    readers: Readers,
    steps: Sequence[Step],
    still_allowed: StillAllowed,
) -> AsyncIterator[bytes]:
    """Yield the bytes of some steps. Raises what the store does, and `still_allowed`, which is asked at each window."""
    following: asyncio.Future[bytes] | None = None
    planned = list(windows(steps, readers.window_bytes()))
    readers.count += 1
    try:
        for number, window in enumerate(planned):
            await still_allowed()
            content = await (following or _read(packs, threads, window))
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


def _read(packs: Packs, threads: StoreThreads, window: Window) -> "asyncio.Future[bytes]":
    async def read() -> bytes:
        size = window.end - window.start
        if not size:
            return b""
        return await threads.run(lambda: packs.read_range(window.key, window.start, size))

    return asyncio.ensure_future(read())


def _short(steps: Iterable[Step], most_bytes: int) -> Iterator[Step]:
    """Cut ranges that are longer than a window."""
    for step in steps:
        if isinstance(step, bytes):
            yield step
            continue
        key, at, size = step
        for start in range(at, at + size, most_bytes):
            yield key, start, min(most_bytes, at + size - start)
