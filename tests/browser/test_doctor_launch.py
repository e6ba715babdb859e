"""A hospital's system opens our pages from its own site: at a pop-up's width, in place of whoever was signed in."""

from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import SYSTEM, House
from tests.browser.visiting import signed_in, visit
from tests.city import id_number

HIS = "http://his.example"
ORDERS = [{"order_id": "MZ-77", "item_code": "CT07"}]


@pytest.fixture(scope="module", autouse=True)
def chest(house: House) -> None:
    """Hospital A did a chest CT of person 2."""
    house.city.link(SYSTEM, "A-2", 2, name="林晓渝")
    house.city.study("A", 2)


def launch(house: House, **more: Any) -> str:
    """Return the address that B's system was given for its doctor."""
    body = {
        "patient": {"id_number": id_number(2), "name": "林晓渝"},
        "orders": ORDERS,
        "department": "呼吸内科",
        "practitioner": {"id": "dr.li", "name": "李医生"},
        **more,
    }
    headers = {"Authorization": f"Bearer {house.token('hospital_system')}"}
    with httpx2.Client(trust_env=False) as client:
        answer = client.post(f"{house.url}/v1/launches", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return house.url + "/launch/" + str(answer.json()["url"].rpartition("/")[2])


def follow(seen: Any, address: str) -> None:
    """Click the address on a page of another site."""
    page = f'<!doctype html><title>HIS</title><a href="{address}">Huren</a>'
    seen.page.route(f"{HIS}/**", lambda route: route.fulfill(body=page, content_type="text/html"))
    seen.page.goto(f"{HIS}/")
    seen.page.get_by_role("link").click()


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_answer_is_there_by_itself_and_the_secret_is_nowhere(
    browser: Browser, house: House, lang: str
) -> None:
    seen = visit(browser, house.url, lang=lang, width=420)
    address = launch(house, lang=lang)
    secret = address.rpartition("/")[2]
    referers: list[str] = []
    seen.page.on("request", lambda request: referers.append(request.headers.get("referer", "")))
    follow(seen, address)
    seen.page.wait_for_url("**/doctor/checks/*")
    expect(seen.page.locator("h1")).to_contain_text("林晓渝")
    expect(seen.page.locator(".who .name")).to_contain_text("李医生")
    assert [each for each in referers if secret in each] == []
    seen.asked = [url for url in seen.asked if not url.startswith(HIS)]
    seen.assert_good("launched-answer")
    seen.page.locator("button.main").first.click()
    expect(seen.page.get_by_role("status")).to_be_visible()
    seen.page.get_by_role("button", name={"zh": "撤销这个决定", "en": "Undo this decision"}[lang]).click()
    seen.page.goto(address)
    expect(seen.page.locator("h1")).to_contain_text({"zh": "链接已使用", "en": "link was used"}[lang])


def test_without_orders_the_form_has_the_patient_already(browser: Browser, house: House) -> None:
    seen = visit(browser, house.url, width=420)
    follow(seen, launch(house, orders=[]))
    seen.page.wait_for_url("**/doctor/launched")
    expect(seen.page.locator("[name=id_number]")).to_have_value(id_number(2))
    expect(seen.page.locator("[name=item]")).to_be_focused()
    seen.asked = [url for url in seen.asked if not url.startswith(HIS)]
    seen.assert_good("launched-form")
    seen.page.locator("[name=item]").fill("CT07")
    seen.page.get_by_role("button", name="询问", exact=True).click()
    seen.page.wait_for_url("**/doctor/checks/*")
    seen.open("/doctor/launched")  # nothing is left of it
    seen.page.wait_for_url("**/doctor")
    expect(seen.page.locator("[name=id_number]")).to_have_value("")


def test_whoever_was_signed_in_before_is_so_no_more(browser: Browser, house: House) -> None:
    seen = signed_in(browser, house, "doctor", "A")
    (older,) = [each for each in seen.page.context.cookies() if each["name"] == "huren"]
    follow(seen, launch(house))
    seen.page.wait_for_url("**/doctor/checks/*")
    (newer,) = [each for each in seen.page.context.cookies() if each["name"] == "huren"]
    assert newer["value"] != older["value"]
    assert newer["sameSite"] == "Strict"
    assert newer["httpOnly"]
    expect(seen.page.locator(".who .name")).to_contain_text("李医生 B")
