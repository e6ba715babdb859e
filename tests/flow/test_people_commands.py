"""A curator's, a hospital's and an operator's day at the command line, on a real database."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from catalog.db import transaction
from catalog.identity import Demographics, Document
from catalog.people import register_patient
from catalog.tables import Study
from huren import main
from tests.city import City, id_number, open_catalogue

pytestmark = pytest.mark.flow


@pytest.fixture
def town(fresh_database_url: str, tmp_path: Path) -> Iterator[City]:
    made: list[City] = []
    catalogue = open_catalogue(fresh_database_url, tmp_path / "keys", lambda: made[0].now)
    made.append(City(catalogue))
    for code in "AB":
        made[0].doctors[code] = made[0].hospital(code)
    yield made[0]
    catalogue.engine.dispose()


@pytest.fixture
def run(
    town: City,
    fresh_database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    """Run a command in this process; gives its exit code and what it printed."""
    monkeypatch.setenv("HUREN_DATABASE_URL", fresh_database_url)

    def command(*arguments: str, said: str = "") -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["huren", *arguments, "--data-dir", str(tmp_path)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(said))
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    return command


def found(run: Callable[..., tuple[int, str]], *arguments: str, said: str = "") -> Any:
    code, printed = run(*arguments, said=said)
    assert code == 0, printed
    return json.loads(printed)


def shown(town: City, person: int) -> int:
    town.count += 1
    orders = [{"order_number": f"c{town.count}", "item_code": "CT07"}]
    return len(town.check(town.doctors["B"], orders, person)["orders"][0]["candidates"])


def test_a_curator_finds_rules_merges_and_undoes(town: City, run: Callable[..., tuple[int, str]]) -> None:
    town.study("A", None, PatientID="X1")
    for person in (2, 4):
        document = Document("01", id_number(person))
        register_patient(town.catalogue, town.doctors["A"], document, Demographics(), "X1")
    queue = found(run, "people", "queue", "--json")
    assert (len(queue["numbers"]), len(queue["studies"])) == (2, 2)
    assert "X1" in run("people", "queue")[1]
    claims = {row["person"]["person_id"]: str(row["alias_id"]) for row in queue["numbers"]}
    one = str(found(run, "people", "show", said=f"{id_number(2)}\n")["person_id"])
    other = str(found(run, "people", "show", said=f"{id_number(4)}\n")["person_id"])
    why = ("--reason", "已核对")
    event = found(run, "people", "accept", one, "--number-id", claims[int(one)], *why)["event_id"]
    assert (shown(town, 2), shown(town, 4)) == (1, 0)
    found(run, "people", "undo", str(event), *why)
    assert (shown(town, 2), shown(town, 4)) == (0, 0)
    event = found(run, "people", "merge", one, other, *why)["event_id"]
    assert (shown(town, 2), shown(town, 4)) == (1, 1)
    found(run, "people", "unmerge", str(event), *why)
    found(run, "people", "reject", other, "--study-id", str(queue["studies"][0]["study_id"]), *why)
    assert (shown(town, 2), shown(town, 4)) == (1, 0)
    assert run("people", "merge", one, one, *why)[0] == 1
    assert run("people", "sharing", "off", said=f"{id_number(2)}\n")[0] == 0
    assert shown(town, 2) == 0
    assert run("people", "sharing", "maybe", said=f"{id_number(2)}\n")[0] == 1


def test_a_curator_registers_for_a_hospital_that_cannot(
    town: City, run: Callable[..., tuple[int, str]]
) -> None:
    town.study("A", None, PatientID="X1")
    register = ("people", "register", "A", "X1")
    assert found(run, *register, said=f"{id_number(2)}\n")["studies_changed"] == 1
    assert shown(town, 2) == 1
    assert found(run, *register, said=f"{id_number(4)}\n")["state"] == "doubtful"
    assert run("people", "register", "Z", "X1", said=f"{id_number(2)}\n")[0] == 1


def test_an_operator_seals_what_an_earlier_release_left_in_clear(
    town: City, run: Callable[..., tuple[int, str]]
) -> None:
    town.study("A", 2, PatientID="X1")
    with transaction(town.catalogue.engine) as session:
        session.execute(update(Study).values(patient_id=id_number(2)))
    assert run("keys", "seal") == (0, "已加密 / sealed: 1\n")
    assert run("keys", "seal") == (0, "已加密 / sealed: 0\n")


def test_an_operator_rotates_the_keys(town: City, run: Callable[..., tuple[int, str]]) -> None:
    town.study("A", 2)
    old = town.catalogue.vault.ring.current
    assert run("keys", "rotate")[0] == 0
    assert run("keys", "retire", old)[0] == 1
    assert run("keys", "rehash")[0] == 0
    assert run("keys", "retire", old)[0] == 0
    listed = found(run, "keys", "list", "--json")
    assert [(row["current"], row["people"]) for row in listed] == [(True, 1)]
    assert shown(town, 2) == 1


def test_a_hospital_withdraws_and_another_reads_of_it(
    town: City, run: Callable[..., tuple[int, str]]
) -> None:
    uid = town.study("A", 2)
    check = town.check(town.doctors["B"], [{"order_number": "1", "item_code": "CT07"}])
    town.decide(town.doctors["B"], check, "1", "recognise")
    why = ("--hospital", "A", "--reason", "录入错误")
    assert found(run, "withdraw", uid, *why) == {"withdrawn": True, "notices": 1}
    assert run("withdraw", uid, *why)[0] == 1
    news = found(run, "notices", "--hospital", "B", "--json")
    assert [row["kind"] for row in news] == ["study_withdrawn"]
    assert "study_withdrawn" in run("notices", "--hospital", "B", "--read", str(news[0]["notice_id"]))[1]
    assert found(run, "notices", "--hospital", "B", "--unread", "--json") == []
    assert found(run, "withdraw", uid, "--restore", *why)["withdrawn"] is False
