"""Several processes on one port: started, restarted, stopped, killed, and nothing acknowledged is lost."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dicom_node.pack import digest_holds
from dicom_node.spool import Spool, read_pack
from tests.dicom_node.raw_peer import RawPeer, wait_until

REPOSITORY = Path(__file__).parents[2]
CYCLES = int(os.environ.get("HUREN_KILL_CYCLES", "25"))


class NodeProcess:
    """A node in a process group of its own."""

    def __init__(self, root: Path, port: int = 0, workers: int = 2) -> None:
        self.root = root
        command = [sys.executable, "-m", "tests.dicom_node.node_process", str(root), str(port), str(workers)]
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().split()[1])

    def workers(self) -> list[psutil.Process]:
        return [child for child in psutil.Process(self.process.pid).children() if _is_worker(child)]

    def kill_all(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def stop(self) -> float:
        """End it by SIGTERM; gives the seconds that took."""
        began = time.monotonic()
        self.process.terminate()
        self.process.communicate(timeout=15)
        return time.monotonic() - began


def _is_worker(process: psutil.Process) -> bool:
    try:
        return any("spawn_main" in word for word in process.cmdline())
    except psutil.Error:
        return False  # it has just ended


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


def test_four_associations_are_dealt_out_evenly(process: NodeProcess) -> None:
    peers = [RawPeer(process.port) for _ in range(4)]
    try:
        assert all(peer.associate()[:1] == b"\x02" for peer in peers)
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


class Sender(threading.Thread):
    """Stores one instance after another, whatever happens to the node, and remembers what was acknowledged."""

    def __init__(self, number: int, port: int) -> None:
        super().__init__()
        self.number = number
        self.port = port
        self.acknowledged: dict[str, str] = {}
        self.sent = 0
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.is_set():
            try:
                with RawPeer(self.port) as peer:
                    peer.associate()
                    while not self.is_over.is_set():
                        self._store(peer)
            except (OSError, AssertionError, IndexError):
                continue

    def _store(self, peer: RawPeer) -> None:
        self.sent += 1
        uid = f"1.2.{self.number}.{self.sent}"
        data = random.Random(uid).randbytes(random.randint(100, 300_000))
        if peer.store(data, uid).status == 0:
            self.acknowledged[uid] = hashlib.sha256(data).hexdigest()


def test_killing_the_node_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path)
    senders = [Sender(number, node.port) for number in range(4)]
    for sender in senders:
        sender.start()
    try:
        for cycle in range(CYCLES):
            before = sum(len(sender.acknowledged) for sender in senders)
            wait_until(lambda least=before + 4: sum(len(sender.acknowledged) for sender in senders) > least)
            threading.Event().wait(random.uniform(0.005, 0.3))
            if cycle % 5 == 4:
                node.kill_all()
                node = NodeProcess(tmp_path, node.port)
            else:
                wait_until(node.workers)
                random.choice(node.workers()).kill()
    finally:
        for sender in senders:
            sender.is_over.set()
        for sender in senders:
            sender.join()
        node.stop()
    spool = Spool(tmp_path / "spool")
    spool.recover()
    kept = digests(spool)
    acknowledged = {uid: digest for sender in senders for uid, digest in sender.acknowledged.items()}
    assert len(acknowledged) > CYCLES * 4
    assert {uid: kept.get(uid) for uid in acknowledged} == acknowledged
    assert spool.quarantined() == []
    assert not any((tmp_path / "spool/open").iterdir())


def digests(spool: Spool) -> dict[str, str]:
    """SOP Instance UID → the digest of its data set, read from the bytes of all sealed packs."""
    found = {}
    for pack in spool.sealed():
        with pack.path.open("rb") as file:
            for member in read_pack(pack.path).members:
                assert digest_holds(file.fileno(), member)
                found[member.SOPInstanceUID] = member.sha256
    return found
