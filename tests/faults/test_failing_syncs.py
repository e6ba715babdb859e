"""D5: each of the first twenty syncs fails once: the answer is never Success, and the file never written again."""

import itertools
import random
import re
from pathlib import Path

from dicom_node.spool import Spool
from exchange.health import Health
from exchange.spool_state import spool_state
from tests.dicom_node.raw_peer import RawPeer, wait_until
from tests.faults.history import History, kept_in
from tests.faults.run_record import RunRecord
from tests.faults.victim import Injection, Victim, receive, traced

SYNCS = 20
FAILING = "error=EIO"


def test_none_of_twenty_data_syncs_that_fail_is_answered_with_success(
    tmp_path: Path, strace: str, record: RunRecord
) -> None:
    for nth in range(1, SYNCS + 1):
        root = tmp_path / str(nth)
        statuses, history = store_with(
            root, Injection("fdatasync", nth, FAILING), strace, instances=SYNCS + 2
        )
        assert statuses == [0xA700 if number == nth else 0 for number in range(1, SYNCS + 3)]
        failed = aside(root)
        assert failed == [written_to(root, "EIO")[-1]]
        assert failed[0] not in written_after_failure(root)
        assert is_alarmed(root)
        check_kept(root, history)
    record.note(syncs=SYNCS, lies=0)


def test_none_of_twenty_syncs_of_files_and_names_that_fail_costs_what_was_acknowledged(
    tmp_path: Path, strace: str, record: RunRecord
) -> None:
    refused = given_up = 0
    for nth in range(1, SYNCS + 1):
        root = tmp_path / str(nth)
        statuses, history = store_with(
            root, Injection("fsync", nth, FAILING), strace, instances=6, pack_limit_bytes=2000
        )
        assert set(statuses) <= {0, 0xA700}
        failed = written_to(root, "EIO")
        assert failed != []
        packs = set(failed) - {folder.name for folder in root.rglob("*") if folder.is_dir()}
        assert packs <= set(aside(root))  # a seal that failed is no seal
        given_up += len(packs)
        refused += statuses.count(0xA700)
        check_kept(root, history)
    assert given_up >= 3
    assert 3 <= refused <= SYNCS  # the name of each new pack is synced before anything is promised of it
    record.note(syncs=SYNCS, refused=refused, lies=0)


def store_with(
    root: Path, at: Injection, strace: str, *, instances: int, **settings: int
) -> tuple[list[int], History]:
    """Store one instance after another over one association; gives their statuses."""
    history = History()
    with (
        Victim(receive, root, settings) as node,
        traced(node, strace, at, log=root / "trace", watch="fsync,fdatasync,pwrite64,pwritev,pwritev2"),
    ):
        with RawPeer(node.said) as peer:
            peer.associate()
            statuses = [
                history.store(peer, f"1.2.{number}", random.Random(number).randbytes(3000))
                for number in range(instances)
            ]
        wait_until(lambda: not list((root / "spool/open").glob("*.tar")))
    return statuses, history


def check_kept(root: Path, history: History) -> None:
    """What was acknowledged is there after a recovery; what was refused may be there once, unaltered."""
    spool = Spool(root / "spool", low_water_bytes=0)
    spool.recover()
    history.check(kept_in(spool))
    assert not any((root / "spool/open").iterdir())


def aside(root: Path) -> list[str]:
    """The packs that were put aside because a sync failed."""
    return [
        path.stem
        for path in (root / "spool/quarantine").glob("*.reason")
        if '"fsync_failed"' in path.read_text()
    ]


def is_alarmed(root: Path) -> bool:
    """Say whether readiness names the failed sync, and whoever asks is told not to rely on this machine."""
    health = Health({"spool": lambda: spool_state(root / "spool")}, {})
    health.start()
    try:
        wait_until(lambda: health.components()["spool"]["state"] != "starting")
        return not health.ready() and health.components()["spool"]["code"] == "fsync_failed"
    finally:
        health.stop()


def written_to(root: Path, mark: str) -> list[str]:
    """The packs, or else the directories, that calls with this mark in their line went to."""
    lines = (root / "trace").read_text().splitlines()
    return [
        Path(found[1]).stem
        for line in lines
        if mark in line and (found := re.search(r"\(\d+<([^>]+)>", line))
    ]


def written_after_failure(root: Path) -> set[str]:
    lines = (root / "trace").read_text().splitlines()
    after = itertools.dropwhile(lambda line: "EIO" not in line, lines)
    return {Path(found[1]).stem for line in after if (found := re.search(r"pwrite\w*\(\d+<([^>]+)>", line))}
