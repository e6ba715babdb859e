"""What a check leaves behind: its answer as given, one reminder an order, in the month of its first check."""

import uuid
from datetime import UTC, date, datetime

import orjson
from sqlalchemy import func, select

from catalog.db import transaction
from catalog.tables import Monthly, OrderCheck, OrderedItem
from tests.city import City

ORDER = [{"order_number": "1", "item_code": "CT07"}]


def reminders(city: City) -> dict[date, int]:
    with transaction(city.catalogue.engine) as session:
        query = select(Monthly.month, func.sum(Monthly.reminders)).group_by(Monthly.month)
        return {month: int(count) for month, count in session.execute(query)}


def test_an_order_asked_again_is_one_reminder(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    city.study("A")
    for _ in range(3):
        assert city.check(doctor, ORDER)["orders"][0]["candidates"]
    assert reminders(city) == {date(2026, 6, 1): 1}


def test_an_order_becomes_a_reminder_of_the_month_it_was_first_asked_in(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    city.study("A", days_ago=60)  # known, and too old
    city.check(doctor, ORDER)
    assert reminders(city) == {}
    city.now = datetime(2026, 7, 2, 4, tzinfo=UTC)
    city.study("A", days_ago=1)
    city.check(doctor, ORDER)
    assert reminders(city) == {date(2026, 6, 1): 1}


def test_orders_of_one_item_in_one_check_are_counted_each(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    city.study("A")
    city.check(doctor, [{"order_number": number, "item_code": "CT07"} for number in ("b", "a", "c")])
    assert reminders(city) == {date(2026, 6, 1): 3}


def test_another_persons_order_of_the_same_number_changes_nothing(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    city.study("A", person=2)
    city.study("A", person=4, days_ago=60)
    city.check(doctor, ORDER, person=4)
    assert city.check(doctor, ORDER, person=2)["orders"][0]["candidates"]
    assert reminders(city) == {}
    with transaction(city.catalogue.engine) as session:
        assert session.scalars(select(OrderedItem.reminder)).all() == [False]


def test_the_answer_is_kept_as_it_was_given(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    city.study("A")
    given = city.check(doctor, ORDER, department="呼吸内科")
    with transaction(city.catalogue.engine) as session:
        kept = session.get_one(OrderCheck, uuid.UUID(given["check_id"]))
        assert kept.given == orjson.loads(orjson.dumps(given))
        assert (kept.department, kept.caller, kept.answer) == ("呼吸内科", "dr.B", "complete")
        assert (kept.expires_at - kept.asked_at).total_seconds() == 24 * 3600
