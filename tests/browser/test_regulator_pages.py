"""The regulator's room in a real browser: figures that are the API's to the fen, their entries, who stands behind, a recount."""

import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import text

from catalog import recount, supply_refresh
from catalog.db import transaction
from tests.browser.conftest import House
from tests.browser.visiting import SCREENS, Visit, signed_in
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
    *("/regulator/forms", "/regulator/forms/national"),
    "/regulator/forms/institution?from=2026-05&to=2026-06",
    *("/regulator/investigations", "/regulator/recount"),
)
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


@pytest.mark.parametrize(("lang", "width"), SCREENS)
def test_every_page_can_be_read_by_everybody(browser: Browser, books: House, lang: str, width: int) -> None:
    seen = signed_in(browser, books, "regulator", lang=lang, width=width)
    faults = []
    for path in PAGES:
        seen.open(path)
        settled(seen)
        try:
            seen.assert_good(re.sub("[/?=]", "-", path.strip("/")))
        except AssertionError as fault:
            faults.append(str(fault))
        seen.errors.clear()
        seen.refused.clear()
    assert faults == []


NARROWINGS = (
    "",
    "from=2026-05&to=2026-05",
    "item=CT01",
    "district=500107&category=imaging",
    "hospital=A",
    "tier=2&as_of=2026-06-01",
)


@pytest.mark.parametrize("narrowing", NARROWINGS)
def test_figures_are_those_of_the_api_to_the_fen(browser: Browser, books: House, narrowing: str) -> None:
    seen = signed_in(browser, books, "regulator")
    seen.open(f"/regulator?{narrowing}")
    savings = api(seen, f"/v1/savings?group_by=month&{narrowing}")
    repeats = api(seen, f"/v1/savings/repeats?group_by=month&{narrowing}")
    for name in ("net_fen", "saved_fen", "reversed_fen"):
        assert fen(figure(seen, name)) == savings["total"][name], name
    assert figure(seen, "refused") == str(savings["total"]["refused"])
    assert figure(seen, "avoidable") == str(repeats["total"]["avoidable"])
    assert fen(figure(seen, "avoidable_fen")) == repeats["total"]["avoidable_fen"]
    rate = savings["total"]["rate"]
    assert figure(seen, "rate") == ("–" if rate is None else f"{rate:.1%}")
    for place, by in enumerate(("month", "district", "hospital", "item")):
        told = api(seen, f"/v1/savings?group_by={by}&{narrowing}&order={'net' if place else 'key'}")
        shown = shown_rows(seen, by)
        assert [fen(row[1]) for row in shown] == [row["net_fen"] for row in told["rows"]], by
        assert [row[3:5] for row in shown] == [
            [f"{row['reminders']:,}", f"{row['recognised']:,}"] for row in told["rows"]
        ]
    assert charted(seen, "month") == [row["net_fen"] for row in savings["rows"]]


def shown_rows(seen: Visit, by: str) -> list[list[str]]:
    """Return the cells of the table beside a chart."""
    settled(seen)
    rows = seen.page.locator(f".card:has(#chart-{by}) tbody tr")
    return [rows.nth(place).locator("th, td").all_inner_texts() for place in range(rows.count())]


def settled(seen: Visit) -> None:
    """Wait until every part of the page is there."""
    expect(seen.page.locator("[id^=ranked-]:not(:has(table))")).to_have_count(0)


def charted(seen: Visit, by: str) -> list[Any]:
    """Return what a chart is drawn from, where there is one."""
    place = seen.page.locator(f"#chart-{by}")
    if not place.count():
        return []
    found: list[Any] = json.loads(place.get_attribute("data-told") or "")["series"][0]["values"]
    return found


@pytest.mark.parametrize("lang", LANGUAGES)
def test_from_a_figure_to_its_entries_to_whom_it_is_about_by_mouse(
    browser: Browser, books: House, lang: str
) -> None:
    words = WORDS[lang]
    seen = signed_in(browser, books, "regulator", lang=lang)
    seen.page.locator(".card:has(#chart-item) tbody a").first.click()
    told = api(seen, f"/v1/savings/entries?{urlsplit(seen.page.url).query}")["entries"]
    rows = seen.page.locator("tbody tr")
    assert [fen(each) for each in rows.all_inner_texts()] == [each["amount_fen"] for each in told]
    assert fen(figure(seen, "net_fen")) == sum(each["amount_fen"] for each in told)
    rows.locator("a").first.click()
    chain = api(seen, f"/v1/savings/entries/{told[0]['entry_id']}")
    expect(seen.page.locator("body")).to_contain_text(chain["prior"]["packs"][0]["sha256"])
    expect(seen.page.locator("body")).to_contain_text(chain["check"]["check_id"])
    assert fen(figure(seen, "net_fen")) == chain["net_fen"]
    number = id_number(10)
    assert number not in seen.page.content()
    seen.page.locator("[name=reason]").fill("短")
    seen.page.get_by_role("button", name=words["open"]).click()
    expect(seen.page.get_by_role("alert")).to_be_visible()
    expect(seen.page.locator("[name=reason]")).to_have_value("短")
    seen.page.locator("[name=reason]").fill("核实该笔节约是否属实")
    seen.page.get_by_role("button", name=words["open"]).click()
    seen.page.wait_for_url("**/regulator/investigations/*/entries/*")
    expect(seen.page.locator(".card").first).to_contain_text("***")
    expect(seen.page.locator(".card").first).to_contain_text("test doctor")
    assert number not in seen.page.content()
    seen.assert_good("investigated", refused=(422,))
    address = urlsplit(seen.page.url).path
    seen.page.get_by_role("button", name=words["close"]).click()
    expect(seen.page.get_by_role("status")).to_be_visible()
    seen.assert_good("investigations-closed", refused=(422,))
    seen.open(address)
    assert (404, f"{books.url}{address}") in seen.refused
    assert seen.page.locator(".card").count() == 0


def test_an_auditor_reviews_what_a_regulator_opened_and_opens_nothing(browser: Browser, books: House) -> None:
    seen = signed_in(browser, books, "regulator")
    seen.open("/regulator/entries/2")
    seen.page.locator("[name=reason]").fill("核实该笔节约是否属实")
    seen.page.get_by_role("button", name=WORDS["zh"]["open"]).click()
    seen.page.wait_for_url("**/regulator/investigations/*/entries/2?*")
    address = urlsplit(seen.page.url).path
    auditor = signed_in(browser, books, "auditor")
    auditor.open("/regulator/entries/2")
    expect(auditor.page.locator("[name=reason]")).to_have_count(0)
    auditor.open("/regulator/investigations?pending=1")
    auditor.assert_good("review")
    auditor.page.locator("[name=note]").last.fill("事由不足")
    auditor.page.get_by_role("button", name="立案不当,立即终止").last.click()
    expect(auditor.page.get_by_role("status")).to_contain_text("复核结论已记录")
    seen.open(address)
    assert (404, f"{books.url}{address}") in seen.refused


def test_a_whole_story_by_keyboard_alone(browser: Browser, books: House) -> None:
    seen = signed_in(browser, books, "regulator", lang="en")
    keys = seen.page.keyboard
    tab_to(seen, "summary")
    keys.press("Enter")
    tab_to(seen, "#f-item")
    keys.type("CT head")
    tab_to(seen, ".filters button")
    keys.press("Enter")
    seen.page.wait_for_url("**item=CT01**")
    tab_to(seen, ".tile")
    keys.press("Enter")
    seen.page.wait_for_url("**/regulator/entries?**item=CT01**")
    tab_to(seen, "tbody a")
    keys.press("Enter")
    seen.page.wait_for_url("**/regulator/entries/*")
    tab_to(seen, "[name=reason]")
    keys.type("to verify this saving")
    keys.press("Enter")
    seen.page.wait_for_url("**/regulator/investigations/*/entries/*")
    tab_to(seen, "main form button")
    keys.press("Enter")
    expect(seen.page.locator("h1")).to_have_text("Investigations")
    tab_to(seen, "nav a[href='/regulator/recount']")
    keys.press("Enter")
    tab_to(seen, "main form button")
    keys.press("Enter")
    expect(seen.page.locator("#recount")).to_have_attribute("data-state", "done", timeout=60_000)


def tab_to(seen: Visit, selector: str) -> None:
    """Press Tab until something that fits has the focus, and see that it is shown where that is."""
    seen.page.locator(selector).first.wait_for()
    for _ in range(150):
        seen.page.keyboard.press("Tab")
        if seen.page.locator(f":focus:is({selector})").count():
            width = seen.page.evaluate("() => getComputedStyle(document.activeElement).outlineWidth")
            assert width == "3px", selector
            return
    raise AssertionError(f"{selector} is not reached by Tab")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_recount_is_watched_and_its_statement_is_checked_as_the_page_says(
    browser: Browser, books: House, lang: str, tmp_path: Path
) -> None:
    words = WORDS[lang]
    seen = signed_in(browser, books, "regulator", lang=lang)
    seen.open("/regulator/recount")
    with transaction(books.city.catalogue.engine) as session:
        session.execute(text("lock table decision in access exclusive mode"))
        seen.page.get_by_role("button", name=words["begin"]).click()
        seen.page.wait_for_url("**/regulator/recount/*-*")
        expect(seen.page.locator("#recount")).to_have_attribute("data-state", "running")
        seen.assert_good("recount-running")
    expect(seen.page.locator("#recount")).to_have_attribute("data-state", "done", timeout=60_000)
    expect(seen.page.locator("#recount h2")).to_have_text(words["done"])
    seen.assert_good("recount-done")
    assert seen.page.locator(".steps .badge.good").count() == len(recount.STEPS)
    assert fen(figure(seen, "net_fen")) == api(seen, "/v1/savings?group_by=month")["total"]["net_fen"]
    with seen.page.expect_download() as kept:
        seen.page.locator("a[download][href$=statement]").click()
    kept.value.save_as(tmp_path / "recount.json")
    keys = api(seen, "/.well-known/jwks.json")
    (tmp_path / "jwks.json").write_text(json.dumps(keys))
    program = seen.page.locator("#check-program").inner_text()
    assert checked(program, tmp_path).returncode == 0
    told = (tmp_path / "recount.json").read_text()
    (tmp_path / "recount.json").write_text(told.replace('"agrees": true', '"agrees": false'))
    assert b"AssertionError" in checked(program, tmp_path).stderr


def checked(program: str, folder: Path) -> "subprocess.CompletedProcess[bytes]":
    """Run what the page tells somebody to run, where the two files are."""
    return subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, timeout=60)


def test_without_scripts_everything_is_read_and_a_recount_is_seen_to_its_end(
    browser: Browser, books: House
) -> None:
    seen = signed_in(browser, books, "regulator", java_script_enabled=False)
    seen.open("/regulator?item=CT07")
    assert seen.page.locator(".card table").count() == 2
    assert (
        seen.page.locator("#ranked-item a").get_attribute("href")
        == "/regulator/figures?from=2026-01&to=2026-06&item=CT07&by=item"
    )
    assert not seen.page.locator(".chart").first.is_visible()
    seen.open("/regulator/recount")
    seen.page.get_by_role("button", name=WORDS["zh"]["begin"]).click()
    expect(seen.page.locator("#recount")).to_have_attribute("data-state", "done", timeout=60_000)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/regulator?from=2026-07&to=2026-06", "from"),
        ("/regulator?from=x", "from"),
        ("/regulator/figures?as_of=2999-01-01", "as_of"),
        ("/regulator/entries?category=x", "category"),
        ("/regulator/repeats/entries?kind=x", "kind"),
        ("/regulator/questions?from=2024-01&to=2026-06", "from"),
        ("/regulator/supply?within_hours=7", "within_hours"),
        ("/regulator/reasons?from=2026-13", "from"),
        ("/regulator/forms/national?from=2026-07&to=2026-06", "from"),
    ],
)
def test_what_cannot_be_asked_is_said_beside_the_form(
    browser: Browser, books: House, path: str, field: str
) -> None:
    seen = signed_in(browser, books, "regulator", lang="en")
    seen.open(path)
    expect(seen.page.get_by_role("alert")).to_be_visible()
    assert field
    seen.assert_good("refused", refused=(422,))


def test_a_city_of_hospitals_is_chosen_by_district_or_by_code(browser: Browser, books: House) -> None:
    with transaction(books.city.catalogue.engine) as session:
        session.execute(
            text(
                "insert into hospital (code, name, tier, region_code)"
                " select 'Z' || n, '第' || n || '医院', 1, '500101' from generate_series(1, 200) n"
            )
        )
    seen = signed_in(browser, books, "regulator")
    seen.page.locator("summary").first.click()
    expect(seen.page.locator("input#f-hospital")).to_be_visible()
    seen.page.locator("input#f-hospital").fill("B")
    seen.page.get_by_role("button", name=WORDS["zh"]["see"]).click()
    seen.page.wait_for_url("**hospital=B**")
    assert figure(seen, "refused") == "1"
    seen.open("/regulator?district=500107")
    seen.page.locator("summary").first.click()
    expect(seen.page.locator("select#f-hospital option")).to_have_text(["全部", "B医院"])
    seen.assert_good("filters")


HOSTILE = (
    "<img src=x onerror=window.ran=1>",
    "</script><script>window.ran=1</script>",
    "{{7*7}}${7*7}{a|b}",
    "\u202emoc.live\u2066\r\n\x1b[31m",
    "=cmd|' /C calc'!A0",
    "javascript:window.ran=1//'\"`",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_texts_in_tables_and_in_charts_and_nothing_runs(
    browser: Browser, books: House, name: str
) -> None:
    """FAULTS F7: in what hospitals and items are called, on every page that shows them and in what charts tell."""
    said = name.replace("\r\n", " ")
    with transaction(books.city.catalogue.engine) as session:
        kept = session.execute(text("select code, name from hospital where code in ('A', 'B')")).all()
        session.execute(text("update hospital set name = :name where code in ('A', 'B')"), {"name": name})
        session.execute(
            text("update region set name = :name, name_en = :name where code = '500107'"), {"name": name}
        )
    seen = signed_in(browser, books, "regulator")
    try:
        for path in (*PAGES, "/regulator?hospital=B", f"/regulator/entries?department={quote(name)}"):
            seen.open(path)
            assert seen.page.evaluate("window.ran") is None, path
            assert seen.page.locator("img[src=x]").count() == 0
        seen.open("/regulator")
        chart = seen.page.locator("#chart-hospital canvas").first
        chart.hover()
        tip = seen.page.locator("#chart-hospital .tip")
        expect(tip).to_be_visible()
        assert tip.locator("*").count() == 0
        visible = re.sub("[\u0000-\u001f\u202a-\u202e\u2066-\u2069]", " ", name)
        assert " ".join(visible.split()) in " ".join(tip.inner_text().split())
        assert " ".join(said.split()) in " ".join(seen.page.locator("main").inner_text().split())
        assert seen.page.evaluate("window.ran") is None
        assert seen.errors == []
    finally:
        with transaction(books.city.catalogue.engine) as session:
            for code, was in kept:
                session.execute(
                    text("update hospital set name = :name where code = :code"), {"name": was, "code": code}
                )
            session.execute(
                text(
                    "update region set name = '九龙坡区', name_en = 'Jiulongpo District' where code = '500107'"
                )
            )


def test_nobody_else_enters_the_room(browser: Browser, books: House) -> None:
    for role, hospital in (("doctor", "B"), ("curator", ""), ("operator", "")):
        seen = signed_in(browser, books, role, hospital)
        for path in ("/regulator", "/regulator/entries/1", "/regulator/recount"):
            seen.refused.clear()
            seen.open(path)
            assert [status for status, _ in seen.refused] == [403], (role, path)


def test_on_paper_the_overview_has_its_charts_and_tables_and_no_forms(browser: Browser, books: House) -> None:
    seen = signed_in(browser, books, "regulator")
    seen.page.emulate_media(media="print")
    for hidden in (".filters", ".downloads", ".cuts", "header.top"):
        assert not any(each.is_visible() for each in seen.page.locator(hidden).all()), hidden
    assert seen.page.locator(".board .chart").first.is_visible()
    assert seen.page.locator(".board table").first.is_visible()
    assert len(seen.page.pdf(prefer_css_page_size=True)) > 10_000
