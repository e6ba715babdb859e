"""Objects made again: a pack from the spool's copy while that is still there, a sidecar from its pack."""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from catalog.context import Catalogue
from catalog.errors import Conflict, IntegrityFault, NotFound
from catalog.objects import ObjectStore
from catalog.packs import NamedPack, Provenance, provenance
from catalog.records import PackRecord
from dicom_node.archive import PACK_TYPE, derived_id, pack_object
from dicom_node.bucket import fetch_sidecar
from dicom_node.facts import study_header
from dicom_node.header import HeaderReader, ReadInstance
from dicom_node.pack import Member, PackIndex, read_pack, write_pack
from dicom_node.release import Receipts, holds
from dicom_node.sidecar import CONTENT_TYPE, Role, pack_record, write_sidecar
from dicom_node.spool import PackFile, Spool


class Repair:
    """Makes lost objects again; a context manager, one at a time per spool."""

    def __init__(self, spool: Spool, store: ObjectStore, catalogue: Catalogue) -> None:
        self._spool = spool
        self._store = store
        self._catalogue = catalogue
        self._receipts = Receipts(spool.root)
        self._work = spool.root / "scrub"
        self._headers = HeaderReader()
        self._lock = -1

    def __enter__(self) -> Self:
        """Take the working directory. Raises Conflict (`already_scrubbing`), OSError."""
        self._work.mkdir(exist_ok=True)
        self._lock = os.open(self._work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Conflict(
                "另一进程正在检查该归档", "Another process is scrubbing here", code="already_scrubbing"
            ) from None
        self._sweep()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._headers.close()
        self._sweep()
        os.close(self._lock)

    def restore_pack(self, pack: NamedPack, listing: PackRecord | None) -> bool:
        """PUT a pack again from the spool and read it back; False where the spool no longer has it.

        `listing` is what the pack's sidecar says, if that is whole. Raises ObjectStoreDown, DatabaseDown,
        Unavailable, OSError.
        """
        for copy in self._copies(pack.key):
            try:
                if self._restore_from(copy, pack, listing):
                    return True
            except (FileNotFoundError, IntegrityFault):  # released meanwhile, or rotten itself
                continue
            finally:
                self._sweep()
        return False

    def restore_sidecar(self, pack: NamedPack) -> bool:
        """Make a sidecar again from its pack in the object store; False where that cannot be read.

        Raises as restore_pack does.
        """
        path = self._work / "fetched.tar"
        try:
            if not self._fetch(pack, path):
                return False
            content = self._sidecar_of(read_pack(path), pack)
        except (IntegrityFault, NotFound):
            return False
        finally:
            self._sweep()
        digest = hashlib.sha256(content).hexdigest()
        self._store.put_bytes(pack.sidecar_key, content, CONTENT_TYPE)
        return holds(self._store, pack.sidecar_key, (digest, len(content)))

    def _copies(self, key: str) -> Iterator[PackFile]:
        """What of the spool was shipped into this object: shipped/, and sealed/ after a crash before the rename."""
        for copy in [*self._spool.shipped(), *self._spool.sealed()]:
            if key in (self._receipts.read(copy.pack_id) or {}):
                yield copy

    def _restore_from(self, copy: PackFile, pack: NamedPack, listing: PackRecord | None) -> bool:
        promise = (pack.sha256, pack.size_bytes)
        for path in self._cuts(copy, pack, listing):
            made = pack_object(read_pack(path))
            if (made.sha256, made.size_bytes) == promise:
                self._store.put_file(pack.key, path, pack.sha256, PACK_TYPE)
                return holds(self._store, pack.key, promise)
        return False

    def _cuts(self, copy: PackFile, pack: NamedPack, listing: PackRecord | None) -> Iterator[Path]:
        """The files the object may have been, each made when it is asked for; the digest decides."""
        yield copy.path
        index, role = read_pack(copy.path), cast(Role, pack.role)
        for members in self._selections(index, pack, listing):
            yield write_pack(self._work, derived_id(index.pack_id, role, members), index, members)

    def _selections(
        self, index: PackIndex, pack: NamedPack, listing: PackRecord | None
    ) -> Iterator[list[Member]]:
        if listing is not None:
            yield _first_of(index.members, {(one.SOPInstanceUID, one.sha256) for one in listing.instances})
            return
        known = provenance(self._catalogue, pack)
        if pack.role == "conflict":
            yield _first_of(index.members, {(one.SOPInstanceUID, one.sha256) for one in known.contradictions})
            return
        elsewhere = known.apart | self._archived(known)
        for members in self._of_study(index, pack.StudyInstanceUID):
            yield _first_of(members, {(m.SOPInstanceUID, m.sha256) for m in members} - elsewhere)

    def _archived(self, known: Provenance) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        for key in known.sibling_sidecar_keys:
            try:
                record = fetch_sidecar(self._store, key).pack
            except IntegrityFault:  # it is another finding of the same run
                continue
            found.update((one.SOPInstanceUID, one.sha256) for one in record.instances)
        return found

    def _of_study(self, index: PackIndex, StudyInstanceUID: str) -> list[list[Member]]:
        """The members of a study, apart by PatientID as they were when the pack was cut."""
        groups: dict[str, list[Member]] = {}
        for one in self._headers.read(index):
            if isinstance(one, ReadInstance) and one.facts.StudyInstanceUID == StudyInstanceUID:
                groups.setdefault(one.facts.PatientID, []).append(one.member)
        return list(groups.values())

    def _fetch(self, pack: NamedPack, path: Path) -> bool:
        digest = hashlib.sha256()
        with (
            path.open("wb") as file,
            self._store.open_range(pack.key, 0, pack.size_bytes) as pieces,
        ):
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
        return digest.hexdigest() == pack.sha256

    def _sidecar_of(self, index: PackIndex, pack: NamedPack) -> bytes:
        """Raises IntegrityFault where a header can no longer be read."""
        read = self._headers.read(index)
        instances = [one for one in read if isinstance(one, ReadInstance)]
        if len(instances) < len(read):
            raise IntegrityFault("报文头无法读取", "A header cannot be read", code="header_unreadable")
        known = provenance(self._catalogue, pack)
        header = study_header([one.facts for one in instances], datetime.fromisoformat(index.received))
        return write_sidecar(
            index.pack_id,
            pack_record(pack_object(index), header, instances, unreadable=known.unreadable),
            instances,
            role=cast(Role, pack.role),
            revision=known.revision,
            contradictions=known.contradictions,
        )

    def _sweep(self) -> None:
        for path in self._work.iterdir():
            path.unlink(missing_ok=True)


def _first_of(members: Sequence[Member], wanted: set[tuple[str, str]]) -> list[Member]:
    """Of members with the same instance and the same bytes the first one was kept."""
    first: dict[tuple[str, str], Member] = {}
    for member in members:
        first.setdefault((member.SOPInstanceUID, member.sha256), member)
    return [member for bytes_, member in first.items() if bytes_ in wanted]
