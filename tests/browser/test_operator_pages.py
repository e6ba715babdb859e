"""The operator's room in a real browser: the exchange as it runs, hospitals, the chain, accounts, systems."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import text

from catalog import audit
from catalog.context import Caller
from catalog.db import transaction
from exchange.health import Health
from tests.browser.conftest import House
from tests.browser.visiting import PASSWORD, SCREENS, Visit, signed_in, visit
from tests.dicom_node.raw_peer import wait_until

HOSTILE = '"><img src=x onerror="window.ran=1">{{7*7}}\u202e'
STORED = 'dicom_instances_total{label="0000"}'
COUNTED = {
    'dicom_associations_total{label="accepted"}': 12,
    'dicom_associations_total{label="released"}': 7,
    STORED: 61_250,
    'dicom_instances_total{label="A700"}': 3,
    'dicom_bytes_total{label="stored"}': 5 << 30,
}
WORDS = {
    "zh": {
        "running": "运行情况",
        "new": "新建账号",
        "make": "新建并取得一次性链接",
        "made": "账号已建立",
        "done": "完成",
        "role": "更改角色",
        "curator": "质控与编目",
        "disable": "停用账号",
        "disabled": "已停用",
        "reset": "重置并取得新链接",
        "again": "账号已重置",
        "exists": "该账号已存在",
        "pause": "暂停自动刷新",
        "paused": "已暂停,数字停在上次刷新时。",
        "others": "退出其他所有登录",
        "ended": "其他会话已结束,仅此处仍登录。",
    },
    "en": {
        "running": "How the exchange runs",
        "new": "New account",
        "make": "Make it and get the one-time link",
        "made": "The account is made",
        "done": "Done",
        "role": "Change the role",
        "curator": "Curator",
        "disable": "Disable the account",
        "disabled": "Disabled",
        "reset": "Reset and get a new link",
        "again": "The account is reset",
        "exists": "There is such an account already",
        "pause": "Pause refreshing",
        "paused": "Paused; the figures are those of the last refresh.",
        "others": "Sign out everywhere else",
        "ended": "All other sessions have ended; you are signed in here alone.",
    },
}


@pytest.fixture(scope="module")
def busy(house: House) -> Iterator[House]:
    """The house with images coming, a store that is down, a hostile name and a stranger who was refused."""

    def spool() -> dict[str, Any]:
        counts = {"packs": 3, "bytes": 100 << 20, "quarantined": 0, "_oldest_at": None}
        return counts | {"_free_bytes": 3 << 30, "_total_bytes": 100 << 30}

    def objects() -> dict[str, Any]:
        raise OSError

    state = house.app.state
    before = state.health, state.counters, state.anchor_file
    state.health = Health({"database": dict, "spool": spool}, {"object_store": objects})
    state.health.start()
    state.counters = lambda: COUNTED
    state.anchor_file = Path("/nowhere/heads.jsonl")
    house.city.study("A")
    with transaction(house.city.catalogue.engine) as session:
        session.execute(text("update hospital set name = :name where code = 'B'"), {"name": HOSTILE})
        told = {"calling_ae": HOSTILE, "reason": "unknown_calling_ae", "count": 4, "address": "10.0.0.9"}
        audit.record(session, Caller("dicom_node", "system"), "association_refused", **told)
    wait_until(lambda: all(each["state"] != "starting" for each in state.health.components().values()))
    yield house
    state.health.stop()
    state.health, state.counters, state.anchor_file = before


def told(seen: Visit, path: str = "") -> Any:
    """Return what the API tells who looks at the page."""
    answer = seen.page.request.get(f"{seen.origin}/v1/admin/running{path}")
    assert answer.ok, answer.text()
    return answer.json()


def figure(seen: Visit, name: str) -> int:
    return int(seen.page.locator(f"#{name}").inner_text().replace(",", ""))


@pytest.mark.parametrize(("lang", "width"), SCREENS)
def test_an_operator_sees_how_the_exchange_runs_and_keeps_accounts(
    browser: Browser, busy: House, lang: str, width: int
) -> None:
    words, name = WORDS[lang], f"dr.{lang}{width}"
    seen = signed_in(browser, busy, "operator", lang=lang, width=width)
    page = seen.page
    expect(page.locator("h1")).to_have_text(words["running"])
    whole = told(seen)
    for shown, key in (
        ("associations-open", "associations_open"),
        ("instances-stored", "instances_stored"),
        ("instances-refused", "instances_refused"),
    ):
        assert figure(seen, shown) == whole["receiving"][key]
    assert figure(seen, "spool-packs") == whole["spool"]["packs"] == 3
    assert page.locator(".notices > li").count() == len(whole["notices"]) > 0
    assert [each.split("-", 1)[1] for each in _ids(seen, "tr[id^=job-]")] == [
        each["kind"] for each in whole["jobs"]
    ]
    seen.assert_good("operator")
    seen.open("/operator/hospitals")
    expect(page.locator("tbody").first).to_contain_text(HOSTILE)
    assert page.locator("tbody").first.locator("tr").count() == told(seen, "/hospitals")["total"] == 2
    expect(page.locator("tbody").last).to_contain_text(HOSTILE)
    assert page.evaluate("window.ran") is None
    seen.assert_good("operator-hospitals")
    seen.open("/operator/audit")
    assert f"{told(seen)['audit']['unsealed']:,}" in page.locator("#unsealed").inner_text()
    seen.assert_good("operator-audit")
    seen.open("/operator/accounts")
    _make(seen, words, name)
    expect(page.locator("h1")).to_have_text(words["made"])
    link = page.locator("#link").input_value()
    assert "/first#" in link
    seen.assert_good("operator-link")
    page.get_by_role("link", name=words["done"]).click()
    expect(page.locator("h1")).to_have_text(name)
    assert link.partition("#")[2] not in page.content()
    page.locator("[name=role]").select_option(label=words["curator"])
    page.locator("[name=hospital]").fill("")
    page.get_by_role("button", name=words["role"]).click()
    expect(page.get_by_role("status")).to_be_visible()
    seen.assert_good("operator-account")
    page.get_by_role("button", name=words["disable"]).click()
    expect(page.locator(".facts")).to_contain_text(words["disabled"])
    seen.open("/operator/accounts")
    _make(seen, words, name)
    expect(page.get_by_role("alert")).to_contain_text(words["exists"])
    seen.assert_good("operator-accounts", refused=(409,))
    for place in ("clients", "webhooks"):
        seen.open(f"/operator/{place}")
        page.locator("summary").click()
        seen.assert_good(f"operator-{place}", refused=(409,))
    page.context.close()


def _ids(seen: Visit, found: str) -> list[str]:
    ids: list[str] = seen.page.locator(found).evaluate_all("all => all.map(each => each.id)")
    return ids


def _make(seen: Visit, words: dict[str, str], name: str) -> None:
    seen.page.get_by_text(words["new"], exact=True).click()
    seen.page.locator("[name=name]").fill(name)
    seen.page.locator("[name=role]").select_option("doctor")
    seen.page.locator("[name=hospital]").fill("B")
    seen.page.get_by_role("button", name=words["make"]).click()


def test_by_keyboard_alone_an_account_is_made_and_the_person_comes_in_by_its_link(
    browser: Browser, busy: House
) -> None:
    seen = signed_in(browser, busy, "operator")
    page, keyboard = seen.page, seen.page.keyboard
    page.get_by_role("link", name="账号管理").focus()
    keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("账号管理")
    page.locator("summary").focus()
    keyboard.press("Enter")
    keyboard.press("Tab")
    keyboard.type("dr.keys")
    keyboard.press("Tab")
    keyboard.press("Tab")
    keyboard.type("B")
    keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("账号已建立")
    link = page.locator("#link").input_value()
    person = visit(browser, busy.url)
    person.open(f"/first#{link.partition('#')[2]}")
    for _ in range(2):
        person.page.keyboard.type(PASSWORD)
        person.page.keyboard.press("Tab")
    person.page.keyboard.press("Enter")
    expect(person.page.locator(".who .name")).to_contain_text("dr.keys")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("该账号已存在")
    assert "/first#" not in page.content(), "the link is shown once"


def test_the_page_turns_by_itself_but_not_while_paused_or_hidden_or_under_somebodys_hands(
    browser: Browser, busy: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = signed_in(browser, busy, "operator", lang="en")
    page, words = seen.page, WORDS["en"]
    page.clock.install()
    seen.open("/operator")
    stored = page.locator("#instances-stored")
    expect(stored).to_have_text("61,250")

    def comes(count: int) -> None:
        monkeypatch.setitem(COUNTED, STORED, count)

    def turns() -> int:
        return sum(url.endswith("/operator/now") for url in seen.asked)

    comes(61_300)
    page.clock.run_for(5_000)
    expect(stored).to_have_text("61,300")
    page.get_by_role("button", name=words["pause"]).click()
    expect(page.locator("#turning-said")).to_have_text(words["paused"])
    comes(61_400)
    before = turns()
    page.clock.run_for(20_000)
    assert turns() == before
    page.get_by_role("button", name=words["pause"]).click()
    expect(stored).to_have_text("61,400")
    expect(page.locator("#turning-said")).to_be_empty()
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    before = turns()
    page.clock.run_for(20_000)
    assert turns() == before
    page.evaluate("delete document.hidden")
    page.locator("#now a").first.focus()
    page.clock.run_for(20_000)
    assert turns() == before
    page.get_by_role("button", name=words["pause"]).focus()
    page.clock.run_for(5_000)
    expect(stored).to_have_text("61,400")
    wait_until(lambda: bool(page.evaluate("1")) and turns() == before + 1)
    assert page.locator("#now [aria-live], #now [role=status], #now [role=alert]").count() == 0
    seen.assert_good("operator-turned")


def test_without_scripts_the_page_shows_the_same_and_is_reloaded_by_a_link(
    browser: Browser, busy: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = signed_in(browser, busy, "operator", java_script_enabled=False)
    page = seen.page
    expect(page.locator("#instances-stored")).to_have_text("61,250")
    expect(page.locator("#pause")).to_be_hidden()
    monkeypatch.setitem(COUNTED, STORED, 61_251)
    page.locator("#reload").click()
    expect(page.locator("#instances-stored")).to_have_text("61,251")


def test_a_system_is_registered_by_its_public_key_shut_out_and_let_in_again(
    browser: Browser, busy: House
) -> None:
    seen = signed_in(browser, busy, "operator")
    page = seen.page
    seen.open("/operator/clients")
    page.locator("summary").click()
    page.locator("[name=client_id]").fill("his-b")
    page.locator("[name=hospital]").fill("B")
    page.locator("[name=jwks]").fill(HOSTILE)
    page.get_by_role("button", name="登记客户端").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.locator("[name=jwks]").input_value() == HOSTILE
    key = {"kty": "OKP", "crv": "Ed25519", "kid": "2026", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    page.locator("[name=jwks]").fill(str({"keys": [key]}).replace("'", '"'))
    page.get_by_role("button", name="登记客户端").click()
    expect(page.locator("tbody")).to_contain_text("his-b")
    page.get_by_role("button", name="停止接入").click()
    expect(page.locator("tbody")).to_contain_text("已停用")
    page.get_by_role("button", name="恢复").click()
    expect(page.locator("tbody")).to_contain_text("正常")
    seen.assert_good("operator-clients-one", refused=(422,))


def test_one_signs_out_everywhere_else_by_a_button(browser: Browser, busy: House) -> None:
    elsewhere = signed_in(browser, busy, "auditor")
    seen = signed_in(browser, busy, "auditor")
    seen.open("/account")
    seen.page.get_by_role("button", name=WORDS["zh"]["others"]).click()
    expect(seen.page.get_by_role("status")).to_have_text(WORDS["zh"]["ended"])
    seen.assert_good("account-others")
    elsewhere.open("/account")
    expect(elsewhere.page.locator("h1")).to_have_text("登录")
