"""Connections as fast as told, from several addresses: `python -m tests.faults.flood PORT PER_SECOND SECONDS`.

A process of its own, so that what it costs is not taken from the peer beside it. Each connection asks for an association
under a registered title and stays for a while; the last line of output is how many were made.
"""

import itertools
import socket
import struct
import sys
import time

from tests.dicom_node.raw_peer import request_pdu

_ADDRESSES = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
_HELD = 250  # at once: more than the three addresses may have
_RESET = struct.pack("ii", 1, 0)


def main(port: int, per_second: float, seconds: float) -> None:
    """Flood."""
    began, made, request = time.monotonic(), 0, request_pdu()
    kept: list[socket.socket] = []
    for address in itertools.cycle(_ADDRESSES):
        made += 1
        due = began + made / per_second
        if due > began + seconds:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        kept.append(_ask(address, port, request))
        if len(kept) > _HELD:
            kept.pop(0).close()
    for sock in kept:
        sock.close()
    print(made - 1, flush=True)


def _ask(address: str, port: int, request: bytes) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.bind((address, 0))
    try:
        sock.settimeout(1.0)
        sock.connect(("127.0.0.1", port))
        sock.send(request)
    except OSError:
        pass  # refused already
    return sock


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
