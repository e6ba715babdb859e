"""An archive for tests: a spool, a bucket of its own and a catalogue with hospitals, with a shipper between them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from uuid import uuid4

from minio import Minio
from sqlalchemy import select, text

from catalog.context import Catalogue
from catalog.db import transaction
from catalog.embedded import Embedded
from catalog.objects import ObjectStore
from catalog.settings import S3Access
from catalog.tables import Pack
from dicom_node.ship import Shipper, ShipSettings
from dicom_node.spool import Spool
from tests.city import City, open_catalogue
from tests.flow.running import huren
from tests.packs import Sent, ct, receive

NOW = datetime(2025, 1, 3, 4, 0, tzinfo=UTC)
FAST = ShipSettings(first_delay_seconds=0.02, longest_delay_seconds=0.2, poll_seconds=0.02, tries=3)
HOSPITALS = ("H-A", "H-B", "H-C")
ROWS = "study, pack, conflict, result, identity_hold, person, alias"


@dataclass
class Archived:
    """What a test of the archive works with."""

    spool: Spool
    store: ObjectStore
    access: S3Access
    catalogue: Catalogue
    shipper: Shipper
    database_url: str

    def ship(self, *sent: Sent, hospital: str = "H-A") -> None:
        """Receive instances in one pack and ship it."""
        receive(self.spool, sent, hospital=hospital)
        assert self.shipper.ship_once() == 1

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command on this archive."""
        return huren(
            *arguments,
            "--data-dir",
            self.spool.root.parent,
            HUREN_DATABASE_URL=self.database_url,
            HUREN_S3_ENDPOINT=self.access.endpoint,
            HUREN_S3_ACCESS_KEY=self.access.access_key,
            HUREN_S3_SECRET_KEY=self.access.secret_key,
            HUREN_S3_BUCKET=self.access.bucket,
        )

    def packs(self) -> list[Pack]:
        """The rows, in the order in which they were registered."""
        with transaction(self.catalogue.engine) as session:
            return list(session.scalars(select(Pack).order_by(Pack.id)))

    def content(self, key: str) -> bytes:
        """A whole object."""
        return self.store.read_range(key, 0, self.store.stat(key).size_bytes)

    def contents(self) -> dict[str, bytes]:
        """The whole bucket."""
        return {found.key: self.content(found.key) for found in self.store.list()}

    def rot(self, key: str, content: bytes) -> None:
        """Replace an object's bytes under the promise it had, as a failing disk does."""
        promised = self.store.stat(key).sha256 or ""
        client = Minio(
            self.access.address,
            access_key=self.access.access_key,
            secret_key=self.access.secret_key,
            secure=False,
            region=self.access.region,
        )
        client.put_object(
            self.access.bucket, key, BytesIO(content), len(content), metadata={"sha256": promised}
        )

    def empty_catalogue(self) -> None:
        """Lose every row that a rebuild makes again, and the people with them."""
        with transaction(self.catalogue.engine) as session:
            session.execute(
                text("set local session_replication_role = replica")
            )  # the append-only guards off
            session.execute(text(f"truncate {ROWS} cascade"))


@contextmanager
def open_archived(embedded: Embedded, database_url: str, folder: Path) -> Iterator[Archived]:
    """Yield an archive whose bucket is empty."""
    embedded.wait_s3()
    assert embedded.services.s3 is not None
    catalogue = open_catalogue(database_url, folder, lambda: NOW)
    city = City(catalogue)
    for code in HOSPITALS:
        city.hospital(code)
    access = replace(embedded.services.s3, bucket=f"archive-{uuid4().hex}")
    with ObjectStore(access) as store:
        store.ensure_bucket()
        spool = Spool(folder / "spool", low_water_bytes=0)
        yield Archived(spool, store, access, catalogue, Shipper(spool, store, catalogue, FAST), database_url)
    catalogue.engine.dispose()


def series(study: str, count: int = 3, **attributes: object) -> list[Sent]:
    """Some small CT instances of one study."""
    return [ct(study, number, **attributes) for number in range(1, count + 1)]
