"""Keeps the figures of what hospitals bring: a month whose examinations changed is counted again, whole, behind the scenes.

Triggers note the months of whatever changes (migration 0032), readers of the audit those of what was shown and viewed.
A month is counted in one transaction that first takes its notes away: what is committed later leaves a note of its own,
so nothing is missed, and counting twice comes to the same. Time alone changes something too: a study that waited for
images counts as complete once it need not wait any longer (`settles_at`).
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from datetime import time as day_time
from typing import Any, Final

import orjson
from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from catalog import item_lists, viewings
from catalog.context import Catalogue
from catalog.db import open_engine, transaction
from catalog.errors import HurenError
from catalog.rules import HOSPITAL_ZONE
from catalog.supply_sql import COUNT_MONTH, NOTE_EVERY_MONTH, SETTLES_AT
from catalog.tables_supply import Supply, SupplyChanged, SupplyMonth

OnProgress = Callable[[str, int, int], None]
LOCK: Final = 0x53_55_50_50_4C_59
_LOG: Final = logging.getLogger("huren.supply")


def keep_fresh(catalogue: Catalogue, stop: threading.Event, every_seconds: float) -> None:
    """Count again what has changed until `stop` is set, through outages too; each failure is logged.

    Where several processes do so, one of them counts at a time.
    """
    while not stop.is_set():
        try:
            refresh(catalogue)
        except HurenError as error:
            _LOG.error("the figures of what hospitals bring are not counted: %s", error)
        stop.wait(every_seconds)


def refresh(
    catalogue: Catalogue,
    *,
    everything: bool = False,
    on_progress: OnProgress = lambda _what, _done, _total: None,
) -> list[date]:
    """Read on in the audit and count each month again that has changed since; returns these months, the newest first.

    `everything` forgets what is kept and counts all of it from the events. Raises DatabaseDown; what was counted until
    then stays.
    """
    with _patient(catalogue) as patient:
        if everything:
            _forget(patient)
        viewings.read_on(patient, lambda done, total: on_progress("审计 / audit", done, total))
        counted = []
        for done, month in enumerate(months := _due(patient), 1):
            if _count(patient, month):
                counted.append(month)
            on_progress(f"{month:%Y-%m}", done, len(months))
    return counted


def _due(catalogue: Catalogue) -> list[date]:
    with transaction(catalogue.engine) as session:
        settled = select(SupplyMonth.month).where(SupplyMonth.settles_at <= catalogue.clock())
        query = select(SupplyChanged.month).union(settled)
        return sorted(session.scalars(query), reverse=True)


def _count(catalogue: Catalogue, month: date) -> bool:
    """Count a month; False where another process is counting."""
    began = time.monotonic()
    with transaction(catalogue.engine) as session:
        if not session.scalar(select(func.pg_try_advisory_xact_lock(LOCK))):
            return False
        now = catalogue.clock()
        session.execute(delete(SupplyChanged).where(SupplyChanged.month == month))
        for table in (Supply, SupplyMonth):
            session.execute(delete(table).where(table.month == month))
        session.execute(text("set local work_mem = '64MB'"))
        given = _range(month) | {"items": _items(session, catalogue), "now": now}
        session.execute(text(COUNT_MONTH), given)
        settles_at: datetime | None = session.scalar(text(SETTLES_AT), given)
        seconds = round(time.monotonic() - began, 3)
        session.add(SupplyMonth(month=month, as_of=now, settles_at=settles_at, seconds=seconds))
    return True


def _range(month: date) -> dict[str, Any]:
    following = (month + timedelta(days=32)).replace(day=1)
    since, until = (datetime.combine(day, day_time.min, HOSPITAL_ZONE) for day in (month, following))
    return {"month": month, "following": following, "since": since, "until": until}


def _items(session: Session, catalogue: Catalogue) -> str:
    """Return what the list says of each code, as JSON."""
    items = item_lists.every_item(session, catalogue)
    told = [{"code": i.code, "category": i.category, "groups": sorted(i.groups)} for i in items]
    return orjson.dumps(told).decode()


def _forget(catalogue: Catalogue) -> None:
    """Have the audit read from its beginning and every month counted; until then the old figures stand."""
    with transaction(catalogue.engine) as session:
        viewings.forget(session)
        session.execute(text(NOTE_EVERY_MONTH))


@contextmanager
def _patient(catalogue: Catalogue) -> Iterator[Catalogue]:
    """Yield the catalogue with connections on which a statement may take as long as a large month needs."""
    address = catalogue.engine.url.render_as_string(hide_password=False)
    engine = open_engine(address, pool_size=2, statement_timeout_ms=0)
    try:
        yield replace(catalogue, engine=engine)
    finally:
        engine.dispose()
