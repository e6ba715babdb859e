"""Figures from the events: those of a past moment are those that were told then, by every grouping and filter."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from alembic import command
from hypothesis import HealthCheck, given, settings
from sqlalchemy import text

from catalog import savings
from catalog.as_of import past_moment
from catalog.db import transaction
from catalog.errors import HurenError, InvalidInput
from catalog.figure_filters import Filters
from catalog.scope import steady
from tests.catalog.test_books import RUNS, Life, busy_city, steps  # noqa: F401 (a fixture)
from tests.catalog.test_schema import configuration
from tests.city import START, City

ROLLUP = ("hospital", "district", "tier", "item", "month")
GROUPINGS = [each for count in range(3) for each in combinations(ROLLUP, count)] + [savings.GROUPINGS]
MONTHS = {"first": date(2026, 1, 1), "last": date(2026, 12, 1)}
KEPT_PLANS = text(
    "select sum(custom_plans), sum(generic_plans) from pg_prepared_statements where statement like '%monthly.month %'"
)


def told(city: City, *group_by: str, **asked: Any) -> dict[str, Any]:
    with transaction(city.catalogue.engine) as session:
        return savings.report(session, city.catalogue.items, group_by=group_by, **MONTHS | asked)


def by(city: City, grouping: str, **asked: Any) -> dict[Any, dict[str, Any]]:
    """Return the rows of a report by their only key."""
    return {row[grouping]: row for row in told(city, grouping, **asked)["rows"]}


@settings(
    max_examples=10,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=steps)
def test_what_was_told_at_a_moment_is_told_of_it_for_ever(
    busy_city: City,  # noqa: F811
    history: list[tuple[Any, ...]],
) -> None:
    life = Life(busy_city, next(RUNS))
    seen: list[tuple[datetime, tuple[str, ...], dict[str, Any]]] = []
    for number, (name, *arguments) in enumerate(history):
        busy_city.now += timedelta(seconds=1)
        act: Callable[..., None] = getattr(life, f"do_{name}")
        try:
            act(*arguments)
        except (HurenError, ZeroDivisionError):
            continue
        for grouping in (savings.GROUPINGS, GROUPINGS[number % len(GROUPINGS)]):
            seen.append((busy_city.now, grouping, told(busy_city, *grouping)))
    for moment, grouping, before in seen:
        assert told(busy_city, *grouping, as_of=moment) == before
    for grouping in GROUPINGS:
        assert told(busy_city, *grouping, as_of=busy_city.now) == told(busy_city, *grouping)


@pytest.fixture
def june(city: City) -> City:
    """At B two departments asked on two days: recognised, refused, undone, and a reversal that came in July."""
    for code, tier, region in (("A", 3, "500103"), ("B", 2, "500107"), ("C", 1, "500107")):
        city.doctors[code] = city.hospital(code, tier=tier, region=region)
    doctor = city.doctors["B"]
    city.now = START - timedelta(days=2)
    for person, issuer, department in (
        (2, "A", "呼吸内科"),
        (4, "A", "骨科"),
        (6, "C", "骨科"),
        (8, "C", "骨科"),
    ):
        city.study(issuer, person)
        order = str(person)
        asked = {"person": person, "department": department}
        check = city.check(doctor, [{"order_number": order, "item_code": "CT07"}], **asked)
        if person == 6:
            city.decide(doctor, check, order, "override", reason_code="1", explained_to_patient=True)
        else:
            city.decide(doctor, check, order, "recognise")
        if person == 8:
            city.decide(doctor, check, order, "undo")
        city.now += timedelta(hours=16)
    city.now = START + timedelta(days=3)
    city.study("B", 4, days_ago=3)
    return city


def test_figures_are_told_by_day_department_category_and_issuing_hospital(june: City) -> None:
    days = by(june, "day")
    assert {day: row["reminders"] for day, row in days.items()} == {
        "2026-06-28": 1,
        "2026-06-29": 2,
        "2026-06-30": 1,
    }
    assert sum(row["net_fen"] for row in days.values()) == told(june)["total"]["net_fen"] == 19800
    departments = by(june, "department")
    assert {
        name: (row["reminders"], row["recognised"], row["refused"]) for name, row in departments.items()
    } == {
        "呼吸内科": (1, 1, 0),
        "骨科": (3, 1, 1),
    }
    assert list(by(june, "category")) == ["imaging"]
    issuers = by(june, "issuing_hospital")
    assert {code: (row["recognised"], row["refused"], row["undone"]) for code, row in issuers.items()} == {
        "A": (2, 0, 0),
        "C": (0, 1, 1),
    }
    assert {row["issuing_hospital_name"] for row in issuers.values()} == {"A医院", "C医院"}


def test_a_reminder_has_no_issuing_hospital_so_neither_it_nor_a_rate_is_known(june: City) -> None:
    answer = told(june, "issuing_hospital", "month")
    for row in (*answer["rows"], answer["total"]):
        assert row["reminders"] is row["rate"] is row["own_hospital"]["reminders"] is None
    assert told(june, "day")["total"]["reminders"] == 4


@pytest.mark.parametrize("grouping", ["day", "department", "category", "issuing_hospital"])
def test_every_grouping_of_the_events_has_the_total_of_the_sums(june: City, grouping: str) -> None:
    answer, whole = told(june, grouping), told(june)["total"]
    counted = [name for name in whole if isinstance(whole[name], int)]
    if grouping == "issuing_hospital":
        counted.remove("reminders")
    assert counted
    for name in counted:
        assert answer["total"][name] == whole[name] == sum(row[name] for row in answer["rows"]), name


@pytest.mark.parametrize(
    ("filters", "reminders"),
    [
        (Filters(hospital=("B",)), 4),
        (Filters(hospital=("A", "C")), 0),
        (Filters(hospital=("A", "B")), 4),
        (Filters(district=("500107",)), 4),
        (Filters(district=("500103",)), 0),
        (Filters(tier=("2", "3")), 4),
        (Filters(tier=("1",)), 0),
        (Filters(item=("CT07",)), 4),
        (Filters(item=("CT09",)), 0),
        (Filters(category=("imaging",)), 4),
        (Filters(category=("laboratory",)), 0),
        (Filters(hospital=("B",), item=("CT07",), category=("laboratory",)), 0),
    ],
)
def test_filters_narrow_the_sums_and_the_events_alike(june: City, filters: Filters, reminders: int) -> None:
    summed = told(june, "hospital", filters=filters)
    assert summed["total"]["reminders"] == reminders
    assert told(june, "hospital", filters=filters, as_of=june.now) == summed
    assert sum(row["reminders"] for row in told(june, "day", filters=filters)["rows"]) == reminders


def test_what_has_no_price_is_named_as_it_was_then_and_of_whom_is_asked(june: City) -> None:
    with transaction(june.catalogue.engine) as session:
        session.execute(text("update price set valid_to = '2026-06-01'"))
    june.now += timedelta(hours=1)
    june.study("A", 10)
    before = june.now
    june.now += timedelta(hours=1)
    doctor = june.doctors["B"]
    check = june.check(doctor, [{"order_number": "10", "item_code": "CT07"}], person=10)
    june.decide(doctor, check, "10", "recognise")
    gap = [{"hospital": "B", "item": "CT07", "recognised": 1}]
    assert told(june)["unpriced"] == told(june, as_of=june.now)["unpriced"] == gap
    assert told(june, as_of=before)["unpriced"] == []
    for filters in (Filters(hospital=("A",)), Filters(category=("laboratory",))):
        assert (
            told(june, filters=filters)["unpriced"]
            == told(june, filters=filters, as_of=june.now)["unpriced"]
            == []
        )


def test_pages_of_events_follow_each_other_and_each_tells_the_whole_total(june: City) -> None:
    whole = told(june, "day", "department")
    pages = [told(june, "day", "department", offset=offset, limit=2) for offset in (0, 2, 4)]
    assert [row for page in pages for row in page["rows"]] == whole["rows"]
    assert len(whole["rows"]) == 3
    assert [page["next"] for page in pages] == [2, None, None]
    assert {str(page["total"]) for page in pages} == {str(whole["total"])}


def test_a_month_without_any_event_has_no_row_and_a_total_of_nothing(june: City) -> None:
    nothing = told(june, "day", first=date(2020, 1, 1), last=date(2020, 1, 1))
    assert nothing["rows"] == []
    assert nothing["total"] == told(june, first=date(2020, 1, 1), last=date(2020, 1, 1))["total"]


@pytest.mark.parametrize(
    ("given_text", "moment"),
    [
        ("2026-06-29", "2026-06-29T15:59:59.999999+00:00"),
        ("2026-06-30T12:00:00+08:00", "2026-06-30T04:00:00+00:00"),
        ("2026-06-30T04:00:00Z", "2026-06-30T04:00:00+00:00"),
    ],
)
def test_a_day_means_its_end_in_the_hospitals_zone_and_a_time_is_itself(given_text: str, moment: str) -> None:
    found = past_moment(given_text, START)
    assert found is not None
    assert found.isoformat() == moment


@pytest.mark.parametrize(
    "given_text",
    [
        *(
            "2026-06-30",
            "2026-06-30T04:00:01Z",
            "9999-12-31",
            "2026-06-29T12:00:00",
            "yesterday",
            "2026-02-30",
        ),
        *("2026-06-29T12:00:00 08:00", "0001-01-01T00:00:00+14:00", "\0"),
    ],
)
def test_a_moment_to_come_or_written_otherwise_is_refused(given_text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        past_moment(given_text, START)
    assert refused.value.field == "as_of"


def test_an_unknown_category_is_refused(city: City) -> None:
    with pytest.raises(InvalidInput) as refused:
        told(city, filters=Filters(category=("imaging", "x")))
    assert refused.value.field == "category"


def test_orders_from_before_are_given_their_department_and_when_they_became_reminders(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    city.study("A", days_ago=60)  # known, and too old
    orders = [{"order_number": number, "item_code": "CT07"} for number in ("1", "2")]
    city.check(doctor, orders, department="骨科")
    city.now += timedelta(days=1)
    city.study("A", days_ago=1)
    for _ in range(2):
        city.check(doctor, orders[:1], department="呼吸内科")
        city.now += timedelta(hours=1)
    kept = text("select order_number, department, reminded_at from ordered_item order by 1")
    config = configuration()
    with city.catalogue.engine.begin() as connection:
        before = connection.execute(kept).all()
        config.attributes["connection"] = connection
        command.downgrade(config, "0027")
        command.upgrade(config, "head")
        assert connection.execute(kept).all() == before
    assert [tuple(row) for row in before] == [("1", "骨科", START + timedelta(days=1)), ("2", "骨科", None)]


def test_figures_are_planned_for_the_months_asked_about_however_often_they_are_asked_about(
    june: City,
) -> None:
    with transaction(steady(june.catalogue.engine)) as session:
        for month in range(1, 13):
            asked: dict[str, Any] = {"first": date(2026, month, 1), "last": date(2026, month, 1)}
            for grouping in ROLLUP:
                savings.report(session, june.catalogue.items, group_by=[grouping], **asked)
        planned, planned_for_any = session.execute(KEPT_PLANS).one()
    assert planned > 12
    assert planned_for_any == 0
