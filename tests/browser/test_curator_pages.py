"""The curator's room in a real browser: every queue by mouse and by keyboard, in both languages, over hostile texts."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import text

from catalog import hospital_codes, registry, withdrawals
from catalog.context import Caller
from catalog.db import transaction
from catalog.embedded import Services
from catalog.local_codes import LocalMeaning
from catalog.objects import ObjectStore
from tests.browser.conftest import SYSTEM, House, open_house
from tests.browser.visiting import SOAK, WIDTHS, Visit, signed_in
from tests.catalog.test_item_lists import changed
from tests.city import HEADER, contradict, id_number

SCRIPT = "<script>window.ran=1</script>"
IMAGE = '"><img src=x onerror="window.ran=1">'
CURATOR = Caller("curator.all", "curator")
PAGES = (
    "/curator",
    "/curator/reviews",
    "/curator/reviews?kind=local_code",
    "/curator/unmapped",
    "/curator/reports",
    "/curator/withdrawn",
    "/curator/identity",
    "/curator/people",
    "/curator/conflicts",
    "/curator/quality",
    "/curator/history",
    "/curator/items",
    "/curator/items/version/proposal-1",
    "/curator/remap",
    "/curator/hospitals",
    "/curator/hospitals/A",
    "/curator/evaluations",
    "/curator/prices",
    "/curator/prices/gaps",
)
HEADING = "scope_kind,scope,item,price,from,to,source\n"


@pytest.fixture
def desk(
    fresh_database_url: str,
    services: Services,
    s3_store: ObjectStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[House]:
    """A city with something hostile in every queue."""
    with open_house(fresh_database_url, services, s3_store, tmp_path_factory.mktemp("desk")) as house:
        city = house.city
        city.header = replace(HEADER, PatientName=f"{SCRIPT}林^晓渝")
        city.hospital("A")
        city.hospital("B", tier=2, region="500107")
        doctor = Caller("dr.B", "doctor", "B")
        for hospital, person in (("A", 4), ("B", 6)):
            city.study(hospital, person, StudyDescription=f"{IMAGE}胸特", BodyPartExamined="CHEST")
        with transaction(city.catalogue.engine) as session:
            session.execute(text("update hospital set name = :name where code = 'A'"), {"name": f"{IMAGE}院"})
            hospital = registry.hospital_by_code(session, "A")
            known = [LocalMeaning("K-1", SCRIPT, "CT07")]
            hospital_codes.import_codes(session, city.catalogue, CURATOR, hospital, known)
        codes = ("99HIS|K-1", f"99HIS|{SCRIPT}")
        city.study("A", 8, StudyDescription="特检", procedure_codes=codes)
        contradict(city, city.study("A", 10, StudyDescription=f"胸部CT平扫{SCRIPT}"))
        gone = city.study("A", 12, StudyDescription=f"胸部CT平扫{IMAGE}")
        withdrawals.withdraw_study(city.catalogue, SYSTEM, gone, f"{IMAGE}录入错误")
        city.study("A", None, PatientID=f"X{SCRIPT}")
        for person in (40, 42):
            city.link(Caller("his.A", "hospital_system", "A"), f"X{SCRIPT}", person, name=f"{IMAGE}某")
        city.study("A", 52)
        check = city.check(doctor, [{"order_number": "q", "item_code": "CT07"}], 52)
        told = {"reason_code": "61", "explained_to_patient": True, "reason_text": IMAGE}
        city.decide(doctor, check, "q", "override", **told)
        yield house


def told(house: House, path: str) -> Any:
    """What the API answers a curator."""
    headers = {"Authorization": f"Bearer {house.token('curator', '')}"}
    return house.call("GET", path, headers=headers).json()


def counts(house: House) -> dict[str, int]:
    return {name: each["count"] for name, each in told(house, "/v1/admin/queues")["queues"].items()}


def opened(seen: Visit, path: str, name: str) -> None:
    """Open a page that everybody can use, and on which nothing of others runs."""
    seen.open(path)
    assert_harmless(seen, name)


def assert_harmless(seen: Visit, name: str, **how: Any) -> None:
    assert seen.page.evaluate("window.ran") is None, name
    expect(seen.page.locator("h1")).to_have_count(1)
    seen.assert_good(f"curator-{name}", **how)


def named(path: str) -> str:
    return re.sub(r"\W+", "-", path.removeprefix("/curator")).strip("-") or "start"


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_page_of_the_room_shows_hostile_texts_as_texts_at_every_width(
    browser: Browser, desk: House, lang: str
) -> None:
    tasks = [each["id"] for each in told(desk, "/v1/admin/reviews")["tasks"]]
    paths = [*PAGES, *(f"/curator/reviews/{each}" for each in tasks)]
    for width in WIDTHS if SOAK else WIDTHS[:: 2 if lang == "zh" else 3]:
        seen = signed_in(browser, desk, "curator", lang=lang, width=width)
        shown = ""
        for path in paths:
            seen.answers.clear()
            opened(seen, path, named(path))
            assert seen.sent_bytes() <= 300_000, path
            shown += seen.page.locator("body").inner_text()
        assert "onerror" in shown
        assert "<script>" in shown
        seen.page.context.close()


def test_the_counts_on_the_first_page_are_the_api_s(browser: Browser, desk: House) -> None:
    seen = signed_in(browser, desk, "curator")
    seen.open("/curator")
    shown = {
        str(tile.get_attribute("data-queue")): int(tile.locator(".figure").inner_text())
        for tile in seen.page.locator("[data-queue]").all()
    }
    assert shown == counts(desk)
    assert sum(count > 0 for count in shown.values()) >= 7


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_questions_are_answered_by_keyboard_alone_and_taken_back(
    browser: Browser, desk: House, lang: str
) -> None:
    seen = signed_in(browser, desk, "curator", lang=lang)
    keyboard = seen.page.keyboard
    first = told(desk, "/v1/admin/reviews?kind=mapping")["tasks"][0]["id"]
    before = counts(desk)["mapping"]
    seen.open("/curator")
    keyboard.press("j")
    expect(seen.page.locator("[data-queue=mapping]")).to_be_focused()
    keyboard.press("Enter")
    seen.page.wait_for_url("**/curator/reviews?kind=mapping")
    keyboard.press("j")
    keyboard.press("j")
    keyboard.press("k")
    keyboard.press("Enter")
    seen.page.wait_for_url(f"**/curator/reviews/{first}")
    keyboard.press("a")
    expect(seen.page.locator("[name=alike]")).to_be_checked()
    keyboard.press("1")
    expect(seen.page.get_by_role("status")).to_be_visible()
    assert_harmless(seen, "answered")
    assert counts(desk)["mapping"] == before - 2
    keyboard.press("u")
    seen.page.wait_for_url(f"**/curator/reviews/{first}?done=reopened")
    assert counts(desk)["mapping"] == before
    keyboard.press("0")
    expect(seen.page.get_by_role("status")).to_be_visible()
    assert counts(desk)["mapping"] == before - 1


def test_another_item_is_typed_and_an_unknown_one_is_refused_beside_the_form(
    browser: Browser, desk: House
) -> None:
    seen = signed_in(browser, desk, "curator")
    task = told(desk, "/v1/admin/reviews?kind=mapping")["tasks"][0]["id"]
    seen.open(f"/curator/reviews/{task}")
    seen.page.locator("[name=item]").fill("ZZ99")
    seen.page.get_by_role("button", name="就是这个项目").click()
    expect(seen.page.get_by_role("alert")).to_contain_text("清单中没有该项目")
    assert_harmless(seen, "refused", refused=(422,))
    seen.page.locator("[name=item]").fill("CT09")
    seen.page.get_by_role("button", name="就是这个项目").click()
    expect(seen.page.get_by_role("status")).to_be_visible()
    (answered,) = told(desk, "/v1/admin/reviews/history")["tasks"]
    assert answered["answer"]["items"][0]["item_code"] == "CT09"
    seen.open("/curator/history")
    seen.page.locator("main table").get_by_role("button", name="撤销").click()
    expect(seen.page.get_by_role("status")).to_contain_text("问题重新打开")
    assert told(desk, "/v1/admin/reviews/history")["tasks"] == []


def test_an_unknown_code_is_explained_and_taken_back(browser: Browser, desk: House) -> None:
    seen = signed_in(browser, desk, "curator")
    seen.open("/curator/reviews?kind=local_code")
    seen.page.locator("main [data-row]").first.click()
    seen.page.locator("[name=item]").fill("CT10")
    seen.page.get_by_role("button", name="就是这个项目").click()
    expect(seen.page.get_by_role("status")).to_be_visible()
    assert counts(desk)["local_codes"] == 0
    seen.page.get_by_role("status").get_by_role("button", name="撤销").click()
    expect(seen.page.get_by_role("status")).to_contain_text("问题重新打开")
    assert counts(desk)["local_codes"] == 1


def test_a_contradiction_and_a_doubt_are_decided_by_one_key_each_and_taken_back(
    browser: Browser, desk: House
) -> None:
    seen = signed_in(browser, desk, "curator")
    keyboard = seen.page.keyboard
    for path, queue, keys in (("conflicts", "conflicts", "1"), ("quality", "quality", "12")):
        for key in keys:
            seen.open(f"/curator/{path}")
            keyboard.press("j")
            keyboard.press(key)
            expect(seen.page.get_by_role("status")).to_be_visible()
            assert counts(desk)[queue] == 0
            assert_harmless(seen, f"{path}-done-{key}")
            keyboard.press("u")
            seen.page.wait_for_url("**done=reopened")
            assert counts(desk)[queue] == 1


def test_two_people_are_compared_and_a_number_is_given_to_one_and_taken_back(
    browser: Browser, desk: House
) -> None:
    seen = signed_in(browser, desk, "curator")
    keyboard = seen.page.keyboard
    seen.open("/curator/identity")
    before = counts(desk)["identity_numbers"]
    assert before == 2
    seen.page.locator("[data-row]").nth(0).locator("[name=reason]").fill("已与医院核对原始登记")
    keyboard.press("Escape")
    keyboard.press("1")
    expect(seen.page.get_by_role("status")).to_contain_text("已认定")
    assert_harmless(seen, "identity-done")
    assert counts(desk)["identity_numbers"] < before
    seen.page.get_by_role("status").locator("[name=reason]").fill("核对有误")
    keyboard.press("Enter")
    expect(seen.page.get_by_role("status")).to_contain_text("已撤销")
    assert counts(desk)["identity_numbers"] == before
    seen.page.locator("[data-row]").nth(0).get_by_role("button", name="查看此人").click()
    expect(seen.page.locator("h1")).to_have_text("查找人员")
    assert "person" not in seen.page.url.partition("?")[2]
    assert_harmless(seen, "person")


def test_a_withdrawn_study_is_restored_with_a_reason(browser: Browser, desk: House) -> None:
    seen = signed_in(browser, desk, "curator")
    seen.open("/curator/withdrawn")
    row = seen.page.locator("[data-row]")
    row.locator("[name=reason]").fill("核对无误")
    row.get_by_role("button", name="恢复").click()
    expect(seen.page.get_by_role("status")).to_contain_text("已恢复")
    assert counts(desk)["withdrawn"] == 0


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_hospital_is_registered_with_its_device_closed_and_opened_again(
    browser: Browser, desk: House, lang: str
) -> None:
    words = {
        "zh": ("登记", "登记设备", "移除设备", "停用机构", "撤销"),
        "en": ("Register", "Register the device", "Remove the device", "Close the hospital", "Undo"),
    }[lang]
    seen = signed_in(browser, desk, "curator", lang=lang)
    seen.open("/curator/hospitals")
    seen.page.locator("[name=code]").fill("N-1")
    seen.page.locator("[name=name]").fill("新医院")
    seen.page.locator("[name=region]").select_option("500107")
    seen.page.get_by_role("button", name=words[0], exact=True).click()
    seen.page.wait_for_url("**/curator/hospitals/N-1?done=added")
    seen.page.locator("[name=ae_title]").first.fill("N_CT")
    seen.page.locator("[name=addresses]").fill("10.1.2.0/24 10.1.3.9")
    seen.page.get_by_role("button", name=words[1]).click()
    expect(seen.page.get_by_role("status")).to_be_visible()
    assert_harmless(seen, "hospital-peer")
    (peer,) = told(desk, "/v1/admin/hospitals/N-1")["peers"]
    assert (peer["addresses"], peer["active"]) == (["10.1.2.0/24", "10.1.3.9/32"], True)
    for act, is_so in ((words[2], "peers"), (words[3], "hospital")):
        seen.page.get_by_role("button", name=act).click()
        expect(seen.page.get_by_role("status")).to_be_visible()
        found = told(desk, "/v1/admin/hospitals/N-1")
        assert (found["active"], found["peers"][0]["active"]) == (is_so != "hospital", is_so != "peers")
        seen.page.get_by_role("status").get_by_role("button", name=words[4]).click()
        expect(seen.page.get_by_role("status")).to_be_visible()
        found = told(desk, "/v1/admin/hospitals/N-1")
        assert (found["active"], found["peers"][0]["active"]) == (True, True)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_files_are_tried_refused_by_line_and_imported(browser: Browser, desk: House, lang: str) -> None:
    words = {"zh": ("先看结果", "导入", "第 2 行"), "en": ("Try it", "Import", "line 2")}[lang]
    seen = signed_in(browser, desk, "curator", lang=lang)
    good, bad = (f"hospital,A,{item},240,2026-06-01,,s\n" for item in ("CT07", "ZZ99"))
    qc = "hospital,item,scope,result,from,to\n"
    codes = "local_code,name,item_code\n"
    for path, faulty, right in (
        ("/curator/prices", HEADING + bad, HEADING + good),
        (
            "/curator/evaluations",
            f"{qc}Z,CT07,50,合格,2026-01-01,2026-12-31\n",
            f"{qc}A,CT07,50,合格,2026-01-01,2026-12-31\n",
        ),
        ("/curator/hospitals/B", f"{codes}K-1,胸,ZZ99\n", f"{codes}K-1,胸,CT07\n"),
    ):
        seen.open(path)
        chosen = seen.page.locator("form[enctype]", has=seen.page.locator("[value=import]"))
        expect(chosen.locator("[value=import]")).to_be_disabled()
        for content in (faulty, right):
            chosen.locator("[name=file]").set_input_files(
                {"name": "f.csv", "mimeType": "text/csv", "buffer": content.encode()}
            )
            chosen.get_by_role("button", name=words[0]).click()
            if content == faulty:
                expect(seen.page.get_by_role("alert")).to_contain_text(words[2])
                assert_harmless(seen, f"{named(path)}-refused", refused=(422,))
        expect(seen.page.locator("main .said.good")).to_be_visible()
        assert_harmless(seen, f"{named(path)}-tried", refused=(422,))
        chosen.locator("[value=import]").click()
        seen.page.wait_for_url("**done=*")
    assert told(desk, "/v1/admin/prices?scope_kind=hospital&scope=A")["prices"][0]["price_fen"] == 24000
    assert told(desk, "/v1/admin/hospitals/B/local-codes")["codes"][0]["item_code"] == "CT07"
    assert told(desk, "/v1/admin/qc?hospital=A")["evaluations"][-1]["item"] == "CT07"


def test_studies_are_mapped_again_with_the_effect_told_before_and_the_progress_shown(
    browser: Browser, desk: House
) -> None:
    with transaction(desk.city.catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, "A")
        later = [LocalMeaning("K-1", "", "CT10")]
        hospital_codes.import_codes(session, desk.city.catalogue, CURATOR, hospital, later)
    state = told(desk, "/v1/admin/remap?effect=true")
    seen = signed_in(browser, desk, "curator")
    seen.open("/curator/remap")
    seen.page.get_by_role("button", name="先看影响").click()
    expected = f"最新的 {state['looked_at']} 项检查中,{state['would_change']} 项的项目会改变。"
    expect(seen.page.locator("main")).to_contain_text(expected)
    seen.page.get_by_role("button", name="开始重新对应").click()
    expect(seen.page.locator("#progress")).to_contain_text("全部完成")
    assert_harmless(seen, "remapped")
    assert told(desk, "/v1/admin/remap?effect=true")["would_change"] == 0


def test_a_version_of_the_list_is_tried_with_its_difference_imported_and_compared(
    browser: Browser, desk: House
) -> None:

    content = "\n".join(",".join(f'"{cell}"' for cell in row) for row in changed(window_days="14"))
    seen = signed_in(browser, desk, "curator", lang="en")
    seen.open("/curator/items")
    seen.page.locator("[name=version]").fill("2027-1")
    seen.page.locator("[name=effective_from]").fill("2027-01-01")
    seen.page.locator("[name=file]").set_input_files(
        {"name": "l.csv", "mimeType": "text/csv", "buffer": content.encode()}
    )
    seen.page.get_by_role("button", name="Try it").click()
    expect(seen.page.locator("del")).to_have_text("30")
    expect(seen.page.locator("ins")).to_have_text("14")
    assert_harmless(seen, "items-tried")
    seen.page.locator("[value=import]").click()
    expect(seen.page.get_by_role("status")).to_contain_text("Imported")
    seen.page.get_by_role("link", name="against").click()
    expect(seen.page.locator("ins")).to_have_text("14")
    assert_harmless(seen, "diff")


def test_what_is_typed_about_a_person_stands_in_no_address(browser: Browser, desk: House) -> None:

    seen = signed_in(browser, desk, "curator")
    seen.open("/curator/people")
    seen.page.locator("[name=id_number]").fill(id_number(40))
    seen.page.locator("[name=id_number]").press("Enter")
    expect(seen.page.get_by_role("heading", name="在各机构的编号")).to_be_visible()
    assert not any(id_number(40) in url for url in seen.asked)
    assert id_number(40) not in seen.page.content()
    assert_harmless(seen, "person-found")
