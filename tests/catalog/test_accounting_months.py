"""A month ends once; what comes later opens it again, and its number says how often."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from catalog.accounting_months import revisions
from catalog.db import transaction
from tests.city import START, City

JULY = datetime(2026, 6, 30, 16, 0, tzinfo=UTC)  # midnight in Shanghai
ORDER = {"item_code": "CT07"}


@pytest.fixture
def asked(city: City) -> City:
    """On the last day of June B was shown a prior of A for persons 2 and 4, and recognised both."""
    city.hospital("A")
    city.doctors["B"] = city.hospital("B", tier=2)
    for person in (2, 4):
        city.study("A", person)
        decide(city, str(person), person, "recognise")
    return city


def decide(city: City, order: str, person: int, action: str, **more: Any) -> dict[str, Any]:
    check = city.check(city.doctors["B"], [{"order_number": order, **ORDER}], person=person)
    city.decide(city.doctors["B"], check, order, action, **more)
    return check


def numbers(city: City, at: datetime | None = None) -> dict[str, int]:
    """Return how often each month was opened again, as of a moment."""
    return {month["month"]: month["revision"] for month in months(city, at)}


def months(city: City, at: datetime | None = None) -> list[dict[str, Any]]:
    with transaction(city.catalogue.engine) as session:
        return revisions(session, date(2026, 1, 1), date(2026, 12, 1), at or city.now)


def june(city: City) -> dict[str, Any]:
    return next(each for each in months(city) if each["month"] == "2026-06")


@contextmanager
def unchanged(city: City) -> Iterator[None]:
    before = numbers(city)
    yield
    assert numbers(city) == before


def test_a_month_is_0_while_it_runs_and_1_from_its_end(asked: City) -> None:
    assert june(asked) == {"month": "2026-06", "revision": 0, "ended_at": None, "reopened_at": None}
    assert numbers(asked, JULY - timedelta(microseconds=1)) == {"2026-06": 0}
    assert numbers(asked, JULY) == {"2026-06": 1, "2026-07": 0}
    assert numbers(asked, datetime(2026, 9, 1, tzinfo=UTC)) == {
        "2026-06": 1,
        "2026-07": 1,
        "2026-08": 1,
        "2026-09": 0,
    }
    assert numbers(asked, datetime(2026, 5, 1, tzinfo=UTC)) == {}


def test_each_later_day_on_which_money_is_taken_back_opens_the_month_again(asked: City) -> None:
    asked.now = JULY + timedelta(days=3)
    asked.study("B", 2, days_ago=3)
    newest = asked.now
    asked.now += timedelta(hours=1)
    asked.study("B", 4, days_ago=3)
    assert june(asked) == {
        "month": "2026-06",
        "revision": 2,
        "ended_at": "2026-06-30T23:59:59.999999+08:00",
        "reopened_at": "2026-07-04T01:00:00+08:00",
    }
    assert numbers(asked, newest - timedelta(seconds=1))["2026-06"] == 1
    assert numbers(asked, newest)["2026-06"] == 2
    assert numbers(asked)["2026-07"] == 0


def test_a_month_is_opened_again_on_each_of_two_days(asked: City) -> None:
    for person in (2, 4):
        asked.now += timedelta(days=3)
        asked.study("B", person, days_ago=1)
    assert june(asked)["revision"] == 3


def test_an_undo_opens_the_month_of_its_decision_also_where_no_money_moves(asked: City) -> None:
    doctor = asked.doctors["B"]
    asked.study("A", 6)
    check = decide(asked, "6", 6, "override", reason_code="1", explained_to_patient=True)
    asked.now = JULY + timedelta(days=5)
    with unchanged(asked):
        decide(asked, "7", 6, "override", reason_code="1", explained_to_patient=True)
    asked.decide(doctor, check, "6", "undo")
    assert june(asked)["revision"] == 2
    assert june(asked)["reopened_at"] == "2026-07-06T00:00:00+08:00"


def test_an_order_for_which_a_prior_is_shown_at_last_opens_the_month_it_was_asked_in(asked: City) -> None:
    asked.study("A", 8, days_ago=60)  # known, and too old
    order = [{"order_number": "8", **ORDER}]
    asked.check(asked.doctors["B"], order, person=8)
    asked.now = JULY + timedelta(days=1)
    with unchanged(asked):
        asked.check(asked.doctors["B"], order, person=8)
    asked.study("A", 8, days_ago=1)
    asked.check(asked.doctors["B"], order, person=8)
    assert june(asked)["revision"] == 2


def test_what_comes_on_a_later_day_of_the_same_month_opens_nothing(asked: City) -> None:
    asked.now = datetime(2026, 7, 10, 4, tzinfo=UTC)
    asked.study("A", 6)
    check = decide(asked, "6", 6, "recognise")
    asked.now += timedelta(days=9)
    with unchanged(asked):
        asked.decide(asked.doctors["B"], check, "6", "undo")
    assert numbers(asked, datetime(2026, 8, 15, tzinfo=UTC)) == {"2026-06": 1, "2026-07": 1, "2026-08": 0}


def test_where_nothing_was_ever_counted_there_are_no_months(city: City) -> None:
    assert numbers(city, START) == {}
