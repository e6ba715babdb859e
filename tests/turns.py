"""Tests side by side, except those that measure: where several pytest workers run, such a test runs alone.

Each test holds a lock: shared, or for a test marked `alone` the whole of it. Who asks for the lock holds the gate
until it is given, so that a test which wants to be alone waits only for the tests that run already. Such tests
that follow one another wait once: so they come last in a file, and files of nothing else come last of all.
"""

import fcntl
import os
from collections.abc import Generator
from pathlib import Path

import pytest


class Turns:
    """Gives each test of one worker its turn among the tests of all workers."""

    def __init__(self, folder: Path) -> None:
        self._gate, self._room = (
            os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            for name in ("gate.lock", "room.lock")
        )
        self._is_alone = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put the tests that run alone last."""
        items.sort(key=_measures)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Run a test with its fixtures while holding the lock as it needs it."""
        if not self._is_alone:
            self._take(fcntl.LOCK_EX if _measures(item) else fcntl.LOCK_SH)
        self._is_alone = _measures(item) and _measures(nextitem)
        try:
            return (yield)
        finally:
            if not self._is_alone:
                fcntl.flock(self._room, fcntl.LOCK_UN)

    def _take(self, kind: int) -> None:
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._room, kind)
        fcntl.flock(self._gate, fcntl.LOCK_UN)


def _measures(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None
