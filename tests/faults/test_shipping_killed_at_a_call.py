"""D2: what ships and what releases, killed at every system call that changes anything, one after the other."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.ship import Shipper
from tests.faults.closing import closing_check
from tests.faults.far_side import FarSide
from tests.faults.history import History
from tests.faults.run_record import RunRecord
from tests.faults.test_killed_at_a_call import CALLS, enumerate_calls
from tests.faults.victim import Injection, Victim, release, ship, traced
from tests.flow.harbour import FAST, Harbour
from tests.packs import ct, receive


@pytest.fixture
def strace(require_tool: Callable[[str], str]) -> str:
    return require_tool("strace")


class Ashore:
    """A spool with a shipper or a release at work on it again and again, each time killed at another call."""

    def __init__(self, harbour: Harbour, work: Callable[..., None], strace: str) -> None:
        self.harbour = harbour
        self.work = work
        self.strace = strace
        self.far = FarSide(harbour.database_url, harbour.keys, harbour.access)
        self.history = History()
        self.number = 0

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
            harbour.ship()
        assert Shipper(harbour.spool, harbour.store, harbour.catalogue, AT_ONCE).release_due() <= 1
        assert (harbour.spool.sealed(), harbour.spool.shipped(), harbour.spool.quarantined()) == ([], [], [])
        assert [list((harbour.spool.root / name).iterdir()) for name in ("work", "receipts")] == [[], []]


AT_ONCE = replace(FAST, grace_seconds=0)
RELEASE_CALLS = ("openat", "unlink", "sendto", "close")


def test_a_release_killed_at_any_call_is_finished_by_the_next(
    harbour: Harbour, strace: str, record: RunRecord, tmp_path: Path
) -> None:
    released_killed(harbour, strace, record, tmp_path / "stash", RELEASE_CALLS, packs=60)


@pytest.mark.soak
def test_a_release_makes_no_other_call_to_be_killed_at(
    harbour: Harbour, strace: str, record: RunRecord, tmp_path: Path
) -> None:
    released_killed(harbour, strace, record, tmp_path / "stash", CALLS, packs=120)
    assert set(record.counts) & set(CALLS) == set(RELEASE_CALLS)


def released_killed(
    harbour: Harbour, strace: str, record: RunRecord, stash: Path, calls: Sequence[str], *, packs: int
) -> None:
    """Ship packs, hide them, and bring them back one by one for a release to be killed over."""
    ashore = Ashore(harbour, release, strace)
    for _ in range(packs):
        ashore.receive()
    assert harbour.ship() == packs
    root = harbour.spool.root
    hidden = [(pack.path, root / "receipts" / f"{pack.pack_id}.json") for pack in harbour.spool.shipped()]
    stash.mkdir()
    for path in (path for pair in hidden for path in pair):
        path.rename(stash / path.name)

    def killed(at: Injection) -> bool:
        for path in hidden.pop():
            (stash / path.name).rename(path)
        was_killed = ashore.is_killed(at)
        ashore.finish()
        return was_killed

    record.note(**enumerate_calls(killed, calls))
    closing_check(harbour, ashore.history, record)


SHIPPING_CALLS = ("openat", "write", "fsync", "rename", "unlink", "sendto", "close")


@pytest.mark.parametrize("call", CALLS)
def test_a_shipper_killed_at_any_call_keeps_everything_once(
    harbour: Harbour, strace: str, record: RunRecord, call: str
) -> None:
    ashore = Ashore(harbour, ship, strace)

    def killed(at: Injection) -> bool:
        ashore.receive()
        was_killed = ashore.is_killed(at)
        ashore.finish()
        return was_killed

    points = enumerate_calls(killed, [call])
    record.note(**points)
    closing_check(harbour, ashore.history, record)
    assert (points["total"] > 0) == (call in SHIPPING_CALLS)
