"""D2: what releases, killed at every system call that changes anything, one after the other."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.ashore import Ashore
from tests.faults.calls import CALLS, enumerate_calls
from tests.faults.closing import closing_check
from tests.faults.run_record import RunRecord
from tests.faults.victim import Injection, release
from tests.flow.harbour import Harbour

pytestmark = pytest.mark.long

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
    with Ashore(harbour, release, strace) as ashore:
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
