"""What must hold while a store is down, a disk is full, or everything is killed."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydicom.uid import generate_uid

from catalog.embedded import Services
from tests.city import id_number
from tests.faults.s3_proxy import Fault, open_proxy
from tests.flow.conftest import register
from tests.flow.running import Running, huren, make_instance, until

pytestmark = [pytest.mark.flow, pytest.mark.long]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Running]:
    """An exchange of the test's own, stopped at the end if it still runs."""
    running = Running(tmp_path / "data")
    yield running
    if running.process is not None:
        running.stop()
    assert "Traceback" not in running.log()


def send(running: Running, folder: Path) -> dict[str, Any]:
    """Send a folder as hospital A and return the summary."""
    to = f"127.0.0.1:{running.dicom_port}"
    done = running.run("send", folder, "--to", to, "--calling", "A_PACS", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def a_study(folder: Path, instances: int = 1, **changes: Any) -> str:
    """Write a study of a woman who had a chest CT two days ago."""
    study = generate_uid()
    done = f"{datetime.now(UTC) - timedelta(days=2):%Y%m%d}"
    for number in range(instances):
        make_instance(
            folder / f"{study}-{number}.dcm",
            StudyInstanceUID=study,
            PatientID=id_number(2),
            PatientName="Lin^Xiaoyu",
            PatientBirthDate="19800517",
            PatientSex="F",
            StudyDescription="Chest CT plain",
            ContrastBolusAgent="",
            AcquisitionDate=done,
            **changes,
        )
    return study


CHECK = {"patient": {"id_number": id_number(2)}, "orders": [{"order_id": "1", "item_code": "CT07"}]}


def test_with_the_object_store_down_nothing_is_refused_or_lost_and_the_backlog_drains(
    own: Running, services: Services, s3_store: Any, folder: Path
) -> None:
    assert services.s3 is not None
    with open_proxy(services.s3.address) as proxy:
        proxy.fault = Fault("refuse")
        own.environment = {
            "HUREN_S3_ENDPOINT": proxy.endpoint,
            "HUREN_S3_ACCESS_KEY": services.s3.access_key,
            "HUREN_S3_SECRET_KEY": services.s3.secret_key,
            "HUREN_S3_BUCKET": "outage",
        }
        register(own.start())
        token = own.token("operator")
        studies = {a_study(folder, 2) for _ in range(3)}
        assert (summary := send(own, folder))["sent"] == 6, summary
        readiness = until(lambda: waiting_without_a_store(own))
        assert readiness.status_code == 200
        assert own.studies(token) == []
        proxy.fault = None
        until(lambda: {s["StudyInstanceUID"] for s in own.studies(token)} == studies)


def waiting_without_a_store(running: Running) -> Any:
    """Return the readiness answer once it says that a pack waits and the object store is down."""
    answer = running.call("GET", "/readyz", "")
    found = answer.json()["components"]
    return answer if found["object_store"]["state"] == "down" and found["spool"]["packs"] == 1 else None


@pytest.mark.alone
def test_with_the_database_stopped_a_check_says_unknown_within_two_seconds_and_recovers(
    own: Running, folder: Path
) -> None:
    register(own.start())
    doctor = own.token("doctor", "B")
    a_study(folder)
    send(own, folder)
    until(lambda: own.call("POST", "/v1/checks", doctor, json=CHECK).json()["orders"][0]["candidates"])
    for stop, go_on in ((signal.SIGSTOP, signal.SIGCONT), (signal.SIGKILL, None)):
        database = postgres_of(own)
        for process in (database, *database.children()):
            if stop == signal.SIGSTOP or process is database:
                process.send_signal(stop)
        started = time.monotonic()
        answer = own.call("POST", "/v1/checks", doctor, json=CHECK)
        assert time.monotonic() - started < 2
        assert (answer.status_code, answer.json()["answer"]) == (503, "unknown")
        if go_on is not None:
            for process in (database, *database.children()):
                process.send_signal(go_on)
        until(lambda: own.call("POST", "/v1/checks", doctor, json=CHECK).status_code == 200, 20)
    answer = own.call("POST", "/v1/checks", doctor, json=CHECK).json()
    assert answer["orders"][0]["candidates"][0]["verdict"] == "recognisable"


def postgres_of(running: Running) -> psutil.Process:
    """Return the embedded server's main process."""
    assert running.process is not None
    children = psutil.Process(running.process.pid).children()
    return next(child for child in children if child.name() == "postgres")


def test_a_full_spool_is_answered_with_a700_and_what_was_stored_is_all_there(
    small_volume: Callable[[Path, int], Path], own: Running, folder: Path
) -> None:
    small_volume(own.data_dir / "spool", 4)
    register(own.start())
    a_study(folder, 150)
    done = huren("send", folder, "--to", f"127.0.0.1:{own.dicom_port}", "--calling", "A_PACS", "--json")
    summary = json.loads(done.stdout)
    assert done.returncode == 1
    assert summary["refused"] == {"A700": summary["failed"]}
    assert summary["sent"] + summary["failed"] == 150
    assert 50 < summary["sent"] < 110
    token = own.token("operator")
    until(lambda: [s["instances"] for s in own.studies(token)] == [summary["sent"]])


def test_killed_at_once_and_started_again_it_has_everything_that_was_acknowledged(
    own: Running, folder: Path
) -> None:
    register(own.start())
    acknowledged: set[str] = set()
    for round_number in range(2):
        outbox = folder / str(round_number)
        acknowledged.add(a_study(outbox, 3))
        assert send(own, outbox)["sent"] == 3
        own.kill()
        own.start()
    token = own.token("operator")
    until(lambda: {s["StudyInstanceUID"] for s in own.studies(token)} == acknowledged, 90)
    assert all(s["instances"] == 3 for s in own.studies(token))


def test_sigterm_ends_everything_it_started_and_nothing_else(own: Running) -> None:
    own.start()
    assert own.process is not None
    children = psutil.Process(own.process.pid).children(recursive=True)
    assert len(children) > 5
    assert own.stop() == 0
    _, alive = psutil.wait_procs(children, 5)
    assert alive == []


def test_a_database_of_ones_own_is_migrated_by_command_only(own: Running, empty_database_url: str) -> None:
    own.environment = {"HUREN_DATABASE_URL": empty_database_url}
    own.data_dir.mkdir()
    (own.data_dir.parent / "data.log").touch()
    refused = huren("hospital", "list", "--data-dir", own.data_dir, **own.environment)
    assert refused.returncode == 1
    assert "huren migrate" in refused.stderr
    own.run("migrate")
    own.run("hospital", "list")
    assert not (own.data_dir / "postgres").exists()
