"""The byte stream of one association: a large reused buffer, and deadlines that only progress renews."""

import math
import mmap
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from typing import Final

from dicom_node.pdu import HEADER, INVALID_PARAMETER, MalformedPDU

BUFFER_BYTES: Final = 1 << 20
_FIRST_REACH_BYTES = (
    64 << 10
)  # pages touched stay: whoever is cut off at once must not have cost a whole buffer
_TIMEOUT_SLACK_SECONDS = 1.0
_DRAIN_LIMIT_BYTES = 4 << 20
_TIMEVAL = struct.Struct("ll")


class ConnectionLost(Exception):
    """The peer closed or reset the connection, or the network did."""


class DeadlinePassed(Exception):
    """The peer was too slow; the argument says at what."""


class Wire:
    """A connected stream socket, read PDU by PDU.

    While a PDU or a message is awaited the deadline is fixed. From its first byte on the peer holds a lease of
    `grace_seconds` that shrinks with time and grows by 1/`min_bytes_per_second` per byte, never above the grace:
    a peer that drips is cut off like one that is silent (times are monotonic).

    Pieces of the buffer may be lent to others for longer than until the next read: `recall`, where it is set, is
    called before any of them is overwritten.
    """

    def __init__(self, sock: socket.socket, *, grace_seconds: float, min_bytes_per_second: float) -> None:
        self.sock = sock
        self.recall: Callable[[], None] | None = None
        self.bytes_received = 0
        self._grace_seconds = grace_seconds
        self._seconds_per_byte = 1 / min_bytes_per_second
        self._buffer = mmap.mmap(-1, BUFFER_BYTES)  # only the pages that are used take memory
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._deadline = time.monotonic() + grace_seconds
        self._leased = self._becomes_leased = False
        self._awaited = "association"
        self._timeout = math.inf
        self._reach_bytes = (
            _FIRST_REACH_BYTES  # how much is asked for at once; doubled whenever that much came
        )

    def expect(self, what: str, seconds: float, *, leased: bool) -> None:
        """Set a deadline for what comes next; `leased` turns it into a lease at the first byte."""
        self._awaited = what
        self._deadline = time.monotonic() + seconds
        self._leased, self._becomes_leased = False, leased
        if leased and self._start < self._end:
            self._begin_lease()

    def read_header(self, limit_bytes: int) -> tuple[int, int]:
        """Read the six bytes of a PDU header; gives its type and the length of what follows.

        Raises:
            MalformedPDU: the PDU is longer than `limit_bytes`; nothing of it has been read.
            ConnectionLost, DeadlinePassed: as they say.
        """
        pdu_type, length = HEADER.unpack(self._take(HEADER.size))
        if length > limit_bytes:
            raise MalformedPDU("PDU longer than allowed", reason=INVALID_PARAMETER)
        return pdu_type, length

    def read(self, size_bytes: int) -> bytes:
        """Read exactly so many bytes."""
        return b"".join(bytes(piece) for piece in self.stream(size_bytes))

    def unpack_header(self, size_bytes: int) -> memoryview:
        """Give exactly so few bytes in one piece, valid until the next read."""
        return self._take(size_bytes)

    def stream(self, size_bytes: int) -> Iterator[memoryview]:
        """Give exactly so many bytes in pieces as they arrive, each valid until the next read (or `recall`)."""
        while size_bytes:
            if self._start == self._end:
                self._receive()
            stop = min(self._end, self._start + size_bytes)
            piece = self._view[self._start : stop]
            size_bytes -= stop - self._start
            self._start = stop
            yield piece

    def has_input(self, seconds: float) -> bool:
        """Wait so long at most for something to read, the end of the stream included."""
        if self._start < self._end or (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def send(self, data: bytes) -> None:
        """Send all of it; who takes it too slowly, or nothing for the grace, is cut off as one who drips is.

        Raises:
            ConnectionLost, DeadlinePassed: as they say.
        """
        deadline = time.monotonic() + self._grace_seconds + len(data) * self._seconds_per_byte
        if self._timeout > self._grace_seconds + _TIMEOUT_SLACK_SECONDS:
            self._apply_timeout(self._grace_seconds)
            self._timeout = self._grace_seconds
        left = memoryview(data)
        try:
            while left:
                left = left[self.sock.send(left) :]
                if left and time.monotonic() > deadline:
                    raise DeadlinePassed("taking an answer")
        except (TimeoutError, BlockingIOError):
            raise DeadlinePassed("taking an answer") from None
        except OSError as error:
            raise ConnectionLost(type(error).__name__) from None

    def drain(self, seconds: float) -> None:
        """Wait for the peer to close, throwing away what still comes (ARTIM, PS3.8 §9.1.5), and then close."""
        deadline, discarded = time.monotonic() + seconds, 0
        try:
            self.sock.shutdown(socket.SHUT_WR)
            while discarded < _DRAIN_LIMIT_BYTES and (left := deadline - time.monotonic()) > 0:
                self.sock.settimeout(left)
                received = self.sock.recv_into(self._view[:_FIRST_REACH_BYTES])
                if not received:
                    break
                discarded += received
        except OSError:
            pass
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def _take(self, size_bytes: int) -> memoryview:
        while self._end - self._start < size_bytes:
            self._receive()
        self._start += size_bytes
        return self._view[self._start - size_bytes : self._start]

    def _receive(self) -> None:
        self._make_room()
        received = self._receive_some()
        if not received:
            raise ConnectionLost("closed")
        if received == self._reach_bytes:
            self._reach_bytes *= 2
        self._end += received
        self.bytes_received += received
        self._renew(received)

    def _receive_some(self) -> int:
        """Wait for bytes until the deadline, which may be later than the timeout the socket has."""
        room = self._view[self._end : self._end + self._reach_bytes]
        while True:
            self._shorten_timeout()
            try:
                return self.sock.recv_into(room)
            except (TimeoutError, BlockingIOError):
                self._timeout = math.inf  # set it again, or find the deadline passed
            except OSError as error:
                raise ConnectionLost(type(error).__name__) from None

    def _make_room(self) -> None:
        kept = self._end - self._start
        is_used_up = self._end == len(self._buffer) or (not kept and self._end > BUFFER_BYTES // 2)
        if self.recall is None and not kept:
            self._start = self._end = 0
        elif is_used_up:
            if self.recall is not None:
                self.recall()
            self._buffer.move(0, self._start, kept)
            self._start, self._end = 0, kept

    def _renew(self, received: int) -> None:
        if self._leased:
            latest = time.monotonic() + self._grace_seconds
            self._deadline = min(self._deadline + received * self._seconds_per_byte, latest)
        elif self._becomes_leased:
            self._begin_lease()

    def _begin_lease(self) -> None:
        self._leased = True
        self._awaited = "data"
        self._deadline = time.monotonic() + self._grace_seconds

    def _shorten_timeout(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DeadlinePassed(self._awaited)
        # Each change is a system call: a timeout that ends a little late, or too early, is left as it is.
        if self._timeout > left + min(_TIMEOUT_SLACK_SECONDS, left / 4):
            self._apply_timeout(left)
            self._timeout = left

    def _apply_timeout(self, seconds: float) -> None:
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.settimeout(seconds)
            return
        # The kernel's own timeouts: Python's would cost a poll before every read and write.
        whole = int(seconds)
        timeval = _TIMEVAL.pack(whole, max(int((seconds - whole) * 1_000_000), 0 if whole else 1))
        self.sock.setblocking(True)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
