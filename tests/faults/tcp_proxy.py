"""A TCP proxy that breaks connections: between a sender and the node, or anything and its database.

cut       after so many bytes from the client both sides are closed, by FIN or by RST
delay     every piece waits so many seconds in either direction
throttle  no more than so many bytes pass in a second in either direction
swallow   from now on nothing passes and nothing is closed: a black hole
"""

import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

_PIECE_BYTES = 16_384
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST


@dataclass
class Trouble:
    """What is done to connections made from now on; `swallow` also to those there are."""

    cut_after_bytes: int | None = None
    by: Literal["FIN", "RST"] = "FIN"
    delay_seconds: float = 0.0
    bytes_per_second: float = 0.0
    swallow: bool = False


class TCPProxy:
    """Listens on a free port of 127.0.0.1 for `host:port`; `trouble` may be set at any time."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.trouble = Trouble()
        self.cuts = 0
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._links: set[_Link] = set()
        self._lock = threading.Lock()
        self._is_over = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def cut_all(self, by: Literal["FIN", "RST"] = "RST") -> None:
        """Close every connection there is."""
        for link in self._all():
            link.cut(by)

    def close(self) -> None:
        """Stop listening, and close everything."""
        self._is_over = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.cut_all()

    def forget(self, link: "_Link", *, was_cut: bool) -> None:
        with self._lock:
            self._links.discard(link)
            self.cuts += was_cut

    def _accept(self) -> None:
        while not self._is_over:
            try:
                client = self._listener.accept()[0]
                upstream = socket.create_connection(self._upstream, timeout=10)
            except OSError:
                continue
            link = _Link(self, client, upstream)
            with self._lock:
                self._links.add(link)
            threading.Thread(target=link.run, daemon=True).start()

    def _all(self) -> "list[_Link]":
        with self._lock:
            return list(self._links)


class _Link:
    """One connection through the proxy, in a thread of its own."""

    def __init__(self, proxy: TCPProxy, client: socket.socket, upstream: socket.socket) -> None:
        self._proxy = proxy
        self._trouble = proxy.trouble
        self._client, self._upstream = client, upstream
        self._from_client_bytes = 0
        self._was_cut = False
        for sock in (client, upstream):
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self) -> None:
        other = {self._client: self._upstream, self._upstream: self._client}
        with selectors.DefaultSelector() as selector, suppress(OSError, ValueError):
            for sock in other:
                selector.register(sock, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select(0.05):
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    if self._proxy.trouble.swallow:
                        time.sleep(0.01)
                    elif not self._pass_on(sock, other[sock]):
                        selector.unregister(sock)
        self._end()

    def cut(self, by: Literal["FIN", "RST"]) -> None:
        self._was_cut = True
        for sock in (self._client, self._upstream):
            with suppress(OSError):
                if by == "RST":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    sock.close()
                else:
                    sock.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> bool:
        """Pass a piece on; False at the end of the stream, which is passed on too."""
        piece = source.recv(self._allowed(source))
        if not piece:
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)
            return False
        self._wait(len(piece))
        target.sendall(piece)
        if source is self._client:
            self._from_client_bytes += len(piece)
            if self._from_client_bytes == self._trouble.cut_after_bytes:
                self.cut(self._trouble.by)
                raise ConnectionResetError
        return True

    def _allowed(self, source: socket.socket) -> int:
        limit = self._trouble.cut_after_bytes
        if source is self._client and limit is not None:
            return min(_PIECE_BYTES, limit - self._from_client_bytes)
        return _PIECE_BYTES

    def _wait(self, size_bytes: int) -> None:
        trouble = self._trouble
        seconds = trouble.delay_seconds
        if trouble.bytes_per_second:
            seconds += size_bytes / trouble.bytes_per_second
        time.sleep(seconds)

    def _end(self) -> None:
        self._proxy.forget(self, was_cut=self._was_cut)
        self._client.close()
        self._upstream.close()


@contextmanager
def open_tcp_proxy(upstream: tuple[str, int]) -> Iterator[TCPProxy]:
    """Run a proxy while the context lasts."""
    proxy = TCPProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
