"""Every page of every room, followed from link to link over a city whose names and texts are all hostile (FAULTS F7).

Nothing of them runs, each page can be read by everybody, asks nobody else, and is small.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Dialog
from sqlalchemy import text

from catalog.db import transaction
from catalog.embedded import Services
from catalog.objects import ObjectStore
from exchange.settings import ExchangeSettings
from exchange.web import rooms
from tests.browser.conftest import House, open_house
from tests.browser.visiting import SOAK, Visit, signed_in, visit
from tests.city import HEADER, id_number
from tests.faults.matrix_site import build

_MOST_BYTES: Final = 300_000
_MOST_PAGES: Final = 80
_MOST_OF_A_KIND: Final = 2
_SCRIPT: Final = "<script>window.ran=1</script>"
_IMAGE: Final = '"><img src=x onerror="window.ran=1">'
_HOSTILE: Final = {
    "hospital": {"name": f"{_IMAGE}{{{{7*7}}}}"},
    "study": {"patient_name": f"{_SCRIPT}‮evil", "description": f"=cmd|' /C calc'!A0 {_SCRIPT}"},
    "report_version": {"title": _IMAGE, "conclusion": f"{_SCRIPT}${{7*7}}", "author": "' onfocus=ran=1 '"},
    "person": {"name": f"</title>{_SCRIPT}"},
}


@pytest.fixture(scope="module")
def town(
    database_url: str, services: Services, s3_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """A city with objects of every sort, each called something that no page may run."""
    folder = tmp_path_factory.mktemp("town")
    with open_house(database_url, services, s3_store, folder, webhook_hosts="hooks.b.example") as house:
        house.city.header = replace(HEADER, PatientName="林^晓渝", StudyDescription="胸部CT平扫")
        build(house.city, s3_store, ExchangeSettings(webhook_hosts="hooks.b.example").outbound())
        with transaction(house.city.catalogue.engine) as session:
            for table, columns in _HOSTILE.items():
                named = ", ".join(f"{column} = :{column}" for column in columns)
                session.execute(text(f"update {table} set {named}"), columns)  # noqa: S608
        yield house


@pytest.mark.parametrize("lang", ["en", *(["zh"] if SOAK else [])])
@pytest.mark.parametrize("role", ["doctor", "curator", "regulator", "operator"])
def test_every_page_shows_hostile_texts_as_texts(browser: Browser, town: House, role: str, lang: str) -> None:
    seen = signed_in(browser, town, role, "B" if role == "doctor" else "", lang=lang)
    pages = follow(seen, [rooms.home_of(role), "/account", *(_checks(seen) if role == "doctor" else [])])
    assert {place.path for place in rooms.MENUS[rooms.room_of(rooms.home_of(role))]} <= set(pages)
    assert any("<script>" in shown or "onerror" in shown for shown in pages.values())


def test_the_pages_for_everybody_show_hostile_texts_as_texts(browser: Browser, town: House) -> None:
    pages = follow(visit(browser, town.url), ["/public", "/sign-in", "/first"])
    assert any("onerror" in shown for shown in pages.values())


def follow(seen: Visit, first: list[str]) -> dict[str, str]:
    """Open what these pages link to, and what those do, and return the text each shows by its address."""
    seen.page.on("dialog", lambda dialog: _fail(dialog))
    waiting, pages, kinds = list(first), dict[str, str](), dict[str, int]()
    while waiting and len(pages) < _MOST_PAGES:
        path = waiting.pop(0)
        kind = _kind_of(path)
        if path in pages or kinds.get(kind, 0) >= _MOST_OF_A_KIND:
            continue
        kinds[kind] = kinds.get(kind, 0) + 1
        seen.answers.clear()
        seen.open(path)
        assert seen.page.evaluate("window.ran") is None, path
        document = next(each for each in seen.answers if each.request.is_navigation_request())
        policy = document.headers.get("content-security-policy", "")
        assert document.status == 200, path
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert seen.sent_bytes() <= _MOST_BYTES, path
        seen.assert_good(f"every{path.partition('?')[0].replace('/', '-')}")
        pages[path] = seen.page.locator("body").inner_text()
        waiting += _links(seen)
    return pages


def _fail(dialog: Dialog) -> None:
    dialog.dismiss()
    raise AssertionError(dialog.message)


def _links(seen: Visit) -> list[str]:
    """Return the pages a page links to; downloads are no pages."""
    found: list[str] = seen.page.locator("a[href]:not([download])").evaluate_all(
        "links => links.map(link => link.getAttribute('href'))"
    )
    paths = (
        urlsplit(seen.page.url).path + each if each.startswith("?") else each.partition("#")[0]
        for each in found
    )
    return [
        each
        for each in paths
        if each.startswith("/")
        and rooms.room_of(each.partition("?")[0]) in {*rooms.MENUS, "public"}
        and "lang=" not in each
    ]


def _kind_of(path: str) -> str:
    """Return an address without what tells one object from another."""
    plain, _, query = path.partition("?")
    names = sorted({each.partition("=")[0] for each in query.split("&")})
    return re.sub(r"/[^/]*[0-9][^/]*", "/N", plain) + "?" + ",".join(names)


def _checks(seen: Visit) -> list[str]:
    """Ask about somebody as the page would, and return the address of the answer."""
    token = seen.page.locator("input[name=csrf]").first.get_attribute("value") or ""
    body: dict[str, Any] = {
        "patient": {"id_number": id_number(2)},
        "orders": [{"order_id": f"page-{seen.lang}", "item_code": "CT07"}],
    }
    answer = seen.page.request.post(
        f"{seen.origin}/v1/checks", data=body, headers={"X-CSRF-Token": token, "Origin": seen.origin}
    )
    assert answer.ok, answer.text()
    return [f"/doctor/checks/{answer.json()['check_id']}"]
