"""Objects of any size go through a whole node in little memory (N7)."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dicom_node.spool import Spool, read_pack
from tests.dicom_node.node_process import NodeProcess
from tests.faults.large_object import Sent, send_large
from tests.processes import forget_peaks, use

pytestmark = [pytest.mark.flow, pytest.mark.alone]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path) as running:
        yield running


def kept(root: Path) -> set[Sent]:
    """What the sealed packs hold; the digests are those taken when it was received, the scrubber's to check."""
    members = [member for pack in Spool(root / "spool").sealed() for member in read_pack(pack.path).members]
    return {Sent(one.SOPInstanceUID, one.dataset_size_bytes, one.sha256) for one in members}


def test_a_large_object_leaves_the_node_small(node: NodeProcess) -> None:
    process = psutil.Process(node.process.pid)
    assert use(process).rss_mib < 120
    forget_peaks(process)
    sent = send_large(node.port, "1.2.3", 2 << 30)
    assert use(process).peak_rss_mib < 120
    node.stop()
    assert kept(node.root) == {sent}


def test_twenty_large_objects_at_once_leave_the_node_small(node: NodeProcess) -> None:
    process, sent = psutil.Process(node.process.pid), set[Sent]()
    size_bytes = 200 << 20
    threads = [
        threading.Thread(target=lambda n=n: sent.add(send_large(node.port, f"1.2.{n}", size_bytes)))
        for n in range(20)
    ]
    forget_peaks(process)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert use(process).peak_rss_mib < 200
    node.stop()
    assert kept(node.root) == sent
    assert len(sent) == 20
