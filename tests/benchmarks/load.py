"""A small HTTP client that only measures: `python -m tests.benchmarks.load PORT CLIENTS SECONDS [TEXT] < requests`.

Requests are whole messages, as JSON strings one a line; each client sends every CLIENTS-th of them in turn over one
connection, the next as soon as the last is answered. Prints the milliseconds of each, every status not 200, and how
many answers had TEXT in them. One thread looks after all clients, so that it takes little from who is measured.
"""

import json
import re
import select
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final

_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")


@dataclass
class Seen:
    """What all clients saw."""

    text: bytes
    with_text: int = 0
    milliseconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Client:
    """One connection, with at most one request under way."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests: Iterator[bytes] = cycle(requests)
        self._received = b""
        self._wanted = 0
        self._began = 0.0

    def ask(self) -> None:
        """Send the next request."""
        self._received, self._wanted = b"", 0
        request = next(self._requests)
        self._began = time.perf_counter()
        self.connection.sendall(request)

    def read(self, seen: Seen) -> bool:
        """Take what has come; returns whether the answer is whole, and noted. Answers have a Content-Length."""
        part = self.connection.recv(1 << 16)
        if not part:
            raise ConnectionError("the server closed the connection")
        self._received += part
        if not self._wanted and (end := self._received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._received, 0, end + 2)
            assert length is not None
            self._wanted = end + 4 + int(length[1])
        if not self._wanted or len(self._received) < self._wanted:
            return False
        seen.milliseconds.append((time.perf_counter() - self._began) * 1000)
        status = self._received.split(b" ", 2)[1]
        if status != b"200":
            seen.faults.append(status.decode())
        seen.with_text += bool(seen.text) and seen.text in self._received
        return True


def run(clients: list[Client], seconds: float, seen: Seen) -> None:
    """Ask until the time is up, and wait for the last answers."""
    until = time.perf_counter() + seconds
    busy = len(clients)
    by_socket = {client.connection.fileno(): client for client in clients}
    with select.epoll() as waiting:
        for number, client in by_socket.items():
            waiting.register(number, select.EPOLLIN)
            client.ask()
        while busy:
            ready = waiting.poll(30)
            if not ready:
                raise TimeoutError("the server does not answer")
            for number, _ in ready:
                client = by_socket[number]
                if not client.read(seen):
                    continue
                if time.perf_counter() < until:
                    client.ask()
                else:
                    busy -= 1


def main() -> None:
    """Run the clients and print what they saw."""
    port, count, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    requests = [json.loads(line).encode() for line in sys.stdin]
    seen = Seen(sys.argv[4].encode() if len(sys.argv) > 4 else b"")
    clients = [Client(port, requests[number::count]) for number in range(count)]
    began = time.perf_counter()
    run(clients, seconds, seen)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - began,
                "milliseconds": sorted(seen.milliseconds),
                "with_text": seen.with_text,
                "faults": seen.faults,
            }
        )
    )


if __name__ == "__main__":
    main()
