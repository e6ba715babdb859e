"""Sealed packs become objects and rows once each, whatever breaks on the way."""

import logging
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text, update

from catalog.context import Catalogue
from catalog.db import transaction
from catalog.embedded import Embedded
from catalog.tables import Hospital
from dicom_node.ship import Shipper
from dicom_node.spool import PackFile, Spool
from tests.faults.s3_proxy import Fault
from tests.flow.harbour import FAST, Harbour, put, reasons, running, series, wait_for
from tests.packs import ct, element, receive

pytestmark = pytest.mark.flow

PROCESS = Path(__file__).with_name("ship_process.py")


# --- what cannot be kept --------------------------------------------------------------------------------


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
        with psycopg.connect(embedded.services.owner_url, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS {str(connections).lower()}')
    try:
        yield
    finally:
        execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS {str(not connections).lower()}')


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
