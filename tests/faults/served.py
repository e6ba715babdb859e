"""A node that is stored to without a pause, and the shipper, store and catalogue behind it; a store may break."""

import itertools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.context import Catalogue
from catalog.objects import ObjectStore
from dicom_node.ship import Shipper
from dicom_node.spool import Spool
from tests.dicom_node.raw_peer import RawPeer, wait_until
from tests.faults.at_work import AtWork
from tests.faults.closing import closing_check
from tests.faults.history import History
from tests.faults.run_record import RunRecord
from tests.faults.senders import Supply
from tests.faults.victim import Victim, receive
from tests.flow.harbour import FAST, running


class Storing(AtWork):
    """Stores a few instances on association after association."""

    def __init__(self, port: int, history: History, chance: random.Random, pause_seconds: float) -> None:
        super().__init__()
        self.pause_seconds = pause_seconds
        self._port, self._history = port, history
        self._supply = Supply(1, chance)

    def turn(self) -> None:
        with RawPeer(self._port) as peer:
            peer.associate()
            for uid, data in itertools.islice(self._supply.study(), 10):
                self._history.store(peer, uid, data)


@dataclass
class Served:
    """What is received, where it is shipped to, and how long each recovery took."""

    spool: Spool
    store: ObjectStore
    catalogue: Catalogue
    shipper: Shipper
    node: Victim
    sender: Storing
    history: History
    recoveries: list[float] = field(default_factory=list)

    def goes_on(self, more: int = 20) -> None:
        """Wait until so many more instances were acknowledged."""
        before = len(self.history.acknowledged)
        wait_until(lambda: len(self.history.acknowledged) >= before + more)

    def waits(self, seconds: float = 30.0) -> None:
        """Wait until shipping has met the outage."""
        wait_until(lambda: self.shipper.status()["outage"] is not None, seconds)

    def recovers(self, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait until packs are registered again, and note how long that took; `meanwhile` is done at every look."""
        began, before = time.monotonic(), self.shipper.counters().get("shipped", 0)

        def has_shipped() -> bool:
            meanwhile()
            return self.shipper.counters().get("shipped", 0) > before

        wait_until(has_shipped, seconds)
        self.recoveries.append(time.monotonic() - began)

    def close(self, record: RunRecord) -> None:
        """Store no more, and hold what was kept against what was acknowledged."""
        self.sender.end()
        closing_check(self, self.history, record)
        assert self.spool.quarantined() == []
        assert self.history.refused.total() == 0


@contextmanager
def serving(
    root: Path,
    store: ObjectStore,
    catalogue: Catalogue,
    record: RunRecord,
    *,
    pause_seconds: float = 0.1,
    **settings: Any,
) -> Iterator[Served]:
    """Run a node on the folder `root`, and what ships from it, with a sender at work."""
    with Victim(receive, root, settings) as node:
        store.ensure_bucket()
        spool, history = Spool(root / "spool", low_water_bytes=0), History()
        shipper = Shipper(spool, store, catalogue, FAST)
        with running(shipper), Storing(node.said, history, record.chance, pause_seconds) as sender:
            yield Served(spool, store, catalogue, shipper, node, sender, history)
