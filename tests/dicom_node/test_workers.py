"""Several processes on one port: started, restarted, stopped, killed, and nothing acknowledged is lost."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dicom_node.spool import Spool
from tests.dicom_node.node_process import REPOSITORY, NodeProcess
from tests.dicom_node.raw_peer import RawPeer, wait_until


@pytest.fixture
def process(tmp_path: Path) -> Iterator[NodeProcess]:
    node = NodeProcess(tmp_path)
    yield node
    if node.process.poll() is None:
        node.kill_all()


def stores(port: int, uid: str = "1.2.3", data: bytes = b"data") -> bool:
    try:
        with RawPeer(port) as peer:
            return peer.associate()[:1] == b"\x02" and peer.store(data, uid).status == 0
    except (OSError, AssertionError):
        return False


def test_a_worker_imports_no_library_that_only_others_need() -> None:
    heavy = {"pydicom", "pynetdicom", "sqlalchemy", "psycopg", "pydantic", "typer", "minio", "numpy"}
    script = f"import sys, dicom_node.worker, dicom_node.workers; print({heavy!r} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()"


def test_four_associations_are_dealt_out_evenly(process: NodeProcess) -> None:
    peers: list[RawPeer] = []
    try:
        for _ in range(4):  # one after another: who came at once is counted only once he is seen
            peers.append(RawPeer(process.port))
            assert peers[-1].associate()[:1] == b"\x02"
        held = [len(worker.net_connections()) for worker in process.workers()]
        assert sorted(held) == [3, 3]  # the listener and two peers each
    finally:
        for peer in peers:
            peer.sock.close()


def test_a_worker_that_dies_is_replaced_and_the_port_stays_open(process: NodeProcess) -> None:
    victim = process.workers()[0]
    victim.kill()
    assert stores(process.port)
    wait_until(lambda: len(process.workers()) == 2 and victim.pid not in {w.pid for w in process.workers()})
    assert stores(process.port)


def test_sigterm_ends_everything_in_time_with_an_idle_association_open(process: NodeProcess) -> None:
    children = psutil.Process(process.process.pid).children(recursive=True)
    with RawPeer(process.port) as peer:
        peer.associate()
        peer.store(b"kept")
        assert process.stop() < 10
        assert peer.read_pdu()[:1] == b"\x07"
    assert process.process.returncode == 0
    wait_until(lambda: not any(child.is_running() for child in children))
    assert len(Spool(process.root / "spool").sealed()) == 1


def test_a_burst_of_signals_to_all_of_them_still_ends_everything_in_time(process: NodeProcess) -> None:
    children = psutil.Process(process.process.pid).children(recursive=True)
    for _ in range(200):
        os.killpg(process.process.pid, signal.SIGTERM)
    assert process.stop() < 10
    wait_until(lambda: not any(child.is_running() for child in children))


def test_a_signal_that_arrives_while_the_event_is_being_set_does_not_deadlock() -> None:
    script = """
import signal, threading
from catalog.signals import stop_on_signals
stop = threading.Event()
stop_on_signals(stop)
with stop._cond:
    signal.raise_signal(signal.SIGTERM)
assert stop.wait(10)
"""
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True, timeout=20)


def test_workers_end_when_their_supervisor_is_killed(process: NodeProcess) -> None:
    workers = process.workers()
    process.process.kill()
    process.process.communicate()
    wait_until(lambda: not any(worker.is_running() for worker in workers))
