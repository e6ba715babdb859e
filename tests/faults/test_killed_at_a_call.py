"""D2: killed at every system call that changes anything, one after the other, until there is none left to be killed at."""

import itertools
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.blanks import Blanks
from dicom_node.pdu import RELEASE_REQUEST
from dicom_node.ship import Shipper
from dicom_node.spool import Spool
from tests.dicom_node.raw_peer import RawPeer, store_pdus, wait_until
from tests.faults.closing import closing_check
from tests.faults.far_side import FarSide
from tests.faults.history import BROKEN, History, kept_in
from tests.faults.run_record import RunRecord
from tests.faults.victim import Injection, Victim, receive, recover, release, ship, traced
from tests.flow.harbour import FAST, Harbour
from tests.packs import ct
from tests.packs import receive as receive_pack

CALLS = (
    *(
        "openat",
        "mkdir",
        "write",
        "writev",
        "pwrite64",
        "pwritev",
        "pwritev2",
        "copy_file_range",
        "ftruncate",
    ),
    *("fsync", "fdatasync", "rename", "renameat2", "link", "linkat", "unlink", "unlinkat"),
    *("sendto", "sendmsg", "shutdown", "close"),
)
SMALL, LARGE = 700, 250_000  # one goes to disk in a piece, the other in several


def released(peer: RawPeer, history: History) -> None:
    """Two instances and a proper end: the pack is sealed."""
    for number, size in enumerate((SMALL, LARGE)):
        history.store(peer, f"1.2.{number}", random.Random(number).randbytes(size))
    peer.send(RELEASE_REQUEST)
    assert peer.read_pdu()[:1] == b"\x06"


def broken_off(peer: RawPeer, history: History) -> None:
    """An instance, and the connection lost in the middle of the next: it is taken back, and the pack sealed."""
    history.store(peer, "1.2.0", random.Random(0).randbytes(SMALL))
    data = random.Random(1).randbytes(LARGE)
    history.send("1.2.1", data)
    peer.send(store_pdus(data, "1.2.1")[: LARGE * 9 // 10])


def filling_packs(peer: RawPeer, history: History) -> None:
    """A pack is full and the next one begins, within one association."""
    for number in range(2):
        history.store(peer, f"1.2.{number}", random.Random(number).randbytes(LARGE))
    peer.send(RELEASE_REQUEST)
    assert peer.read_pdu()[:1] == b"\x06"


def going_on_in_a_blank(peer: RawPeer, history: History) -> None:
    """As filling packs, but there is a blank, and the second pack goes on in it."""
    filling_packs(peer, history)


SCENARIOS = [released, broken_off, filling_packs, going_on_in_a_blank]
FULL_BYTES = 100_000


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_node_killed_at_any_call_of_an_ingest_keeps_what_it_acknowledged(
    tmp_path: Path,
    scenario: Callable[[RawPeer, History], None],
    require_tool: Callable[[str], str],
    record: RunRecord,
) -> None:
    strace = require_tool("strace")
    points = enumerate_calls(
        lambda at: killed_receiving(tmp_path / f"{at.call}-{at.nth}", scenario, at, strace)
    )
    record.note(**points)
    assert {"openat", "fsync", "fdatasync", "rename", "ftruncate", "sendto"} <= set(points)
    is_moved = scenario is going_on_in_a_blank
    assert points.get("copy_file_range", 0) == is_moved
    assert not is_moved or points["fdatasync"] == 3  # two instances, and the copy before it takes the name
    assert points["pwritev2"] >= 2
    assert points["total"] >= 15


def enumerate_calls(killed: Callable[[Injection], bool], calls: Sequence[str] = CALLS) -> dict[str, int]:
    """Kill at the first, second, … of each call until one is survived; gives how many there were, and in total."""
    points = {}
    for call in calls:
        points[call] = next(nth for nth in itertools.count() if not killed(Injection(call, nth + 1)))
    return {call: count for call, count in points.items() if count} | {"total": sum(points.values())}


def killed_receiving(
    root: Path, scenario: Callable[[RawPeer, History], None], at: Injection, strace: str
) -> bool:
    """Kill a node there and hold what it leaves against the history; False where it lived to the end."""
    history = History()
    limit = FULL_BYTES if scenario in (filling_packs, going_on_in_a_blank) else 64 << 20
    if scenario is going_on_in_a_blank:
        Blanks(root / "spool/blank", FULL_BYTES, 1).refill(lambda: True)
    with (
        Victim(receive, root, {"pack_limit_bytes": limit}) as node,
        traced(node, strace, at, log=root / "trace"),
    ):
        try:
            with RawPeer(node.said) as peer:
                peer.associate()
                scenario(peer, history)
        except BROKEN:
            wait_until(node.is_dead)
        wait_until(lambda: node.is_dead() or not any((root / "spool/open").iterdir()))
        survived = not node.is_dead()
    history.check(recovered(root))
    return not survived


def recovered(root: Path) -> dict[str, list[str]]:
    """What a spool holds after a recovery, which leaves nothing half done."""
    spool = Spool(root / "spool", low_water_bytes=0)
    spool.recover()
    assert list((root / "spool/open").iterdir()) == []
    assert {pack.path.with_suffix(".reason").read_text()[:26] for pack in spool.quarantined()} <= {
        '{"reason": "fsync_failed",'
    }
    return kept_in(spool)


# the recovery itself


def test_a_recovery_killed_at_any_call_is_finished_by_the_next(
    tmp_path: Path, require_tool: Callable[[str], str], record: RunRecord
) -> None:
    strace = require_tool("strace")
    left, history = tmp_path / "left", History()
    leave_open_packs(left, history)
    points = enumerate_calls(
        lambda at: killed_recovering(left, tmp_path / f"{at.call}-{at.nth}", history, at, strace)
    )
    record.note(**points)
    assert {"openat", "fsync", "rename", "ftruncate", "unlink"} <= set(points)


def leave_open_packs(root: Path, history: History) -> None:
    """Packs as a killed node leaves them: torn, empty, and one whose sync has failed."""
    with Victim(receive, root, {}) as node, ExitStack() as peers:
        for number in range(3):
            peer = peers.enter_context(RawPeer(node.said))
            peer.associate()
            for member in range(number):
                history.store(peer, f"1.{number}.{member}", random.Random(member).randbytes(SMALL))
            data = random.Random(9).randbytes(LARGE)
            history.send(f"1.{number}.9", data)
            peer.send(store_pdus(data, f"1.{number}.9")[: LARGE * 9 // 10])
            wait_until(lambda least=number: len(list((root / "spool/open").iterdir())) > least)
    last = max((root / "spool/open").iterdir())
    last.rename(last.with_suffix(".failed"))


def killed_recovering(left: Path, root: Path, history: History, at: Injection, strace: str) -> bool:
    shutil.copytree(left / "spool", root / "spool")
    with Victim(recover, root) as victim, traced(victim, strace, at, log=root / "trace"):
        survived = victim.finish()
    history.check(recovered(root))
    return not survived


# what ships and what releases


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
        receive_pack(self.harbour.spool, sent)
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
A_FEW = 4


def test_a_shipper_killed_at_some_of_its_calls_keeps_everything_once(
    harbour: Harbour, strace: str, record: RunRecord
) -> None:
    ashore = Ashore(harbour, ship, strace)
    chance = random.Random(20250102)
    points = [Injection(chance.choice(SHIPPING_CALLS), chance.randint(1, 12)) for _ in range(A_FEW)]
    record.note(points=A_FEW, killed=sum(killed_shipping(ashore, at) for at in points))
    closing_check(harbour, ashore.history, record)


@pytest.mark.soak
def test_a_shipper_killed_at_any_call_keeps_everything_once(
    harbour: Harbour, strace: str, record: RunRecord
) -> None:
    ashore = Ashore(harbour, ship, strace)

    def killed(at: Injection) -> bool:
        record.progress(call=at.call, nth=at.nth)
        return killed_shipping(ashore, at)

    record.note(**enumerate_calls(killed))
    closing_check(harbour, ashore.history, record)


def killed_shipping(ashore: Ashore, at: Injection) -> bool:
    ashore.receive()
    was_killed = ashore.is_killed(at)
    ashore.finish()
    return was_killed
