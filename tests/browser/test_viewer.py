"""The OHIF viewer in a real browser: what hospitals send is seen as it is, by a link, and by nobody without one."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, Route, expect

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
from tests.browser.pictures import (
    ENCODERS,
    EXPLICIT,
    blocks,
    coloured_blocks,
    number_of,
    numbered,
    palette_blocks,
)
from tests.browser.reading import Reading, start_reading

pytestmark = [pytest.mark.flow, pytest.mark.long]

__all__ = ["archive"]

PASSWORD = "correct horse battery"
THUMBNAIL = "[data-cy='study-browser-thumbnail']"


@pytest.fixture
def reading(browser: Browser, house: House) -> Iterator[Reading]:
    """A browser of its own that has nothing of ours: no token and no cookie."""
    opened = start_reading(browser, house.url)
    yield opened
    opened.page.context.close()


@pytest.fixture(scope="module")
def film(browser: Browser, house: House, archive: None) -> Iterator[Reading]:
    """The study with a series for each encoding, open for several tests."""
    opened = start_reading(browser, house.url)
    opened.open(house.link(ENCODED))
    expect(opened.page.locator(THUMBNAIL)).to_have_count(len(SYNTAXES) + 1, timeout=60_000)
    yield opened
    opened.page.context.close()


def number_seen(reading: Reading) -> int:
    """Return the number that the only canvas shows, or -1."""
    seen = reading.seen()
    return number_of(seen[0][:, :, 0]) if len(seen) == 1 else -1


def point_at(page: Page) -> None:
    """Put the mouse on the image."""
    box = page.locator("canvas.cornerstone-canvas").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_every_encoder_is_tried() -> None:
    assert set(SYNTAXES.values()) == {EXPLICIT, *ENCODERS}


@pytest.mark.parametrize("name", SYNTAXES)
def test_an_image_is_seen_as_it_was_made_in_every_encoding(film: Reading, name: str) -> None:
    number = list(SYNTAXES).index(name) + 1
    film.page.locator(THUMBNAIL).nth(number - 1).dblclick()
    wanted = grey(blocks(number))
    film.until(lambda: film.shows(wanted, within=1.6))
    seen = film.seen()[0]
    assert abs(seen.mean() - wanted.mean()) < 0.5
    assert (abs(seen.min() - wanted.min()), abs(seen.max() - wanted.max())) < (1.6, 1.6)
    film.assert_clean()


def test_monochrome1_is_seen_inverted(film: Reading) -> None:
    film.page.locator(THUMBNAIL).nth(INVERTED - 1).dblclick()
    film.until(lambda: film.shows(grey(1 - blocks(INVERTED)), within=1.6))
    film.assert_clean()


def test_palettes_and_ultrasound_loops_are_seen_in_their_colours(house: House, reading: Reading) -> None:
    reading.open(house.link(COLOURS))
    expect(reading.page.locator(THUMBNAIL)).to_have_count(2, timeout=60_000)
    reading.page.locator(THUMBNAIL).nth(PALETTE - 1).dblclick()
    reading.until(lambda: reading.shows(palette_blocks(blocks(80)), within=1.6))
    reading.page.locator(THUMBNAIL).nth(ULTRASOUND - 1).dblclick()
    reading.until(lambda: reading.shows(coloured_blocks(blocks(90)), within=6))
    point_at(reading.page)
    for number in range(1, FRAMES):
        reading.page.mouse.wheel(0, 100)
        frame = coloured_blocks(blocks(90 + number))
        reading.until(lambda frame=frame: reading.shows(frame, within=6))
    reading.assert_clean()


def test_a_ct_of_500_slices_is_scrolled_to_its_last_and_the_right_slice_is_seen(
    house: House, reading: Reading
) -> None:
    reading.open(house.link(SLICES))
    reading.until(lambda: number_seen(reading) == 1)
    point_at(reading.page)
    for number in range(2, DEEP + 1):
        reading.page.mouse.wheel(0, 100)
        if number % 50 == 0:
            reading.until(lambda number=number: number_seen(reading) == number)
            expect(reading.page.get_by_text(f"({number}/{DEEP})")).to_be_visible()
    reading.page.keyboard.press("Home")
    reading.until(lambda: number_seen(reading) == 1)
    reading.assert_clean()


def test_two_studies_are_seen_beside_each_other(house: House, reading: Reading) -> None:
    reading.open(house.link(SLICES, ENCODED))
    reading.until(lambda: len(reading.seen()) == 2)
    reading.until(lambda: reading.shows(grey(numbered(1)), within=1.6, viewport=0))
    reading.until(lambda: reading.shows(grey(blocks(1)), within=1.6, viewport=1))
    boxes = [each.bounding_box() for each in reading.page.locator("canvas.cornerstone-canvas").all()]
    assert len(boxes) == 2
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    assert boxes[0]["y"] == boxes[1]["y"]
    reading.assert_clean()


def test_slices_are_reconstructed_in_three_planes(house: House, reading: Reading) -> None:
    reading.open(house.link(SLICES) + "&hangingProtocolId=mpr")
    expect(reading.page.locator("canvas.cornerstone-canvas")).to_have_count(3, timeout=60_000)
    reading.until(lambda: len(reading.seen()) == 3)
    reading.assert_clean()


def test_it_speaks_chinese_unless_english_is_asked_for(house: House, reading: Reading) -> None:
    page = reading.page
    for more, language, word in (("", "zh-CN", "检查"), ("&lng=en", "en", "Studies"), ("", "zh-CN", "检查")):
        reading.open(house.link(ENCODED) + more)
        expect(page.locator(THUMBNAIL)).to_have_count(len(SYNTAXES) + 1, timeout=60_000)
        expect(page.locator("html")).to_have_attribute("lang", language)
        expect(page.get_by_text(word, exact=True).first).to_be_visible()
    expect(page.get_by_text("互认", exact=True)).to_be_visible()
    reading.assert_clean()


def test_everything_a_link_opens_is_fetched_through_that_link(house: House, film: Reading) -> None:
    asked = [url for url in film.asked if "/dicom-web" in url]
    assert asked
    assert {url.split("/studies")[0] for url in asked} == {f"{house.url}/dicom-web/g/{house.grants[0]}"}


def test_without_a_link_the_browsers_own_session_counts(house: House, reading: Reading) -> None:
    signed_in = reading.page.context.request.post(
        f"{house.url}/v1/session/first", data={"link": house.invitation("doctor", "B"), "password": PASSWORD}
    )
    assert signed_in.ok
    reading.open(f"/viewer/basic?StudyInstanceUIDs={SLICES}")
    reading.until(lambda: number_seen(reading) == 1)
    assert any(url.startswith(f"{house.url}/dicom-web/studies/{SLICES}/") for url in reading.asked)
    reading.assert_clean()


@pytest.mark.parametrize("path", ["/viewer/basic?StudyInstanceUIDs=" + SLICES, "/viewer/basic?grant={}"])
def test_who_has_no_right_is_told_so_in_both_languages(house: House, reading: Reading, path: str) -> None:
    ended = "x" * 43
    reading.open(path.format(f"{ended}&StudyInstanceUIDs={SLICES}"))
    told = reading.page.get_by_role("alert")
    expect(told).to_contain_text("此次阅片已结束或无权查看", timeout=30_000)
    expect(told).to_contain_text("This viewing has ended")
    assert reading.page.url.startswith(f"{house.url}/viewer/")
    assert {status for status, _ in reading.refused} == {401}


def test_a_viewing_that_ends_while_images_come_says_so_and_covers_them(
    house: House, reading: Reading
) -> None:
    held: list[Route] = []
    link = house.link(SLICES)

    def hold(route: Route) -> None:
        if route.request.url.endswith(f".1.{DEEP}/frames/1"):
            held.append(route)
        else:
            route.continue_()

    reading.page.route("**/frames/1", hold)
    reading.open(link)
    reading.until(lambda: number_seen(reading) == 1 and held)
    grant = house.grants[-1]
    house.end_link()
    address = f"/dicom-web/g/{grant}/studies/{SLICES}/series"
    reading.until(lambda: house.call("GET", address, headers={"Authorization": ""}).status_code == 401)
    for route in held:
        route.continue_()
    expect(reading.page.get_by_role("alert")).to_contain_text(
        "请回到互认检查页面重新打开影像", timeout=30_000
    )


HOSTILE = (
    "../../evil",
    "//evil.example/x",
    "https://evil.example/dicom-web",
    "@evil.example",
    "a" * 19,
    "a" * 101,
    "a" * 30 + "/..",
    "a" * 30 + "\n",
    "a" * 30 + "?x",
    "",
)


@pytest.mark.parametrize("grant", HOSTILE)
def test_a_grant_that_is_none_reaches_no_server(house: House, reading: Reading, grant: str) -> None:
    reading.open(f"/viewer/basic?grant={quote(grant, safe='')}&StudyInstanceUIDs={SLICES}")
    expect(reading.page.get_by_role("alert")).to_contain_text("此次阅片已结束或无权查看", timeout=30_000)
    hosts = {url.split("/")[2] for url in reading.asked if url.startswith("http")}
    assert hosts == {house.url.removeprefix("http://")}
    assert not any("/dicom-web/g/" in url or "evil" in url.split("?")[0] for url in reading.asked)


def test_what_else_stands_in_an_address_is_dropped_before_it_is_read(house: House, reading: Reading) -> None:
    evil = quote("https://evil.example/x", safe="")
    names = ("url", "configUrl", "customization", "datasources", "dicomweb", "wadoRoot", "qidoRoot", "server")
    reading.open(house.link(SLICES) + "".join(f"&{name}={evil}" for name in names))
    reading.until(lambda: number_seen(reading) == 1)
    assert "evil" not in reading.page.url
    reading.assert_clean()
    for path in ("basic/dicomjson", "basic/dicomwebproxy", "dicomjson"):
        reading.open(f"/viewer/{path}?url={evil}&StudyInstanceUIDs={SLICES}")
        expect(reading.page.locator("#root")).not_to_be_empty(timeout=30_000)
        assert all(url.startswith((f"{house.url}/", "data:", "blob:")) for url in reading.asked)


def test_an_address_without_a_study_says_where_images_are_opened(reading: Reading) -> None:
    reading.open("/viewer/")
    expect(reading.page.get_by_role("alert")).to_contain_text("未指明要查看的检查", timeout=30_000)
    assert not any("/dicom-web" in url for url in reading.asked)
