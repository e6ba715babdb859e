"""The commands of curators, on a database of their own."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from catalog.cli_items import items
from catalog.cli_money import prices
from catalog.datafile import InvalidList
from catalog.errors import HurenError
from catalog.items import ITEM_LISTS
from catalog.pricing import PRICES
from tests.catalog.test_item_lists import changed
from tests.catalog.test_spreadsheet import xlsx
from tests.city import City

Run = Callable[..., Result]


@pytest.fixture
def run(city: City, fresh_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `huren items …` on the database of `city`."""
    monkeypatch.setenv("HUREN_DATABASE_URL", fresh_database_url)

    def command(*words: str, commands: typer.Typer = items) -> Result:
        told = CliRunner().invoke(commands, [*words, "--data-dir", str(tmp_path / "data")])
        if isinstance(told.exception, HurenError):
            raise told.exception
        assert told.exit_code == 0, told.output
        return told

    return command


def test_a_list_is_tried_imported_and_listed(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "list.xlsx"
    file.write_bytes(
        xlsx(changed(window_days="14"), [["version", "2024-1"], ["effective_from", "2024-01-01"]])
    )
    tried = run("import", str(file), "--dry-run").output
    assert "window_days" in tried
    assert "checked only" in tried
    made = json.loads(run("import", str(file), "--json").output)
    assert made["diff"]["changed"] == [
        {"code": "CT07", "field": "window_days", "before": "30", "after": "14"}
    ]
    assert [each["version"] for each in json.loads(run("versions", "--json").output)] == [
        "proposal-1",
        "2024-1",
    ]
    listed = json.loads(run("list", "--json").output)
    assert {each["code"]: each["window_days"] for each in listed}["CT07"] == 14
    earlier = json.loads(run("list", "--on", "2023-01-01", "--json").output)
    assert {each["code"]: each["window_days"] for each in earlier}["CT07"] == 30


def test_the_extension_is_imported_from_the_release_by_name(run: Run) -> None:
    extension = ITEM_LISTS / "extension" / "proposal-2.csv"
    added_prices = PRICES.parent / "extension" / "proposal-2.csv"
    with pytest.raises(InvalidList, match="第2行 item"):
        run("import", str(added_prices), commands=prices)
    assert len(json.loads(run("import", str(extension), "--json").output)["diff"]["added"]) == 11
    told = json.loads(run("diff", "proposal-2", "proposal-1", "--json").output)
    assert (len(told["added"]), told["dropped"], told["changed"]) == (11, [], [])
    assert len(json.loads(run("list", "--version", "proposal-2", "--json").output)) == 123
    assert "US01" in run("diff", "proposal-2", "proposal-1").output
    assert "dropped" in run("diff", "proposal-1", "proposal-2").output
    assert "new: 30" in run("import", str(added_prices), commands=prices).output


def test_codes_are_read_studies_mapped_again_and_questions_answered(
    run: Run, city: City, tmp_path: Path
) -> None:
    city.hospital("A")
    city.study("A", 2, StudyDescription="特检", procedure_codes=("|K-17",))
    city.study("A", 4, StudyDescription="胸特", BodyPartExamined="CHEST")
    file = tmp_path / "codes.csv"
    file.write_text("local_code,name,item_code\nK-17,胸部CT,CT07\n", encoding="gb18030")
    assert "1" in run("map", "A", str(file)).output
    (code,) = json.loads(run("codes", "A", "--json").output)
    assert (code["local_code"], code["item_code"]) == ("K-17", "CT07")
    (done,) = json.loads(run("remap", "--json").stdout)
    assert (done["state"], done["studies"], done["changed"]) == ("done", 2, 1)
    (task,) = json.loads(run("review", "list", "--json").output)
    assert "胸特" in run("review", "list").output
    (told,) = json.loads(run("review", "answer", str(task["id"]), "CT17:L:KNEE", "--json").output)
    assert told == {"task": task["id"], "studies": 1, "changed": 1}
    assert json.loads(run("unmapped", "--json").output) == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [("local_code,name,item_code\nK-17,x,ZZ99\n", "第2行"), ("local_code,name\nK-17,x\n", "item_code")],
)
def test_a_faulty_table_is_refused_with_its_line(
    run: Run, city: City, tmp_path: Path, content: str, fault: str
) -> None:
    city.hospital("A")
    file = tmp_path / "codes.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(HurenError, match=fault):
        run("map", "A", str(file))
