"""FAULTS A15: people, numbers and keys go through a whole exchange and its faults; nothing it writes tells of them.

What every other test's processes write is looked through by the plugin of `tests/conftest.py`.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from pydicom.config import disable_value_validation

from catalog.objects import ObjectStore
from catalog.settings import S3Access
from exchange.tokens import open_token_key
from tests.canaries import leaks, leaks_below
from tests.city import id_number
from tests.dicom_node.raw_peer import RawPeer, store_pdus
from tests.faults.run_record import RunRecord
from tests.flow.conftest import register
from tests.flow.running import HUREN, Running, until
from tests.messages import BAD_BUNDLES, bundle, report, spoiled_bundle
from tests.packs import ct
from tests.processes import family

pytestmark = [pytest.mark.flow, pytest.mark.long]
ID, NAME = id_number(2), "林^晓渝"
HIM = {"patient": {"id_number": ID, "name": "林晓渝"}}
ORDER = {"orders": [{"order_id": "1", "item_code": "CT07"}]}


@dataclass
class Site:
    """A running exchange, and everything it was heard to say."""

    running: Running
    secrets: list[str]
    heard: list[bytes] = field(default_factory=list)

    def ask(self, method: str, path: str, token: str = "", **more: Any) -> int:
        """Call, and keep what an error, a counter or a header says."""
        answer = self.running.call(method, path, token, **more)
        self.heard.append(str(answer.headers).encode())
        if answer.status_code >= 400 or not token:
            self.heard.append(answer.content)
        return answer.status_code

    def processes(self) -> Iterator[tuple[int, list[str]]]:
        """Number and command line of each process that serves; some end between two looks."""
        assert self.running.process is not None
        for each in family(psutil.Process(self.running.process.pid)):
            with suppress(psutil.NoSuchProcess):
                yield each.pid, each.cmdline()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("canaries")
    (folder / "tmp").mkdir()
    environment = {"HUREN_CHECK_SECONDS": "20", "HUREN_LOG": "INFO", "TMPDIR": str(folder / "tmp")}
    running = Running(folder / "data", environment).start()
    register(running)
    yield Site(running, [])
    if running.process is not None:
        running.stop()


def test_nothing_that_an_exchange_writes_tells_of_a_patient_or_a_key(site: Site, record: RunRecord) -> None:
    """A15."""
    running = site.running
    key = open_token_key(running.data_dir / "keys" / "token.pem")
    tokens = {
        role: key.issue(subject="local", role=role, hospital=hospital, lifetime=timedelta(hours=1))
        for role, hospital in (("doctor", "B"), ("hospital_system", "B"), ("operator", ""))
    }
    environment = environment_of(running)
    passwords = [
        urlsplit(value).password or "" for name, value in environment.items() if name.endswith("_URL")
    ]
    site.secrets += [*tokens.values(), *filter(None, passwords), environment["HUREN_S3_SECRET_KEY"]]
    by_dicom(site, tokens["operator"])
    by_http(site, tokens)
    by_command(site)
    under_kills(site, tokens["doctor"])
    keys = stored_keys(environment)
    looked_at = 0
    for pid, command in site.processes():
        site.heard.append(" ".join(command).encode())
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            limits = Path(f"/proc/{pid}/limits").read_text()  # of other users' processes, too
            assert re.search(r"Max core file size +0 +0 ", limits), command
            looked_at += 1
    assert looked_at > 3
    assert running.stop() == 0
    folder = running.data_dir.parent
    record.note(heard=len(site.heard), keys=len(keys), log_bytes=len(running.log()))
    assert [found for each in [*site.heard, *keys] for found in leaks(each, *site.secrets)] == []
    assert leaks_below(running.data_dir, every_file=True) == []
    assert leaks_below(folder / "tmp", every_file=True) == []
    assert leaks(running.log(), *site.secrets) == []
    logs = running.data_dir / "logs"
    assert {path.name for path in logs.iterdir()} >= {"postgres.log", "s3.log"}
    assert leaks_below(running.data_dir, *site.secrets) == kept_in_private(running, *site.secrets)


def environment_of(running: Running) -> dict[str, str]:
    """What `huren env` prints for other tools."""
    lines = running.run("env").stdout.splitlines()
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}


def kept_in_private(running: Running, *secrets: str) -> list[str]:
    """What the one file says that keeps the keys of the embedded stores, and that nobody else may read."""
    path = running.data_dir / "run" / "services.json"
    assert path.stat().st_mode & 0o077 == 0
    return [f"{path}: {found}" for found in leaks(path.read_bytes(), *secrets)]


def by_dicom(site: Site, operator: str) -> None:
    """Good, cut, broken and unacceptable instances of him."""
    told = {"PatientID": ID, "PatientName": NAME, "StudyDate": "20260601", "StudyDescription": f"{NAME} {ID}"}
    good = [ct("2.25.150", number, **told).data for number in range(1, 4)]
    odd = told | {"StudyDate": ID, "StudyTime": ID, "PatientBirthDate": ID}
    with disable_value_validation():
        bad = ct("2.25.151", 1, **odd).data
    with RawPeer(site.running.dicom_port) as peer:
        peer.associate(calling=b"A_PACS")
        for number, data in enumerate([*good, good[0][: len(good[0]) // 2], bad], 1):
            peer.store(data, f"2.25.150.1.{number}")
    with RawPeer(site.running.dicom_port) as peer:
        peer.associate(calling=b"A_PACS")
        peer.send(store_pdus(good[0], "2.25.152")[:-40])  # and no end
    until(lambda: "2.25.150" in {each["StudyInstanceUID"] for each in site.running.studies(operator)})


def by_http(site: Site, tokens: dict[str, str]) -> None:
    """Questions about him that are answered, and every kind that is refused."""
    doctor, system = tokens["doctor"], tokens["hospital_system"]
    assert site.ask("POST", "/v1/checks", doctor, json=HIM | ORDER) == 200
    site.ask("POST", "/fhir/DiagnosticReport", system, json=report("R-1"))
    assert site.ask("POST", "/fhir", system, json=bundle(2, "L-1")) == 200
    for number in range(len(BAD_BUNDLES)):
        assert site.ask("POST", "/fhir", system, json=spoiled_bundle(number, f"S-{number}")[0]) >= 400
    wrong_digit = ID[:-1] + ("1" if ID[-1] != "1" else "2")
    for body in (
        HIM,
        {"patient": {"id_number": wrong_digit}} | ORDER,
        {"patient": {"id_number": ID, "name": ["林晓渝"]}} | ORDER,
        {"patient": {"id_number": ID, "id_type": NAME}} | ORDER,
        HIM | {"orders": [{"order_id": ID, "item_code": NAME}] * 200},
        HIM | ORDER | {NAME: ID},
    ):
        site.ask("POST", "/v1/checks", doctor, json=body)
    site.ask(
        "POST", "/v1/checks", doctor, content=f'{{"patient": {{"id_number": "{ID}", "name": 林晓渝'.encode()
    )
    for path in (f"/v1/checks/{ID}", f"/v1/reports/{ID}", f"/nowhere/{ID}", f"/fhir/AuditEvent?patient={ID}"):
        assert site.ask("GET", path, doctor) >= 400
    assert site.ask("POST", "/v1/checks", doctor[:-8] + "AAAAAAAA", json=HIM | ORDER) == 401
    for path in ("/metrics", "/readyz", "/healthz", "/cds-services"):
        assert site.ask("GET", path) == 200


def by_command(site: Site) -> None:
    """What goes wrong at the command line; what is right is shown to whom has asked."""
    for arguments, given in (
        (("check", "--hospital", "B", "--item", "CT07"), f"{ID[:-1]}?\n"),
        (("check", "--hospital", "B", "--item", NAME), f"{ID}\n"),
        (("check", "--hospital", ID, "--item", "CT07"), f"{ID}\n"),
    ):
        done = subprocess.run(
            [*HUREN, *arguments, "--data-dir", str(site.running.data_dir)],
            input=given.encode(),
            capture_output=True,
            env=os.environ | site.running.environment,
            check=False,
        )
        assert b"Traceback" not in done.stderr
        site.heard.append(done.stderr)


def under_kills(site: Site, doctor: str) -> None:
    """Kill what serves the database, then what receives, while both work for him."""
    with RawPeer(site.running.dicom_port) as peer:
        peer.associate(calling=b"A_PACS")
        peer.send(store_pdus(ct("2.25.153", 1, PatientID=ID, PatientName=NAME).data, "2.25.153.1.1")[:-40])
        for pid, command in site.processes():
            if command and command[0].startswith("postgres:") and "idle" in command[0]:
                os.kill(pid, signal.SIGKILL)
                break
        for pid, command in site.processes():
            if "node" in command[-6:]:
                os.kill(pid, signal.SIGKILL)
                break
    site.ask("POST", "/v1/checks", doctor, json=HIM | ORDER)
    until(lambda: site.ask("POST", "/v1/checks", doctor, json=HIM | ORDER) == 200)


def stored_keys(environment: dict[str, str]) -> list[str]:
    """The keys of every object, which stand in URLs and in the store's own log."""
    names = ("HUREN_S3_ENDPOINT", "HUREN_S3_ACCESS_KEY", "HUREN_S3_SECRET_KEY", "HUREN_S3_BUCKET")
    with ObjectStore(S3Access(*(environment[name] for name in names))) as store:
        return [found.key for found in store.list()]


def test_a_leak_is_found_however_it_is_written() -> None:
    """A15: what looks for leaks finds each."""
    for text in (ID, "林晓渝", "\\u6797\\u6653\\u6e1d", repr("林晓渝".encode()), f"a{NAME}b"):
        assert leaks(text), text
    assert leaks("林晓渝".encode("gb18030"))
    assert leaks("x-secret-y", "secret")
    assert leaks("nothing of anybody: 999*************20", "secret") == []
    with TemporaryDirectory() as name:  # no folder of the tests: those must hold no leak when they end
        folder = Path(name)
        (folder / "run").mkdir()
        (folder / "run" / "counters.json").write_text(ID)
        (folder / "spool").mkdir()
        (folder / "spool" / "pack.tar").write_text(ID)
        assert len(leaks_below(folder)) == 1
