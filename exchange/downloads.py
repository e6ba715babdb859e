"""Documents on their way out, at the pace of those who read them.

A document must be whole before its digest can be checked, so it is held in memory while it is sent: one copy for all
who read it at that time, and all of them together within a limit. No database connection waits for a reader.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from exchange.store_threads import StoreThreads, store_busy

_PIECE_BYTES: Final = 64 << 10


@dataclass(slots=True, eq=False)
class _Held:
    content: "asyncio.Future[bytes]"
    size_bytes: int
    readers: int = 0


class Downloads:
    """Holds documents while they are read; used from one event loop."""

    def __init__(self, threads: StoreThreads, limit_bytes: int) -> None:
        self._threads = threads
        self._limit_bytes = limit_bytes
        self._held: dict[str, _Held] = {}
        self.held_bytes = 0

    async def answer(
        self,
        key: str,
        size_bytes: int,
        read: Callable[[], bytes],
        headers: Mapping[str, str],
        media_type: str,
    ) -> Response:
        """Return an answer that gives a document. Raises ObjectStoreDown beyond the limit, and what `read` raises."""
        held = self._take(key, size_bytes, read)
        try:
            content = await asyncio.shield(held.content)
        except BaseException:
            self._let_go(key, held)
            raise
        return _Download(content, headers, media_type, lambda: self._let_go(key, held))

    def _take(self, key: str, size_bytes: int, read: Callable[[], bytes]) -> _Held:
        held = self._held.get(key)
        if held is None:
            if self.held_bytes + size_bytes > self._limit_bytes:
                raise store_busy()
            held = self._held[key] = _Held(asyncio.ensure_future(self._threads.run(read)), size_bytes)
            held.content.add_done_callback(lambda done: done.cancelled() or done.exception())
            self.held_bytes += size_bytes
        held.readers += 1
        return held

    def _let_go(self, key: str, held: _Held) -> None:
        held.readers -= 1
        if not held.readers:
            del self._held[key]
            self.held_bytes -= held.size_bytes


class _Download(StreamingResponse):
    """Gives its bytes piece by piece, so that no more than a piece waits in front of a slow reader."""

    def __init__(
        self, content: bytes, headers: Mapping[str, str], media_type: str, on_end: Callable[[], None]
    ) -> None:
        length = {"Content-Length": str(len(content))}
        super().__init__(_pieces(content), 200, {**headers, **length}, media_type)
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces; each waits until the connection has room."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), _PIECE_BYTES):
        yield content[at : at + _PIECE_BYTES]
