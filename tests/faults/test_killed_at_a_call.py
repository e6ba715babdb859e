"""D2: killed at every system call that changes anything, one after the other, until there is none left to be killed at."""

import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from dicom_node.blanks import Blanks
from dicom_node.pdu import RELEASE_REQUEST
from dicom_node.spool import Spool
from tests.dicom_node.raw_peer import RawPeer, store_pdus, wait_until
from tests.faults.calls import enumerate_calls
from tests.faults.history import BROKEN, History, kept_in
from tests.faults.run_record import RunRecord
from tests.faults.victim import Injection, Victim, receive, recover, traced

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
