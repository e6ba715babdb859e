"""How long the server needs for each page over a city's books, and when a doctor sees the answer.

    make bench ARGS="-k pages -s"

Over 1 million results with a check to five of them and a decision to thirty; HUREN_BENCH_RESULTS sets another number.
"""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import sync_playwright

from catalog.embedded import Embedded
from exchange.web import rooms
from tests.benchmarks import table
from tests.benchmarks.asking import HOSPITALS
from tests.benchmarks.seeded_api import Served, run, served
from tests.needs import find_tool

SIZE = int(os.environ.get("HUREN_BENCH_RESULTS", "1000000").partition(",")[0])
CHECKS_SHARE, DECISIONS_SHARE = 5, 33
PAGE_P95_MS, FIRST_PAINT_MS = 100.0, 1000.0
VISITS, PAINTS = 20, 9
MOST_PAGES, MOST_OF_A_KIND = 60, 2
PASSWORD = "correct horse battery"
ROLES = ("doctor", "curator", "regulator", "operator")
_LINK = re.compile(r'<a[^>]*\shref="([^"]+)"')
_PAINTED = "() => performance.getEntriesByName('first-contentful-paint').map(each => each.startTime)"


@pytest.mark.benchmark
@pytest.mark.alone
def test_every_page_is_there_in_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUREN_TOTP_REQUIRED", "false")
    monkeypatch.setenv("HUREN_PACE_PER_SECOND", "0")  # nobody opens twenty pages a second but we
    with Embedded(folder / "services", own=True) as servers:
        servers.wait_s3()
        books = ("--checks", SIZE // CHECKS_SHARE, "--decisions", SIZE // DECISIONS_SHARE)
        with served(servers, folder / "city", SIZE, 20, *books) as city:
            rows = [each for role in ROLES for each in measured(city, role)]
    table.show(rows)
    assert [row["what"] for row in rows if row["ours"] > row["limit"]] == []


@dataclass
class Visitor:
    """Somebody who has signed in, and his pages."""

    http: httpx2.Client
    pages: list[str]


def measured(city: Served, role: str) -> list[dict[str, Any]]:
    """Return what one role's pages took."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{city.port}", trust_env=False, timeout=60) as http:
        visitor = entered(http, city, role)
        taken: dict[str, list[float]] = {path: [] for path in visitor.pages}
        for _ in range(VISITS):
            for path in visitor.pages:
                began = time.perf_counter()
                answer = http.get(path)
                taken[path].append((time.perf_counter() - began) * 1000)
                assert answer.status_code == 200, path
        rows = [row(f"page {kind_of(path)}", p95(each)) for path, each in taken.items()]
        worst = {each["what"]: each for each in sorted(rows, key=lambda each: each["ours"])}
        if role == "doctor":
            shown = painted(city, http, visitor.pages[-1])
            worst["paint"] = {
                "what": f"first paint of a doctor's answer, ms; {SIZE:,} results",
                "ours": round(median(shown), 1),
                "limit": FIRST_PAINT_MS,
                "at_most": True,
                "longest": round(max(shown), 1),
            }
        return list(worst.values())


def entered(http: httpx2.Client, city: Served, role: str) -> Visitor:
    """Return somebody with this role who has signed in, and every page his first one leads to."""
    hospital = HOSPITALS[0] if role == "doctor" else ""
    named = (f"{role}.bench", "--role", role, "--data-dir", city.data)
    told = run(
        "account",
        "add",
        *named,
        *(("--hospital", hospital) if hospital else ()),
        environment=city.environment,
    )
    body = {"link": told.strip().rpartition("#")[2], "password": PASSWORD}
    token = http.post("/v1/session/first", json=body).json()["csrf_token"]
    found = followed(http, rooms.home_of(role))
    return Visitor(http, [*found, *([answer_page(http, city, token)] if role == "doctor" else [])])


def answer_page(http: httpx2.Client, city: Served, token: str) -> str:
    """Ask about somebody whose results are known, and return the page of the answer."""
    body = next(each.body for each in city.asked if each.known)
    answer = http.post("/v1/checks", json=body, headers={"X-CSRF-Token": token})
    assert answer.status_code == 200, answer.text
    assert any(order["candidates"] for order in answer.json()["orders"])
    return f"/doctor/checks/{answer.json()['check_id']}"


def followed(http: httpx2.Client, first: str) -> list[str]:
    """Return the pages of a room, a few of each kind."""
    waiting, found, kinds = [first], list[str](), dict[str, int]()
    while waiting and len(found) < MOST_PAGES:
        path = waiting.pop(0)
        kind = kind_of(path)
        if path in found or kinds.get(kind, 0) >= MOST_OF_A_KIND:
            continue
        kinds[kind] = kinds.get(kind, 0) + 1
        answer = http.get(path)
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        assert answer.status_code == 200, (path, answer.text[-2000:])
        found.append(path)
        for link in _LINK.findall(answer.text):
            at = link.replace("&amp;", "&").partition("#")[0]
            at = path.partition("?")[0] + at if at.startswith("?") else at
            if rooms.room_of(urlsplit(at).path) in {*rooms.MENUS, "public"} and "lang=" not in at:
                waiting.append(at)
    return found


def kind_of(path: str) -> str:
    """Return an address without what tells one object from another."""
    plain, _, query = path.partition("?")
    names = sorted({each.partition("=")[0] for each in query.split("&")} - {""})
    return re.sub(r"/[^/]*[0-9][^/]*", "/N", plain) + (f"?{','.join(names)}" if names else "")


def painted(city: Served, http: httpx2.Client, path: str) -> list[float]:
    """Return the milliseconds until a browser that has nothing of us yet paints the answer, the shortest first."""
    cookies = [
        {"name": each.name, "value": each.value or "", "url": f"http://127.0.0.1:{city.port}"}
        for each in http.cookies.jar
    ]
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_tool("chromium"), args=["--no-sandbox"])
        for _ in range(PAINTS):
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            context.add_cookies(cookies)  # type: ignore[arg-type]
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{city.port}{path}", wait_until="load")
            page.wait_for_timeout(200)
            assert page.locator("h1").count() == 1
            found += page.evaluate(_PAINTED)
            context.close()
        browser.close()
    assert len(found) == PAINTS
    return sorted(found)


def row(what: str, ours: float) -> dict[str, Any]:
    """Return a row of the table."""
    return {"what": f"{what}, p95 ms; {SIZE:,} results", "ours": ours, "limit": PAGE_P95_MS, "at_most": True}


def p95(milliseconds: list[float]) -> float:
    """Return what nineteen of twenty do not pass."""
    return round(sorted(milliseconds)[int(len(milliseconds) * 0.95) - 1], 1)
