"""Questions about figures over HTTP, as files and by the command: the same in each, and none of them names anybody."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from typer.testing import CliRunner

from catalog.errors import InvalidInput
from catalog.plausibility import Thresholds
from catalog.settings import Settings
from exchange.cli_savings import savings_app
from exchange.question_examples import QUESTIONS
from tests.city import environment_of_commands
from tests.exchange.conftest import Service
from tests.exchange.test_api import PATIENT
from tests.exchange.test_described import assert_alike
from tests.exchange.test_savings_api import recognised

JUNE = "from=2026-06&to=2026-06"
QUICK = Thresholds(burst_decisions=2)


@pytest.fixture
def asked(service: Service) -> Service:
    """A doctor of B decided twice at once, which is a burst here."""
    state: Any = service.client.app.state  # type: ignore[attr-defined]
    state.catalogue = replace(state.catalogue, thresholds=QUICK)
    service.city.study("A", 4)
    recognised(service)
    recognised(service, "2", 4)
    return service


def test_a_question_is_asked_in_the_shape_of_its_example_and_names_nobody(asked: Service) -> None:
    answer = asked.call("GET", f"/v1/savings/questions?{JUNE}", role="regulator")
    assert_alike(QUESTIONS, answer.json())
    (question,) = answer.json()["questions"]
    assert (question["kind"], question["hospital"], question["seen"]["value"]) == ("burst", "B", 2)
    for private in (PATIENT["name"], PATIENT["id_number"], "test doctor"):
        assert private not in answer.text
    entries = asked.call("GET", question["entries"], role="regulator").json()["entries"]
    assert {each["decision_id"] for each in entries} == set(question["decisions"])


@pytest.mark.parametrize("query", ["from=2025-01&to=2026-06", "from=2026-13", "limit=0", "hospital=%00"])
def test_a_range_or_a_page_that_cannot_be_is_refused(quiet: Service, query: str) -> None:
    answer = quiet.call("GET", f"/v1/savings/questions?{query}", role="regulator")
    assert answer.status_code == 422


def test_without_months_this_one_and_the_one_before_are_asked_about(quiet: Service) -> None:
    found = quiet.call("GET", "/v1/savings/questions", role="auditor").json()
    assert (found["from"], found["to"], found["questions"]) == ("2026-05", "2026-06", [])


def test_files_and_the_command_hold_what_the_service_answers(
    asked: Service, fresh_database_url: str, tmp_path: Path
) -> None:
    path = f"/v1/savings/questions?{JUNE}"
    (question,) = asked.call("GET", path, role="regulator").json()["questions"]
    text = asked.call("GET", f"{path}&format=csv", role="regulator").content.decode("utf-8-sig")
    heading, row = csv.reader(io.StringIO(text))
    assert heading[0] == "编号 question"
    assert [row[0], row[14], row[20]] == [question[name] for name in ("question_id", "question", "entries")]
    book = openpyxl.load_workbook(
        io.BytesIO(asked.call("GET", f"{path}&format=xlsx", role="regulator").content)
    )
    assert [cell.value for cell in book.worksheets[0][2]][:3] == row[:3]
    environment = environment_of_commands(fresh_database_url, tmp_path, asked.city.now)
    environment["HUREN_QUESTION_THRESHOLDS"] = '{"burst_decisions": 2}'
    out = tmp_path / "questions.csv"
    months = ("--from", "2026-06", "--to", "2026-06")
    runner = CliRunner(env=environment)
    done = runner.invoke(savings_app, ["questions", *months, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert out.read_text("utf-8-sig").splitlines()[1:] == text.splitlines()[1:]
    assert question["question"][:6] in runner.invoke(savings_app, ["questions", *months]).output


def test_thresholds_are_set_as_json_and_keep_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUREN_QUESTION_THRESHOLDS", '{"burst_minutes": 2.5}')
    assert Settings().question_thresholds == Thresholds(burst_minutes=2.5)


@pytest.mark.parametrize("given", ['{"burst": 3}', '{"least_peers": 0}', '{"fast_seconds": "soon"}'])
def test_a_threshold_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("HUREN_QUESTION_THRESHOLDS", given)
    with pytest.raises((ValueError, InvalidInput), match=r"burst|least_peers|fast_seconds"):
        Settings()
