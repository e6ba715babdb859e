"""One study registered again from its sidecars, so that what came first wins again.

An archive pack that an interrupted shipper left behind, after another node was faster, holds instances that stand
elsewhere too: such a pack waits until all others of the study are there, and counts only for what they lack.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, Literal

from catalog import studies
from catalog.context import Catalogue
from catalog.errors import Conflict, IntegrityFault, NotFound
from catalog.objects import ObjectStore
from catalog.records import PackRecord
from catalog.report_records import ReportMessage
from catalog.studies import KnownStudy
from dicom_node.archive import source_id
from dicom_node.bucket import fetch_sidecar
from dicom_node.documents import DOCUMENT, DocumentInstance, is_document, take_out
from dicom_node.sidecar import Sidecar
from dicom_node.triage import Arrival, compare

_ROUNDS: Final = 5

Outcome = Literal[
    "pack",
    "conflict_pack",
    "overlapping",
    "leftover",
    "contradicts",
    "unknown_hospital",
    "study_missing",
    "sidecar_missing",
]
Instances = frozenset[tuple[str, str]]


class StudyRebuild:
    """Registers the sidecars of one study; packs that are registered already need not be among them."""

    def __init__(self, store: ObjectStore, catalogue: Catalogue, sidecars: Sequence[Sidecar]) -> None:
        self._store = store
        self._catalogue = catalogue
        self._archived = sorted((one for one in sidecars if one.role == "archive"), key=_archive_order)
        self._apart = sorted((one for one in sidecars if one.role == "conflict"), key=_conflict_order)
        self._contradicted = {
            (each.SOPInstanceUID, each.sha256) for one in self._apart for each in one.contradictions
        }
        self._documents_at = {
            (one.pack.key, instance.record.SOPInstanceUID): instance.bulk[DOCUMENT]
            for one in sidecars
            for instance in one.instances
            if DOCUMENT in instance.bulk
        }
        self._listings = {one.pack.sidecar_key: _instances(one.pack) for one in sidecars}

    def run(self) -> Iterator[tuple[PackRecord, Outcome]]:
        """Yield each pack with what became of it. Raises DatabaseDown, ObjectStoreDown."""
        waiting = []
        for one in self._archived:
            outcome = None if self._had_better_wait(one) else self._register(one.pack, partly=False)
            if outcome is None:
                waiting.append(one.pack)
            else:
                yield one.pack, outcome
        for record in waiting:
            yield record, self._register(record, partly=True) or "leftover"
        for one in self._apart:
            yield one.pack, self._register_apart(one)

    def _had_better_wait(self, sidecar: Sidecar) -> bool:
        """Say whether a pack was given up: contradicted in a conflict pack, or cut again at a later revision."""
        mine = _instances(sidecar.pack)
        return not self._contradicted.isdisjoint(mine) or any(
            _instances(other.pack) < mine
            and source_id(other.pack_id) == source_id(sidecar.pack_id)
            and other.revision > sidecar.revision
            for other in self._archived
        )

    def _register(self, record: PackRecord, *, partly: bool) -> Outcome | None:
        """Register an archive pack; None where it overlaps with others and `partly` is not allowed."""
        for round_left in reversed(range(_ROUNDS)):
            try:
                return self._compare_and_register(record, partly=partly)
            except NotFound:
                return "unknown_hospital"
            except IntegrityFault:
                return "sidecar_missing"
            except Conflict as error:  # a running shipper was faster
                if error.code != "study_moved" or not round_left:
                    raise
        return None

    def _compare_and_register(self, record: PackRecord, *, partly: bool) -> Outcome | None:
        known = studies.known_study(self._catalogue, record.header.StudyInstanceUID)
        own = [i for i in record.instances if (i.SOPInstanceUID, i.sha256) not in self._contradicted]
        triage = compare(
            [Arrival(one.SOPInstanceUID, one.sha256) for one in own],
            record.hospital_code,
            record.header.PatientID,
            known,
            self._kept(known),
        )
        if triage.contradictions:
            return "contradicts"
        if not triage.new:
            return "leftover"
        whole = len(triage.new) == len(record.instances)
        if not whole and not partly:
            return None
        new = replace(record, instances=tuple(own[position] for position in triage.new))
        new = replace(new, reports=self._reports(new))
        made = studies.register_pack(self._catalogue, new, expected_revision=known.revision if known else 0)
        return "leftover" if not made else "pack" if whole else "overlapping"

    def _reports(self, record: PackRecord) -> tuple[ReportMessage, ...]:
        """The reports among a pack's instances, their documents kept again where they are missing."""
        found = [
            DocumentInstance(one.SOPClassUID, one.SOPInstanceUID, one.metadata, at)
            for one in record.instances
            if is_document(one.SOPClassUID)
            for at in [self._documents_at.get((record.key, one.SOPInstanceUID))]
        ]
        reports, _ = take_out(
            found,
            lambda at, size: self._store.read_range(record.key, at, size),
            self._store,
            record.received_at,
        )
        return reports

    def _register_apart(self, sidecar: Sidecar) -> Outcome:
        record = sidecar.pack
        if studies.known_study(self._catalogue, record.header.StudyInstanceUID) is None:
            return "study_missing"
        try:
            made = studies.register_conflicts(self._catalogue, record, sidecar.contradictions)
        except NotFound:
            return "unknown_hospital"
        return "conflict_pack" if made else "leftover"

    def _kept(self, known: KnownStudy | None) -> dict[str, str]:
        """What is registered of the study, SOPInstanceUID → SHA-256. Raises IntegrityFault."""
        kept: dict[str, str] = {}
        for key in known.sidecar_keys if known else ():
            if key not in self._listings:
                self._listings[key] = _instances(fetch_sidecar(self._store, key).pack)
            for uid, sha256 in self._listings[key]:
                kept.setdefault(uid, sha256)
        return kept


def _instances(record: PackRecord) -> Instances:
    return frozenset((one.SOPInstanceUID, one.sha256) for one in record.instances)


def _archive_order(sidecar: Sidecar) -> tuple[object, ...]:
    record = sidecar.pack
    return sidecar.revision, -len(record.instances), record.received_at, record.key


def _conflict_order(sidecar: Sidecar) -> tuple[object, ...]:
    return sidecar.pack.received_at, sidecar.pack.key
