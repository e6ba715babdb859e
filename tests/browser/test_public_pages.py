"""The page for everybody, in a real browser: institutions and marks found, items seen, as the API tells them."""

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import House
from tests.browser.visiting import SCREENS, visit

WORDS = {"zh": ("查找", "没有符合条件的机构"), "en": ("Find", "No such institution")}


@pytest.mark.parametrize(("lang", "width"), SCREENS)
def test_somebody_looks_for_an_institution_and_at_the_items(
    browser: Browser, house: House, lang: str, width: int
) -> None:
    search, nobody = WORDS[lang]
    seen = visit(browser, house.url, lang=lang, width=width)
    seen.open("/public")
    rows = seen.page.locator("tbody tr")
    told = seen.page.request.get(f"{house.url}/v1/public/institutions").json()["institutions"]
    assert [row.split("\n")[0] for row in rows.locator("th").all_inner_texts()] == [
        f"{each['name']} {each['code']}" for each in told
    ]
    seen.assert_good("public")
    seen.page.locator("[name=district]").select_option("500107")
    seen.page.get_by_role("button", name=search).click()
    expect(rows).to_have_count(1)
    seen.page.locator("[name=text]").fill("nobody at all")
    seen.page.keyboard.press("Enter")
    expect(seen.page.locator(".empty")).to_contain_text(nobody)
    seen.assert_good("public-none")
    seen.open("/public/items")
    items = seen.page.request.get(f"{house.url}/v1/public/items").json()["items"]
    assert rows.locator("th").all_inner_texts() == [item["code"] for item in items]
    seen.assert_good("public-items")
    assert seen.sent_bytes() <= 300_000


def test_the_list_is_printed_without_what_is_for_the_screen(browser: Browser, house: House) -> None:
    seen = visit(browser, house.url)
    seen.open("/public")
    seen.page.emulate_media(media="print")
    expect(seen.page.locator(".top")).to_be_hidden()
    expect(seen.page.locator(".filters")).to_be_hidden()
    expect(seen.page.locator("table")).to_be_visible()
