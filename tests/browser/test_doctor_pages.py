"""The doctor's room in a real browser: from sign-in to a decision, both languages, three widths, mouse and keyboard."""

import re
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, expect

from catalog import withdrawals
from tests.browser.conftest import SYSTEM, House
from tests.browser.pictures import Study, blocks
from tests.browser.visiting import SCREENS, Visit, signed_in
from tests.city import id_number
from tests.reports import IMAGING, take

NEAR, FAR = "2.25.8801", "2.25.8802"
WORDS: Final[dict[str, dict[str, str]]] = {
    "zh": {
        "ask": "询问",
        "recognise": "认可",
        "recognisable": "可互认",
        "saved": "已记录:认可,为患者节省 ¥",
        "undo": "撤销这个决定",
        "again": "重新检查",
        "record": "记录重新检查",
        "recorded": "已记录:重新检查",
        "images": "看影像",
        "report": "看报告",
        "text": "病历文字",
        "today": "今日列表",
        "none": "无既往",
        "unknown": "未知",
        "cite": "写入病历引用",
        "cited": "已引用",
        "compare": "并排对比",
    },
    "en": {
        "ask": "Ask",
        "recognise": "Recognise",
        "recognisable": "Recognisable",
        "saved": "Recorded: recognised; the patient saves ¥",
        "undo": "Undo this decision",
        "again": "Examine again",
        "record": "Record it",
        "recorded": "Recorded: to be examined again",
        "images": "Images",
        "report": "Report",
        "text": "Text for the record",
        "today": "Today",
        "none": "No prior",
        "unknown": "Unknown",
        "cite": "Cite in the record",
        "cited": "Cited",
        "compare": "Compare",
    },
}


@pytest.fixture(scope="module", autouse=True)
def clinic(house: House) -> None:
    """Hospital A did two chest CTs of person 2, with images and reports, and an old one of person 4."""
    house.city.link(SYSTEM, "A-2", 2, name="林晓渝")
    for uid, days, seed in ((NEAR, 7, 1), (FAR, 20, 2)):
        study = Study(uid, **house.told(days_ago=days))
        house.images.send("A", *[study.ct(blocks(seed * 10 + n), n) for n in range(1, 4)])
        conclusion = "双肺未见明显异常,右肺下叶小结节较前相仿,建议年度随访。"
        take(
            house.city,
            "A",
            IMAGING,
            StudyInstanceUID=uid,
            number=f"R-{days}",
            conclusion=conclusion,
        )
    house.city.study("A", 4, days_ago=90)


def fill(seen: Visit, person: int = 2, item: str = "CT07", **more: str) -> None:
    seen.open("/doctor")
    seen.page.locator("[name=id_number]").fill(id_number(person))
    seen.page.locator("[name=item]").first.fill(item)
    for name, value in more.items():
        seen.page.locator(f"[name={name}]").first.select_option(value)


def ask(seen: Visit, person: int = 2, item: str = "CT07", **more: str) -> str:
    """Ask, and return the number of the check whose answer is shown."""
    fill(seen, person, item, **more)
    seen.page.get_by_role("button", name=WORDS[seen.lang]["ask"], exact=True).click()
    seen.page.wait_for_url("**/doctor/checks/*")
    return seen.page.url.rpartition("/")[2].partition("?")[0]


def told(seen: Visit, check_id: str) -> Any:
    answer = seen.page.request.get(f"{seen.origin}/v1/checks/{check_id}")
    assert answer.ok
    return answer.json()


@pytest.mark.parametrize(("lang", "width"), SCREENS)
def test_from_the_form_to_a_decision_and_back(browser: Browser, house: House, lang: str, width: int) -> None:
    words, seen = WORDS[lang], signed_in(browser, house, "doctor", "B", lang=lang, width=width)
    page = seen.page
    seen.open("/doctor")
    seen.assert_good("doctor-form")
    check_id = ask(seen)
    expect(page.locator("h1")).to_contain_text("林晓渝")
    expect(page.locator("h2 .badge").first).to_have_text(words["recognisable"])
    expect(page.locator("blockquote").first).to_contain_text("双肺未见明显异常")
    seen.assert_good("doctor-answer")
    assert_as_told(seen, told(seen, check_id))

    page.get_by_role("button", name=words["images"], exact=True).first.click()
    frame = page.frame_locator("#panel iframe")
    expect(frame.locator("#stage img, #stage canvas").first).to_be_visible()
    expect(page.locator("#panel blockquote")).to_contain_text("右肺下叶小结节")
    seen.assert_good("doctor-images")
    page.locator("details.others summary").click()
    page.locator("details.compare summary").click()
    page.get_by_role("button", name=words["compare"], exact=True).click()
    expect(page.locator("#panel iframe")).to_have_count(2)
    for place in (0, 1):
        shown = page.frame_locator(f"#panel iframe >> nth={place}")
        expect(shown.locator("#stage img, #stage canvas").first).to_be_visible()
    seen.assert_good("doctor-compared")

    seen.open(f"/doctor/checks/{check_id}")
    page.get_by_role("link", name=words["report"], exact=True).first.click()
    expect(page.locator("article")).to_contain_text("双肺纹理清晰")
    seen.assert_good("doctor-report")
    page.go_back()
    page.get_by_role("button", name=words["recognise"], exact=True).first.click()
    expect(page.get_by_role("status")).to_contain_text(words["saved"])
    seen.assert_good("doctor-recognised")
    standing = told(seen, check_id)["state"][0]["standing"]
    assert standing["action"] == "recognise"
    assert yuan(standing["saving_fen"]) in page.get_by_role("status").inner_text()
    page.get_by_role("button", name=words["cite"], exact=True).first.click()
    expect(page.get_by_text(words["cited"], exact=True).first).to_be_visible()
    page.get_by_role("link", name=words["text"], exact=True).click()
    expect(page.locator("#record")).to_have_value(re.compile("检查检验结果互认记录"))
    seen.assert_good("doctor-record")
    page.go_back()

    page.get_by_role("button", name=words["undo"]).click()
    page.locator("details.override summary").click()
    page.locator("[data-reason]").select_option("61")
    page.locator("[name=explained]").check()
    seen.assert_good("doctor-override")
    page.get_by_role("button", name=words["record"], exact=True).click()
    expect(page.get_by_role("status")).to_contain_text(words["recorded"])
    seen.assert_good("doctor-overridden")
    page.get_by_role("link", name=words["today"], exact=True).click()
    expect(page.locator("tbody tr").first).to_contain_text("CT07")
    seen.assert_good("doctor-today")


def yuan(fen: int) -> str:
    return f"¥{fen // 100:,}.{fen % 100:02d}"


def assert_as_told(seen: Visit, check: Any) -> None:
    """Fail where the page says another verdict, saving, hospital or day than the API."""
    names = {"recognisable": WORDS[seen.lang]["recognisable"], "none": WORDS[seen.lang]["none"]}
    sections = seen.page.locator(".order-answer")
    assert sections.count() == len(check["orders"])
    for place, (order, state) in enumerate(zip(check["orders"], check["state"], strict=True)):
        section = sections.nth(place)
        if state["best"] in names:
            assert section.locator("h2 .badge").first.inner_text() == names[state["best"]]
        priors = section.locator("article")
        assert priors.count() == len(order["candidates"])
        for at, prior in enumerate(order["candidates"]):
            shown = priors.nth(at).text_content() or ""
            assert yuan(prior["saving_fen"]) in shown
            assert prior["hospital"]["name"] in shown
            assert str(state["days_left"][prior["result_id"]]) in shown
            for reason in prior["reasons"]:
                assert reason["text_en" if seen.lang == "en" else "text"] in shown


def test_the_whole_story_by_keyboard_alone_and_a_card_reader_asks_nothing_by_itself(
    browser: Browser, house: House
) -> None:
    seen = signed_in(browser, house, "doctor", "B")
    keyboard = seen.page.keyboard
    seen.open("/doctor")
    expect(seen.page.locator("[name=id_number]")).to_be_focused()
    keyboard.type(id_number(2))
    keyboard.press("Enter")  # as the reader does
    expect(seen.page.locator("[name=item]")).to_be_focused()
    assert seen.page.url.endswith("/doctor")
    keyboard.type("CT07")
    keyboard.press("Enter")
    expect(seen.page.get_by_role("button", name="询问", exact=True)).to_be_focused()
    keyboard.press("Enter")
    seen.page.wait_for_url("**/doctor/checks/*")
    button = seen.page.get_by_role("button", name="认可", exact=True).first
    keyboard.press("Tab")
    expect(button).to_be_focused()
    keyboard.press("Enter")
    expect(seen.page.get_by_role("status")).to_contain_text("已记录:认可")
    seen.assert_good("doctor-by-keyboard")


def test_the_whole_story_without_a_script(browser: Browser, house: House) -> None:
    seen = signed_in(browser, house, "doctor", "B", java_script_enabled=False)
    page = seen.page
    seen.open("/doctor")
    page.locator("[name=id_number]").fill(id_number(2))
    page.locator("[name=item]").fill("CT07")
    page.locator("[name=id_number]").press("Enter")
    expect(page.locator("[name=item]")).to_have_value("CT07")  # shown again, not asked
    page.get_by_role("button", name="再加一项").click()
    page.locator("[name=item]").nth(1).fill("CT01 头颅CT平扫")
    page.get_by_role("button", name="询问", exact=True).click()
    expect(page.locator(".order-answer")).to_have_count(2)
    page.get_by_role("button", name="看影像").first.click()
    expect(page.frame_locator("iframe").locator("img").first).to_be_visible()
    page.get_by_role("link", name="返回决定").click()
    page.get_by_role("button", name="认可", exact=True).first.click()
    expect(page.get_by_role("status")).to_contain_text("已记录:认可")


def test_a_form_that_is_sent_twice_is_one_decision(browser: Browser, house: House) -> None:
    seen = signed_in(browser, house, "doctor", "B")
    check_id = ask(seen)
    form = seen.page.locator("article form").first
    sent: dict[str, str] = form.evaluate("form => Object.fromEntries(new FormData(form))")
    sent["action"] = "recognise"
    for _ in range(2):
        answer = seen.page.request.post(
            f"{seen.origin}/doctor/checks/{check_id}/decisions",
            form=sent,
            max_redirects=0,
            headers={"Origin": seen.origin, "Sec-Fetch-Site": "same-origin"},
        )
        assert answer.status == 303
    assert len(told(seen, check_id)["decisions"]) == 1
    other = seen.page.request.post(
        f"{seen.origin}/doctor/checks/{check_id}/decisions",
        form={**sent, "key": "another"},
        headers={"Origin": seen.origin, "Sec-Fetch-Site": "same-origin"},
    )
    assert other.status == 409
    assert "已有决定" in other.text()


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_what_is_not_known_is_never_called_none(browser: Browser, house: House, lang: str) -> None:
    words, seen = WORDS[lang], signed_in(browser, house, "doctor", "B", lang=lang)
    ask(seen, 98)
    expect(seen.page.locator("h2 .badge")).to_have_text(words["none"])
    seen.assert_good("doctor-none")
    fill(seen)
    seen.page.locator("[name=name]").fill("王五")  # another name than the document's
    seen.page.get_by_role("button", name=words["ask"], exact=True).click()
    expect(seen.page.locator("h2 .badge").first).to_have_text(words["unknown"])
    assert words["none"] not in seen.page.locator("main").inner_text()
    seen.assert_good("doctor-unknown")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_reference_shows_each_of_its_reasons(browser: Browser, house: House, lang: str) -> None:
    seen = signed_in(browser, house, "doctor", "B", lang=lang, width=390)
    check = told(seen, ask(seen, 4))
    assert check["state"][0]["best"] == "reference"
    reasons = check["orders"][0]["candidates"][0]["reasons"]
    for reason in reasons:
        expect(seen.page.locator("article")).to_contain_text(reason["text_en" if lang == "en" else "text"])
    seen.assert_good("doctor-reference")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_an_emergency_is_not_interrupted_and_its_reason_comes_first(
    browser: Browser, house: House, lang: str
) -> None:
    seen = signed_in(browser, house, "doctor", "B", lang=lang)
    ask(seen, urgency="emergency")
    assert seen.page.locator("details.override").get_attribute("open") is not None
    expect(seen.page.locator("[data-reason]")).to_have_value("4")
    seen.assert_good("doctor-emergency")


def test_free_words_choose_an_item_and_a_side_is_asked_for_where_there_are_two(
    browser: Browser, house: House
) -> None:
    seen = signed_in(browser, house, "doctor", "B")
    ask(seen, item="胸部CT平扫")
    expect(seen.page.locator("h2 code")).to_have_text("CT07")
    fill(seen, item="CT17 四肢关节CT平扫")
    side, part = seen.page.locator("[name=side]"), seen.page.locator("[name=part]")
    expect(side).to_be_visible()
    expect(part).to_be_visible()
    side.select_option("L")
    part.fill("膝关节")
    seen.assert_good("doctor-form-sides")
    seen.page.get_by_role("button", name="询问", exact=True).click()
    expect(seen.page.locator("h2")).to_contain_text("左 KNEE")
    fill(seen, item="CT07 胸部CT平扫")
    expect(side).to_be_hidden()
    fill(seen, item="没有这个项目")
    seen.page.get_by_role("button", name="询问", exact=True).click()
    expect(seen.page.locator(".order-answer")).to_contain_text("清单中没有该项目")
    seen.assert_good("doctor-unknown-item")


def test_a_wrong_number_is_refused_beside_the_form_which_keeps_what_was_typed(
    browser: Browser, house: House
) -> None:
    seen = signed_in(browser, house, "doctor", "B")
    fill(seen)
    seen.page.locator("[name=id_number]").fill("999999198001010012")
    seen.page.get_by_role("button", name="询问", exact=True).click()
    expect(seen.page.get_by_role("alert")).to_be_visible()
    expect(seen.page.locator("[name=item]")).to_have_value("CT07")
    assert "999999" not in seen.page.url
    seen.assert_good("doctor-refused", refused=(422,))


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("width", [390, 1280])
def test_notices_are_counted_and_read(browser: Browser, house: House, lang: str, width: int) -> None:
    person = 20 + 2 * ["zh", "en"].index(lang) + 4 * [390, 1280].index(width)
    uid = house.city.study("A", person)
    seen = signed_in(browser, house, "doctor", "B", lang=lang, width=width)
    ask(seen, person)
    seen.page.get_by_role("button", name=WORDS[lang]["recognise"], exact=True).first.click()
    withdrawals.withdraw_study(house.city.catalogue, SYSTEM, uid, "录入错误")
    seen.open("/doctor")
    expect(seen.page.locator(".said.warn")).to_contain_text("1")
    seen.assert_good("doctor-news")
    seen.page.locator(".said.warn a").click()
    expect(seen.page.locator("tbody tr")).to_have_count(1)
    seen.assert_good("doctor-notices")
    seen.page.locator("tbody button").click()
    expect(seen.page.locator(".empty")).to_be_visible()
    seen.assert_good("doctor-notices-read")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_an_emergency_access_is_opened_with_a_reason_shows_results_and_is_ended(
    browser: Browser, house: House, lang: str
) -> None:
    seen = signed_in(browser, house, "doctor", "B", lang=lang)
    seen.open("/doctor/emergency")
    seen.assert_good("doctor-glass")
    seen.page.locator("[name=id_number]").fill(id_number(2))
    seen.page.locator("[name=reason]").fill("抢救,患者昏迷")
    seen.page.locator("main form button").click()
    expect(seen.page.locator("article.card").first).to_contain_text("A医院")
    seen.assert_good("doctor-glass-open")
    seen.page.locator("article button").first.click()
    expect(seen.page.frame_locator("iframe").locator("#stage img, #stage canvas").first).to_be_visible()
    seen.assert_good("doctor-glass-images")
    seen.open("/doctor/emergency")
    seen.page.locator("[name=id_number]").fill(id_number(2))
    seen.page.locator("[name=reason]").fill("抢救,患者昏迷")
    seen.page.locator("main form button").click()
    seen.page.locator("form[action$='/end'] button").click()
    expect(seen.page.get_by_role("status")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_answer_can_be_read_by_day_and_by_night(browser: Browser, house: House, scheme: str) -> None:
    seen = signed_in(browser, house, "doctor", "B", color_scheme=scheme)
    check_id = ask(seen)
    seen.page.locator("details.override summary").click()
    seen.assert_good(f"doctor-{scheme}")
    ask(seen, 4)
    seen.assert_good(f"doctor-reference-{scheme}")
    seen.open(f"/doctor/checks/{check_id}")


def test_two_orders_are_answered_beside_each_other(browser: Browser, house: House) -> None:
    seen = signed_in(browser, house, "doctor", "B", width=1920)
    fill(seen)
    seen.page.get_by_role("button", name="再加一项").click()
    expect(seen.page.locator("[name=item]").nth(1)).to_be_focused()
    seen.page.locator("[name=item]").nth(1).fill("CT01")
    seen.page.get_by_role("button", name="询问", exact=True).click()
    expect(seen.page.locator(".order-answer")).to_have_count(2)
    assert_as_told(seen, told(seen, seen.page.url.rpartition("/")[2]))
    seen.assert_good("doctor-two-orders")
