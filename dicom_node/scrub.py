"""The scrub: every object the catalogue names is read back, and what is missing or rotten is made again.

Documents of reports are read back too; there is nothing here to make them from, and they are only reported.

A sidecar's SHA-256 stands in no row: it is compared with the one kept beside it in the store, its own gzip
checksum must hold, and it must describe the pack that its row names.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from catalog.context import Catalogue
from catalog.errors import IntegrityFault, NotFound, ObjectStoreDown
from catalog.objects import ObjectStore
from catalog.packs import NamedPack, named_packs
from catalog.records import PackRecord
from catalog.report_views import NamedDocument, named_documents
from dicom_node.repair import Repair
from dicom_node.sidecar import Sidecar, read_sidecar

Fault = Literal["missing", "altered", "unreadable"]


@dataclass(frozen=True, slots=True)
class Finding:
    """An object that is not what its row promises, and whether it is now."""

    key: str
    fault: Fault
    repaired: bool
    StudyInstanceUID: str


@dataclass(slots=True)
class ScrubReport:
    """What a run saw; `last_key` is the pack or document to go on after where `complete` is false."""

    packs: int = 0
    documents: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    last_key: str = ""
    complete: bool = False


class Scrub:
    """One run over the packs; `bytes_per_second` limits the reading of objects, None does not."""

    def __init__(
        self,
        store: ObjectStore,
        catalogue: Catalogue,
        repair: Repair,
        *,
        bytes_per_second: float | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._repair = repair
        self._pace = _Pace(bytes_per_second)
        self._on_bytes = on_bytes
        self.report = ScrubReport()

    def run(self, stop: threading.Event, *, after: str = "") -> None:
        """Check every pack, then every document of a report, after the key `after`, until the end or until `stop` is set; `report` grows on the way.

        Raises Unavailable while a store is down, OSError where the spool fails.
        """
        self.report.last_key = after
        self._ask()
        for pack in named_packs(self._catalogue, after=after):
            if stop.is_set():
                return
            self._check(pack)
            self.report.packs += 1
            self.report.last_key = pack.key
        for document in named_documents(self._catalogue, after=after):
            if stop.is_set():
                return
            self._check_document(document)
            self.report.documents += 1
            self.report.last_key = document.key
        self.report.complete = True

    def _check_document(self, document: NamedDocument) -> None:
        def look() -> bool:
            return self._store.digest(document.key, self._seen) == (document.sha256, document.size_bytes)

        if fault := self._fault(look):
            self.report.findings.append(Finding(document.key, fault, repaired=False, StudyInstanceUID=""))

    def _check(self, pack: NamedPack) -> None:
        sidecar_fault, listing = self._sidecar_fault(pack)
        if fault := self._pack_fault(pack):
            self._note(pack, pack.key, fault, repaired=self._repair.restore_pack(pack, listing))
        if sidecar_fault:
            self._note(pack, pack.sidecar_key, sidecar_fault, repaired=self._repair.restore_sidecar(pack))

    def _note(self, pack: NamedPack, key: str, fault: Fault, *, repaired: bool) -> None:
        self.report.findings.append(Finding(key, fault, repaired, pack.StudyInstanceUID))

    def _pack_fault(self, pack: NamedPack) -> Fault | None:
        def look() -> bool:
            return self._store.digest(pack.key, self._seen) == (pack.sha256, pack.size_bytes)

        return self._fault(look)

    def _sidecar_fault(self, pack: NamedPack) -> tuple[Fault | None, PackRecord | None]:
        found: list[PackRecord] = []

        def look() -> bool:
            sidecar = self._read_sidecar(pack.sidecar_key)
            found.append(sidecar.pack)
            return _describes(sidecar, pack)

        fault = self._fault(look)
        return fault, found[-1] if fault is None else None

    def _fault(self, look: Callable[[], bool]) -> Fault | None:
        """What `look` finds wrong. A store that answers otherwise but twice not for this object has lost it."""
        for _ in range(2):
            try:
                return None if look() else "altered"
            except NotFound:
                return "missing"
            except IntegrityFault:
                return "altered"
            except ObjectStoreDown:
                self._ask()
        return "unreadable"

    def _ask(self) -> None:
        """Raise ObjectStoreDown where the bucket cannot be listed: then no object is to blame."""
        next(self._store.list("packs/"), None)

    def _read_sidecar(self, key: str) -> Sidecar:
        promised = self._store.stat(key)
        content = self._store.read_range(key, 0, promised.size_bytes)
        self._pace.spend(len(content))
        if promised.sha256 not in (None, hashlib.sha256(content).hexdigest()):
            raise IntegrityFault("索引文件已损坏", "The sidecar is damaged", code="sidecar_damaged")
        return read_sidecar(content)

    def _seen(self, size_bytes: int) -> None:
        self.report.bytes += size_bytes
        self._on_bytes(size_bytes)
        self._pace.spend(size_bytes)


def still_wrong(findings: Iterable[Finding]) -> int:
    """Count the findings that could not be repaired."""
    return sum(not finding.repaired for finding in findings)


def _describes(sidecar: Sidecar, pack: NamedPack) -> bool:
    record = sidecar.pack
    return (record.sha256, record.size_bytes, sidecar.role) == (pack.sha256, pack.size_bytes, pack.role)


class _Pace:
    """Waits so long that no more bytes than allowed pass in a second."""

    def __init__(self, bytes_per_second: float | None) -> None:
        self._bytes_per_second = bytes_per_second
        self._free_at = 0.0

    def spend(self, size_bytes: int) -> None:
        if self._bytes_per_second is None:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + size_bytes / self._bytes_per_second
        time.sleep(self._free_at - now)
