"""Evaluations on record: imported, ended, about to end; and what an end changes and what it never does."""

import uuid
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from catalog import qc, recognition, recount, registry, savings
from catalog.context import Caller
from catalog.datafile import InvalidList
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.items import ITEM_LISTS, load_item_list
from catalog.qc_import import import_evaluations
from catalog.tables import AuditEvent, QcEvaluation
from tests.catalog.test_item_lists import bring, table
from tests.city import City

CURATOR = Caller("curator", "curator")
HEAD = "hospital,item,scope,result,from,to\n"
CT07 = {"item_code": "CT07"}


def count(city: City) -> int:
    with transaction(city.catalogue.engine) as session:
        return session.scalar(select(func.count()).select_from(QcEvaluation)) or 0


def load(city: City, text: str, **more: Any) -> tuple[int, int]:
    done = import_evaluations(city.catalogue, CURATOR, "e.csv", text.encode(), **more)
    return done.new, done.present


def add(city: City, scope: str, first: date, last: date, **more: Any) -> int:
    target = {"targets": ["CT07"], "passed": True, "hospital_code": "A", **more}
    return qc.add(city.catalogue, CURATOR, scope=scope, valid_from=first, valid_to=last, **target)[0]


def candidate(check: dict[str, Any]) -> dict[str, Any]:
    (found,) = check["orders"][0]["candidates"]
    return dict(found)


def figures(city: City) -> dict[str, Any]:
    with transaction(city.catalogue.engine) as session:
        report = savings.report(session, city.catalogue.items, first=date(2026, 1, 1), last=date(2026, 12, 1))
        assert recount.verify(session)["agrees"]
    return report


def extend(city: City) -> None:
    """Bring the list that adds ultrasound, to be in force only later."""
    rows = table(load_item_list(ITEM_LISTS / "extension" / "proposal-2.toml"))
    bring(city, rows, "2027-1", first="2027-01-01")


def test_an_item_of_any_version_of_the_list_can_be_evaluated_and_one_of_none_cannot(city: City) -> None:
    city.hospital("A", marked=False)
    days = {"first": date(2026, 1, 1), "last": date(2027, 12, 31)}
    line = HEAD + "A,US01,50,合格,2026-01-01,2027-12-31\n"
    with pytest.raises(NotFound):
        add(city, "50", **days, targets=["US01"])
    with pytest.raises(InvalidList):
        load(city, line)
    extend(city)
    assert add(city, "50", **days, targets=["US01"])
    assert load(city, line) == (0, 1)


def test_a_file_is_recorded_once_with_every_level_and_either_language(city: City) -> None:
    city.hospital("A", region="500107", marked=False)
    text = HEAD + (
        "A,CT07,national,passed,2026-01-01,2026-12-31\n"
        "A,CT07,川渝,合格,2026-01-01,2026-12-31\n"
        "A,imaging,50,合格,2026-01-01,2026-12-31\n"
        "A,CT,九龙坡区,不合格,2026-01-01,2026-12-31\n"
    )
    assert load(city, text, dry_run=True) == (4, 0)
    assert count(city) == 0
    assert load(city, "\ufeff" + text) == (4, 0)
    assert load(city, text) == (0, 4)
    marks = [row["mark"] for row in qc.evaluations(city.catalogue, hospital_code="A")]
    assert marks == ["全国HR", "川渝HR", "重庆HR", None]


def test_one_bad_line_refuses_the_whole_file_and_every_fault_has_its_line(city: City) -> None:
    city.hospital("A", marked=False)
    add(city, "50", date(2026, 1, 1), date(2026, 6, 30))
    text = HEAD + (
        "A,CT07,50,passed,2026-01-01,2026-12-31\n"
        "Z,CT07,50,passed,2026-01-01,2026-12-31\n"
        "A,CT99,50,passed,2026-01-01,2026-12-31\n"
        "A,CT07,500107,passed,2026-01-01,2026-12-31\n"
        "A,CT07,atlantis,passed,2026-01-01,2026-12-31\n"
        "A,CT07,50,maybe,2026-01-01,2026-12-31\n"
        "A,CT07,50,passed,2026-12-31,2026-01-01\n"
        "A,CT07,50,passed,2026-02-30,2026-12-31\n"
        "A,CT07,50,failed,2026-01-01,2026-06-30\n"
        "A,CT07,50,passed,2026-01-01,2026-12-31\n"
    )
    with pytest.raises(InvalidList) as refused:
        load(city, text)
    assert [(p.line, p.field) for p in refused.value.problems] == [
        (3, "hospital"),
        (4, "item"),
        (5, "scope"),
        (6, "scope"),
        (7, "result"),
        (7, "item"),
        (8, "to"),
        (9, "from"),
        (10, "result"),
        (11, "item"),
    ]
    assert count(city) == 1
    with pytest.raises(InvalidInput):
        load(city, HEAD)
    with pytest.raises(InvalidList):
        load(city, "hospital,item\nA,CT07\n")


def test_what_ends_soon_is_listed_soonest_first_unless_something_goes_on_from_it(city: City) -> None:
    city.hospital("A", marked=False)  # today is 30 June
    add(city, "50", date(2026, 1, 1), date(2026, 8, 29))
    add(city, "CY", date(2026, 1, 1), date(2026, 6, 30))
    add(city, "CN", date(2026, 1, 1), date(2026, 7, 31))
    add(city, "CN", date(2026, 8, 1), date(2027, 7, 31))
    add(city, "500103", date(2026, 1, 1), date(2026, 7, 9), passed=False)
    add(city, "500103", date(2025, 1, 1), date(2026, 6, 29))
    ending = [(row["mark"], row["days_left"]) for row in qc.expiring(city.catalogue, 60)]
    assert ending == [("川渝HR", 0), ("重庆HR", 60)]
    assert len(qc.expiring(city.catalogue, 59)) == 1
    with pytest.raises(InvalidInput):
        qc.expiring(city.catalogue, -1)


def test_a_mark_that_expires_changes_tomorrows_checks_and_none_of_yesterdays_figures(city: City) -> None:
    city.hospital("A", marked=False)
    doctor = city.hospital("B", tier=2, region="500107")
    evaluation = add(city, "50", date(2026, 1, 1), date(2026, 6, 30))
    city.study("A", days_ago=0, StudyInstanceUID="2.25.630", PatientID="P2")
    yesterday = city.check(doctor, [{"order_number": "1", **CT07}])
    assert (candidate(yesterday)["verdict"], candidate(yesterday)["hr_marks"]) == ("recognisable", ["重庆HR"])
    city.decide(doctor, yesterday, "1", "recognise")
    booked = figures(city)
    assert booked["total"]["net_fen"] > 0

    city.now += timedelta(days=1)  # what is examined now was examined without a mark
    city.study("A", 4, days_ago=0, StudyInstanceUID="2.25.701")
    tomorrow = city.check(doctor, [{"order_number": "2", **CT07}], 4)
    assert candidate(tomorrow)["verdict"] == "reference"
    assert [reason["code"] for reason in candidate(tomorrow)["reasons"]] == ["no_hr_mark"]
    still = city.check(doctor, [{"order_number": "3", **CT07}])  # the day of the examination counts
    assert candidate(still)["hr_marks"] == ["重庆HR"]

    qc.end(city.catalogue, CURATOR, evaluation, date(2026, 6, 29))  # and now not even that day
    ended = city.check(doctor, [{"order_number": "4", **CT07}])
    assert (candidate(ended)["verdict"], candidate(ended)["hr_marks"]) == ("reference", [])

    kept = recognition.read(city.catalogue, doctor, uuid.UUID(yesterday["check_id"]))
    assert kept["orders"] == yesterday["orders"]
    after = figures(city)
    assert after["total"]["net_fen"] == booked["total"]["net_fen"]
    assert after["total"]["recognised"] == booked["total"]["recognised"]


def test_an_end_lies_inside_the_validity_and_is_audited(city: City) -> None:
    city.hospital("A", marked=False)
    evaluation = add(city, "50", date(2026, 1, 1), date(2026, 12, 31))
    assert qc.end(city.catalogue, CURATOR, evaluation, date(2026, 6, 30))["to"] == date(2026, 6, 30)
    for outside in (date(2025, 12, 31), date(2026, 7, 1)):
        with pytest.raises(InvalidInput):
            qc.end(city.catalogue, CURATOR, evaluation, outside)
    with pytest.raises(NotFound):
        qc.end(city.catalogue, CURATOR, 4711, date(2026, 6, 30))
    with transaction(city.catalogue.engine) as session:
        (detail,) = session.scalars(select(AuditEvent.detail).where(AuditEvent.action == "qc.end"))
    assert (detail["before"], detail["after"]) == ("2026-12-31", "2026-06-30")


def test_a_consortiums_mark_helps_its_members_and_nobody_else(city: City) -> None:
    city.hospital("A", region="500107", marked=False)
    inside = city.hospital("B", region="500103", marked=False)
    outside = city.hospital("C", region="500107", marked=False)
    qc.add_consortium(city.catalogue, CURATOR, code="YUXI", name="渝西医联体", hospital_codes=["A", "B"])
    add(city, "YUXI", date(2026, 1, 1), date(2026, 12, 31))
    city.study("A")
    helped = candidate(city.check(inside, [{"order_number": "1", **CT07}]))
    assert (helped["verdict"], helped["hr_marks"]) == ("recognisable", ["渝西医联体HR"])
    other = candidate(city.check(outside, [{"order_number": "1", **CT07}]))
    assert [reason["code"] for reason in other["reasons"]] == ["scope_excludes_requester"]
    with pytest.raises(InvalidInput):
        add(city, "YUXI", date(2026, 1, 1), date(2026, 12, 31), hospital_code="C")


@pytest.mark.parametrize("name", ["重庆", "全国", "重庆市九龙坡区", "CN"])
def test_a_consortium_cannot_borrow_the_mark_of_a_region(city: City, name: str) -> None:
    city.hospital("A", marked=False)
    with pytest.raises(Conflict):
        qc.add_consortium(city.catalogue, CURATOR, code="YUXI", name=name, hospital_codes=["A"])


def test_a_hospital_whose_code_looks_like_a_region_does_not_lie_in_its_alliance(city: City) -> None:
    city.hospital("A", marked=False)
    with transaction(city.catalogue.engine) as session:
        registry.add_hospital(session, code="51", name="武汉医院", tier=3, region="CN")
        hospital = registry.hospital_by_code(session, "51")
        assert registry.institutions(session, [hospital])[hospital.id].scopes == {"CN"}
