"""A running exchange for flow tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.running import Running


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`huren up` with hospitals A and B, A evaluated for everything in the city."""
    running = Running(tmp_path_factory.mktemp("up") / "data").start()
    register(running)
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log()


def register(running: Running) -> None:
    """Register hospital A with its PACS, and hospital B."""
    running.run(
        "hospital", "add", "A", "--name", "甲医院", "--tier", "3", "--region", "500103", "--ae", "A_PACS"
    )
    running.run(
        "hospital", "add", "B", "--name", "乙医院", "--tier", "2", "--region", "500107", "--ae", "B_PACS"
    )
    running.run("qc", "add", "A", "--all", "--scope", "50", "--from", "2020-01-01", "--to", "2099-12-31")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for files to send."""
    made = tmp_path / "outbox"
    made.mkdir()
    return made
