"""Coming in and going out, in a real browser: both languages, three widths, by mouse and by keyboard."""

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import House
from tests.browser.visiting import PASSWORD, SCREENS, signed_in, visit

WORDS = {
    "zh": {"sign_in": "登录", "wrong": "账号、口令或动态码不正确", "out": "退出", "own": "我的账号"},
    "en": {
        "sign_in": "Sign in",
        "wrong": "Name, password or one-time code is not right",
        "out": "Sign out",
        "own": "My account",
    },
}


@pytest.mark.parametrize(("lang", "width"), SCREENS)
def test_somebody_signs_in_looks_at_his_account_and_signs_out(
    browser: Browser, house: House, lang: str, width: int
) -> None:
    words = WORDS[lang]
    seen = visit(browser, house.url, lang=lang, width=width)
    seen.open("/")
    expect(seen.page.locator("h1")).to_have_text(words["sign_in"])
    seen.assert_good("sign-in")
    seen.page.locator("[name=name]").fill(house.account("hospital_system", "A"))
    seen.page.locator("[name=password]").fill("not the right one")
    seen.page.locator("main button").click()
    expect(seen.page.get_by_role("alert")).to_contain_text(words["wrong"])
    seen.assert_good("sign-in-refused", refused=(403,))
    seen.page.locator("[name=password]").fill(PASSWORD)
    seen.page.locator("main button").click()
    expect(seen.page.locator("h1")).to_have_text(words["own"])
    seen.assert_good("account", refused=(403,))
    seen.page.get_by_role("button", name=words["out"], exact=True).click()
    expect(seen.page.locator("h1")).to_have_text(words["sign_in"])
    seen.open("/account")
    expect(seen.page.locator("h1")).to_have_text(words["sign_in"])


def test_a_first_password_is_chosen_by_keyboard_alone_and_the_link_leaves_the_address(
    browser: Browser, house: House
) -> None:
    link = house.invitation("hospital_system", "B")
    seen = visit(browser, house.url)
    seen.open(f"/first#{link}")
    expect(seen.page.locator("[name=password]")).to_be_focused()
    assert link not in seen.page.url
    seen.assert_good("first")
    keyboard = seen.page.keyboard
    keyboard.type(PASSWORD)
    keyboard.press("Tab")
    keyboard.type("another")
    keyboard.press("Enter")
    expect(seen.page.get_by_role("alert")).to_have_text("两次输入的口令不同")
    seen.page.locator("[name=password]").focus()
    keyboard.type(PASSWORD)
    keyboard.press("Tab")
    keyboard.type(PASSWORD)
    keyboard.press("Enter")
    expect(seen.page.locator(".who .name")).to_contain_text("hospital_system.b")
    assert not [url for url in seen.asked if link in url]


def test_a_language_that_was_chosen_stays(browser: Browser, house: House) -> None:
    seen = signed_in(browser, house, "hospital_system", "A")
    seen.page.get_by_role("link", name="English").click()
    expect(seen.page.locator("h1")).to_have_text("My account")
    seen.open("/account")
    expect(seen.page.locator("h1")).to_have_text("My account")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_can_be_read_by_day_and_by_night(browser: Browser, house: House, scheme: str) -> None:
    seen = signed_in(browser, house, "hospital_system", "A", color_scheme=scheme)
    seen.assert_good(f"account-{scheme}")
