"""A node in this process for tests that talk to it."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dicom_node.raw_peer import RunningNode


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    """Return a running node with short deadlines."""
    with RunningNode(tmp_path, association_seconds=2.0, idle_seconds=20.0, grace_seconds=2.0) as running:
        yield running


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test during which any association died of an exception."""
    yield
    assert [
        record
        for record in caplog.get_records("call")
        if record.exc_info and record.levelno >= logging.ERROR and record.name.startswith("huren")
    ] == []
