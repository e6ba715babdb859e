"""What the regulator reads: sums by hospital, item and month, rates and gaps."""

from calendar import monthrange
from collections.abc import Iterable, Sequence
from datetime import date
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import BigInteger, Select, and_, cast, func, select
from sqlalchemy.orm import Session

from catalog import groupings
from catalog.errors import InvalidInput
from catalog.items import ItemList
from catalog.ledger import COUNTERS
from catalog.tables import Hospital, Monthly

_GROUP_COLUMNS: Final = groupings.columns(Monthly.item_code, Monthly.month)
GROUPINGS: Final = ("hospital", "item", "month")
_PARTS: Final = (Monthly.own_hospital, Monthly.emergency)
_SUMS: Final = tuple(cast(func.sum(getattr(Monthly, name)), BigInteger) for name in COUNTERS)
# By whether what is counted concerns an own-hospital prior, and whether an emergency: each counter's sum.
_Parts = dict[tuple[bool, bool], tuple[int, ...]]


def report(
    session: Session,
    items: ItemList,
    *,
    first: date,
    last: date,
    group_by: Sequence[str] = GROUPINGS,
    offset: int = 0,
    limit: int | None = None,
) -> dict[str, Any]:
    """Return the figures of the months from `first` to `last`, both inclusive, grouped as asked.

    Own-hospital and emergency figures stand apart under their own names. `limit` rows after the first `offset`;
    `next` is the offset of those that follow, None at the end. Raises InvalidInput for an unknown grouping or a
    reversed range.
    """
    asked = months(first, last)
    group_by = groupings.asked(group_by)
    found = _read(session, asked, group_by, offset, limit)
    shown = found[:limit]
    is_whole = not offset and len(shown) == len(found)
    everything = shown if is_whole else _read(session, asked, (), 0, None)
    names = groupings.names(session, items)
    return {
        "from": asked[0].isoformat()[:7],
        "to": asked[1].isoformat()[:7],
        "group_by": list(group_by),
        "rows": [groupings.keys(names, keys, group_by) | _figures([parts]) for keys, parts in shown],
        "next": None if len(shown) == len(found) else offset + len(shown),
        "total": _figures([parts for _, parts in everything]),
        "unpriced": _gaps(session, asked),
    }


def months(first: date, last: date) -> tuple[date, date]:
    """Return the first days of the months from `first` to `last`. Raises InvalidInput for a reversed range."""
    if first > last:
        raise InvalidInput("起始月份晚于截止月份", "The range is reversed", field="from")
    return first.replace(day=1), last.replace(day=1)


def last_day(month: date) -> date:
    """Return the last day of the month that a day lies in."""
    return month.replace(day=monthrange(month.year, month.month)[1])


def rate(recognised: int, reminders: int, excused: int) -> float | None:
    """Return standing recognitions ÷ (reminders − lawfully excused repeats); None where that is 0."""
    asked = reminders - excused
    return float(round(Fraction(recognised, asked), 6)) if asked > 0 else None


def _read(
    session: Session, months: tuple[date, date], group_by: Sequence[str], offset: int, limit: int | None
) -> list[tuple[tuple[str, ...], _Parts]]:
    """Return each group's keys and sums in the order of the keys, and one group more than the limit if there is one."""
    keys = [_GROUP_COLUMNS[name] for name in group_by]
    named = [key.label(name) for name, key in zip(group_by, keys, strict=True)]
    query = _asked(months, *named, *_PARTS, *_SUMS).group_by(*keys, *_PARTS).order_by(*keys)
    if limit is not None and keys:
        # Which groups a page has is known before anything is added up: a city's month has a hundred thousand of them.
        page = (
            _asked(months, *named).group_by(*keys).order_by(*keys).offset(offset).limit(limit + 1).cte("page")
        )
        query = query.join(
            page, and_(*(key == page.c[name] for name, key in zip(group_by, keys, strict=True)))
        )
    found: dict[tuple[str, ...], _Parts] = {} if keys else {(): {}}
    for row in session.execute(query):
        of, (own, emergency, *sums) = tuple(row[: len(keys)]), row[len(keys) :]
        found.setdefault(of, {})[own, emergency] = tuple(sums)
    return list(found.items())


def _asked(months: tuple[date, date], *columns: Any) -> Select[Any]:
    query = select(*columns).select_from(Monthly).join(Hospital, Hospital.id == Monthly.hospital_id)
    return query.where(Monthly.month.between(*months))


def _figures(groups: Sequence[_Parts]) -> dict[str, Any]:
    """Return the figures of these groups together: the whole, and of it what concerns own-hospital priors and emergencies.

    The rate leaves own-hospital priors out: recognising one's own work is no mutual recognition. Emergencies are those
    among the others.
    """
    parts = [(part, sums) for group in groups for part, sums in group.items()]
    others = _added(sums for (own, _), sums in parts if not own)
    return {
        **_added(sums for _, sums in parts),
        "rate": rate(others["recognised"], others["reminders"], others["excused"]),
        "own_hospital": _added(sums for (own, _), sums in parts if own),
        "emergency": _added(sums for part, sums in parts if part == (False, True)),
    }


def _added(several: Iterable[tuple[int, ...]]) -> dict[str, int]:
    added = [sum(each) for each in zip([0] * len(COUNTERS), *several, strict=True)]
    counted = dict(zip(COUNTERS, added, strict=True))
    return counted | {"net_fen": counted["saved_fen"] - counted["reversed_fen"]}


def _gaps(session: Session, months: tuple[date, date]) -> list[dict[str, Any]]:
    """Return what was recognised without a price, so that nobody mistakes 0 for nothing."""
    unpriced = func.sum(Monthly.unpriced)
    query = (
        select(Hospital.code, Monthly.item_code, unpriced)
        .join(Hospital, Hospital.id == Monthly.hospital_id)
        .where(Monthly.month.between(*months), Monthly.unpriced != 0)
        .group_by(Hospital.code, Monthly.item_code)
        .having(unpriced != 0)
        .order_by(Hospital.code, Monthly.item_code)
    )
    return [
        {"hospital": code, "item": item, "recognised": int(count)}
        for code, item, count in session.execute(query)
    ]
