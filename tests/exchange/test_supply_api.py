"""What hospitals bring, over HTTP, as files and by the command: for whom, of whom, and the same figures everywhere."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from typer.testing import CliRunner

from catalog import supply_refresh
from exchange.cli_savings import savings_app
from tests.city import environment_of_commands
from tests.exchange.conftest import Service
from tests.exchange.test_api import CHECK

PATH = "/v1/savings/supply?from=2026-01&to=2026-12"


@pytest.fixture
def counted(service: Service) -> Service:
    """A brought two studies and B one, of which B has been shown one of A's."""
    service.city.study("A", 4)
    service.city.study("B", 6)
    assert service.call("POST", "/v1/checks", json=CHECK).status_code == 200
    supply_refresh.refresh(service.city.catalogue)
    return service


def hospitals(service: Service, role: str, hospital: str = "", path: str = PATH) -> list[Any]:
    headers = {"Authorization": f"Bearer {service.token(role, hospital)}"}
    answer = service.client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return [*((each["hospital"], each["results"]) for each in found["rows"]), found["total"]["results"]]


def test_offices_read_of_all_hospitals_and_a_reviewer_of_his_own(counted: Service) -> None:
    for role in ("regulator", "auditor", "operator"):
        assert hospitals(counted, role) == [("A", 2), ("B", 1), 3]
    assert hospitals(counted, "auditor", "A") == [("A", 2), 2]
    assert hospitals(counted, "auditor", "B") == [("B", 1), 1]
    assert hospitals(counted, "auditor", "ZZ") == [0]
    for role in ("doctor", "hospital_system", "curator"):
        assert counted.call("GET", PATH, role=role).status_code == 403


def test_what_is_asked_wrongly_is_refused_in_both_languages(counted: Service) -> None:
    for wrong in ("group_by=doctor", "within_hours=7", "within_hours=999", "from=2027-01"):
        answer = counted.call("GET", f"/v1/savings/supply?{wrong}", role="regulator")
        assert answer.status_code == 422, wrong


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_a_file_has_every_row_and_the_totals_of_the_answer(counted: Service, form: str) -> None:
    path = f"{PATH}&group_by=hospital,month"
    answer = counted.call("GET", path, role="regulator").json()
    file = counted.call("GET", f"{path}&format={form}&limit=1", role="regulator")
    assert file.headers["content-disposition"].endswith(f'"supply_2026-01_2026-12.{form}"')
    if form == "csv":
        rows: list[Any] = list(csv.reader(io.StringIO(file.content.decode("utf-8-sig"), newline="")))
    else:
        rows = [list(row) for row in openpyxl.load_workbook(io.BytesIO(file.content)).worksheets[0].values]
    heading, *body = rows
    at = heading.index("清单结果数 results")
    assert [str(row[at]) for row in body] == [
        str(each["results"]) for each in [*answer["rows"], answer["total"]]
    ]
    assert [row[0] for row in body] == ["A", "B", "合计 total"]
    assert len({len(row) for row in rows}) == 1


def test_the_command_prints_what_the_service_answers_and_counts_when_told(
    counted: Service, tmp_path: Path
) -> None:
    engine = counted.city.catalogue.engine
    address = engine.url.render_as_string(hide_password=False)
    environment = environment_of_commands(address, tmp_path, counted.city.now)
    run = CliRunner(env=environment).invoke
    counted.city.study("A", 8)
    asked = ["supply", "--from", "2026-01", "--to", "2026-12", "--json"]
    assert json.loads(run(savings_app, asked).stdout)["total"]["results"] == 3
    done = run(savings_app, ["supply-refresh"])
    assert done.exit_code == 0, done.output
    assert "1" in done.stdout
    answer = counted.call("GET", PATH, role="regulator").json()
    assert json.loads(run(savings_app, asked).stdout) == answer
    assert answer["total"]["results"] == 4
    told = run(savings_app, asked[:-1])
    assert "0.0%" in told.stdout
    assert "2026-06" in told.stdout
    out = tmp_path / "supply.xlsx"
    assert run(savings_app, [*asked[:-1], "--group-by", "", "--out", str(out)]).exit_code == 0
    assert openpyxl.load_workbook(out).worksheets[0].cell(2, 1).value == "全部 all"
