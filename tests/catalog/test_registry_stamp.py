"""What a check keeps of the registry never outlives a change to it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from sqlalchemy import event, select, text, update
from sqlalchemy.exc import IntegrityError

from catalog import registry
from catalog.db import transaction
from catalog.errors import NotFound
from catalog.pricing import PriceRow
from catalog.tables import Hospital, QcEvaluation, Region, RegistryStamp
from tests.city import City

ORDER = [{"order_number": "1", "item_code": "CT07"}]


def stamp(city: City) -> object:
    with transaction(city.catalogue.engine) as session:
        return session.scalars(select(RegistryStamp.stamp)).one()


def change(city: City, act: Callable[..., object]) -> None:
    with transaction(city.catalogue.engine) as session:
        act(session)


def test_an_evaluation_that_ends_decides_the_very_next_check(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    city.study("A")
    (candidate,) = city.check(doctor, ORDER)["orders"][0]["candidates"]
    assert candidate["verdict"] == "recognisable"
    change(city, lambda s: s.execute(update(QcEvaluation).values(valid_to=date(2025, 6, 1))))
    (candidate,) = city.check(doctor, ORDER)["orders"][0]["candidates"]
    assert [reason["code"] for reason in candidate["reasons"]] == ["no_hr_mark"]


def test_a_new_price_counts_in_the_very_next_check(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    city.study("A")
    city.check(doctor, ORDER)
    row = PriceRow("hospital", "B", "CT07", 12_345, date(2026, 1, 1), None, "")
    change(city, lambda s: registry.add_prices(s, [row], source="test"))
    (candidate,) = city.check(doctor, ORDER)["orders"][0]["candidates"]
    assert candidate["saving_fen"] == 12_345


def test_a_hospital_that_leaves_asks_no_more(city: City) -> None:
    doctor = city.hospital("B")
    city.check(doctor, ORDER)
    change(city, lambda s: s.execute(update(Hospital).values(active=False)))
    with pytest.raises(NotFound):
        city.check(doctor, ORDER)


def test_after_a_change_the_hospitals_are_read_once_however_many_ask_and_a_new_one_may_ask(
    city: City,
) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    city.study("A")
    city.check(doctor, ORDER)
    newcomer = city.hospital("C")
    asked = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM hospital" in statement and "WHERE" not in statement:
            asked.append(statement)

    event.listen(city.catalogue.engine, "before_cursor_execute", note)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda caller: city.check(caller, ORDER), [doctor, newcomer] * 6))
    event.remove(city.catalogue.engine, "before_cursor_execute", note)
    assert all(answer["orders"][0]["candidates"] for answer in found)
    assert len(asked) == 1


@pytest.mark.parametrize("table", ["hospital", "person"])
@pytest.mark.parametrize("statement", ["delete from {}", "truncate {} cascade", "update {} set id = default"])
def test_neither_hospital_nor_person_is_ever_removed_or_numbered_anew(
    city: City, statement: str, table: str
) -> None:
    city.hospital("A")
    city.study("A")
    with pytest.raises(IntegrityError, match=f"a {table} is never removed"):
        change(city, lambda s: s.execute(text(statement.format(table))))


@pytest.mark.parametrize(
    "statement",
    [
        "update region set mark_name = mark_name where code = '50'",
        "update hospital set name = name",
        "delete from qc_evaluation",
        "update price set source = source where item_code = 'CT07'",
        "update item_list set title_en = title_en",
    ],
)
def test_every_change_to_the_registry_makes_a_new_stamp(city: City, statement: str) -> None:
    city.hospital("A")
    before = stamp(city)
    change(city, lambda s: s.execute(text(statement)))
    assert stamp(city) != before


def test_what_is_undone_keeps_the_stamp_and_a_second_change_makes_a_third(city: City) -> None:
    city.hospital("A")
    first = stamp(city)
    with transaction(city.catalogue.engine) as session:
        session.execute(update(Region).values(mark_name="x"))
        session.rollback()
    assert stamp(city) == first
    change(city, lambda s: s.execute(update(Region).values(mark_name="y")))
    second = stamp(city)
    change(city, lambda s: s.execute(update(Region).values(mark_name="z")))
    assert len({first, second, stamp(city)}) == 3
