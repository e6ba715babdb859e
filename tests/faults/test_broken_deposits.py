"""Uploads over HTTP on a disk that fails (D5), and killed at every call (D2): what is told as stored is kept."""

from pathlib import Path
from typing import Any

import pytest

from dicom_node.spool import Spool
from tests.faults.calls import enumerate_calls
from tests.faults.history import BROKEN, History, kept_in
from tests.faults.run_record import RunRecord
from tests.faults.victim import Injection, Victim, deposit, traced
from tests.packs import ct
from tests.stowing import part10

SENT = [
    ct("2.25.1", number, pixels=bytes([number]) * size) for number, size in ((1, 700), (2, 250_000), (3, 700))
]


def handed_in(root: Path, at: Injection, strace: str) -> tuple[list[int], bool, History]:
    """Hand the instances in while one call fails or kills; gives the failures told, and whether it came to its end."""
    history, failures, survived = History(), list[int](), False
    root.mkdir(exist_ok=True)
    with (
        Victim(deposit, root, [part10(each) for each in SENT]) as victim,
        traced(victim, strace, at, log=root / "trace"),
    ):
        victim.go()
        for each in SENT:
            history.send(each.SOPInstanceUID, each.data)
        try:
            for each in SENT:
                told: Any = victim.pipe.recv()
                assert told.SOPInstanceUID == each.SOPInstanceUID
                history.answer(each.SOPInstanceUID, told.failure)
                failures.append(told.failure)
            survived = victim.pipe.recv() is None
        except (EOFError, *BROKEN):
            pass  # it was killed
    spool = Spool(root / "spool", low_water_bytes=0)
    spool.recover()
    assert [path for path in (root / "spool/open").iterdir() if path.suffix == ".tar"] == []
    history.check(kept_in(spool))
    return failures, survived, history


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_an_instance_whose_sync_fails_is_refused_and_the_others_are_kept(
    nth: int, tmp_path: Path, strace: str
) -> None:
    failures, survived, history = handed_in(tmp_path, Injection("fdatasync", nth, "error=EIO"), strace)
    assert failures == [0xA700 if number == nth else 0 for number in (1, 2, 3)]
    assert survived
    assert len(history.acknowledged) == 2


CALLS = ("openat", "pwrite64", "pwritev2", "ftruncate", "fsync", "fdatasync", "rename")


def test_a_service_killed_at_any_call_of_an_upload_keeps_what_it_told(
    tmp_path: Path, strace: str, record: RunRecord
) -> None:
    def killed(at: Injection) -> bool:
        failures, survived, _ = handed_in(tmp_path / f"{at.call}-{at.nth}", at, strace)
        assert set(failures) <= {0}
        return not survived

    points = enumerate_calls(killed, CALLS)
    record.note(**points)
    assert points["fdatasync"] == len(SENT)
    assert {"openat", "pwritev2", "ftruncate", "fsync", "rename"} <= set(points)
