"""Orders in the asking hospital's own words: resolved for certain, or put back to the doctor with the choices."""

from typing import Any

import pytest
from sqlalchemy import event

from catalog import registry
from catalog.db import transaction
from catalog.items import load_item_list
from catalog.order_choices import choices
from catalog.presentation import presented
from catalog.reasons import load_reasons
from tests.city import City


def name(city: City, code: str, text: str, item: str, side: str | None = None) -> None:
    row = {"code": code, "name": text, "item_code": item, "laterality": side, "body_part": None}
    with transaction(city.catalogue.engine) as session:
        registry.map_local_codes(session, registry.hospital_by_code(session, "B"), [row])


@pytest.fixture
def asker(city: City) -> Any:
    city.hospital("A")
    city.study("A")
    return city.hospital("B", tier=2, region="500107")


def ask(city: City, asker: Any, **order: Any) -> dict[str, Any]:
    city.count += 1
    answer = city.check(asker, [{"order_number": f"T{city.count}", **order}])["orders"][0]
    return dict(answer)


def codes(order: dict[str, Any]) -> list[str]:
    assert order["error"]["code"] == "ambiguous_item"
    assert order["candidates"] == []
    return [choice["code"] for choice in order["error"]["choices"]]


def test_a_text_that_names_two_examinations_fails_its_order_alone_and_offers_both(
    city: City, asker: Any
) -> None:
    orders = [
        {"order_number": "1", "text": "头颅胸部CT平扫"},
        {"order_number": "2", "item_code": "CT07"},
    ]
    first, second = city.check(asker, orders)["orders"]
    assert codes(first) == ["CT01", "CT07"]
    assert first["error"]["choices"][1] == {
        "code": "CT07",
        "name": "胸部CT平扫",
        "name_en": city.catalogue.items.get("CT07").name_en,  # type: ignore[union-attr]
    }
    assert len(second["candidates"]) == 1


def test_a_text_without_a_device_is_never_guessed_at_even_where_one_item_fits(city: City, asker: Any) -> None:
    assert codes(ask(city, asker, text="胸部平扫")) == ["CT07"]


def test_what_means_nothing_on_the_list_is_unknown_and_has_no_choices(city: City, asker: Any) -> None:
    for words in ("会诊资料", "x", "\u3000"):
        error = ask(city, asker, text=words)["error"]
        assert (error["code"], "choices" in error) == ("unknown_item", False)


def test_a_name_of_the_hospitals_own_table_comes_before_the_rules_however_it_is_written(
    city: City, asker: Any
) -> None:
    name(city, "K1", "胸平扫(快速)", "CT07")
    for words in ("胸平扫(快速)", "胸平扫\uff08快速\uff09", " 胸平扫(快速) "):
        assert ask(city, asker, text=words)["item"]["code"] == "CT07"


def test_one_name_under_two_codes_offers_what_both_mean(city: City, asker: Any) -> None:
    name(city, "K1", "胸部常规", "CT07")
    name(city, "K2", "胸部常规", "CT08")
    assert codes(ask(city, asker, text="胸部常规")) == ["CT07", "CT08"]


def test_one_name_under_codes_of_both_sides_means_the_item_and_asks_for_the_side(
    city: City, asker: Any
) -> None:
    name(city, "L", "膝片", "XR12", "L")
    name(city, "R", "膝片", "XR12", "R")
    assert ask(city, asker, text="膝片")["error"]["code"] == "laterality_required"
    assert ask(city, asker, text="膝片", laterality="R")["laterality"] == "R"


def test_a_name_the_hospital_says_is_on_no_list_is_not_mapped_by_the_rules_after_all(
    city: City, asker: Any
) -> None:
    name(city, "K1", "胸部CT平扫", "")
    assert ask(city, asker, text="胸部CT平扫")["error"]["code"] == "unknown_item"
    assert ask(city, asker, local_code="K1")["error"]["code"] == "unknown_item"


def test_another_hospitals_names_mean_nothing_here(city: City, asker: Any) -> None:
    name(city, "K1", "套餐甲", "CT07")
    other = city.hospital("C")
    assert ask(city, other, text="套餐甲")["error"]["code"] == "unknown_item"


def test_the_choices_hold_the_item_the_text_means_for_every_name_of_the_list() -> None:
    items = load_item_list()
    for item in items:
        assert item in choices(item.name_zh, items), item.code
        assert item in choices(item.name_en, items), item.code


def test_an_emergency_is_never_interrupted_and_its_own_reason_stands_first() -> None:
    reasons = load_reasons().values()
    routine, emergency = presented(reasons, "routine"), presented(reasons, "emergency")
    assert (routine["interrupts"], routine["reason_codes"][:6]) == (True, ["1", "2", "3", "4", "5", "6"])
    assert (emergency["interrupts"], emergency["reason_codes"][:2]) == (False, ["4", "1"])
    assert sorted(routine["reason_codes"]) == sorted(emergency["reason_codes"])


def test_an_emergency_check_is_answered_in_full_and_says_not_to_interrupt(city: City, asker: Any) -> None:
    order = [{"order_number": "E", "item_code": "CT07"}]
    answer = city.check(asker, order, urgency="emergency")
    assert (answer["interrupts"], answer["reason_codes"][0]) == (False, "4")
    assert answer["orders"][0]["candidates"][0]["verdict"] == "recognisable"


def test_the_hospitals_own_names_are_read_once_however_many_orders_are_in_words(
    city: City, asker: Any
) -> None:
    name(city, "K1", "院内胸扫", "CT07")
    read: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        read.append(statement)

    event.listen(city.catalogue.engine, "before_cursor_execute", note)
    orders = [{"order_number": f"W{number}", "text": "院内胸扫"} for number in range(5)]
    found = city.check(asker, orders)["orders"]
    assert [order["item"]["code"] for order in found] == ["CT07"] * 5
    assert len([each for each in read if "FROM local_code" in each]) == 1
