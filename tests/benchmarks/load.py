"""A small HTTP client that only measures: `python -m tests.benchmarks.load PORT CLIENTS SECONDS [TEXT] < requests`.

Requests are whole messages, as JSON strings one a line; each client sends every CLIENTS-th of them in turn over one
connection, the next as soon as the last is answered. Prints the milliseconds of each, every status not 200, and how
many answers had TEXT in them.
"""

import json
import socket
import sys
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Client:
    """One connection and what it saw."""

    requests: list[bytes]
    text: bytes
    with_text: int = 0
    milliseconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def run(self, port: int, until: float) -> None:
        """Ask until the time is up."""
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                for request in self.requests:
                    began = time.perf_counter()
                    if began >= until:
                        return
                    connection.sendall(request)
                    status, body = answer(connection)
                    self.milliseconds.append((time.perf_counter() - began) * 1000)
                    self.with_text += bool(self.text) and self.text in body
                    if status != 200:
                        self.faults.append(str(status))


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Read one answer with a Content-Length; returns its status and body."""
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += _more(connection)
    head = received[:end].lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    while len(received) < end + 4 + length:
        received += _more(connection)
    return int(head.split(b" ", 2)[1]), received[end + 4 :]


def _more(connection: socket.socket) -> bytes:
    part = connection.recv(1 << 16)
    if not part:
        raise ConnectionError("the server closed the connection")
    return part


def main() -> None:
    """Run the clients and print what they saw."""
    port, count, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    requests = [json.loads(line).encode() for line in sys.stdin]
    text = sys.argv[4].encode() if len(sys.argv) > 4 else b""
    clients = [Client(requests[number::count], text) for number in range(count)]
    began = time.perf_counter()
    threads = [threading.Thread(target=one.run, args=(port, began + seconds)) for one in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - began,
                "milliseconds": sorted(ms for one in clients for ms in one.milliseconds),
                "with_text": sum(one.with_text for one in clients),
                "faults": [fault for one in clients for fault in one.faults],
            }
        )
    )


if __name__ == "__main__":
    main()
