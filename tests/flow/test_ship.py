"""Sealed packs become objects and rows, once each, whatever breaks on the way."""

import hashlib
import logging
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import psycopg
import pydicom
import pytest
from sqlalchemy import func, select, text, update

from catalog import studies
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.embedded import Embedded
from catalog.errors import Conflict as ConflictError
from catalog.objects import ObjectStore
from catalog.settings import S3Access
from catalog.tables import Conflict, Hospital, Pack, Study
from dicom_node.ship import Shipper, ShipSettings
from dicom_node.sidecar import Sidecar, read_sidecar
from dicom_node.spool import PackFile, Spool
from tests.city import City, open_catalogue
from tests.faults.s3_proxy import Fault, S3Proxy, open_proxy
from tests.packs import Sent, ct, element, from_file, receive

pytestmark = pytest.mark.flow

FAST = ShipSettings(first_delay_seconds=0.02, longest_delay_seconds=0.2, poll_seconds=0.02, tries=3)
NOW = datetime(2025, 1, 3, 4, 0, tzinfo=UTC)
PROCESS = Path(__file__).with_name("ship_process.py")


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


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def catalogue(database_url: str, keys: Path) -> Iterator[Catalogue]:
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


def test_every_instance_of_a_pack_comes_back_byte_identical_by_its_offsets(harbour: Harbour) -> None:
    sent = series("2.25.100", 5)
    receive(harbour.spool, sent)
    assert harbour.ship() == 1
    assert harbour.stored() == {(one.SOPInstanceUID, "archive"): one.data for one in sent}
    assert harbour.rows() == (1, 1, 0)
    assert harbour.no_orphans()
    assert harbour.spool.sealed() == []
    assert len(harbour.spool.shipped()) == 1


def test_a_pack_of_one_study_is_the_object_itself_and_plain_tar_opens_it(harbour: Harbour) -> None:
    index = receive(harbour.spool, series("2.25.100"))
    content = index.path.read_bytes()
    harbour.ship()
    (sidecar,) = harbour.sidecars()
    assert harbour.store.digest(sidecar.pack.key) == (hashlib.sha256(content).hexdigest(), len(content))
    stored = harbour.store.read_range(sidecar.pack.key, 0, len(content))
    with tarfile.open(fileobj=BytesIO(stored)) as tar:
        member = tar.extractfile("2.25.100.1.2.dcm")
        assert member is not None
        assert pydicom.dcmread(BytesIO(member.read())).SOPInstanceUID == "2.25.100.1.2"


def test_frames_are_read_from_the_store_by_the_sidecar_alone(harbour: Harbour) -> None:
    receive(harbour.spool, series("2.25.100", 2))
    harbour.ship()
    (sidecar,) = harbour.sidecars()
    for number, one in enumerate(sidecar.instances, start=1):
        ((at, size),) = one.frames
        assert harbour.store.read_range(sidecar.pack.key, at, size) == bytes([number]) * 128
        assert one.record.metadata["00080018"]["Value"] == [f"2.25.100.1.{number}"]


def test_the_study_says_what_its_headers_say(harbour: Harbour) -> None:
    receive(harbour.spool, series("2.25.100", 2, AccessionNumber="ACC1"))
    harbour.ship()
    with transaction(harbour.catalogue.engine) as session:
        study = session.scalars(select(Study)).one()
        assert (study.patient_name, study.patient_id, study.accession_number) == (
            "测试^甲",
            "TEST-0001",
            "ACC1",
        )
        assert (study.instance_count, study.series_count, study.modalities) == (2, 1, ["CT"])
        assert study.exam_time == datetime(2025, 1, 2, 2, 15, tzinfo=UTC)
        assert study.facts["study_description"] == "胸部CT平扫"
        assert not study.quality_flagged


def test_two_studies_in_one_pack_become_two_packs(harbour: Harbour) -> None:
    sent = [*series("2.25.100"), *series("2.25.200", 2)]
    receive(harbour.spool, [sent[0], sent[3], sent[1], sent[4], sent[2]])
    harbour.ship()
    assert harbour.rows() == (2, 2, 0)
    assert harbour.stored() == {(one.SOPInstanceUID, "archive"): one.data for one in sent}
    assert [len({i.SeriesInstanceUID for i in s.pack.instances}) for s in harbour.sidecars()] == [1, 1]
    assert harbour.no_orphans()
    assert list((harbour.spool.root / "work").iterdir()) == []


def test_sending_everything_twice_changes_nothing(harbour: Harbour) -> None:
    sent = [*series("2.25.100"), *series("2.25.200")]
    receive(harbour.spool, sent)
    harbour.ship()
    before = harbour.rows(), harbour.objects(), harbour.stored()
    receive(harbour.spool, sent)
    receive(harbour.spool, list(reversed(sent)), hospital="H-B")
    assert harbour.ship() == 2
    assert (harbour.rows(), harbour.objects(), harbour.stored()) == before
    assert harbour.shipper.counters()["duplicates"] == 12


def test_a_study_grows_by_what_is_new_only(harbour: Harbour) -> None:
    sent = series("2.25.100", 4)
    receive(harbour.spool, sent[:2])
    harbour.ship()
    receive(harbour.spool, sent[1:])
    harbour.ship()
    assert harbour.rows() == (1, 2, 0)
    assert [len(sidecar.pack.instances) for sidecar in harbour.sidecars()] == [2, 2]
    assert harbour.stored() == {(one.SOPInstanceUID, "archive"): one.data for one in sent}


def test_the_same_uid_with_other_bytes_is_kept_apart_and_listed(harbour: Harbour) -> None:
    first, other = ct("2.25.100", 1), ct("2.25.100", 1, pixels=b"\xff" * 128)
    receive(harbour.spool, [first])
    harbour.ship()
    for _ in range(2):
        receive(harbour.spool, [other, ct("2.25.100", 2)])
        harbour.ship()
    assert harbour.stored() == {
        ("2.25.100.1.1", "archive"): first.data,
        ("2.25.100.1.2", "archive"): ct("2.25.100", 2).data,
        ("2.25.100.1.1", "conflict"): other.data,
    }
    with transaction(harbour.catalogue.engine) as session:
        (listed,) = studies.conflicts(session)
        assert session.scalars(select(Study)).one().uid_conflict
    assert (listed["kind"], listed["sha256"], listed["first_sha256"]) == (
        "other_bytes",
        other.sha256,
        first.sha256,
    )
    assert harbour.no_orphans()


def test_an_instance_for_another_hospitals_or_patients_study_is_kept_apart(harbour: Harbour) -> None:
    receive(harbour.spool, [ct("2.25.100", 1)])
    receive(harbour.spool, [ct("2.25.100", 2)], hospital="H-B")
    receive(harbour.spool, [ct("2.25.100", 3, PatientID="TEST-0002")])
    harbour.ship()
    assert harbour.rows() == (1, 3, 2)
    with transaction(harbour.catalogue.engine) as session:
        assert {row["kind"] for row in studies.conflicts(session)} == {"other_owner"}
    assert [sidecar.role for sidecar in harbour.sidecars()] == ["archive", "conflict", "conflict"]


def test_two_patients_under_one_new_study_are_never_joined(harbour: Harbour) -> None:
    receive(harbour.spool, [ct("2.25.100", 1), ct("2.25.100", 2, PatientID="TEST-0002")])
    harbour.ship()
    assert harbour.rows() == (1, 2, 1)


def test_an_instance_twice_in_one_pack_is_kept_once(harbour: Harbour) -> None:
    receive(harbour.spool, [ct("2.25.100", 1), ct("2.25.100", 1), ct("2.25.100", 1, pixels=b"\xff" * 128)])
    harbour.ship()
    assert harbour.rows() == (1, 2, 1)
    assert len(harbour.stored()) == 2


def test_real_ct_and_mr_files_are_kept_as_they_are(harbour: Harbour) -> None:
    files = Path(pydicom.__file__).parent / "data" / "test_files"
    sent = [
        from_file(files / name) for name in ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "image_dfl.dcm")
    ]
    receive(harbour.spool, sent)
    harbour.ship()
    assert harbour.stored() == {(one.SOPInstanceUID, "archive"): one.data for one in sent}


# --- what cannot be kept --------------------------------------------------------------------------------


def reasons(spool: Spool) -> list[str]:
    return sorted(
        path.read_text().split('"reason": "')[1].split('"')[0] for path in spool.root.rglob("*.reason")
    )


def test_an_unreadable_instance_is_put_aside_and_the_others_ship(harbour: Harbour) -> None:
    nameless = replace(ct("2.25.100", 9), data=element(0x00100020, b"LO", b"T1"))
    receive(harbour.spool, [*series("2.25.100", 2), nameless, ct("2.25.100", 3)])
    assert harbour.ship() == 1
    assert len(harbour.stored()) == 3
    (aside,) = harbour.spool.quarantined()
    assert reasons(harbour.spool) == ["study_uid_missing"]
    with tarfile.open(aside.path) as tar:
        assert tar.getnames() == ["2.25.100.1.9.dcm"]


def test_a_pack_nothing_of_which_can_be_read_goes_into_quarantine_itself(harbour: Harbour) -> None:
    receive(harbour.spool, [replace(ct("2.25.100", 9), data=b"\x01\x02")])
    harbour.ship()
    assert (harbour.spool.shipped(), len(harbour.spool.quarantined())) == ([], 1)
    assert harbour.rows() == (0, 0, 0)


def test_a_pack_of_a_hospital_removed_since_goes_into_quarantine(harbour: Harbour) -> None:
    receive(harbour.spool, series("2.25.100"))
    with transaction(harbour.catalogue.engine) as session:
        session.execute(update(Hospital).where(Hospital.code == "H-A").values(active=False))
    try:
        harbour.ship()
    finally:
        with transaction(harbour.catalogue.engine) as session:
            session.execute(update(Hospital).values(active=True))
    assert reasons(harbour.spool) == ["unknown_hospital"]
    assert harbour.objects() == set()


def test_a_pack_that_never_works_does_not_delay_the_others(harbour: Harbour) -> None:
    bad = receive(harbour.spool, series("2.25.100"))
    with bad.path.open("r+b") as file:
        file.truncate(3000)
    for number in range(200, 230):
        receive(harbour.spool, series(f"2.25.{number}", 1))
    with running(harbour.shipper):
        wait_for(lambda: harbour.rows()[0] == 30)
        wait_for(lambda: reasons(harbour.spool) == ["pack_damaged"])
    counted = harbour.shipper.counters()
    assert (counted["shipped"], counted["quarantined_packs"], counted["retries"]) == (30, 1, FAST.tries)


def test_no_word_of_a_patient_reaches_the_log(harbour: Harbour, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="huren")
    canary = "CANARY^NAME"
    receive(harbour.spool, [ct("2.25.100", 1, PatientName=canary, PatientID="CANARY-ID")])
    receive(harbour.spool, [replace(ct("2.25.200", 1), data=element(0x00100010, b"PN", b"CANARY"))])
    with transaction(
        harbour.catalogue.engine
    ) as session:  # makes registering fail with the row in the message
        session.execute(text("alter table study add constraint never check (patient_name <> 'CANARY^NAME')"))
    try:
        for _ in range(FAST.tries):
            harbour.ship()
    finally:
        with transaction(harbour.catalogue.engine) as session:
            session.execute(text("alter table study drop constraint never"))
    assert reasons(harbour.spool) == ["internal_error", "study_uid_missing"]
    assert caplog.records
    assert "CANARY" not in caplog.text


# --- stores that fail -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".tar", ".json.gz"])
def test_a_store_that_says_200_and_keeps_nothing_is_detected(harbour: Harbour, suffix: str) -> None:
    sent = series("2.25.100")
    receive(harbour.spool, sent)
    harbour.proxy.fault = Fault("swallow", lambda method, path: method == "PUT" and path.endswith(suffix))
    for _ in range(FAST.tries + 2):
        assert harbour.ship() == 0
    assert harbour.shipper.status()["outage"] == "read_back_failed"
    assert (harbour.rows(), harbour.spool.quarantined()) == ((0, 0, 0), [])
    harbour.proxy.fault = None
    assert harbour.ship() == 1
    assert harbour.stored() == {(one.SOPInstanceUID, "archive"): one.data for one in sent}
    assert harbour.shipper.counters()["read_back_failures"] == FAST.tries + 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault("refuse"),
        Fault("error"),
        Fault("refuse", put),
        Fault("error", put),
        Fault("cut", put),
        Fault(
            "cut",
            lambda method, path: method == "GET" and path.endswith((".tar", ".json.gz")),
            after_bytes=50,
        ),
        Fault(
            "corrupt",
            lambda method, path: method == "GET" and path.endswith((".tar", ".json.gz")),
            statuses=range(200, 300),
        ),
        Fault("corrupt", statuses=range(400, 500)),
    ],
    ids=[
        "all refused",
        "all 500",
        "PUT refused",
        "PUT 500",
        "PUT cut",
        "GET cut",
        "wrong bytes",
        "wrong words",
    ],
)
def test_a_store_that_fails_holds_nothing_up_but_shipping_and_loses_nothing(
    harbour: Harbour, fault: Fault
) -> None:
    sent = series("2.25.100")
    receive(harbour.spool, sent)
    harbour.proxy.fault = fault
    for _ in range(3):
        assert harbour.ship() == 0
    assert fault.hits > 0
    assert (harbour.rows(), harbour.spool.quarantined(), len(harbour.spool.sealed())) == ((0, 0, 0), [], 1)
    harbour.proxy.fault = None
    assert harbour.ship() == 1
    assert harbour.stored() == {(one.SOPInstanceUID, "archive"): one.data for one in sent}
    assert harbour.no_orphans()


def test_a_lost_answer_to_a_put_makes_no_second_object(harbour: Harbour) -> None:
    receive(harbour.spool, series("2.25.100"))
    harbour.proxy.fault = Fault("mute", put)
    for _ in range(3):
        harbour.ship()
    harbour.proxy.fault = None
    harbour.ship()
    assert (harbour.rows(), len(harbour.objects())) == ((1, 1, 0), 2)


def test_the_backlog_drains_by_itself_when_the_store_returns(harbour: Harbour) -> None:
    harbour.proxy.fault = Fault("refuse")
    with running(harbour.shipper):
        for number in range(100, 110):
            receive(harbour.spool, series(f"2.25.{number}", 2))
        wait_for(lambda: harbour.shipper.status()["outage"] == "object_store_down")
        assert harbour.shipper.backlog()[0] == 10
        harbour.proxy.fault = None
        wait_for(lambda: harbour.shipper.backlog()[0] == 0)
    assert (harbour.rows(), harbour.shipper.status()["outage"]) == ((10, 10, 0), None)
    assert harbour.spool.quarantined() == []


def test_an_outage_of_the_database_is_waited_out(harbour: Harbour, embedded: Embedded) -> None:
    receive(harbour.spool, series("2.25.100"))
    harbour.catalogue.engine.dispose()
    name = harbour.database_url.rpartition("/")[2]
    with allowed(embedded, name, False):
        for _ in range(FAST.tries + 1):
            assert harbour.ship() == 0
        assert harbour.shipper.status()["outage"] == "database_down"
    assert harbour.ship() == 1
    assert (harbour.rows(), harbour.spool.quarantined()) == ((1, 1, 0), [])


@contextmanager
def allowed(embedded: Embedded, database: str, connections: bool) -> Iterator[None]:
    def execute(statement: str) -> None:
        with psycopg.connect(embedded.services.database_url, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS {str(connections).lower()}')
    try:
        yield
    finally:
        execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS {str(not connections).lower()}')


# --- in parallel, and as a loop -------------------------------------------------------------------------


def test_a_study_in_many_packs_is_shipped_by_several_workers_without_loss(harbour: Harbour) -> None:
    sent = [ct("2.25.100", number) for number in range(1, 41)]
    for start in range(0, 40, 2):
        receive(harbour.spool, sent[start : start + 2])
    shipper = Shipper(harbour.spool, harbour.store, harbour.catalogue, replace(FAST, workers=4))
    with running(shipper):
        wait_for(lambda: shipper.backlog()[0] == 0)
    assert harbour.stored() == {(one.SOPInstanceUID, "archive"): one.data for one in sent}
    assert harbour.rows() == (1, 20, 0)
    assert harbour.no_orphans()


def test_two_nodes_that_send_one_study_at_once_keep_it_once(harbour: Harbour, tmp_path: Path) -> None:
    sent = series("2.25.100", 20)
    spools = [Spool(tmp_path / name, low_water_bytes=0) for name in ("one", "two")]
    for spool in spools:
        for start in range(0, 20, 4):
            receive(spool, sent[start : start + 4])
    shippers = [Shipper(spool, harbour.store, harbour.catalogue, FAST) for spool in spools]
    with running(shippers[0]), running(shippers[1]):
        wait_for(lambda: sum(shipper.backlog()[0] for shipper in shippers) == 0)
    archived = [one.SOPInstanceUID for sidecar in harbour.sidecars() for one in sidecar.pack.instances]
    assert sorted(archived) == sorted(one.SOPInstanceUID for one in sent)
    assert harbour.no_orphans()
    assert [spool.quarantined() for spool in spools] == [[], []]
    assert [shipper.counters().get("retries", 0) for shipper in shippers] == [0, 0]


def test_a_study_is_visible_within_two_seconds_of_being_sealed(harbour: Harbour) -> None:
    shipper = Shipper(harbour.spool, harbour.store, harbour.catalogue)
    with running(shipper):
        receive(harbour.spool, series("2.25.1", 1))
        wait_for(lambda: harbour.rows()[0] == 1)
        began = time.monotonic()
        receive(harbour.spool, series("2.25.100", 10))
        wait_for(lambda: harbour.rows()[0] == 2, seconds=2)
        assert time.monotonic() - began < 2


def test_one_spool_has_one_shipper(harbour: Harbour) -> None:
    with running(harbour.shipper):
        other = Shipper(harbour.spool, harbour.store, harbour.catalogue)
        receive(harbour.spool, series("2.25.100"))
        wait_for(lambda: harbour.rows()[0] == 1)
        with pytest.raises(ConflictError):
            other.ship_once()


# --- release --------------------------------------------------------------------------------------------


def shipped_and_due(harbour: Harbour) -> Shipper:
    receive(harbour.spool, [*series("2.25.100"), *series("2.25.200")])
    harbour.ship()
    return Shipper(harbour.spool, harbour.store, harbour.catalogue, replace(FAST, grace_seconds=0))


def test_a_shipped_pack_stays_for_its_grace_time_and_is_then_released(harbour: Harbour) -> None:
    due = shipped_and_due(harbour)
    assert harbour.shipper.release_due() == 0
    assert due.release_due() == 1
    assert harbour.spool.shipped() == []
    assert list((harbour.spool.root / "receipts").iterdir()) == []


def test_a_pack_whose_object_is_gone_is_not_released(harbour: Harbour) -> None:
    due = shipped_and_due(harbour)
    harbour.store.delete(harbour.sidecars()[1].pack.key)
    assert due.release_due() == 0
    assert len(harbour.spool.shipped()) == 1
    assert due.counters()["release_refused"] == 1


def test_a_duplicate_is_not_released_either_when_what_it_repeats_is_altered(harbour: Harbour) -> None:
    shipped_and_due(harbour).release_due()
    receive(harbour.spool, series("2.25.100"))
    harbour.ship()
    harbour.store.put_bytes(harbour.sidecars()[0].pack.key, b"something else")
    due = Shipper(harbour.spool, harbour.store, harbour.catalogue, replace(FAST, grace_seconds=0))
    assert due.release_due() == 0


def test_what_an_interrupted_run_left_is_swept(harbour: Harbour) -> None:
    (harbour.spool.root / "work" / ".left.part").write_bytes(b"half a pack")
    harbour.ship()
    assert list((harbour.spool.root / "work").iterdir()) == []


# --- killed between the steps ---------------------------------------------------------------------------


@contextmanager
def killed(harbour: Harbour) -> Iterator[None]:
    """Ship in a process of its own, which is killed where the block ends."""
    access = harbour.access
    arguments = [harbour.spool.root, harbour.database_url, harbour.keys, access.endpoint]
    with subprocess.Popen(
        [sys.executable, PROCESS, *arguments, access.access_key, access.secret_key, access.bucket]
    ) as process:
        try:
            yield
        finally:
            process.kill()


def waiting_for_a_lock(catalogue: Catalogue) -> bool:
    with catalogue.engine.connect() as connection:
        query = text("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
        return bool(connection.scalar(query))


@pytest.mark.parametrize("suffix", [".tar", ".json.gz"])
@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize("occurrence", ["first", "last"])
def test_killed_at_a_request_to_the_store_and_run_again_keeps_everything_once(
    harbour: Harbour, method: str, suffix: str, occurrence: str
) -> None:
    sent = [*series("2.25.100"), *series("2.25.200", 2)]
    receive(harbour.spool, sent)
    seen = {"first": 0, "last": 3 if method == "GET" else 1}[occurrence]
    kill_at(harbour, method, suffix, seen)
    assert harbour.ship() == 1
    assert harbour.stored() == {(one.SOPInstanceUID, "archive"): one.data for one in sent}
    assert harbour.rows() == (2, 2, 0)
    assert harbour.no_orphans()
    assert list((harbour.spool.root / "work").iterdir()) == []


def kill_at(harbour: Harbour, method: str, suffix: str, passed: int) -> None:
    """Start a shipper, let `passed` such requests through, hold the next one and kill the process there."""
    counted = iter(range(1000))
    fault = Fault("hold", lambda m, path: m == method and path.endswith(suffix) and next(counted) >= passed)
    harbour.proxy.fault = fault
    with killed(harbour):
        assert fault.reached.wait(30)
    fault.released.set()
    harbour.proxy.fault = None


def test_killed_while_it_registers_and_run_again_keeps_everything_once(harbour: Harbour) -> None:
    receive(harbour.spool, series("2.25.100"))
    with harbour.catalogue.engine.connect() as blocking, blocking.begin():
        blocking.execute(text("lock table pack in access exclusive mode"))
        with killed(harbour):
            wait_for(lambda: waiting_for_a_lock(harbour.catalogue))
    assert harbour.ship() == 1
    assert (harbour.rows(), harbour.no_orphans()) == ((1, 1, 0), True)


def test_killed_after_the_commit_and_run_again_changes_nothing(harbour: Harbour) -> None:
    receive(harbour.spool, [*series("2.25.100"), *series("2.25.200")])
    harbour.ship()
    before = harbour.rows(), harbour.objects()
    (pack,) = harbour.spool.shipped()
    back(harbour.spool, pack)
    assert harbour.ship() == 1
    assert (harbour.rows(), harbour.objects()) == before
    due = Shipper(harbour.spool, harbour.store, harbour.catalogue, replace(FAST, grace_seconds=0))
    assert due.release_due() == 1


def back(spool: Spool, pack: PackFile) -> None:
    """What the spool looks like to whoever was killed before the last rename."""
    pack.path.rename(spool.root / "sealed" / pack.path.name)
