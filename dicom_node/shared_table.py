"""A small file that all workers of a node map, with a lock that the kernel takes back from the dead."""

import fcntl
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SharedTable:
    """So many bytes, zero at first, seen by every process that opens the same path.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._thread_lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
        if os.fstat(self._fd).st_size < size_bytes:
            os.ftruncate(self._fd, size_bytes)
        self.data = mmap.mmap(self._fd, size_bytes)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other threads and processes out."""
        # The kernel drops a file lock with the process that held it, so a killed worker never blocks the others.
        with self._thread_lock:
            fcntl.lockf(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def clear(self) -> None:
        """Fill it with zeros."""
        with self.locked():
            self.data[:] = bytes(len(self.data))

    def close(self) -> None:
        """Unmap it."""
        self.data.close()
        os.close(self._fd)
