"""One pack of the spool into objects and rows. Every step can be repeated; what was done is found again.

headers → one group per study and PatientID → compared with what is kept → the new instances, and apart from
them the contradicting ones, each as a pack of one study: PUT, read back, sidecar PUT, read back, registered.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from catalog import arrivals, erasures, registry, studies
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, IntegrityFault, NotFound, ObjectStoreDown
from catalog.objects import ObjectStore
from catalog.records import PackRecord, StudyHeader
from catalog.report_records import ReportMessage
from catalog.studies import Contradiction, KnownStudy
from dicom_node.documents import from_read, take_out
from dicom_node.facts import study_header
from dicom_node.header import HeaderReader, ReadInstance, UnreadableInstance
from dicom_node.pack import Member, PackIndex, read_pack, write_pack
from dicom_node.release import Promise, Receipts, holds
from dicom_node.sidecar import CONTENT_TYPE, PackObject, Role, pack_record, read_sidecar, write_sidecar
from dicom_node.spool import PackFile, Spool
from dicom_node.triage import Arrival, Triage, compare

PACK_TYPE: Final = "application/x-tar"
_ROUNDS: Final = 5
_LISTINGS_KEPT: Final = 64
_STUDY_LOCKS: Final = 64

Count = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class _Listing:
    """What one archived pack of a study holds: SOPInstanceUID → SHA-256, and the objects it is kept in."""

    digests: dict[str, str]
    promises: dict[str, Promise]


@dataclass(frozen=True, slots=True)
class _Part:
    """Instances of one pack that belong to one study and one PatientID; `whole` if there are no others in it.

    `unreadable` came with them and could not be read.
    """

    index: PackIndex
    instances: tuple[ReadInstance, ...]
    whole: bool
    unreadable: tuple[str, ...] = ()

    @property
    def StudyInstanceUID(self) -> str:
        return self.instances[0].facts.StudyInstanceUID

    @property
    def PatientID(self) -> str:
        return self.instances[0].facts.PatientID

    def header(self) -> StudyHeader:
        received = datetime.fromisoformat(self.index.received)
        return study_header([instance.facts for instance in self.instances], received)

    def only(self, positions: Sequence[int]) -> "_Part":
        whole = self.whole and len(positions) == len(self.instances)
        instances = tuple(self.instances[position] for position in positions)
        return _Part(self.index, instances, whole, self.unreadable)


class Archive:
    """Keeps packs: in the object store, and in the catalogue. `count` is told what was done."""

    def __init__(self, spool: Spool, store: ObjectStore, catalogue: Catalogue, count: Count) -> None:
        self._spool = spool
        self._store = store
        self._catalogue = catalogue
        self._count = count
        self._work = spool.root / "work"
        self._work.mkdir(exist_ok=True)
        self.receipts = Receipts(spool.root)
        self._study_locks = tuple(threading.Lock() for _ in range(_STUDY_LOCKS))
        self._lock = threading.Lock()
        self._remembered: dict[str, _Listing] = {}

    def sweep(self) -> None:
        """Remove what an interrupted run left in work/; nothing in there is the only copy."""
        for path in self._work.iterdir():
            path.unlink(missing_ok=True)

    def keep(self, pack: PackFile, reader: HeaderReader) -> None:
        """Bring a sealed pack to where it belongs and mark it shipped, or put it into quarantine.

        Raises Unavailable while a store is down, NotFound (`unknown_hospital`), IntegrityFault where the pack is
        damaged, OSError where the spool fails.
        """
        index = read_pack(pack.path)
        self._check_hospital(index.hospital)
        found = reader.read(index)
        reason = _only_reason(found)
        if reason:
            self._spool.quarantine(pack, reason)
            self._count("quarantined", len(found))
            return
        self._put_unreadable_aside(index, [one for one in found if isinstance(one, UnreadableInstance)])
        parts = _parts(index, found)
        erased = erasures.erased_among(self._catalogue, {part.StudyInstanceUID for part in parts})
        arrived, is_new = set(), True
        for part in parts:
            if part.StudyInstanceUID in erased:
                self._put_aside(index, [one.member for one in part.instances], "study_erased")
                continue
            with self._study_lock(part.StudyInstanceUID):
                triage = self._keep_part(part)
            is_new = is_new and bool(triage.new)
            if not triage.contradictions:
                arrived.add(part.StudyInstanceUID)
        if not (is_new and _is_all_of_its_association(index)):
            self._note_part(index, arrived)
        if self.receipts.read(index.pack_id) is None:  # nothing in it needs an object of its own
            self.receipts.add(index.pack_id, {})
        self._spool.mark_shipped(pack)

    def _note_part(self, index: PackIndex, StudyInstanceUIDs: set[str]) -> None:
        """Studies wait for all packs of their association; what was sent again whole is waited for no longer."""
        if index.association and index.ended:
            arrivals.note_part(
                self._catalogue,
                index.association,
                index.part,
                StudyInstanceUIDs,
                hospital_code=index.hospital,
                ended=index.ended,
            )

    def _check_hospital(self, code: str) -> None:
        with transaction(self._catalogue.engine) as session:
            registry.hospital_by_code(session, code)

    def _study_lock(self, StudyInstanceUID: str) -> threading.Lock:
        """Packs of one study go one after the other: each would only find that the study has moved."""
        return self._study_locks[hash(StudyInstanceUID) % _STUDY_LOCKS]

    def _put_unreadable_aside(self, index: PackIndex, unreadable: Sequence[UnreadableInstance]) -> None:
        for reason in dict.fromkeys(one.reason for one in unreadable):
            self._put_aside(index, [one.member for one in unreadable if one.reason == reason], reason)

    def _put_aside(self, index: PackIndex, members: Sequence[Member], reason: str) -> None:
        path = write_pack(self._work, f"{index.pack_id}-{reason}", index, members)
        status = path.stat()
        self._spool.quarantine(PackFile(path, path.stem, status.st_size, status.st_mtime), reason)
        self._count("quarantined", len(members))

    def _keep_part(self, part: _Part) -> Triage:
        for _ in range(_ROUNDS - 1):
            try:
                return self._compare_and_keep(part)
            except Conflict as error:
                if error.code != "study_moved":
                    raise
                self._count("compared_again", 1)
        return self._compare_and_keep(part)

    def _compare_and_keep(self, part: _Part) -> Triage:
        known = studies.known_study(self._catalogue, part.StudyInstanceUID)
        listings = self._listings(known)
        kept = {uid: sha256 for listing in listings for uid, sha256 in listing.digests.items()}
        arrivals = [Arrival(one.member.SOPInstanceUID, one.member.sha256) for one in part.instances]
        triage = compare(arrivals, part.index.hospital, part.PatientID, known, kept)
        if triage.new:
            self._keep_new(part.only(triage.new), known.revision if known else 0)
        if triage.contradictions:
            positions, contradictions = zip(*triage.contradictions, strict=True)
            self._keep_apart(part.only(positions), contradictions)
        if triage.duplicates:
            self._note_duplicates(part, triage.duplicates, listings)
        return triage

    def _note_duplicates(self, part: _Part, positions: Sequence[int], listings: Sequence[_Listing]) -> None:
        uids = {part.instances[position].member.SOPInstanceUID for position in positions}
        for listing in listings:
            if not uids.isdisjoint(listing.digests):
                self.receipts.add(part.index.pack_id, listing.promises)
        self._count("duplicates", len(positions))

    def _keep_new(self, part: _Part, revision: int) -> None:
        with self._pack_of(part, "archive") as pack:
            record = pack_record(pack, part.header(), part.instances, unreadable=part.unreadable)
            sidecar = write_sidecar(pack.index.pack_id, record, part.instances, revision=revision)
            self._store_pack(part, pack, record, sidecar)
            record = replace(record, reports=self._reports(part))
            try:
                made = studies.register_pack(
                    self._catalogue,
                    record,
                    expected_revision=revision,
                    arriving=not _is_all_of_its_association(part.index),
                )
            except Conflict:
                self._give_up(part, record)
                raise
            self._remember(record.sidecar_key, _listing(record, sidecar))
        self._count("packs", int(made))
        self._count("instances", len(part.instances) if made else 0)
        self._count("bytes", pack.size_bytes if made else 0)

    def _reports(self, part: _Part) -> tuple[ReportMessage, ...]:
        """The reports among the instances; their documents are objects of their own before any row names them."""
        found = from_read(part.instances)
        if not found:
            return ()
        with Path(part.index.path).open("rb") as file:
            reports, refused = take_out(
                found,
                lambda at, size: os.pread(file.fileno(), size, at),
                self._store,
                datetime.fromisoformat(part.index.received),
            )
        self._count("reports", len(reports))
        self._count("documents_refused", refused)
        return reports

    def _keep_apart(self, part: _Part, contradictions: Sequence[Contradiction]) -> None:
        with self._pack_of(part, "conflict") as pack:
            record = pack_record(pack, part.header(), part.instances)
            sidecar = write_sidecar(
                pack.index.pack_id, record, part.instances, role="conflict", contradictions=contradictions
            )
            self._store_pack(part, pack, record, sidecar)
            made = studies.register_conflicts(self._catalogue, record, contradictions)
        self._count("contradictions", len(contradictions) if made else 0)

    @contextmanager
    def _pack_of(self, part: _Part, role: Role) -> Iterator[PackObject]:
        """Yield the part as a pack of its own: the spool's file itself where it holds nothing else."""
        if part.whole:
            yield pack_object(part.index)
            return
        members = [instance.member for instance in part.instances]
        pack_id = derived_id(part.index.pack_id, role, members)
        path = write_pack(self._work, pack_id, part.index, members)
        try:
            yield pack_object(read_pack(path))
        finally:
            path.unlink(missing_ok=True)

    def _store_pack(self, part: _Part, pack: PackObject, record: PackRecord, sidecar: bytes) -> None:
        promises = _listing(record, sidecar).promises
        puts: dict[str, Callable[[], None]] = {
            record.key: lambda: self._store.put_file(record.key, pack.index.path, pack.sha256, PACK_TYPE),
            record.sidecar_key: lambda: self._store.put_bytes(record.sidecar_key, sidecar, CONTENT_TYPE),
        }
        for key, put in puts.items():
            self._store_checked(key, promises[key], put)
        self.receipts.add(part.index.pack_id, promises)

    def _store_checked(self, key: str, promise: Promise, put: Callable[[], None]) -> None:
        """PUT and read back: a store may answer 200 and keep nothing, or something else."""
        if holds(self._store, key, promise):  # an interrupted run got this far
            return
        put()
        if not holds(self._store, key, promise):
            self._count("read_back_failures", 1)
            raise ObjectStoreDown(
                "对象存储没有保存刚写入的内容",
                "The object store did not keep what it was given",
                code="read_back_failed",
            )

    def _give_up(self, part: _Part, record: PackRecord) -> None:
        """Take back objects that no row will name: the study has moved on and the pack may be cut otherwise."""
        keys = (record.key, record.sidecar_key)
        self.receipts.drop(part.index.pack_id, keys)
        for key in keys:
            self._store.delete(key)

    def _listings(self, known: KnownStudy | None) -> list[_Listing]:
        keys = known.sidecar_keys if known else ()
        return [self._remembered.get(key) or self._read_listing(key) for key in keys]

    def _remember(self, sidecar_key: str, listing: _Listing) -> _Listing:
        """Sidecars never change, and the packs of a study come one after the other."""
        with self._lock:
            self._remembered[sidecar_key] = listing
            if len(self._remembered) > _LISTINGS_KEPT:
                del self._remembered[next(iter(self._remembered))]
        return listing

    def _read_listing(self, sidecar_key: str) -> _Listing:
        try:
            size_bytes = self._store.stat(sidecar_key).size_bytes
            content = self._store.read_range(sidecar_key, 0, size_bytes)
        except NotFound:
            raise IntegrityFault(
                "已登记的索引文件不存在", "A registered sidecar is missing", code="sidecar_missing"
            ) from None
        return self._remember(sidecar_key, _listing(read_sidecar(content).pack, content))


def _listing(pack: PackRecord, sidecar: bytes) -> _Listing:
    return _Listing(
        digests={instance.SOPInstanceUID: instance.sha256 for instance in pack.instances},
        promises={
            pack.key: (pack.sha256, pack.size_bytes),
            pack.sidecar_key: (hashlib.sha256(sidecar).hexdigest(), len(sidecar)),
        },
    )


def _only_reason(found: Sequence[ReadInstance | UnreadableInstance]) -> str | None:
    """The reason why nothing in a pack can be read, if it is the same for all of it."""
    reasons = {one.reason if isinstance(one, UnreadableInstance) else None for one in found}
    return reasons.pop() if len(reasons) == 1 else None


def _parts(index: PackIndex, found: Sequence[ReadInstance | UnreadableInstance]) -> list[_Part]:
    groups: dict[tuple[str, str], list[ReadInstance]] = {}
    for one in found:
        if isinstance(one, ReadInstance):
            groups.setdefault((one.facts.StudyInstanceUID, one.facts.PatientID), []).append(one)
    # Whose image an unreadable instance is, only the company it came in can tell.
    unreadable = [one.member.SOPInstanceUID for one in found if isinstance(one, UnreadableInstance)]
    theirs = tuple(dict.fromkeys(unreadable))[: arrivals.EVIDENCE_LIMIT] if len(groups) == 1 else ()
    return [_Part(index, tuple(group), len(group) == len(index.members), theirs) for group in groups.values()]


def _is_all_of_its_association(index: PackIndex) -> bool:
    return index.ended == "released" and index.part == 1


def derived_id(pack_id: str, role: Role, members: Sequence[Member]) -> str:
    """Return the id of a pack cut out of another one.

    The same instances of the same pack always get the same id, and so the same bytes and the same key.
    """
    content = "\n".join([role, *(member.name for member in members)])
    return f"{pack_id}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def source_id(pack_id: str) -> str:
    """Return the id of the spool's pack that a pack is, or was cut out of."""
    return "-".join(pack_id.split("-")[:2])


def pack_object(index: PackIndex) -> PackObject:
    """Return a pack file with its SHA-256 and its size. Raises OSError."""
    with Path(index.path).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return PackObject(index, sha256, index.path.stat().st_size)
