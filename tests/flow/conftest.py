"""A running exchange for flow tests."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from catalog.context import Catalogue
from catalog.db import transaction
from catalog.embedded import Embedded
from catalog.objects import ObjectStore
from dicom_node.ship import Shipper, ShipSettings
from dicom_node.spool import Spool
from tests.city import City, open_catalogue
from tests.faults.s3_proxy import open_proxy
from tests.flow.commitment_site import Modality, Site, listening_node
from tests.flow.harbour import FAST, NOW, Harbour
from tests.flow.running import PATIENT, Running


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`huren up` with hospitals A and B, A evaluated for everything in the city."""
    running = Running(tmp_path_factory.mktemp("up") / "data", PATIENT).start()
    register(running)
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log()


def register(running: Running) -> None:
    """Register hospital A with its PACS, and hospital B."""
    running.run(
        "hospital", "add", "A", "--name", "甲医院", "--tier", "3", "--region", "500103", "--ae", "A_PACS"
    )
    running.run(
        "hospital", "add", "B", "--name", "乙医院", "--tier", "2", "--region", "500107", "--ae", "B_PACS"
    )
    running.run("qc", "add", "A", "--all", "--scope", "50", "--from", "2020-01-01", "--to", "2099-12-31")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for files to send."""
    made = tmp_path / "outbox"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the module's keys."""
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def catalogue(database_url: str, keys: Path) -> Iterator[Catalogue]:
    """The module's catalogue, with hospitals H-A and H-B."""
    catalogue = open_catalogue(database_url, keys, lambda: NOW)
    city = City(catalogue)
    city.hospital("H-A")
    city.hospital("H-B")
    yield catalogue
    catalogue.engine.dispose()


@pytest.fixture
def harbour(
    embedded: Embedded,
    s3_store: ObjectStore,
    catalogue: Catalogue,
    database_url: str,
    keys: Path,
    tmp_path: Path,
) -> Iterator[Harbour]:
    """A harbour with an empty spool, an empty bucket and no studies."""
    access = embedded.services.s3
    assert access is not None
    with transaction(catalogue.engine) as session:
        session.execute(text("set local session_replication_role = replica"))  # the append-only guards off
        session.execute(text("truncate study, pack, conflict cascade"))
    with open_proxy(access.address) as proxy:
        own = replace(access, endpoint=proxy.endpoint, bucket=f"ship-{uuid4().hex}")
        with ObjectStore(own, read_seconds=3) as store:
            store.ensure_bucket()
            spool = Spool(tmp_path / "spool", low_water_bytes=0)
            shipper = Shipper(spool, store, catalogue, FAST)
            yield Harbour(spool, store, proxy, own, catalogue, database_url, keys, shipper)


@pytest.fixture
def site(
    embedded: Embedded, s3_store: ObjectStore, catalogue: Catalogue, database_url: str, tmp_path: Path
) -> Iterator[Site]:
    """A node, a shipper and what commits, with an empty spool, an empty bucket and nothing asked yet."""
    access = embedded.services.s3
    assert access is not None
    with transaction(catalogue.engine) as session:
        session.execute(text("set local session_replication_role = replica"))  # the append-only guards off
        session.execute(text("truncate study, pack, conflict, commitment cascade"))
        session.execute(text("update peer set host = null, port = null, tls = false, certificates = '{}'"))
    with open_proxy(access.address) as proxy, listening_node(tmp_path, database_url) as port:
        own = replace(access, endpoint=proxy.endpoint, bucket=f"commit-{uuid4().hex}")
        with ObjectStore(own, read_seconds=3) as store:
            store.ensure_bucket()
            spool = Spool(tmp_path / "spool", low_water_bytes=0)
            shipper = Shipper(spool, store, catalogue, ShipSettings(poll_seconds=0.02))
            yield Site(port, spool, store, proxy, catalogue, shipper, Modality(port))
