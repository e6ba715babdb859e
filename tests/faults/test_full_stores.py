"""D4: the volume of PostgreSQL, of S3 and of the node's own tables is full: everything is acknowledged all the same."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from catalog.context import Catalogue
from catalog.db import open_engine
from catalog.embedded import Embedded
from catalog.objects import ObjectStore
from catalog.settings import S3Access
from tests.city import City, open_catalogue, prepare
from tests.dicom_node.raw_peer import RawPeer, wait_until
from tests.faults.run_record import RunRecord
from tests.faults.served import Served, serving
from tests.faults.volumes import no_bytes
from tests.flow.harbour import NOW

pytestmark = pytest.mark.long

ROUNDS = 25
RECOVERY_SECONDS = 30.0
POSTGRES_MIB, S3_MIB, RUN_MIB = 256, 64, 4

Mount = Callable[[Path, int], Path]


@pytest.fixture
def access(embedded: Embedded, s3_store: ObjectStore) -> S3Access:
    """A bucket of the test's own."""
    assert embedded.services.s3 is not None
    return replace(embedded.services.s3, bucket=f"full-{uuid4().hex}")


@contextmanager
def catalogued(database_url: str, keys: Path) -> Iterator[Catalogue]:
    catalogue = open_catalogue(database_url, keys, lambda: NOW)
    City(catalogue).hospital("H-A")
    try:
        yield catalogue
    finally:
        catalogue.engine.dispose()


def filled_in_turn(served: Served, volume: Path, record: RunRecord, own: Embedded) -> None:
    """Fill the volume a store is on again and again: shipping waits for it, no sender does.

    A server that ended for want of room (PostgreSQL does where its log needs a new segment) is started again, as `huren
    up` does.
    """
    served.recovers(RECOVERY_SECONDS)
    for number in range(ROUNDS):
        with no_bytes(volume):
            served.waits()
            served.goes_on(10)
        served.recovers(RECOVERY_SECONDS, meanwhile=own.check)
        record.progress(rounds=number + 1, longest_recovery=max(served.recoveries))
    served.close(record)


def test_while_the_volume_of_the_database_is_full_shipping_waits_and_no_sender_does(
    small_volume: Mount, tmp_path: Path, access: S3Access, record: RunRecord
) -> None:
    volume = small_volume(tmp_path / "own" / "postgres", POSTGRES_MIB)
    with Embedded(tmp_path / "own", own=True, s3=False) as own:
        engine = open_engine(own.services.owner_url)
        prepare(engine)
        engine.dispose()
        with (
            catalogued(own.services.database_url, tmp_path / "keys") as catalogue,
            ObjectStore(access) as store,
            serving(tmp_path, store, catalogue, record) as served,
        ):
            filled_in_turn(served, volume, record, own)


def test_while_the_volume_of_the_object_store_is_full_shipping_waits_and_no_sender_does(
    small_volume: Mount, tmp_path: Path, fresh_database_url: str, record: RunRecord
) -> None:
    volume = small_volume(tmp_path / "own" / "s3", S3_MIB)
    with (
        Embedded(tmp_path / "own", own=True, postgres=False) as own,
        catalogued(fresh_database_url, tmp_path / "keys") as catalogue,
    ):
        own.wait_s3()
        assert own.services.s3 is not None
        with ObjectStore(own.services.s3) as store, serving(tmp_path, store, catalogue, record) as served:
            filled_in_turn(served, volume, record, own)


def test_while_the_volume_of_the_nodes_own_files_is_full_every_peer_is_served(
    small_volume: Mount, tmp_path: Path, fresh_database_url: str, access: S3Access, record: RunRecord
) -> None:
    volume = small_volume(tmp_path / "run", RUN_MIB)
    with (
        catalogued(fresh_database_url, tmp_path / "keys") as catalogue,
        ObjectStore(access) as store,
        serving(tmp_path, store, catalogue, record) as served,
    ):
        for number in range(ROUNDS):
            with no_bytes(volume):
                refuse_a_stranger(served.node.said, number)
                served.goes_on()
                served.recovers(RECOVERY_SECONDS)
            before = counted(volume)
            wait_until(lambda before=before: counted(volume) > before, RECOVERY_SECONDS)
            record.progress(rounds=number + 1, longest_recovery=max(served.recoveries))
        served.close(record)
        wait_until(lambda: not list(volume.rglob("*.part")))


def refuse_a_stranger(port: int, number: int) -> None:
    """Call under a title nobody knows, from an address of its own: it is noted in the table and for the audit."""
    with RawPeer(port, f"127.0.1.{number + 1}") as peer:
        assert peer.associate(calling=b"STRANGER")[:1] == b"\x03"


def counted(run: Path) -> int:
    """How many instances the node's counters speak of."""
    total = 0
    for path in (run / "metrics").glob("*.json"):
        total += sum(json.loads(path.read_text())["counters"].get("associations", {}).values())
    return total
