"""The doctor's pages without a browser: what is unknown is said so, nothing runs, nothing names a number."""

import re
from typing import Any

import pytest
from sqlalchemy import text

from exchange.web.doctor_forms import MOST_ORDERS, of_form, question
from tests.city import id_number
from tests.exchange.conftest import Service
from tests.exchange.test_page_sessions import Browser, browser
from tests.reports import IMAGING, take

__all__ = ["browser"]  # the fixture

SCRIPT = "<script>window.ran=1</script>"
IMAGE = '"><img src=x onerror="window.ran=1">'
HOSTILE = [
    SCRIPT,
    IMAGE,
    "{{7*7}}",
    "${7*7}",
    "=cmd|' /C calc'!A0",
    "javascript:window.ran=1",
    "\u202egnp.exe",
    "a\r\nSet-Cookie: b=c",
]


@pytest.fixture
def doctor(browser: Browser) -> Browser:
    """A doctor of hospital A who has signed in."""
    browser.sign_in("doctor.one")
    return browser


def ask(doctor: Browser, **more: Any) -> Any:
    form = {"csrf": doctor.token(), "id_type": "01", "id_number": id_number(2), "item": "CT07", "act": "ask"}
    return doctor.post("/doctor", {**form, **more})


def answered(doctor: Browser, **more: Any) -> str:
    asked = ask(doctor, **more)
    assert asked.status_code == 303, asked.text
    return str(doctor.get(asked.headers["location"]).text)


def test_a_catalogue_that_does_not_answer_in_time_is_told_as_unknown_never_as_no_prior(
    doctor: Browser, service: Service
) -> None:
    app: Any = service.client.app
    app.state.deadline._seconds = 1.0
    with service.city.catalogue.engine.connect() as other:
        other.execute(text("lock table order_check in access exclusive mode"))
        shown = ask(doctor)
        other.rollback()
    assert shown.status_code == 503
    assert "结果未知,不等于没有做过" in shown.text
    assert "无既往" not in shown.text
    assert f'value="{id_number(2)}"' in shown.text  # what was typed can be asked again


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_texts_of_others_are_shown_as_texts(doctor: Browser, service: Service, words: str) -> None:
    take(
        service.city, "A", IMAGING, StudyInstanceUID="2.25.1001", conclusion=words, title=words, author=words
    )
    with service.city.catalogue.engine.begin() as session:
        session.execute(text("update person set name = :words"), {"words": words})
        session.execute(text("update hospital set name = :words"), {"words": words})
        session.execute(
            text("update study set description = :words, patient_name = :words"), {"words": words}
        )
    page = answered(doctor, department=words.replace("\r\n", " "), name="", number="order-1")
    paths = [*re.findall(r'href="(/doctor/[^"]+)"', page), "/doctor/today"]
    for shown in [page, *(doctor.get(path).text for path in paths)]:
        for running in (SCRIPT, "<img src=x", ">49<"):
            assert running not in shown
        assert "Set-Cookie: b=c" not in str(doctor.get("/doctor/today").headers)
    assert "window.ran" not in words or "window.ran" in page


def test_no_number_stands_in_an_address_or_on_the_answer(doctor: Browser) -> None:
    page = answered(doctor)
    assert id_number(2) not in page
    assert "no-referrer" in doctor.get("/doctor").headers["referrer-policy"]


def test_a_form_that_is_not_whole_is_shown_again_and_asks_nothing(doctor: Browser, service: Service) -> None:
    for act in ("keep", "more", ""):
        shown = ask(doctor, act=act)
        assert shown.status_code == 200
        assert len(re.findall('name="item"', shown.text)) == (2 if act == "more" else 1)
    with service.city.catalogue.engine.connect() as session:
        assert session.scalar(text("select count(*) from order_check")) == 0


def test_a_form_has_no_more_rows_than_may_be_asked(doctor: Browser) -> None:
    rows: Any = {"item": ["CT07"] * (MOST_ORDERS + 5), "act": "more", "csrf": doctor.token()}
    shown = doctor.post("/doctor", rows)
    assert len(re.findall('name="item"', shown.text)) == MOST_ORDERS


def test_a_row_says_its_item_by_the_code_of_the_list_or_in_words() -> None:
    from starlette.datastructures import FormData

    given = [
        ("item", "ct07 胸部CT平扫"),
        ("item", "头颅平扫"),
        ("item", " "),
        ("side", "L"),
        ("side", "X"),
        ("part", ""),
    ]
    orders = question(of_form(FormData(given)), {"CT07"})["orders"]
    assert [(each.get("item_code"), each.get("text"), each["laterality"]) for each in orders] == [
        ("CT07", None, "L"),
        (None, "头颅平扫", None),
    ]
    assert len({each["order_id"] for each in orders}) == 2


def test_a_decision_without_its_key_or_reason_is_refused_beside_the_answer(doctor: Browser) -> None:
    page = answered(doctor)
    (path,) = set(re.findall(r'action="(/doctor/checks/[^"]+/decisions)"', page))
    order = re.search(r'name="order_id" value="([^"]+)"', page)
    assert order is not None
    form = {"csrf": doctor.token(), "order_id": order[1], "position": "1", "action": "override"}
    for key, code in (("", 422), ("k", 422)):
        shown = doctor.post(path, {**form, "key": key})
        assert shown.status_code == code
        assert 'role="alert"' in shown.text
        assert "可互认" in shown.text
    assert doctor.post(path, {**form, "action": "drop", "key": "k2"}).status_code == 422


def test_another_hospitals_check_is_a_page_that_says_there_is_none(doctor: Browser, service: Service) -> None:
    theirs = service.call(
        "POST",
        "/v1/checks",
        json={"patient": {"id_number": id_number(2)}, "orders": [{"order_id": "1", "item_code": "CT07"}]},
        hospital="B",
    ).json()["check_id"]
    doctor.has(doctor.cookie)
    assert doctor.get(f"/doctor/checks/{theirs}").status_code == 404
