"""The minimal lower layer protocol (HL7 v2 transport specification, MLLP release 1): frames with limits.

    <VT> message <FS> <CR>

One thread per connection. Progress within a deadline is asked for, not activity: a frame must be whole in time,
however its bytes drip. What is outside a frame is skipped, up to a limit.
"""

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

_LOG = logging.getLogger("huren.hl7")
_START: Final = b"\x0b"
_END: Final = b"\x1c\r"
_READ_BYTES: Final = 64 << 10

Take = Callable[[bytes, str], bytes]


@dataclass(frozen=True, slots=True)
class MllpSettings:
    """Limits of the listener; sizes in bytes, times in seconds.

    `frame_seconds` is for one frame from its first byte, `idle_seconds` for the wait before it, `send_seconds`
    for one answer.
    """

    message_bytes: int = 32 << 20
    noise_bytes: int = 1024
    frame_seconds: float = 30.0
    idle_seconds: float = 600.0
    send_seconds: float = 10.0
    connections: int = 64
    connections_per_address: int = 16


class Listener:
    """Listens at one address and hands each frame to `take`, whose answer goes back as a frame."""

    def __init__(
        self,
        take: Take,
        host: str,
        port: int,
        settings: MllpSettings | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._take = take
        self._settings = settings or MllpSettings()
        self._tls = tls
        self._lock = threading.Lock()
        self._open: dict[socket.socket, str] = {}
        self._server = socket.create_server((host, port), backlog=128, family=_family(host))
        self._server.settimeout(0.2)
        self.port: int = self._server.getsockname()[1]

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; then let what is being answered end, a few seconds at most."""
        threads: list[threading.Thread] = []
        while not stop.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                connection, address = self._server.accept()
                if not self._admit(connection, address[0]):
                    connection.close()
                    continue
                thread = threading.Thread(target=self._serve, args=(connection, stop), daemon=True)
                thread.start()
                threads = [*(each for each in threads if each.is_alive()), thread]
        self._server.close()
        self._shut_idle()
        deadline = time.monotonic() + 5
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _admit(self, connection: socket.socket, address: str) -> bool:
        with self._lock:
            from_there = Counter(self._open.values())[address]
            full = len(self._open) >= self._settings.connections
            if full or from_there >= self._settings.connections_per_address:
                _LOG.warning("connection refused: %s", "too many" if full else "too many from one address")
                return False
            self._open[connection] = address
            return True

    def _serve(self, connection: socket.socket, stop: threading.Event) -> None:
        address = self._open[connection]
        channel: socket.socket = connection
        try:
            connection.settimeout(self._settings.frame_seconds)
            if self._tls is not None:
                channel = self._tls.wrap_socket(connection, server_side=True)
            for raw in self._frames(channel):
                answer = self._take(raw, address)
                channel.settimeout(self._settings.send_seconds)
                channel.sendall(_START + answer + _END)
                if stop.is_set():
                    break
        except _Refused as refusal:
            _LOG.warning("connection closed: %s", refusal)
        except OSError as error:
            _LOG.info("connection lost: %s", type(error).__name__)
        finally:
            with self._lock:
                self._open.pop(connection, None)
            with contextlib.suppress(OSError):
                channel.close()

    def _frames(self, channel: socket.socket) -> Iterator[bytes]:
        """Yield each frame's content. Raises _Refused where limits are passed, OSError where the peer is lost."""
        settings = self._settings
        pending = bytearray()
        noise = 0
        while True:
            deadline = time.monotonic() + (settings.frame_seconds if pending else settings.idle_seconds)
            while (start := pending.find(_START)) < 0:
                noise += len(pending.strip(b"\r\n\x1c \0"))
                if noise > settings.noise_bytes:
                    raise _Refused("bytes outside a frame")
                pending.clear()
                if not _receive(channel, pending, deadline):
                    return
            noise += len(pending[:start].strip(b"\r\n\x1c \0"))
            del pending[: start + 1]
            yield self._frame(channel, pending)

    def _frame(self, channel: socket.socket, pending: bytearray) -> bytes:
        deadline = time.monotonic() + self._settings.frame_seconds
        searched = 0
        while (end := pending.find(_END, searched)) < 0:
            searched = max(0, len(pending) - 1)
            if len(pending) > self._settings.message_bytes:
                raise _Refused("frame too large")
            if not _receive(channel, pending, deadline):
                raise _Refused("connection ended inside a frame")
        if end > self._settings.message_bytes:
            raise _Refused("frame too large")
        content = bytes(pending[:end])
        del pending[: end + len(_END)]
        return content

    def _shut_idle(self) -> None:
        """Wake the threads that wait for a next message; one that is answering still sends its answer."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)


class _Refused(Exception):
    """The peer does not keep to the protocol or its limits."""


def _receive(channel: socket.socket, pending: bytearray, deadline: float) -> bool:
    """Add what comes next; False at the end. Raises _Refused after the deadline."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise _Refused("deadline passed")
    channel.settimeout(left)
    try:
        piece = channel.recv(_READ_BYTES)
    except TimeoutError:
        raise _Refused("deadline passed") from None
    pending += piece
    return bool(piece)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
