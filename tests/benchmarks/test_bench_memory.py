"""What a whole node takes, supervisor and two workers together: memory for large objects, processor for idle peers.

Memory is the sum of the processes' RSS, shared pages counted once in each. Peaks are the sum of each one's highest.
Run by `make bench`.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from dicom_node.spool import Spool, read_pack
from tests.benchmarks import table
from tests.dicom_node.node_process import NodeProcess
from tests.dicom_node.raw_peer import RawPeer
from tests.faults.large_object import Sent, send_large
from tests.processes import forget_peaks, use

pytestmark = pytest.mark.benchmark

CROWD = (("127.0.0.20", b"RAW"), ("127.0.0.21", b"DRIP1"), ("127.0.0.22", b"DRIP2"))
IDLE_SECONDS = 20.0


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path, pack_limit_bytes=64 << 20) as running:
        yield running


def report(what: str, ours: float, limit: float, **more: Any) -> None:
    """Show and keep a row, and fail above the limit."""
    table.show([{"what": what, "ours": round(ours, 1), "limit": limit, **more}])
    assert ours < limit


def kept(root: Path) -> set[Sent]:
    members = [member for pack in Spool(root / "spool").sealed() for member in read_pack(pack.path).members]
    return {Sent(one.SOPInstanceUID, one.dataset_size_bytes, one.sha256) for one in members}


def test_a_node_at_rest(node: NodeProcess) -> None:
    process = psutil.Process(node.process.pid)
    report("node at rest, supervisor + 2 workers, MiB of RSS", use(process).rss_mib, 120)


def test_an_object_of_two_gibibytes(node: NodeProcess) -> None:
    process, began = psutil.Process(node.process.pid), time.perf_counter()
    forget_peaks(process)
    sent = send_large(node.port, "1.2.3", 2 << 30)
    rate = 2048 / (time.perf_counter() - began)
    peak = use(process).peak_rss_mib
    node.stop()
    assert kept(node.root) == {sent}
    assert rate > 30
    report("one object of 2 GiB, MiB of RSS at the peak", peak, 200, mib_per_second=round(rate))


def test_twenty_associations_with_200_mib_each(node: NodeProcess) -> None:
    process, began = psutil.Process(node.process.pid), time.perf_counter()
    forget_peaks(process)
    with ThreadPoolExecutor(20) as senders:
        sent = set(senders.map(lambda n: send_large(node.port, f"1.2.{n}", 200 << 20), range(20)))
    rate = 4000 / (time.perf_counter() - began)
    peak = use(process).peak_rss_mib
    node.stop()
    assert kept(node.root) == sent
    assert rate > 30
    report("20 associations x 200 MiB at once, MiB of RSS at the peak", peak, 300, mib_per_second=round(rate))


def test_a_hundred_idle_associations(node: NodeProcess) -> None:
    process = psutil.Process(node.process.pid)
    with ExitStack() as stack:
        for number in range(100):
            source, title = CROWD[number % len(CROWD)]
            assert stack.enter_context(RawPeer(node.port, source)).associate(calling=title)[:1] == b"\x02"
        time.sleep(1.0)
        before, began = use(process).cpu_seconds, time.monotonic()
        time.sleep(IDLE_SECONDS)
        used = use(process)
        share = (used.cpu_seconds - before) / (time.monotonic() - began)
    report("100 idle associations, percent of a core", share * 100, 3, rss_mib=round(used.rss_mib))
