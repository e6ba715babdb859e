"""SHA-256 beside the receiving: while one core takes bytes off the wire and writes them, another digests them."""

import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Protocol


class Digest(Protocol):
    """The part of a hashlib object that is needed."""

    def update(self, data: memoryview, /) -> None:
        """Take bytes in."""


class Hasher:
    """One thread that digests for the instance that has claimed it; hashlib lets go of the interpreter meanwhile.

    Only an instance that arrives alone is given it: where several do, every core is busy anyway, and handing
    pieces from thread to thread would only cost.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._arriving = 0
        self._is_claimed = False
        self._done = threading.Lock()
        self._thread: threading.Thread | None = None

    def enter(self) -> None:
        """Say that an instance begins to arrive."""
        with self._lock:
            self._arriving += 1

    def leave(self, *, claimed: bool) -> None:
        """Say that it has arrived, or will not; nothing of it may be waiting to be digested."""
        with self._lock:
            self._arriving -= 1
            self._is_claimed = self._is_claimed and not claimed

    def claim(self) -> bool:
        """Take it for an instance that has entered, if no other is arriving."""
        with self._lock:
            if self._is_claimed or self._arriving > 1:
                return False
            self._is_claimed = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name="hasher", daemon=True)
            self._thread.start()
        return True

    def update(self, digest: Digest, piece: memoryview) -> None:
        """Have a piece digested; its bytes must stay as they are until `wait` has returned."""
        self._work.put(partial(digest.update, piece))

    def wait(self) -> None:
        """Return when everything handed over has been digested; for the one that has claimed it."""
        self._done.acquire()
        self._work.put(self._done.release)
        with self._done:
            return

    def _live(self) -> None:
        while True:
            self._work.get()()
