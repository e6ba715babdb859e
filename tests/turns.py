"""Tests side by side, except those that measure: where several pytest workers run, such a test runs alone.

Each test holds a lock: shared, or for a test marked `alone` the whole of it. Who asks for the lock holds the gate
until it is given, so that a test which wants to be alone waits only for the tests that run already.
"""

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Turns:
    """Gives each test of one worker its turn among the tests of all workers."""

    def __init__(self, folder: Path) -> None:
        self._gate, self._room = folder / "gate.lock", folder / "room.lock"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run a test with its fixtures while holding the lock as it needs it."""
        with _open(self._room) as room:
            with _open(self._gate) as gate:
                fcntl.flock(gate, fcntl.LOCK_EX)
                fcntl.flock(room, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
            return (yield)


@contextmanager
def _open(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)
