"""A real HTTP listener for tests of what the service sends of itself."""

import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass
class Listener:
    """A listener that counts who connects, and answers each with the same bytes."""

    address: str
    answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n"
    port: int = 0
    drip: bool = False
    tls: ssl.SSLContext | None = None
    connected: int = 0
    heard: list[bytes] = field(default_factory=list)

    def __enter__(self) -> "Listener":
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self._server = socket.socket(family)
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._server.bind((self.address, self.port))
        except OSError:
            self._server.close()
            raise
        self._server.listen()
        self._ended = threading.Event()
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            self.connected += 1
            with suppress(OSError), peer:
                self._answer(peer)

    def _answer(self, plain: socket.socket) -> None:
        plain.settimeout(5)
        if self.tls is None:
            self._speak(plain)
            return
        with self.tls.wrap_socket(plain, server_side=True) as secure:
            self._speak(secure)

    def _speak(self, peer: socket.socket) -> None:
        heard = b""
        while b"\r\n\r\n" not in heard or not heard.endswith(b"}"):
            got = peer.recv(65536)
            if not got:
                return
            heard += got
        self.heard.append(heard)
        while self.drip and not self._ended.is_set():
            peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._ended.wait(0.05)
        peer.sendall(self.answer)
