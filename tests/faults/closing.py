"""The one check that ends every fault run, whatever the fault was.

    (i)    each acknowledged instance comes back from the object store by the catalogue's offsets, with its SHA-256
    (ii)   the catalogue names exactly the objects there are, and counts the instances they hold
    (iii)  once the sweep period has passed nothing half done is left: no partial file, open pack or lone receipt
    (iv)   the backlog drains
    (vi)   processes that lived through it are back to the memory, threads and descriptors they had

Retrieval over DICOMweb, the audit chain and the ledger have their own tests.
"""

import contextlib
import gc
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol, Self

import psutil
from sqlalchemy import select

from catalog.context import Catalogue
from catalog.db import transaction
from catalog.objects import ObjectStore
from catalog.tables import Pack, Study
from dicom_node.release import Receipts
from dicom_node.sidecar import Sidecar, read_sidecar
from dicom_node.spool import Spool
from tests.dicom_node.raw_peer import wait_until
from tests.faults.history import History
from tests.faults.run_record import RunRecord
from tests.processes import family

DRAIN_SECONDS = 120.0
SETTLE_SECONDS = 15.0
_LONG_AGO_SECONDS = 2 * 3600.0  # the spool sweeps partial files after an hour
_SHARE = 0.10
_FREE_RSS_BYTES, _FREE_THREADS, _FREE_FDS = 8 << 20, 2, 4  # per process; a tenth of little is nothing


class Place(Protocol):
    """What a run was about: a spool, and where it is shipped to."""

    spool: Spool
    store: ObjectStore
    catalogue: Catalogue


def closing_check(place: Place, history: History, record: RunRecord) -> None:
    """Check (i) to (iv); something must be shipping, or have shipped everything. Counts go to the record."""
    drained_after = drain(place.spool)
    sweep(place.spool)
    sidecars = registered(place)
    kept = archived(place.store, sidecars)
    history.check(kept)
    same_counts(place, sidecars)
    record.note(
        acknowledged=len(history.acknowledged),
        kept=len(kept),
        unknown=len(history.unknown),
        lost=0,
        altered=0,
        packs=len(sidecars),
        drained_seconds=drained_after,
    )


def drain(spool: Spool) -> float:
    """Wait until nothing is open or waits to be shipped; gives the seconds that took."""
    began = time.monotonic()
    wait_until(lambda: not any((spool.root / "open").iterdir()) and not spool.sealed(), DRAIN_SECONDS)
    return time.monotonic() - began


def sweep(spool: Spool) -> None:
    """Let the sweep period pass over whatever is half done, recover, and see that nothing of it stays.

    What took the last pack in, or away, may still be at its last step.
    """
    long_ago = time.time() - _LONG_AGO_SECONDS
    for path in chain(spool.root.rglob("*.part"), (spool.root / "open").iterdir()):
        os.utime(path, (long_ago, long_ago))
    spool.recover()
    with contextlib.suppress(AssertionError):  # what is left says more
        wait_until(lambda: not half_done(spool), SETTLE_SECONDS)
    left = half_done(spool)
    assert not left, left


def half_done(spool: Spool) -> list[Path]:
    """Partial files, open packs, and receipts or notes of packs that are not there."""
    left = [*spool.root.rglob("*.part"), *(spool.root / "open").iterdir(), *(spool.root / "work").iterdir()]
    receipts = list((spool.root / "receipts").iterdir())  # before the packs, which only move on
    packs = {pack.pack_id for pack in [*spool.sealed(), *spool.shipped(), *spool.quarantined()]}
    left += [receipt for receipt in receipts if receipt.stem not in packs]
    left += [path for path in (spool.root / "quarantine").iterdir() if not path.with_suffix(".tar").exists()]
    return left


def registered(place: Place) -> list[Sidecar]:
    """The sidecar of every pack the catalogue has; each object is the one its row promises."""
    with transaction(place.catalogue.engine) as session:
        rows = list(session.scalars(select(Pack).order_by(Pack.id)))
        session.expunge_all()
    for row in rows:
        assert place.store.digest(row.key) == (row.sha256, row.size_bytes)
    return [_sidecar(place.store, row.sidecar_key) for row in rows]


def archived(store: ObjectStore, sidecars: list[Sidecar]) -> dict[str, list[str]]:
    """SOPInstanceUID → SHA-256 of each archived copy, taken from the bytes at the sidecar's offsets."""
    found: dict[str, list[str]] = {}
    for sidecar in sidecars:
        if sidecar.role != "archive":
            continue
        content = store.read_range(sidecar.pack.key, 0, sidecar.pack.size_bytes)
        for one in sidecar.pack.instances:
            data = content[one.dataset_offset : one.dataset_offset + one.dataset_size_bytes]
            found.setdefault(one.SOPInstanceUID, []).append(hashlib.sha256(data).hexdigest())
    return found


def same_counts(place: Place, sidecars: list[Sidecar]) -> None:
    """The rows and the bucket agree, object by object and study by study.

    What was stored of a pack that then went into quarantine is in the bucket as the pack's receipt says.
    """
    with transaction(place.catalogue.engine) as session:
        named = {key for row in session.execute(select(Pack.key, Pack.sidecar_key)) for key in row}
        counted = {uid: count for uid, count in session.execute(select(Study.uid, Study.instance_count))}
    receipts = Receipts(place.spool.root)
    aside = {key for pack in place.spool.quarantined() for key in receipts.read(pack.pack_id) or {}}
    found = {one.key for one in place.store.list()}
    assert (named - found, found - named - aside) == (set(), set())
    held: Counter[str] = Counter()
    for sidecar in sidecars:
        held[sidecar.pack.header.StudyInstanceUID] += len(sidecar.pack.instances) * (
            sidecar.role == "archive"
        )
    assert counted == dict(held)


def _sidecar(store: ObjectStore, key: str) -> Sidecar:
    return read_sidecar(store.read_range(key, 0, store.stat(key).size_bytes))


@dataclass(frozen=True, slots=True)
class Vitals:
    """What processes use."""

    processes: int
    rss_bytes: int
    threads: int
    fds: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """What a process and its children use."""
        return cls._of(family(psutil.Process(pid)))

    @classmethod
    def own(cls) -> Self:
        """What the tests' own process uses, garbage not counted; its children are servers that others use too."""
        gc.collect()
        return cls._of([psutil.Process()])

    @classmethod
    def _of(cls, tree: list[psutil.Process]) -> Self:
        return cls(
            processes=len(tree),
            rss_bytes=sum(process.memory_info().rss for process in tree),
            threads=sum(process.num_threads() for process in tree),
            fds=sum(process.num_fds() for process in tree),
        )

    def is_back_to(self, before: Self) -> bool:
        """Say whether nothing has grown by more than a tenth."""
        return self.processes <= before.processes and all(
            now <= then * (1 + _SHARE) + free * before.processes
            for now, then, free in (
                (self.rss_bytes, before.rss_bytes, _FREE_RSS_BYTES),
                (self.threads, before.threads, _FREE_THREADS),
                (self.fds, before.fds, _FREE_FDS),
            )
        )


def check_vitals(measure: Callable[[], Vitals], before: Vitals, record: RunRecord) -> None:
    """Check (vi): what processes use returns within 15 s to what it was."""
    try:
        wait_until(lambda: measure().is_back_to(before))
    finally:
        now = measure()
        record.note(rss_mib=f"{before.rss_bytes >> 20}→{now.rss_bytes >> 20}")
        record.note(threads=f"{before.threads}→{now.threads}", fds=f"{before.fds}→{now.fds}")
