"""The commands of curators, in process, on a database of their own."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from catalog import studies
from catalog.cli_qc import qc
from catalog.cli_quality import quality
from catalog.datafile import InvalidList
from tests.city import City, environment_of_commands, open_catalogue, pack_of

Run = Callable[..., Result]
HEAD = "hospital,item,scope,result,from,to\n"


@pytest.fixture
def town(fresh_database_url: str, tmp_path: Path) -> Iterator[tuple[City, Run]]:
    """Hospitals A and B, a chest CT that A did, and a way to run commands on their database."""
    made: list[City] = []
    catalogue = open_catalogue(fresh_database_url, tmp_path, lambda: made[0].now)
    made.append(City(catalogue))
    environment = environment_of_commands(fresh_database_url, tmp_path, made[0].now)

    def run(commands: typer.Typer, *arguments: str) -> Result:
        return CliRunner(env=environment).invoke(commands, arguments)

    made[0].hospital("A", marked=False)
    yield made[0], run
    catalogue.engine.dispose()


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_evaluations_from_a_file_to_their_end(town: tuple[City, Run], tmp_path: Path) -> None:
    _, run = town
    file = tmp_path / "evaluations.csv"
    file.write_text(HEAD + "A,CT07,重庆,合格,2026-01-01,2026-07-31\nA,CT07,CN,合格,2026-01-01,2027-12-31\n")
    assert "would add: 2" in run(qc, "import", str(file), "--dry-run").output
    assert rows(run(qc, "list", "--json")) == []
    assert "new: 2, 已有 / there already: 0" in run(qc, "import", str(file)).output
    (soon,) = rows(run(qc, "expiring", "--days", "60", "--json"))
    assert (soon["mark"], soon["days_left"]) == ("重庆HR", 31)
    assert "2026-06-30" in run(qc, "end", str(soon["id"]), "--on", "2026-06-30").output
    assert [row["to"] for row in rows(run(qc, "list", "--hospital", "A", "--json"))] == [
        "2026-06-30",
        "2027-12-31",
    ]
    file.write_text(HEAD + "A,CT07,CN,合格,2026-01-01,2026-07-31\nA,CT99,CN,合格,2026-01-01,2026-12-31\n")
    refused = run(qc, "import", str(file))
    assert isinstance(refused.exception, InvalidList)
    assert "第3行 item" in refused.exception.zh
    made = run(qc, "consortium", "YUXI", "--name", "渝西医联体", "--member", "A")
    assert made.exit_code == 0
    assert (
        run(qc, "add", "A", "CT", "--scope", "YUXI", "--from", "2026-01-01", "--to", "2026-12-31").exit_code
        == 0
    )
    assert rows(run(qc, "list", "--json"))[-1]["mark"] == "渝西医联体HR"


def test_a_doubt_is_listed_confirmed_taken_back_and_dismissed(town: tuple[City, Run]) -> None:
    city, run = town
    doctor = city.hospital("B", tier=2, region="500107")
    city.study("A")
    asked = city.check(doctor, [{"order_number": "1", "item_code": "CT07"}])
    city.decide(doctor, asked, "1", "override", reason_code="61", explained_to_patient=True)
    (task,) = rows(run(quality, "list", "--json"))
    assert task["text"] == "医师认为图像质量不满足诊断要求"
    for command, state in (("confirm", "confirmed"), ("reopen", "open"), ("dismiss", "dismissed")):
        assert run(quality, command, task["task_id"], "--note", "已阅片").output.split() == [
            f"{task['task_id']}:",
            state,
        ]
    assert rows(run(quality, "list", "--json")) == []
    assert len(rows(run(quality, "list", "--state", "dismissed", "--json"))) == 1


def test_contradicting_images_are_listed(town: tuple[City, Run]) -> None:
    city, run = town
    assert rows(run(quality, "conflicts", "--json")) == []
    uid = city.study("A")
    record = pack_of("A", replace(city.header, StudyInstanceUID=uid), 99, city.now)
    other_bytes = studies.Contradiction(f"{uid}.1", "0" * 64, None, "other_bytes")
    studies.register_conflicts(city.catalogue, record, [other_bytes])
    (found,) = rows(run(quality, "conflicts", "--json"))
    assert (found["StudyInstanceUID"], found["kind"]) == (uid, "other_bytes")
