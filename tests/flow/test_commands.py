"""The command: what it says of itself, and what it answers to bad input."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
import typer
from fhir.resources.R4B.auditevent import AuditEvent
from typer.testing import CliRunner

from catalog.console import HERE
from catalog.embedded import Embedded
from exchange.statements import digest_of
from huren import ELSEWHERE, app, main
from tests.city import id_number
from tests.flow.conftest import register
from tests.flow.running import PATIENT, Running, huren, make_instance, until

pytestmark = pytest.mark.flow
README = Path(__file__).parents[2] / "README.md"
TODAY = "2026-03-02"
WITHOUT_A_FOLDER = {("openapi",), ("items", "score"), ("viewer", "install"), ("viewer", "status")}


@pytest.fixture(scope="module")
def clocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An exchange in the test environment whose clock is a file."""
    folder = tmp_path_factory.mktemp("clocked")
    clock = folder / "clock"
    clock.write_text(f"{TODAY}T10:00:00+08:00")
    running = Running(
        folder / "data", PATIENT | {"HUREN_ENV": "test", "HUREN_TEST_CLOCK_FILE": str(clock)}
    ).start()
    register(running)
    yield running
    assert running.stop() == 0


def test_every_command_helps_takes_a_data_folder_and_stands_in_the_readme() -> None:
    for name in (*ELSEWHERE, "up", "env"):
        assert f"huren {name}" in README.read_text(), name
    for words in leaves(typer.main.get_command(app)):
        done = CliRunner().invoke(app, [*words, "--help"])
        assert done.exit_code == 0, words
        assert "--data-dir" in done.stdout or words in WITHOUT_A_FOLDER, words
        assert "例 / example" in done.stdout, words
    assert Path("var") == HERE


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that is not a group of others."""
    if not hasattr(command, "list_commands"):
        yield words
        return
    for name in command.list_commands(None):
        yield from leaves(command.get_command(None, name), (*words, name))


BAD = {
    "unknown command": ["fly"],
    "hospital code": ["hospital", "add", "甲", "--name", "x", "--tier", "3", "--region", "500103"],
    "hospital tier": ["hospital", "add", "X", "--name", "x", "--tier", "7", "--region", "500103"],
    "hospital region": ["hospital", "add", "X", "--name", "x", "--tier", "3", "--region", "999"],
    "hospital twice": ["hospital", "add", "A", "--name", "x", "--tier", "3", "--region", "500103"],
    "ae title too long": ["hospital", "ae", "A", "A" * 17],
    "ae title of another": ["hospital", "ae", "A", "B_PACS"],
    "ae of nobody": ["hospital", "ae", "ZZ", "ZZ_PACS"],
    "qc without item": ["qc", "add", "A", "--from", "2026-01-01", "--to", "2026-12-31"],
    "qc unknown item": ["qc", "add", "A", "CT99", "--from", "2026-01-01", "--to", "2026-12-31"],
    "qc date": ["qc", "add", "A", "CT07", "--from", "2026-02-30", "--to", "2026-12-31"],
    "qc reversed": ["qc", "add", "A", "CT07", "--from", "2026-12-31", "--to", "2026-01-01"],
    "qc scope": ["qc", "add", "A", "CT07", "--scope", "月球", "--from", "2026-01-01", "--to", "2026-12-31"],
    "price": ["prices", "set", "CT07", "2,30", "--hospital", "B", "--from", "2026-01-01"],
    "price for nobody": ["prices", "set", "CT07", "230.00", "--from", "2026-01-01"],
    "price of nothing": ["prices", "set", "CT99", "230.00", "--tier", "2", "--from", "2026-01-01"],
    "price file": ["prices", "import", str(README)],
    "local codes": ["items", "map", "B", str(README)],
    "savings range": ["savings", "report", "--from", "2026-12", "--to", "2026-01"],
    "entries range": ["savings", "entries", "--from", "2026-12", "--to", "2026-01"],
    "savings group": ["savings", "report", "--group-by", "doctor"],
    "token role": ["token", "--role", "king"],
    "token hospital": ["token", "--role", "doctor", "--hospital", "ZZ"],
    "token without hospital": ["token", "--role", "doctor"],
    "token lifetime": ["token", "--role", "operator", "--minutes", "-5"],
    "check number": ["check", "--hospital", "B", "--item", "CT07", "--id-number", "123"],
    "check side": ["check", "--hospital", "B", "--item", "XR12:X", "--id-number", id_number(2)],
    "webhook host": ["webhook", "add", "A", "https://127.0.0.1/x"],
    "send address": ["send", str(README), "--to", "nowhere"],
    "send nobody there": ["send", str(README.parent / "tests"), "--to", "127.0.0.1:1"],
}


@pytest.fixture
def command(
    clocked: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process, beside the running exchange; gives its exit code and what it printed."""
    for variable, value in clocked.environment.items():
        monkeypatch.setenv(variable, value)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["huren", *arguments, "--data-dir", str(clocked.data_dir)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_error_and_changes_nothing(
    command: Callable[..., tuple[int, str, str]], database_of_clocked: str, name: str
) -> None:
    before = registry_of(database_of_clocked)
    code, printed, error = command(*BAD[name])
    assert code in (1, 2)
    assert "rror" in error or "refused" in printed or "failed" in printed
    assert id_number(2)[:14] not in error
    assert registry_of(database_of_clocked) == before


@pytest.fixture(scope="module")
def database_of_clocked(clocked: Running) -> str:
    line = clocked.run("env").stdout.splitlines()[0]
    return line.partition("=")[2].strip("'")


def registry_of(database_url: str) -> str:
    """Return everything a command could have changed."""
    query = (
        "select (select string_agg(h::text, '' order by id) from hospital h),"
        " (select string_agg(p::text, '' order by ae_title) from peer p), (select count(*) from qc_evaluation),"
        " (select count(*) from price), (select count(*) from local_code), (select count(*) from order_check)"
    )
    with psycopg.connect(database_url) as connection:
        return str(connection.execute(query).fetchone())


def test_a_second_service_on_the_same_folder_is_refused(clocked: Running) -> None:
    ports = ("--dicom-port", "0", "--http-port", "0")
    command = huren("up", "--data-dir", clocked.data_dir, *ports, HUREN_FOLDER_WAIT_SECONDS="0.2")
    assert command.returncode == 1
    assert "data_folder_in_use" in command.stderr
    assert "Traceback" not in command.stderr


def test_a_port_that_is_taken_is_said_so(clocked: Running, tmp_path: Path) -> None:
    done = huren("up", "--data-dir", tmp_path, "--dicom-port", str(clocked.dicom_port), "--http-port", "0")
    assert done.returncode == 1
    assert "port_taken" in done.stderr


def test_env_prints_what_psql_and_an_s3_browser_need(clocked: Running) -> None:
    printed = clocked.run("env").stdout
    names = [line.split("=")[0] for line in printed.splitlines()]
    assert names == [
        "HUREN_DATABASE_URL",
        "HUREN_API_DATABASE_URL",
        "HUREN_S3_ENDPOINT",
        "HUREN_S3_ACCESS_KEY",
        "HUREN_S3_SECRET_KEY",
        "HUREN_S3_BUCKET",
    ]
    shell = subprocess.run(
        ["sh", "-c", f"{printed}\necho $HUREN_DATABASE_URL"], capture_output=True, text=True, check=True
    )
    assert shell.stdout.startswith("postgresql://")


def examined(house: Running, folder: Path, person: int, day: date) -> str:
    """Let hospital A send a chest CT of that morning; returns the study's UID once it is catalogued."""
    dataset = make_instance(
        folder / "1.dcm",
        PatientID=id_number(person),
        PatientBirthDate="19800517",
        PatientSex="F",
        StudyDescription="胸部CT平扫",
        SpecificCharacterSet="ISO_IR 192",
        ContrastBolusAgent="",
        AcquisitionDate=f"{day:%Y%m%d}",
        AcquisitionTime="080000",
    )
    house.run("send", folder, "--to", f"127.0.0.1:{house.dicom_port}", "--calling", "A_PACS")
    operator, uid = house.token("operator"), str(dataset.StudyInstanceUID)
    until(lambda: uid in [s["StudyInstanceUID"] for s in house.studies(operator)])
    return uid


def test_the_last_day_of_a_window_is_tried_from_outside_with_the_test_clock(
    clocked: Running, folder: Path
) -> None:
    done = date.fromisoformat(TODAY) - timedelta(days=1)
    examined(clocked, folder, 4, done)
    clock = Path(clocked.environment["HUREN_TEST_CLOCK_FILE"])
    doctor = clocked.token("doctor", "B")
    body = {"patient": {"id_number": id_number(4)}, "orders": [{"order_id": "1", "item_code": "CT07"}]}
    found = []
    for days in (30, 31):
        clock.write_text(f"{done + timedelta(days=days)}T23:59:59+08:00")
        answer = clocked.call("POST", "/v1/checks", doctor, json=body).json()
        candidate = answer["orders"][0]["candidates"][0]
        found.append((candidate["verdict"], [r["code"] for r in candidate["reasons"]]))
    assert found == [("recognisable", []), ("reference", ["out_of_window"])]
    clock.write_text(f"{TODAY}T10:00:00+08:00")


def test_the_commands_lead_from_a_figure_to_everything_behind_it_and_sign_the_recount(
    clocked: Running, folder: Path, tmp_path: Path
) -> None:
    uid = examined(clocked, folder, 14, date.fromisoformat(TODAY) - timedelta(days=1))
    doctor = clocked.token("doctor", "B")
    body = {"patient": {"id_number": id_number(14)}, "orders": [{"order_id": "s1", "item_code": "CT07"}]}
    check = clocked.call("POST", "/v1/checks", doctor, json=body).json()
    shown = check["orders"][0]["candidates"][0]["result_id"]
    decision = {"order_id": "s1", "action": "recognise", "result_id": shown}
    path = f"/v1/checks/{check['check_id']}/decisions"
    clocked.call("POST", path, doctor, json=decision, headers={"Idempotency-Key": "s1"})
    entries = json.loads(clocked.run("savings", "entries", "--json").stdout)["entries"]
    mine = entries[-1]
    chain = json.loads(clocked.run("savings", "explain", mine["entry_id"], "--json").stdout)
    assert (chain["check"]["check_id"], chain["net_fen"]) == (check["check_id"], mine["amount_fen"])
    assert chain["prior"]["StudyInstanceUID"] == uid
    told = clocked.run("savings", "explain", mine["entry_id"]).stdout
    assert uid in told
    assert "净额 / net" in told
    kept = tmp_path / "recount.json"
    assert "agrees" in clocked.run("savings", "verify", "--out", kept).stdout
    found = json.loads(kept.read_bytes())
    claims = jwt.decode(found.pop("signed"), options={"verify_signature": False})
    assert claims["sha256"] == digest_of(found)
    refused = huren("savings", "explain", "99999", "--data-dir", clocked.data_dir, **clocked.environment)
    assert (refused.returncode, "unknown_entry" in refused.stderr) == (1, True)


def test_the_command_checks_and_recounts(clocked: Running) -> None:
    answer = json.loads(
        clocked.run(
            "check", "--hospital", "B", "--item", "CT07", "--id-number", id_number(6), "--json"
        ).stdout
    )
    assert (answer["answer"], answer["orders"][0]["candidates"]) == ("complete", [])
    assert json.loads(clocked.run("savings", "verify", "--json").stdout)["agrees"] is True
    assert "胸部CT平扫" in clocked.run("items", "list").stdout


def test_a_running_house_seals_anchors_and_verifies_and_a_tampering_is_named(
    clocked: Running, command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    command("check", "--hospital", "B", "--item", "CT07", "--id-number", id_number(2))
    heads = clocked.data_dir / "audit" / "heads.jsonl"
    until(heads.exists)

    def verified() -> bool:
        told = json.loads(command("audit", "verify", "--anchor", str(heads), "--from-store", "--json")[1])
        return bool(told["agrees"] and told["anchors"] >= 2 and not told["unsealed"])

    until(verified)
    exported = tmp_path / "audit.ndjson"
    assert command("audit", "export", "--fhir", str(exported))[0] == 0
    for line in exported.read_text().splitlines():
        AuditEvent.model_validate_json(line)
    assert command("audit", "key")[1].startswith("-----BEGIN PUBLIC KEY-----")
    with (
        Embedded(clocked.data_dir, s3=False) as attached,
        psycopg.connect(attached.services.owner_url) as connection,
    ):
        connection.execute("set session_replication_role = replica")  # the append-only guards off
        (changed,) = connection.execute(
            "update audit_event set caller = 'nobody' where id = (select min(id) from audit_event) returning id"
        ).fetchone() or (0,)
    code, printed, _ = command("audit", "verify", "--json")
    first = json.loads(printed)["findings"][0]
    assert (code, first["kind"], first["record_id"]) == (1, "edited", changed)


def test_a_token_stands_in_the_audit_and_is_taken_back_by_its_number(
    command: Callable[..., tuple[int, str, str]], database_of_clocked: str
) -> None:
    code, printed, beside = command("token", "--role", "regulator", "--subject", "zhou")
    claims = jwt.decode(printed.strip(), options={"verify_signature": False})
    assert code == 0
    assert f"huren revoke --jti {claims['jti']}" in beside
    assert command("revoke", "--jti", claims["jti"])[0] == 0
    with psycopg.connect(database_of_clocked) as connection:
        query = "select detail from audit_event where action = 'token.issue' and detail->>'jti' = %s"
        told = connection.execute(query, (claims["jti"],)).fetchall()
        taken = connection.execute("select jti from revoked_token").fetchall()
    assert command("subject", "disable", "zhou", "--reason", "离职")[0] == 0
    assert [each["subject"] for each in json.loads(command("subject", "list", "--json")[1])] == ["zhou"]
    assert [command("subject", "enable", "zhou")[0] for _ in range(2)] == [0, 1]
    kept = {name: claims[name] for name in ("jti", "role")} | {"subject": "zhou"}
    assert [{name: row[0][name] for name in kept} for row in told] == [kept]
    assert abs(told[0][0]["exp"] - claims["exp"]) <= 1
    assert taken == [(claims["jti"],)]
