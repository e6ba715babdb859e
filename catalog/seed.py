"""A synthetic city of any size, so that speed is measured at size: `huren seed`.

Hospitals in the city's proportions, people with numbers of nobody, results of the listed items over 24 months in the
order in which they came, evaluations and prices. Every result is a row of `result`, as in production. The studies,
reports and laboratory values behind them are several times larger, so only a share of the people, "in full", has
those too; the results of the others are read as ones whose report has not come yet.
"""

import multiprocessing
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from catalog import keyring
from catalog.bulk import put_back, take_off
from catalog.context import Catalogue
from catalog.db import open_engine, transaction
from catalog.errors import Conflict, InvalidInput
from catalog.rules import local_day
from catalog.seed_books import TABLES as BOOKS
from catalog.seed_books import write_books
from catalog.seed_hospitals import HOSPITALS, SHARE_OF_RESULTS, write_hospitals
from catalog.seed_people import CHUNK, COPY_END, COPY_HEADER, COPY_PEOPLE, MOST_PEOPLE, copy_rows
from catalog.seed_sql import IN_FULL, RESULTS, SEQUENCES
from catalog.supply_sql import NOTE_EVERY_MONTH

RESULTS_A_PERSON: Final = 13 / 3
MONTHS_24: Final = timedelta(days=730)
IN_FULL_PERCENT: Final = 2

_TABLES: Final = ("person", "result", "study", "alias", "report", "report_version", "observation")
_BATCH: Final = 1_000_000
_SLOTS: Final = 16_384

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How large the city is, and from which number its chances are drawn."""

    results: int
    people: int
    in_full_percent: int
    seed: int
    checks: int = 0
    decisions: int = 0


@dataclass(slots=True)
class Seeded:
    """What was written, and the seconds each part of it took."""

    size: Size
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Note how long a part takes."""
        began = time.monotonic()
        yield
        self.seconds[part] = round(time.monotonic() - began, 1)


def size_of(
    results: int,
    people: int | None = None,
    *,
    in_full_percent: int = IN_FULL_PERCENT,
    seed: int = 1,
    checks: int = 0,
    decisions: int = 0,
) -> Size:
    """Return a size, by default with 13 results to three people. Raises InvalidInput for what cannot be."""
    count = people if people is not None else max(1, min(round(results / RESULTS_A_PERSON), MOST_PEOPLE))
    if results < 1 or not 1 <= count <= MOST_PEOPLE or not 0 <= in_full_percent <= 100:
        raise InvalidInput(
            f"结果至少 1 条,人数 1 到 {MOST_PEOPLE:,},完整比例 0 到 100",
            f"At least 1 result, 1 to {MOST_PEOPLE:,} people, 0 to 100 per cent in full",
            field="results",
        )
    if not 0 <= decisions <= checks:
        raise InvalidInput("决定数不超过询问数", "There are no more decisions than checks", field="decisions")
    return Size(results, count, in_full_percent, seed, checks, decisions)


def seed_city(
    catalogue: Catalogue, size: Size, on_progress: OnProgress = lambda _what, _done, _total: None
) -> Seeded:
    """Fill an empty catalogue, all of it or nothing; `on_progress` hears what is written, how much, of how much.

    Raises Conflict where there are hospitals or people already: nothing is ever added to a real city.
    """
    seeded = Seeded(size)
    address = catalogue.engine.url.render_as_string(hide_password=False)
    engine = open_engine(address, statement_timeout_ms=0)
    try:
        with transaction(engine) as session:
            _refuse_a_city(session)
            keyring.share(session)
            connection = session.connection()
            with seeded.timed("hospitals"):
                _write_registry(session, catalogue, size)
            connection.execute(
                text("set constraints all immediate")
            )  # what waits for a trigger cannot be altered
            taken = take_off(connection, _TABLES)
            with seeded.timed("people"):
                _write_people(connection, catalogue, size, on_progress)
            with seeded.timed("results"):
                _write_results(connection, catalogue, size, on_progress)
            with seeded.timed("in full"):
                for done, statement in enumerate(IN_FULL, 1):
                    connection.execute(text(statement), {"in_full_percent": size.in_full_percent})
                    on_progress("in full", done, len(IN_FULL))
            with seeded.timed("indexes and keys"):
                put_back(connection, taken, partial(on_progress, "indexes and keys"))
            connection.execute(text(SEQUENCES))
            connection.execute(text(NOTE_EVERY_MONTH))
            if size.checks:
                with seeded.timed("checks and decisions"):
                    write_books(connection, _of_books(catalogue, size), on_progress)
        with seeded.timed("vacuum"), engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            alone.execute(text("vacuum (analyze) " + ", ".join((*_TABLES, *(BOOKS if size.checks else ())))))
            on_progress("vacuum", 1, 1)
    finally:
        engine.dispose()
    return seeded


def _of_books(catalogue: Catalogue, size: Size) -> dict[str, object]:
    return {
        "seed": size.seed,
        "results": size.results,
        "slots": _SLOTS,
        "checks": size.checks,
        "decisions": size.decisions,
        "now": catalogue.clock(),
    }


def _refuse_a_city(session: Session) -> None:
    if session.scalar(
        text(
            "select exists (select from hospital) or exists (select from person) or exists (select from result)"
        )
    ):
        raise Conflict(
            "目录库中已有机构或人员,合成数据只能写入空库",
            "The catalogue holds hospitals or people already; a synthetic city needs an empty one",
            code="not_empty",
        )


def _write_registry(session: Session, catalogue: Catalogue, size: Size) -> None:
    """Write the hospitals, and the two tables from which each result draws its hospital and its item."""
    chance = random.Random(size.seed)
    tiers = write_hospitals(session, chance, local_day(catalogue.clock()))
    weights = [SHARE_OF_RESULTS[tier] / HOSPITALS[tier] for tier in tiers.values()]
    drawn = chance.choices(list(tiers), weights, k=_SLOTS)
    session.execute(
        text("create temporary table seed_slot (place bigint, hospital_id bigint) on commit drop")
    )
    session.execute(
        text("insert into seed_slot values (:place, :hospital_id)"),
        [{"place": place, "hospital_id": hospital} for place, hospital in enumerate(drawn)],
    )
    session.execute(text(_SEED_ITEM))
    session.execute(text(_INSERT_ITEM), _items(catalogue, chance))
    session.execute(text("analyze seed_slot, seed_item"))


_SEED_ITEM: Final = """
create temporary table seed_item (place bigint, code text, name_zh text, category text, imaging bool, paired bool,
                                  spans bool, modality text, unit text, loinc text) on commit drop
"""
_INSERT_ITEM: Final = """
insert into seed_item
values (:place, :code, :name_zh, :category, :imaging, :paired, :spans, :modality, :unit, :loinc)
"""


def _items(catalogue: Catalogue, chance: random.Random) -> list[dict[str, Any]]:
    items = chance.sample(list(catalogue.items), len(catalogue.items))
    return [
        {
            "place": place,
            "code": item.code,
            "name_zh": item.name_zh,
            "category": item.category,
            "imaging": item.category == "imaging",
            "paired": item.laterality == "paired",
            "spans": item.spans_body_parts,
            "modality": next(iter(item.modalities), ""),
            "unit": item.unit,
            "loinc": item.loinc,
        }
        for place, item in enumerate(items)
    ]


def _write_people(connection: Connection, catalogue: Catalogue, size: Size, on_progress: OnProgress) -> None:
    """Copy the people; hashing and sealing their numbers takes every processor there is."""
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(COPY_PEOPLE) as copy:
        copy.write(COPY_HEADER)
        for done, rows in enumerate(_chunks(catalogue, size), 1):
            copy.write(rows)
            on_progress("people", min(done * CHUNK, size.people), size.people)
        copy.write(COPY_END)


def _chunks(catalogue: Catalogue, size: Size) -> Iterator[bytes]:
    counts = [min(CHUNK, size.people - first) for first in range(0, size.people, CHUNK)]
    asked = [(catalogue.vault.path, size.seed, sequence, count) for sequence, count in enumerate(counts)]
    if len(asked) == 1:
        yield copy_rows(*asked[0])
        return
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        running: deque[Future[bytes]] = deque()
        for each in asked:
            running.append(pool.submit(copy_rows, *each))
            if len(running) > 2 * workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _write_results(connection: Connection, catalogue: Catalogue, size: Size, on_progress: OnProgress) -> None:
    given = {
        "seed": size.seed,
        "people": size.people,
        "in_full_percent": size.in_full_percent,
        "items": len(catalogue.items),
        "slots": _SLOTS,
        "first": catalogue.clock() - MONTHS_24,
        "step_seconds": MONTHS_24.total_seconds() / (size.results + 1),
    }
    for first in range(1, size.results + 1, _BATCH):
        last = min(first + _BATCH - 1, size.results)
        connection.execute(text(RESULTS), given | {"from_number": first, "to_number": last})
        on_progress("results", last, size.results)
