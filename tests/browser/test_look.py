"""The quick look in a real browser: what hospitals send is seen as it is, by mouse and by keyboard, until the link ends."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.archive import (
    COLOURS,
    DEEP,
    ENCODED,
    FRAMES,
    INVERTED,
    PALETTE,
    SLICES,
    SYNTAXES,
    ULTRASOUND,
    archive,
    grey,
)
from tests.browser.conftest import House
from tests.browser.pictures import blocks, coloured_blocks, number_of, numbered, palette_blocks
from tests.browser.reading import Reading, start_reading

pytestmark = [pytest.mark.flow, pytest.mark.long]
__all__ = ["archive"]

SERIES = ".series a[data-series]"
NEAR = 4.0  # grey levels: a JPEG of good quality


@pytest.fixture
def looking(browser: Browser, house: House) -> Iterator[Reading]:
    """A browser of its own that has nothing of ours."""
    opened = start_reading(browser, house.url, locale="zh-CN")
    opened.canvases = "#stage canvas"
    yield opened
    opened.page.context.close()


def number_seen(looking: Reading) -> int:
    """Return the number that the image shows, or -1."""
    seen = looking.seen()
    return number_of(seen[0][:, :, 0]) if len(seen) == 1 else -1


def test_every_encoding_is_seen_as_it_was_made(house: House, looking: Reading) -> None:
    looking.open(house.look(ENCODED))
    for place, number in enumerate((*range(1, len(SYNTAXES) + 1), INVERTED)):
        looking.page.locator(SERIES).nth(place).click()
        wanted = grey(1 - blocks(number)) if number == INVERTED else grey(blocks(number))
        looking.until(lambda wanted=wanted: looking.shows(wanted, within=NEAR))
        assert abs(looking.seen()[0].mean() - wanted.mean()) < 1
    expect(looking.page.locator(f"{SERIES} img").last).to_be_visible()
    looking.assert_clean()


def test_colours_are_seen_and_a_film_plays(house: House, looking: Reading) -> None:
    looking.open(house.look(COLOURS))
    looking.page.locator(SERIES).nth(PALETTE - 1).click()
    looking.until(lambda: looking.shows(palette_blocks(blocks(80)), within=NEAR))
    looking.page.locator(SERIES).nth(ULTRASOUND - 1).click()
    looking.until(lambda: looking.shows(coloured_blocks(blocks(90)), within=8))
    expect(looking.page.locator("#rate")).to_have_value("25")  # 40 ms a frame, as its file says
    looking.page.locator("#rate").fill("5")
    looking.page.locator("#play").click()
    for number in (1, 2, 3, 4, 5, 0, 1):
        frame = coloured_blocks(blocks(90 + number))
        looking.until(lambda frame=frame: looking.shows(frame, within=8))
    looking.page.locator("#play").click()
    expect(looking.page.locator("#play")).to_have_attribute("aria-pressed", "false")
    assert FRAMES == 6
    looking.assert_clean()


def test_500_slices_are_scrolled_by_wheel_and_by_keys_and_the_right_one_is_seen(
    house: House, looking: Reading
) -> None:
    looking.open(house.look(SLICES))
    looking.until(lambda: number_seen(looking) == 1)
    looking.page.locator("#stage").hover()
    for number in range(2, DEEP + 1):
        looking.page.mouse.wheel(0, 60)
        if number % 100 == 0:
            looking.until(lambda number=number: number_seen(looking) == number)
            expect(looking.page.locator("#number")).to_have_text(f"{number} / {DEEP}")
    keys = {"Home": 1, "ArrowDown": 2, "PageDown": 12, "ArrowUp": 11, "End": DEEP, "PageUp": DEEP - 10}
    for key, number in keys.items():
        looking.page.keyboard.press(key)
        looking.until(lambda number=number: number_seen(looking) == number)
    looking.page.locator("#place").fill("250")
    looking.until(lambda: number_seen(looking) == 250)
    looking.assert_clean()


def test_windows_are_chosen_by_key_by_list_by_number_and_by_hand(house: House, looking: Reading) -> None:
    looking.open(house.look(SLICES))
    wanted = grey(numbered(1))
    looking.until(lambda: looking.shows(wanted, within=NEAR))
    values = (numbered(1) - 0.5) * 399 + 39.5  # in Hounsfield units, through the image's own window 40/400

    def through(centre: float, width: float) -> None:
        shown = grey((((values - (centre - 0.5)) / (width - 1)) + 0.5).clip(0, 1))
        looking.until(lambda: looking.shows(shown, within=NEAR))

    looking.page.locator("#stage").focus()
    looking.page.keyboard.press("2")
    through(-600, 1500)
    looking.page.locator("#preset").select_option("preset_bone")
    through(400, 1800)
    looking.page.locator("#centre").fill("0")
    looking.page.locator("#width").fill("1000")
    through(0, 1000)
    looking.page.locator("#stage").focus()
    looking.page.keyboard.press("1")
    looking.until(lambda: looking.shows(wanted, within=NEAR))
    box = looking.page.locator("#stage").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    looking.page.mouse.move(x, y)
    looking.page.mouse.down()
    looking.page.mouse.move(x + 200, y, steps=4)
    looking.page.mouse.up()
    width = float(looking.page.locator("#width").input_value())
    assert width > 500
    through(float(looking.page.locator("#centre").input_value()), width)
    looking.page.keyboard.press("i")
    expect(looking.page.locator("#stage")).to_have_class("fit inverted")
    looking.page.keyboard.press("z")
    expect(looking.page.locator("#stage")).to_have_class("inverted")
    looking.assert_clean()


def test_by_keyboard_alone_another_series_is_reached(house: House, looking: Reading) -> None:
    looking.open(house.look(ENCODED))
    looking.until(lambda: looking.shows(grey(blocks(1)), within=NEAR))
    looking.page.keyboard.press("ArrowRight")
    looking.until(lambda: looking.shows(grey(blocks(2)), within=NEAR))
    looking.page.locator(SERIES).nth(2).focus()
    looking.page.keyboard.press("Enter")
    looking.until(lambda: looking.shows(grey(blocks(3)), within=NEAR))
    expect(looking.page.locator(SERIES).nth(2)).to_have_attribute("aria-current", "true")
    looking.assert_clean()


def test_a_link_that_ends_takes_the_images_away(house: House, looking: Reading) -> None:
    looking.open(house.look(SLICES))
    looking.until(lambda: number_seen(looking) == 1)
    house.end_link()
    ended = time.monotonic()
    grant = house.grants[-1]
    address = f"/dicom-web/g/{grant}/studies/{SLICES}/series"
    looking.until(lambda: house.call("GET", address, headers={"Authorization": ""}).status_code == 401)
    assert time.monotonic() - ended < 5
    looking.page.keyboard.press("End")
    expect(looking.page.locator("#said")).to_contain_text("影像链接已结束")
    assert looking.seen() == []
    looking.page.keyboard.press("Home")
    assert looking.seen() == []


def test_without_a_script_images_are_seen_and_turned(browser: Browser, house: House) -> None:
    opened = start_reading(browser, house.url, java_script_enabled=False)
    page = opened.page
    opened.open(house.look(SLICES))
    expect(page.locator("#picture")).to_have_js_property("complete", True)
    for number in (2, 3):
        page.locator("#next").click()
        expect(page.locator("#number")).to_have_text(f"{number} / {DEEP}")
        expect(page.locator("#picture")).to_have_js_property("naturalWidth", 128)
    opened.assert_clean()
    page.context.close()


def test_what_a_server_cannot_give_at_the_moment_is_asked_for_again(house: House, looking: Reading) -> None:
    looking.open(house.look(SLICES))
    looking.until(lambda: number_seen(looking) == 1)
    answers = [503, 503]
    looking.page.route(
        f"**/{SLICES}.1.{DEEP}/frames/1/rendered",
        lambda route: route.fulfill(status=answers.pop()) if answers else route.continue_(),
    )
    looking.page.keyboard.press("End")
    expect(looking.page.locator("#said")).to_contain_text("正在重试")
    looking.until(lambda: number_seen(looking) == DEEP)
    expect(looking.page.locator("#said")).to_have_text("")
