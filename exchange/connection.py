"""One HTTP connection, guarded: the server's own protocol has no deadline for a request and no limit for a header.

head     from the first byte of a request to the end of its header: `head_seconds` in all, `head_bytes` at most
body     a lease that bytes renew at `least_bytes_per_second`, never longer than `grace_seconds` ahead
answer   a peer that does not read is cut when what waits for it has not gone down for `grace_seconds`
rest     between requests, uvicorn's own keep-alive
"""

import asyncio
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, Literal

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_AT_ONCE: Final = struct.pack("ii", 1, 0)
ABORT: Final = "huren.abort"  # in a request's scope: cuts its connection
_LONGEST_TARGET_BYTES: Final = 8 << 10
_MOST_HEADERS: Final = 100
_LINES: Final = {
    408: b"Request Timeout",
    414: b"URI Too Long",
    431: b"Request Header Fields Too Large",
}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one peer may take; times in seconds, 0 connections means no limit (behind a proxy)."""

    head_seconds: float = 10.0
    head_bytes: int = 32 << 10
    grace_seconds: float = 10.0
    least_bytes_per_second: int = 1024
    per_address: int = 256
    total: int = 4096
    send_buffer_bytes: int = 256 << 10  # left to itself the kernel takes megabytes for each slow reader


class GuardedConnection(HttpToolsProtocol):
    """A connection of a server whose `limits` are a class attribute of what `guarded` returns."""

    limits: ConnectionLimits
    by_address: Counter[str]

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._phase: Literal["head", "body", "answer", "refused"] = "head"
        self._head_bytes = 0
        self._headers_seen = 0
        self._lease_until = 0.0
        self._guard: asyncio.TimerHandle | None = None
        self._reading_guard: asyncio.TimerHandle | None = None
        self._address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit the connection unless its address has too many already."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        self.by_address[self._address] += 1
        limits = self.limits
        if len(self.connections) > limits.total or self.by_address[self._address] > (
            limits.per_address or limits.total
        ):
            transport.abort()
            return
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer_bytes)
        self._arm(limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection and its timers."""
        self._disarm()
        self._stop_reading_guard()
        self.by_address[self._address] -= 1
        if not self.by_address[self._address]:
            del self.by_address[self._address]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what is too long or too late ends the connection."""
        if self._phase == "refused":
            return
        if self._guard is None and self._phase == "head":
            self._arm(self.limits.head_seconds)  # the first byte after a rest, whatever it is
        was_head = self._phase == "head"
        super().data_received(data)
        if self._phase == "body":
            self._renew(len(data))
        elif was_head and self._phase == "head":
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.head_bytes:
                self._refuse(431)

    def on_message_begin(self) -> None:
        """A request begins, behind another one's answer or not."""
        super().on_message_begin()
        self.scope[ABORT] = self._cut  # type: ignore[typeddict-unknown-key]
        if self._phase != "refused":
            self._phase, self._head_bytes, self._headers_seen = "head", 0, 0
            if self._guard is None:
                self._arm(self.limits.head_seconds)

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        super().on_url(url)
        if len(self.url) > _LONGEST_TARGET_BYTES:
            self._refuse(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers_seen += 1
        self._head_bytes += len(name) + len(value)
        if self._headers_seen > _MOST_HEADERS or self._head_bytes > self.limits.head_bytes:
            self._refuse(431)
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the request, unless it was refused."""
        if self._phase == "refused":
            return
        self._phase, self._lease_until = "body", self.loop.time() + self.limits.grace_seconds
        self._arm(self.limits.grace_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if self._phase == "body":
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._phase != "body":
            return
        self._disarm()
        self._phase = "answer"
        super().on_message_complete()
        if self.cycle.response_complete:
            self._phase = "head"

    def on_response_complete(self) -> None:
        """The answer is given; a request that was not read to its end ends the connection."""
        super().on_response_complete()
        if not self.cycle.response_complete:
            return  # another one waits behind it
        if self._phase == "body":
            self._end()
        elif self._phase == "answer":
            self._phase = "head"

    def timeout_keep_alive_handler(self) -> None:
        """End a connection at rest, and not wait long for what it does not read."""
        super().timeout_keep_alive_handler()
        self._abort_later()

    def pause_writing(self) -> None:
        """The peer reads more slowly than we write."""
        super().pause_writing()
        self._watch_reading(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._stop_reading_guard()
        super().resume_writing()

    def _cut(self) -> None:
        """End the connection, and what the kernel still holds for its peer with it."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()

    def _renew(self, size_bytes: int) -> None:
        now = self.loop.time()
        earned = max(self._lease_until, now) + size_bytes / self.limits.least_bytes_per_second
        self._lease_until = min(earned, now + self.limits.grace_seconds)
        if self._guard is None:
            self._arm(self._lease_until - now)

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._guard = self.loop.call_later(seconds, self._time_is_up)

    def _disarm(self) -> None:
        if self._guard is not None:
            self._guard.cancel()
            self._guard = None

    def _time_is_up(self) -> None:
        self._guard = None
        left = self._lease_until - self.loop.time() if self._phase == "body" else 0.0
        if left > 0:
            self._arm(left)
        elif self._phase == "body" and self.flow.read_paused:
            self._arm(self.limits.grace_seconds)  # it is we who do not read
        elif self._phase in ("head", "body"):
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        if self._phase == "refused":
            return
        may_answer = self._phase == "head"
        self._phase = "refused"
        self._disarm()
        if may_answer and not self.transport.is_closing():
            line = b"HTTP/1.1 %d %s\r\n" % (status, _LINES[status])
            self.transport.write(line + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self._end()

    def _end(self) -> None:
        self.transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        self.loop.call_later(self.limits.grace_seconds, self.transport.abort)

    def _watch_reading(self, waiting_bytes: int) -> None:
        self._stop_reading_guard()
        self._reading_guard = self.loop.call_later(
            self.limits.grace_seconds, self._has_it_read, waiting_bytes
        )

    def _has_it_read(self, waited_bytes: int) -> None:
        waiting_bytes = self.transport.get_write_buffer_size()
        least = self.limits.least_bytes_per_second * self.limits.grace_seconds
        if waited_bytes - waiting_bytes < least:
            self.transport.abort()
        else:
            self._watch_reading(waiting_bytes)

    def _stop_reading_guard(self) -> None:
        if self._reading_guard is not None:
            self._reading_guard.cancel()
            self._reading_guard = None


def guarded(limits: ConnectionLimits) -> type[GuardedConnection]:
    """Return the protocol for one server with these limits."""
    return type("Guarded", (GuardedConnection,), {"limits": limits, "by_address": Counter()})
