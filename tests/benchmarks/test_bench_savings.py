"""A city's books: decisions written by many at once, reports of any month, the way to their entries, the recount.

    make bench ARGS="-k savings -s"

Over 1 and 10 million results with a check to five of them and a decision to thirty; HUREN_BENCH_RESULTS sets others.
"""

import json
import os
import time
from contextlib import ExitStack
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from catalog.embedded import Embedded
from tests.benchmarks import deciding, table
from tests.benchmarks.asking import ASKED, HOSPITALS
from tests.benchmarks.seeded_api import Served, run, served

SIZES = [int(text) for text in os.environ.get("HUREN_BENCH_RESULTS", "1000000,10000000").split(",")]
CHECKS_SHARE, DECISIONS_SHARE = 5, 33
REPORT_P95_MS, DECISION_P95_MS, VERIFY_SECONDS = 150.0, 10.0, 60.0
DECISIONS = 480
GROUPINGS = (
    *("", "hospital", "district", "tier", "item", "district,item", "hospital,item"),
    *("day", "issuing_hospital"),  # from the events
)
QUESTIONS = 100


@pytest.mark.benchmark
@pytest.mark.alone
def test_figures_of_any_month_and_their_recount_are_there_in_time(folder: Path) -> None:
    rows: list[dict[str, Any]] = []
    with Embedded(folder / "services", own=True) as servers, ExitStack() as serving:
        servers.wait_s3()
        for size in SIZES:
            books = ("--checks", size // CHECKS_SHARE, "--decisions", size // DECISIONS_SHARE)
            city = serving.enter_context(served(servers, folder / str(size), size, QUESTIONS, *books))
            rows += measured(city, size)
    table.show(rows)
    table.show(grown(rows))
    assert [row["what"] for row in rows if row["ours"] > row["limit"]] == []


def measured(city: Served, size: int) -> list[dict[str, Any]]:
    """Return what was seen of one city; the figures are right before they are timed."""
    writes = {
        name: deciding.decided(city, waiting)
        for name, waiting in (
            ("on one sum", deciding.ready(city, HOSPITALS[:1], ["CT07"], DECISIONS, f"one-{size}")),
            ("each on his own", deciding.ready(city, HOSPITALS, ASKED, DECISIONS, f"own-{size}")),
        )
    }
    with httpx2.Client(base_url=f"http://127.0.0.1:{city.port}", trust_env=False, timeout=60) as http:
        assert_right(http, city)
        asked = [path(*each) for each in product(months(city), GROUPINGS)]
        reports = timed(http, city, [*asked, *map(as_it_stood, months(city)[:-1])])
        chains = timed(http, city, [f"/v1/savings/entries/{number}" for number in range(1, 401)])
    began = time.monotonic()
    found = json.loads(
        run("savings", "verify", "--json", "--data-dir", city.data, environment=city.environment)
    )
    seconds = time.monotonic() - began
    assert found["agrees"]
    assert found["range"]["decisions"] >= size // DECISIONS_SHARE
    said = f"{size:,} results, {found['range']['checks']:,} checks, {found['range']['decisions']:,} decisions"
    said_writes = f"decision written, {deciding.WRITERS} writers"
    return [
        *(
            row(
                f"{said_writes} {name}, p95 ms; {size:,} results",
                percentile(each, 0.95),
                DECISION_P95_MS,
                each,
            )
            for name, each in writes.items()
        ),
        row(f"report of a month, p95 ms; {said}", percentile(reports, 0.95), REPORT_P95_MS, reports),
        row(f"an entry explained, p95 ms; {size:,} results", percentile(chains, 0.95), REPORT_P95_MS, chains),
        row(f"recount of everything, s; {size:,} results", round(seconds, 1), VERIFY_SECONDS, []),
    ]


def grown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how many times longer each takes at the last size than at the first."""
    each = len(rows) // len(SIZES)
    return [
        {
            "what": f"{last['what'].split(';')[0]}, x from {SIZES[0]:,} to {SIZES[-1]:,}",
            "ours": round(last["ours"] / first["ours"], 2),
        }
        for first, last in zip(rows[:each], rows[-each:], strict=True)
    ]


def row(what: str, ours: float, limit: float, milliseconds: list[float]) -> dict[str, Any]:
    """Return a row of the table."""
    spread = {"p50": percentile(milliseconds, 0.5), "longest": milliseconds[-1]} if milliseconds else {}
    return {"what": what, "ours": ours, "limit": limit, "at_most": True, **spread}


def assert_right(http: httpx2.Client, city: Served) -> None:
    """The whole total is what the ledger comes to, and the months' totals are its parts."""
    whole = http.get(
        "/v1/savings", params={"from": "2000-01", "group_by": "month"}, headers=signed_in(city, "first")
    ).json()
    with psycopg.connect(city.database_url) as connection:
        found = connection.execute("select sum(amount_fen) from ledger").fetchone()
    assert found is not None
    assert whole["total"]["net_fen"] == int(found[0]) == sum(each["net_fen"] for each in whole["rows"]) > 0


def months(city: Served) -> list[str]:
    """Return every month there are figures of."""
    with psycopg.connect(city.database_url) as connection:
        found = connection.execute(
            "select distinct to_char(month, 'YYYY-MM') from monthly order by 1"
        ).fetchall()
    return [month for (month,) in found]


def path(month: str, group: str) -> str:
    """Return the report of a month, its first page where it has several."""
    return f"/v1/savings?from={month}&to={month}&group_by={group}"


def as_it_stood(month: str) -> str:
    """Return the report of a month by hospital as its fifteenth day left it."""
    return f"{path(month, 'hospital')}&as_of={month}-15"


def signed_in(city: Served, subject: str) -> dict[str, str]:
    """Return the headers of a regulator of this name."""
    token = city.key.issue(subject=subject, role="regulator", lifetime=timedelta(hours=1))
    return {"Authorization": f"Bearer {token}"}


def timed(http: httpx2.Client, city: Served, asked: list[str]) -> list[float]:
    """Return the milliseconds of each answer, the shortest first; no caller asks so often that he must wait."""
    found = []
    for number, each in enumerate(asked):
        headers = signed_in(city, f"{asked[0]} {number // 20}")
        began = time.perf_counter()
        answer = http.get(each, headers=headers)
        found.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, answer.text
    return sorted(found)


def percentile(milliseconds: list[float], share: float) -> float:
    """Return what so large a share of them does not pass."""
    return round(milliseconds[min(int(len(milliseconds) * share), len(milliseconds) - 1)], 1)
