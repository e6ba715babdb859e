"""What ships or releases, at work on one spool again and again, each time killed at another system call."""

from collections.abc import Callable
from dataclasses import replace
from typing import Self

from dicom_node.header import HeaderReader
from dicom_node.ship import Shipper
from tests.faults.calls import enumerate_calls
from tests.faults.closing import closing_check
from tests.faults.far_side import FarSide
from tests.faults.history import History
from tests.faults.run_record import RunRecord
from tests.faults.victim import Injection, Victim, ship, traced
from tests.flow.harbour import FAST, Harbour
from tests.packs import ct, receive

AT_ONCE = replace(FAST, grace_seconds=0)


class Ashore:
    """A spool with a shipper or a release at work on it again and again, each time killed at another call."""

    def __init__(self, harbour: Harbour, work: Callable[..., None], strace: str) -> None:
        self.harbour = harbour
        self.work = work
        self.strace = strace
        self.far = FarSide(harbour.database_url, harbour.keys, harbour.access)
        self.history = History()
        self.number = 0
        self.reader = HeaderReader()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()

    def receive(self) -> None:
        """Receive a pack with two studies, which become an object each."""
        self.number += 1
        sent = [ct(f"2.25.{self.number}1", 1), ct(f"2.25.{self.number}2", 1)]
        receive(self.harbour.spool, sent)
        for one in sent:
            self.history.send(one.SOPInstanceUID, one.data)
            self.history.answer(one.SOPInstanceUID, 0)

    def is_killed(self, at: Injection) -> bool:
        """Kill what works on the spool there; False where it lived to the end."""
        root = self.harbour.spool.root.parent
        with (
            Victim(self.work, root, self.far) as victim,
            traced(victim, self.strace, at, log=root / "trace", follow=False),
        ):
            return not victim.finish()

    def finish(self) -> None:
        """Do what was left undone, down to the last file."""
        harbour = self.harbour
        if harbour.spool.sealed():
            harbour.shipper.ship_once(self.reader)
        assert Shipper(harbour.spool, harbour.store, harbour.catalogue, AT_ONCE).release_due() <= 1
        assert (harbour.spool.sealed(), harbour.spool.shipped(), harbour.spool.quarantined()) == ([], [], [])
        assert [list((harbour.spool.root / name).iterdir()) for name in ("work", "receipts")] == [[], []]


def shipped_killed(harbour: Harbour, strace: str, record: RunRecord, call: str) -> int:
    """Kill a shipper at the first, second, … call of a name, each over another pack; gives how many there were."""
    with Ashore(harbour, ship, strace) as ashore:

        def killed(at: Injection) -> bool:
            ashore.receive()
            was_killed = ashore.is_killed(at)
            ashore.finish()
            return was_killed

        points = enumerate_calls(killed, [call])
        record.note(**points)
        closing_check(harbour, ashore.history, record)
    return points["total"]
