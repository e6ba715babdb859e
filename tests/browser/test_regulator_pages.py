"""The regulator's room in a real browser: figures that are the API's to the fen, their entries, who stands behind, a recount."""

import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser

from catalog import supply_refresh
from tests.browser.conftest import House
from tests.browser.visiting import WIDTHS, Visit, signed_in
from tests.city import id_number

LANGUAGES = ("zh", "en")
WORDS = {
    "zh": {"see": "查看", "open": "立案并查看", "close": "结案", "begin": "开始核算", "done": "核算完成"},
    "en": {
        "see": "Show figures",
        "open": "Open an investigation and see",
        "close": "Close it",
        "begin": "Begin the recount",
        "done": "The recount is done",
    },
}
PAGES = (
    *("/regulator", "/regulator/figures?by=district", "/regulator/figures?by=issuing_hospital"),
    *("/regulator/entries", "/regulator/entries/1", "/regulator/repeats", "/regulator/repeats?by=hospital"),
    *("/regulator/repeats/entries", "/regulator/reasons", "/regulator/supply", "/regulator/questions"),
    *("/regulator/forms", "/regulator/forms/institution", "/regulator/forms/national"),
    *("/regulator/investigations", "/regulator/recount"),
)
JUNE = "from=2026-05&to=2026-06"
ITEMS = {"CT07": "胸部CT平扫", "CT01": "头颅CT平扫"}


@pytest.fixture(scope="module")
def books(house: House) -> House:
    """A house where B recognised, refused, did again, and asked of two items in two months."""
    city = house.city
    city.now -= timedelta(days=35)
    for person in range(10, 16):
        _studied(house, person, "CT07")
        _recognised(house, person, "CT07")
    city.now += timedelta(days=35)
    for person in range(20, 24):
        _studied(house, person, "CT01")
        _recognised(house, person, "CT01")
    for person, reason in ((30, "1"), (32, "98"), (34, "")):
        _studied(house, person, "CT07")
        _refused(house, person, reason)
    city.now += timedelta(hours=1)
    for person in (20, 30, 32, 34):
        _studied(house, person, "CT01" if person == 20 else "CT07", hospital="B", days_ago=0)
    city.now += timedelta(hours=1)
    supply_refresh.refresh(city.catalogue)
    return house


def _studied(house: House, person: int, item: str, *, hospital: str = "A", days_ago: float = 7) -> None:
    described = {"StudyDescription": ITEMS[item], "BodyPartExamined": "CHEST" if item == "CT07" else "HEAD"}
    house.city.study(hospital, person, days_ago=days_ago, **described)


def _asked(house: House, person: int, item: str) -> dict[str, Any]:
    body = {
        "patient": {"id_number": id_number(person)},
        "orders": [{"order_id": f"o{person}-{item}", "item_code": item}],
        "department": "呼吸内科",
    }
    answer = house.call("POST", "/v1/checks", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["orders"][0]["candidates"], found
    return found


def _decided(house: House, check: dict[str, Any], **body: Any) -> None:
    order = check["orders"][0]
    answer = house.call(
        "POST",
        f"/v1/checks/{check['check_id']}/decisions",
        json={"order_id": order["order_id"], **body},
        headers={"Idempotency-Key": f"{order['order_id']}-{body['action']}"},
    )
    assert answer.status_code == 200, answer.text


def _recognised(house: House, person: int, item: str) -> None:
    check = _asked(house, person, item)
    prior = check["orders"][0]["candidates"][0]["result_id"]
    _decided(house, check, action="recognise", result_id=prior)


def _refused(house: House, person: int, reason: str) -> None:
    check = _asked(house, person, "CT07")
    if reason:
        _decided(house, check, action="override", reason_code=reason, explained_to_patient=True)


def api(seen: Visit, path: str) -> Any:
    """Return what the API answers whoever is signed in."""
    answer = seen.page.request.get(f"{seen.origin}{path}")
    assert answer.ok, answer.text()
    return answer.json()


def fen(shown: str) -> int:
    """Return the fen of an amount as it is read."""
    found = re.search(r"(-?)¥([\d,]+)\.(\d\d)", shown)
    assert found, shown
    return int(f"{found[1]}{found[2].replace(',', '')}{found[3]}")


def figure(seen: Visit, name: str) -> str:
    return seen.page.locator(f"[data-figure={name}]").first.inner_text()


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_can_be_read_by_everybody(browser: Browser, books: House, lang: str, width: int) -> None:
    seen = signed_in(browser, books, "regulator", lang=lang, width=width)
    faults = []
    for path in PAGES:
        seen.open(path)
        try:
            seen.assert_good(re.sub("[/?=]", "-", path.strip("/")))
        except AssertionError as fault:
            faults.append(str(fault))
        seen.errors.clear()
        seen.refused.clear()
    assert faults == []
