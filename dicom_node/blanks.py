"""Blank packs: files of zeros written while nobody sends, for the packs of those who send much.

An fdatasync over blocks that were written before waits for the data alone; over new ones also for the journal of
the file system, which doubles it (measured on ext4; allocating ahead does not help, the blocks still are unwritten).

A blank is moved, read or removed only by who holds its lock (flock), and never follows another of its name.
"""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_PIECE_BYTES = 1 << 20
_LOOK_SECONDS = 0.5
_HEAD_BYTES = 64 << 10  # longer than any header: a blank that was begun and left is known by it
_SHARE_OF_FREE = 16  # all blanks together take no more than one part in so many of what is free


class Blanks:
    """At most `count` blanks of `size_bytes` below `root`; processes and threads may share it."""

    def __init__(self, root: Path, size_bytes: int, count: int) -> None:
        self.root = root
        self.size_bytes = size_bytes
        self._paths = [root / str(number) for number in range(count)]
        root.mkdir(parents=True, exist_ok=True)

    def count(self) -> int:
        """Give the number of blanks that are ready."""
        return sum(1 for path in self._paths if path.exists())

    def take(self) -> tuple[int, Path] | None:
        """Give the descriptor, locked, and the path of a blank, or None; who takes it moves or removes it."""
        for path in self._paths:
            fd = _open_locked(path)
            if fd is None:
                continue
            if os.fstat(fd).st_size == self.size_bytes and not any(os.pread(fd, _HEAD_BYTES, 0)):
                return fd, path
            path.unlink()
            os.close(fd)
        return None

    def refill(self, may_go_on: Callable[[], bool]) -> None:
        """Write the blanks that are missing, as long as it may go on and nobody else is at it.

        A disk that refuses is let alone: without blanks the node is slower, and that is all.
        """
        with contextlib.suppress(OSError), _locked_directory(self.root):
            for path in self._paths:
                if path.exists():
                    continue
                if not self._has_room() or not self._write_one(path, may_go_on):
                    return

    def clear(self) -> None:
        """Give the room back, as far as the disk lets us."""
        for path in self._paths:
            fd = _open_locked(path)
            if fd is not None:
                with contextlib.suppress(OSError):
                    path.unlink()
                os.close(fd)

    def _has_room(self) -> bool:
        volume = os.statvfs(self.root)
        all_bytes = self.size_bytes * len(self._paths)
        return volume.f_bavail * volume.f_frsize >= _SHARE_OF_FREE * all_bytes

    def _write_one(self, path: Path, may_go_on: Callable[[], bool]) -> bool:
        """Never writes to a file that has had another name: what a kill left under this one may be a pack by now."""
        part = self.root / ".part"
        part.unlink(missing_ok=True)
        fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o640)
        try:
            for at in range(0, self.size_bytes, _PIECE_BYTES):
                if not may_go_on():
                    return False
                os.pwrite(fd, bytes(min(_PIECE_BYTES, self.size_bytes - at)), at)
                os.fdatasync(fd)  # piece by piece: the disk is never ours for long
            part.rename(path)  # nobody else makes blanks while we hold the directory
            return True
        finally:
            part.unlink(missing_ok=True)
            os.close(fd)


def keep_filled(
    blanks: Blanks, may_write: Callable[[], bool], idle_seconds: float, stop: threading.Event
) -> None:
    """Write the missing blanks whenever they might have been written for so long, until `stop` is set."""
    idle_since = time.monotonic()
    while not stop.wait(_LOOK_SECONDS):
        now = time.monotonic()
        if not may_write():
            idle_since = now
        elif now - idle_since >= idle_seconds:
            blanks.refill(lambda: may_write() and not stop.is_set())


@contextlib.contextmanager
def _locked_directory(root: Path) -> Iterator[None]:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def _open_locked(path: Path) -> int | None:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(fd).st_ino:
            return fd
    except OSError:
        pass
    os.close(fd)
    return None
