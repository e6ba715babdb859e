"""A proxy in front of a real S3 server that breaks chosen requests in chosen ways.

    refuse   close the connection without an answer
    error    answer `status` and forward nothing
    swallow  answer 200 to a PUT and keep nothing
    corrupt  forward, then flip one bit in the content that comes back, an error's words included
    cut      forward only the first `after_bytes` of the body, in whichever direction there is one
    hold     forward nothing and answer nothing until `released` is set, then close
    mute     forward and throw the answer away, closing the connection
    slow     forward, and give the answer's body at `bytes_per_second`

The Host header goes through untouched, so that signatures stay valid.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Kind = Literal["refuse", "error", "swallow", "corrupt", "cut", "hold", "mute", "slow"]


def _any_request(method: str, path: str) -> bool:
    return True


@dataclass
class Fault:
    """What goes wrong, for which requests, and how often (None: always); `hits` counts.

    `statuses` are those of the answers that `corrupt` alters.
    """

    kind: Kind
    matches: Callable[[str, str], bool] = _any_request
    times: int | None = None
    after_bytes: int = 100
    bytes_per_second: int = 1024
    status: int = 500
    statuses: range = range(200, 600)
    hits: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)

    def strikes(self, method: str, path: str) -> bool:
        """Say whether this request is broken, and count it."""
        if not self.matches(method, path) or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        self.reached.set()
        return True


class S3Proxy(ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1; `fault` may be set and cleared at any time."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.fault: Fault | None = None
        self.requests: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken connections are the purpose."""


@contextmanager
def open_proxy(upstream: str) -> Iterator[S3Proxy]:
    """Run a proxy to `host:port` while the context lasts."""
    proxy = S3Proxy(upstream)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        if proxy.fault:
            proxy.fault.released.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: S3Proxy

    def _handle(self) -> None:
        proxy = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy.requests.append((self.command, self.path))
        fault = proxy.fault
        if fault is None or not fault.strikes(self.command, self.path):
            self._forward(body, None)
        elif fault.kind == "refuse":
            self._hang_up()
        elif fault.kind == "error":
            self._answer(fault.status, {}, b"")
        elif fault.kind == "swallow":
            self._answer(200, {"ETag": '"0"'}, b"")
        elif fault.kind == "hold":
            fault.released.wait(60)
            self._hang_up()
        else:
            self._forward(body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle

    def _forward(self, body: bytes, fault: Fault | None) -> None:
        if fault and fault.kind == "cut" and body:
            self._cut_upstream(body[: fault.after_bytes])
            return
        upstream = HTTPConnection(self.server.upstream, timeout=30)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
        except (OSError, HTTPException):
            self._hang_up()
            return
        finally:
            upstream.close()
        if fault and fault.kind == "mute":
            self._hang_up()
            return
        self._answer(answer.status, dict(answer.getheaders()), content, fault)

    def _cut_upstream(self, body: bytes) -> None:
        host, _, port = self.server.upstream.partition(":")
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=10) as upstream:
            head = f"{self.command} {self.path} HTTP/1.1\r\n{self.headers}".replace("\r\n", "\n")
            upstream.sendall(head.strip().replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
        self._hang_up()

    def _answer(self, status: int, headers: dict[str, str], body: bytes, fault: Fault | None = None) -> None:
        if fault and fault.kind == "corrupt" and body and status in fault.statuses:
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault and fault.kind == "cut":
            self.wfile.write(body[: fault.after_bytes])
            self._hang_up()
            return
        if fault and fault.kind == "slow":
            self._drip(body, fault.bytes_per_second)
            return
        self.wfile.write(body)

    def _drip(self, body: bytes, bytes_per_second: int) -> None:
        with suppress(OSError):  # who waits gives up first
            for at in range(0, len(body), 256):
                self.wfile.write(body[at : at + 256])
                self.wfile.flush()
                time.sleep(256 / bytes_per_second)

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
