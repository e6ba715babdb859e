"""Between a spool and the archive: what the tests of shipping stand on."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, select

from catalog.context import Catalogue
from catalog.db import transaction
from catalog.objects import ObjectStore
from catalog.settings import S3Access
from catalog.tables import Conflict, Pack, Study
from dicom_node.ship import Shipper, ShipSettings
from dicom_node.sidecar import Sidecar, read_sidecar
from dicom_node.spool import Spool
from tests.faults.s3_proxy import S3Proxy
from tests.packs import Sent, ct

FAST = ShipSettings(first_delay_seconds=0.02, longest_delay_seconds=0.2, poll_seconds=0.02, tries=3)
NOW = datetime(2025, 1, 3, 4, 0, tzinfo=UTC)


@dataclass
class Harbour:
    """A spool, a store behind a proxy, a catalogue with hospitals H-A and H-B, and a shipper between them."""

    spool: Spool
    store: ObjectStore
    proxy: S3Proxy
    access: S3Access
    catalogue: Catalogue
    database_url: str
    keys: Path
    shipper: Shipper

    def ship(self) -> int:
        return self.shipper.ship_once()

    def rows(self) -> tuple[int, int, int]:
        """Studies, packs and conflicts in the catalogue."""
        with transaction(self.catalogue.engine) as session:
            studies_, packs, conflicts = (
                session.scalar(select(func.count()).select_from(table)) or 0
                for table in (Study, Pack, Conflict)
            )
            return studies_, packs, conflicts

    def objects(self) -> set[str]:
        return {found.key for found in self.store.list()}

    def sidecars(self) -> list[Sidecar]:
        """The sidecar of every registered pack, as the catalogue names them."""
        with transaction(self.catalogue.engine) as session:
            keys = list(session.scalars(select(Pack.sidecar_key).order_by(Pack.id)))
        return [read_sidecar(self.store.read_range(key, 0, self.store.stat(key).size_bytes)) for key in keys]

    def stored(self) -> dict[tuple[str, str], bytes]:
        """The data sets of every instance, (SOPInstanceUID, role) → bytes, read by the sidecars' offsets."""
        return {
            (one.SOPInstanceUID, sidecar.role): self.store.read_range(
                sidecar.pack.key, one.dataset_offset, one.dataset_size_bytes
            )
            for sidecar in self.sidecars()
            for one in sidecar.pack.instances
        }

    def no_orphans(self) -> bool:
        """Every object is named by a row, and every row's objects are there."""
        with transaction(self.catalogue.engine) as session:
            named = {key for row in session.execute(select(Pack.key, Pack.sidecar_key)) for key in row}
        return named == self.objects()


@contextmanager
def running(shipper: Shipper) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=shipper.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def put(method: str, path: str) -> bool:
    return method == "PUT" and path.endswith((".tar", ".json.gz"))


def series(study: str, count: int = 3, **attributes: object) -> list[Sent]:
    return [ct(study, number, **attributes) for number in range(1, count + 1)]


# --- what is kept ---------------------------------------------------------------------------------------


def reasons(spool: Spool) -> list[str]:
    return sorted(
        path.read_text().split('"reason": "')[1].split('"')[0] for path in spool.root.rglob("*.reason")
    )
