"""The rebuild: studies, packs, conflicts and results of the catalogue again, from the sidecars in the bucket alone.

Rows that are there stay as they are, so it can be run into an empty or a partly filled database, beside a running
exchange, and again. Studies come in the order in which they were first received, the packs of a study in the order
of its revisions, what contradicts after what it contradicts: so the first digest wins again.

What stands in no sidecar does not come back: links made by hand, withdrawals, decisions and money. What was erased
by law stays away while its tombstone is there. A pack of a hospital that
is not registered is reported and left out, because a guessed tier and region would enter prices and marks:
register the hospital and run it again.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Final, Literal

from catalog import erasures
from catalog.context import Catalogue
from catalog.errors import IntegrityFault
from catalog.objects import ObjectStore, StoredObject
from catalog.packs import named_among
from catalog.records import PackRecord
from catalog.uids import pack_key, sidecar_key
from dicom_node.bucket import Pair, fetch_sidecar, walk
from dicom_node.documents import is_document
from dicom_node.sidecar import Sidecar
from dicom_node.study_rebuild import Outcome, StudyRebuild

_BATCH: Final = 500
_GOOD: Final = frozenset({"pack", "conflict_pack", "overlapping", "leftover"})

Trouble = Literal["pack_missing", "pack_altered", "sidecar_damaged"] | Outcome
Step = Literal["read", "registered"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A pack that could not be registered, and the hospital it came from where that is known."""

    key: str
    trouble: Trouble
    hospital: str = ""


@dataclass(slots=True)
class RebuildReport:
    """What a run did; `counts` are packs by outcome, `present` those that had their row before, `erased` those
    left out because their study was erased by law."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = False


@dataclass(frozen=True, slots=True)
class _Entry:
    """As much of a sidecar as puts studies in order."""

    sha256: str
    StudyInstanceUID: str
    received_at: datetime


class Rebuild:
    """One run; `on_progress` is told the step, how many are done, and how many there are if that is known."""

    def __init__(
        self,
        store: ObjectStore,
        catalogue: Catalogue,
        *,
        on_progress: Callable[[Step, int, int | None], None] = lambda *_: None,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._on_progress = on_progress
        self.report = RebuildReport()

    def run(self, stop: threading.Event) -> None:
        """Register what is not registered, until the end or until `stop` is set.

        Raises Unavailable while a store is down; what was done is kept, and not done again.
        """
        groups: dict[str, list[_Entry]] = {}
        for entry in self._entries(stop):
            groups.setdefault(entry.StudyInstanceUID, []).append(entry)
        total, done = sum(map(len, groups.values())), 0
        erased = erasures.erased_among(self._catalogue, groups)
        for entries in sorted(groups.values(), key=lambda group: min(e.received_at for e in group)):
            if stop.is_set():
                return
            if entries[0].StudyInstanceUID in erased:
                self.report.counts["erased"] += len(entries)
            else:
                self._rebuild_study(entries)
            done += len(entries)
            self._on_progress("registered", done, total)
        self.report.complete = not stop.is_set()

    def _entries(self, stop: threading.Event) -> Iterator[_Entry]:
        for number, pair in enumerate(self._unregistered(), start=1):
            if stop.is_set():
                return
            if entry := self._entry(pair):
                yield entry
            self._on_progress("read", number, None)

    def _unregistered(self) -> Iterator[Pair]:
        pairs = (found for found in walk(self._store) if not isinstance(found, StoredObject))
        while batch := list(islice(pairs, _BATCH)):
            named = named_among(self._catalogue, [pack_key(pair.sha256) for pair in batch])
            self.report.counts["present"] += len(named)
            yield from (pair for pair in batch if pack_key(pair.sha256) not in named)

    def _entry(self, pair: Pair) -> _Entry | None:
        found = self._look(pair)
        if isinstance(found, _Entry):
            return found
        self._note(pair.sha256, found)
        return None

    def _look(self, pair: Pair) -> _Entry | Trouble:
        if pair.sidecar is None:
            return "sidecar_missing"
        if pair.pack is None:
            return "pack_missing"
        sidecar = self._sidecar(pair.sha256)
        if sidecar is None:
            return "sidecar_damaged"
        record = sidecar.pack
        if record.size_bytes != pair.pack.size_bytes:
            return "pack_altered"
        return _Entry(pair.sha256, record.header.StudyInstanceUID, record.received_at)

    def _sidecar(self, sha256: str) -> Sidecar | None:
        try:
            sidecar = fetch_sidecar(self._store, sidecar_key(sha256))
        except IntegrityFault:
            return None
        return _bare(sidecar) if sidecar.pack.sha256 == sha256 else None

    def _rebuild_study(self, entries: Iterable[_Entry]) -> None:
        sidecars = [found for entry in entries if (found := self._sidecar(entry.sha256))]
        for record, outcome in StudyRebuild(self._store, self._catalogue, sidecars).run():
            if outcome in _GOOD:
                self.report.counts[outcome] += 1
            else:
                self._note(record.sha256, outcome, record.hospital_code)

    def _note(self, sha256: str, trouble: Trouble, hospital: str = "") -> None:
        self.report.problems.append(Problem(pack_key(sha256), trouble, hospital))


def _bare(sidecar: Sidecar) -> Sidecar:
    """A sidecar without its metadata, which a study may have thousands of times; reports are made from theirs."""
    instances = tuple(
        one if is_document(one.SOPClassUID) else replace(one, metadata={}) for one in sidecar.pack.instances
    )
    record: PackRecord = replace(sidecar.pack, instances=instances)
    documents = tuple(one for one in sidecar.instances if is_document(one.record.SOPClassUID))
    return replace(sidecar, pack=record, instances=documents)
