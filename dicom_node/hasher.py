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
    """One thread that digests for whoever has claimed it; hashlib lets go of the interpreter while it works.

    It serves one instance at a time: where several arrive at once every core is busy anyway, and handing pieces
    from thread to thread would only cost.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._claim = threading.Lock()
        self._done = threading.Lock()
        self._thread: threading.Thread | None = None

    def claim(self) -> bool:
        """Take it for one instance, if it is free."""
        if not self._claim.acquire(blocking=False):
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name="hasher", daemon=True)
            self._thread.start()
        return True

    def update(self, digest: Digest, piece: memoryview) -> None:
        """Have a piece digested; its bytes must stay as they are until `wait` has returned."""
        self._work.put(partial(digest.update, piece))

    def wait(self) -> None:
        """Return when everything handed over has been digested."""
        self._done.acquire()
        self._work.put(self._done.release)
        with self._done:
            return

    def release(self) -> None:
        """Give it back, once nothing of the instance is waiting any more."""
        self.wait()
        self._claim.release()

    def _live(self) -> None:
        while True:
            self._work.get()()
