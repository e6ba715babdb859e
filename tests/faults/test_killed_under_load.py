"""D1: kill -9 while four senders store without a pause: nothing acknowledged is lost, nothing altered, and back at once."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from catalog.context import Catalogue
from catalog.objects import ObjectStore
from dicom_node.blanks import Blanks
from dicom_node.spool import Spool
from tests.dicom_node.node_process import NodeProcess
from tests.dicom_node.raw_peer import RawPeer, wait_until
from tests.faults import ship_process
from tests.faults.closing import Vitals, check_vitals, closing_check
from tests.faults.far_side import FarSide
from tests.faults.history import BROKEN, History
from tests.faults.run_record import RunRecord
from tests.faults.scale import scaled
from tests.faults.senders import Sender, Storescu
from tests.faults.supervised import Supervised
from tests.flow.harbour import Harbour

READY_SECONDS = 5.0
KILL_SECONDS = (0.005, 0.8)
KILLED = ("worker", "worker", "node", "worker", "everything")
WORKERS = 2


@dataclass
class Works:
    """A node and a shipper as processes, on a harbour's spool, store and catalogue."""

    spool: Spool
    store: ObjectStore
    catalogue: Catalogue
    node: NodeProcess
    shipper: Supervised
    worst_seconds: float = 0.0

    def kill(self, what: str) -> None:
        """Kill a worker, the node or everything, and wait until associations are accepted again."""
        if what == "worker":
            oldest = min(self.node.workers(), key=lambda worker: worker.create_time(), default=None)
            if oldest is not None:
                oldest.kill()
        else:
            self.node.kill_all()
            if what == "everything":
                self.shipper.kill()
        began = time.monotonic()
        if what != "worker":
            self.node = NodeProcess(self.node.root, self.node.port, WORKERS)
        wait_until(lambda: accepts(self.node.port))
        self.worst_seconds = max(self.worst_seconds, time.monotonic() - began)
        if what == "everything":
            self.shipper.start()

    def kill_what_runs(self) -> None:
        """End both, whatever state they are in."""
        if self.node.process.poll() is None:
            self.node.kill_all()
        self.shipper.kill()


def accepts(port: int) -> bool:
    try:
        with RawPeer(port) as peer:
            return peer.associate()[:1] == b"\x02"
    except BROKEN:
        return False


@pytest.fixture
def works(harbour: Harbour) -> Iterator[Works]:
    """Both processes, running; whatever of them still runs in the end is killed."""
    root, far = harbour.spool.root.parent, FarSide(harbour.database_url, harbour.keys, harbour.access)
    arguments = ship_process.arguments(harbour.spool, far)
    shipper = Supervised(root / "ship.log", "tests.faults.ship_process", *arguments)
    node = NodeProcess(root, 0, WORKERS)
    works = Works(harbour.spool, harbour.store, harbour.catalogue, node, shipper)
    try:
        shipper.start()
        yield works
    finally:
        works.kill_what_runs()
    assert "Traceback" not in (root / "ship.log").read_text()


@pytest.fixture
def storescu(require_tool: Callable[[str], str]) -> str:
    return require_tool("storescu")


@pytest.mark.alone
def test_killed_at_random_moments_it_loses_nothing_and_is_back_at_once(
    works: Works, storescu: str, record: RunRecord
) -> None:
    cycles, least = scaled(25, 500), scaled(1_000, 50_000)
    history = History()
    blanks = Blanks(works.spool.root / "blank", works.node.settings.pack_limit_bytes, 4)
    with sending(works, history, storescu, record.chance):
        cycle = 0
        while cycle < cycles or len(history.acknowledged) < least:
            before = len(history.acknowledged)
            wait_until(lambda before=before: len(history.acknowledged) > before, 30)
            blanks.refill(lambda: True)  # never idle, the node writes none itself
            time.sleep(record.chance.uniform(*KILL_SECONDS))
            works.kill(KILLED[cycle % len(KILLED)])
            cycle += 1
            acknowledged = len(history.acknowledged)
            record.progress(cycles=cycle, acknowledged=acknowledged, worst_seconds=works.worst_seconds)
        at_work = Vitals.of(works.node.process.pid)
    closing_check(works, history, record)
    check_vitals(lambda: Vitals.of(works.node.process.pid), at_work, record)
    works.node.stop()
    assert (works.node.process.returncode, works.shipper.stop()) == (0, 0)
    assert works.worst_seconds <= READY_SECONDS


class sending:
    """Four senders at work while the context lasts: three of our own and dcmtk's."""

    def __init__(self, works: Works, history: History, storescu: str, chance: random.Random) -> None:
        folder: Path = works.spool.root.parent / "outbox"
        self._senders = [Sender(number, works.node.port, history, chance) for number in range(1, 4)]
        self._senders.append(Storescu(4, works.node.port, history, chance, storescu, folder))

    def __enter__(self) -> None:
        for sender in self._senders:
            sender.start()

    def __exit__(self, *_: object) -> None:
        for sender in self._senders:
            sender.end()
