"""The service on a socket, with the guarded connection, in a thread; and a peer that says what it likes."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import uvicorn

from exchange.connection import ConnectionLimits, guarded
from tests.dicom_node.raw_peer import wait_until


class Served:
    """A server under way: its port and its protocol's counters."""

    def __init__(self, app: Any, limits: ConnectionLimits) -> None:
        self.protocol = guarded(limits)
        config = uvicorn.Config(
            app,
            port=0,
            http=self.protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=2,
        )
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run)

    @property
    def port(self) -> int:
        return int(self.server.servers[0].sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self.server.started)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(15)
        assert not self._thread.is_alive()


@contextmanager
def served(app: Any, **limits: Any) -> Iterator[Served]:
    """Serve while the context lasts."""
    running = Served(app, ConnectionLimits(**limits))
    running.start()
    try:
        yield running
    finally:
        running.stop()


class Peer:
    """A connection of our own, from an address of the loopback."""

    def __init__(self, port: int, source: str = "127.0.0.1", receive_bytes: int = 0) -> None:
        self.sock = socket.socket()
        if receive_bytes:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.sock.bind((source, 0))
        self.sock.settimeout(20)
        self.sock.connect(("127.0.0.1", port))

    def __enter__(self) -> "Peer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, data: bytes) -> bool:
        """Send; False where the other end has closed."""
        try:
            self.sock.sendall(data)
        except OSError:
            return False
        return True

    def status(self) -> int:
        """The status of the next answer, read with its body; 0 where there is none."""
        try:
            with self.sock.makefile("rb") as file:
                line = file.readline()
                if not line:
                    return 0
                length = 0
                while (header := file.readline()) not in (b"\r\n", b""):
                    name, _, value = header.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                file.read(length)
        except OSError:
            return 0
        return int(line.split()[1])

    def seconds_until_closed(self) -> float:
        """Wait for the other end to close."""
        began = time.monotonic()
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionError:
            pass
        return time.monotonic() - began


GOOD = b"GET /healthz HTTP/1.1\r\nHost: huren\r\n\r\n"
