"""The whole way of an instance: C-STORE to a node of its own process, shipped to a real store and database."""

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from sqlalchemy import select

from catalog.context import Catalogue
from catalog.db import transaction
from catalog.embedded import Embedded
from catalog.objects import ObjectStore
from catalog.tables import Pack, Study
from dicom_node.sender import SendSummary, send_folder
from dicom_node.ship import Shipper, ShipSettings
from dicom_node.sidecar import Sidecar, read_sidecar
from dicom_node.spool import Spool, read_pack
from tests.city import City, open_catalogue
from tests.dicom_node.raw_peer import RawPeer, wait_until

NOW = datetime(2026, 6, 30, 4, 0, tzinfo=UTC)
STORED = "stored"


@dataclass
class Passage:
    """A running node, and the shipper, store and catalogue behind its spool."""

    root: Path
    port: int
    spool: Spool
    shipper: Shipper
    store: ObjectStore
    catalogue: Catalogue

    def send(self, paths: Iterable[Path]) -> SendSummary:
        """Send Part 10 files as our own SCU does."""
        return send_folder(paths, "127.0.0.1", self.port, "HUREN", "RAW")

    def ship(self) -> None:
        """Ship everything received so far; whatever cannot be shipped at once is a failure."""
        wait_until(lambda: not any((self.root / "spool" / "open").iterdir()))
        self.shipper.ship_once()
        assert self.shipper.status()["outage"] is None
        assert self.spool.sealed() == [], "a pack failed in a way that is not its instances'"

    def is_answering(self) -> bool:
        """Say whether a new association is accepted."""
        with RawPeer(self.port) as peer:
            return peer.associate()[:1] == b"\x02"

    def sidecars(self) -> list[Sidecar]:
        """Return the sidecar of every registered pack, read from the store."""
        with transaction(self.catalogue.engine) as session:
            keys = list(session.scalars(select(Pack.sidecar_key)))
        return [read_sidecar(self.store.read_range(key, 0, self.store.stat(key).size_bytes)) for key in keys]

    def outcomes(self) -> dict[str, str]:
        """Return SHA-256 of each data set → `stored`, or the reason it is in quarantine for."""
        return self._archived() | self._quarantined()

    def flaws(self) -> dict[str, tuple[str, ...]]:
        """Return SHA-256 of each archived data set → what was found wrong with it."""
        return {
            one.record.sha256: one.record.flaws for sidecar in self.sidecars() for one in sidecar.instances
        }

    def studies(self) -> dict[str, Study]:
        """Return the catalogue's rows by StudyInstanceUID, detached."""
        with transaction(self.catalogue.engine) as session:
            rows = {study.uid: study for study in session.scalars(select(Study))}
            session.expunge_all()
            return rows

    def _archived(self) -> dict[str, str]:
        """Every instance's bytes are fetched by the sidecar's offsets: what is there is what counts."""
        found = {}
        for sidecar in self.sidecars():
            pack = self.store.read_range(sidecar.pack.key, 0, sidecar.pack.size_bytes)
            for one in sidecar.pack.instances:
                data = pack[one.dataset_offset : one.dataset_offset + one.dataset_size_bytes]
                found[hashlib.sha256(data).hexdigest()] = STORED
        return found

    def _quarantined(self) -> dict[str, str]:
        found = {}
        for pack in self.spool.quarantined():
            reason = json.loads(pack.path.with_suffix(".reason").read_text())["reason"]
            found |= {member.sha256: str(reason) for member in read_pack(pack.path).members}
        return found


@contextmanager
def open_passage(root: Path, embedded: Embedded, database_url: str) -> Iterator[Passage]:
    """Start a node with one worker, and open what is behind it; no log of it may hold a traceback."""
    catalogue = open_catalogue(database_url, root / "keys", lambda: NOW)
    City(catalogue).hospital("H-A")
    embedded.wait_s3()
    assert embedded.services.s3 is not None
    access = replace(embedded.services.s3, bucket=f"passage-{uuid4().hex}")
    with (
        ObjectStore(access) as store,
        _node(root) as port,
    ):
        store.ensure_bucket()
        spool = Spool(root / "spool", low_water_bytes=0)
        shipper = Shipper(spool, store, catalogue, ShipSettings(tries=1))
        yield Passage(root, port, spool, shipper, store, catalogue)
    catalogue.engine.dispose()


@contextmanager
def _node(root: Path) -> Iterator[int]:
    """Run a node as a process; gives its port."""
    command = [sys.executable, "-m", "tests.dicom_node.node_process", str(root), "0", "1"]
    log = root / "node.log"
    with log.open("w") as errors:
        node = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert node.stdout is not None
        word, port = node.stdout.readline().split()
        assert word == "ready"
        yield int(port)
    finally:
        node.send_signal(signal.SIGTERM)
        assert node.wait(20) == 0
        node.stdout.close()
    assert "Traceback" not in log.read_text()
