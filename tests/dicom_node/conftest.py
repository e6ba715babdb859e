"""A node in this process for tests that talk to it."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.header import HeaderReader
from dicom_node.spool import Spool
from tests.dicom_node.raw_peer import RunningNode


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    """Return a running node with short deadlines."""
    with RunningNode(tmp_path, association_seconds=2.0, idle_seconds=20.0, grace_seconds=2.0) as running:
        yield running


@pytest.fixture(scope="module")
def reader() -> Iterator[HeaderReader]:
    """Return a reader of headers, with its child."""
    with HeaderReader() as reader:
        yield reader


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return an empty spool that never lacks room."""
    return Spool(tmp_path, low_water_bytes=0)


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test during which any association died of an exception."""
    yield
    assert [
        record
        for record in caplog.get_records("call")
        if record.exc_info and record.levelno >= logging.ERROR and record.name.startswith("huren")
    ] == []
