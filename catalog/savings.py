"""What the regulator reads: sums by hospital, item and month, rates and gaps."""

from collections.abc import Sequence
from datetime import date
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import RowMapping, Select, Text, cast, func, select, true
from sqlalchemy.orm import Session

from catalog.errors import InvalidInput
from catalog.items import ItemList
from catalog.ledger import COUNTERS
from catalog.tables import Hospital, Monthly, Region

_GROUP_COLUMNS: Final[dict[str, Any]] = {
    "hospital": Hospital.code,
    "district": Hospital.region_code,
    "tier": cast(Hospital.tier, Text),
    "item": Monthly.item_code,
    "month": func.to_char(Monthly.month, "YYYY-MM"),
}
GROUPINGS: Final = ("hospital", "item", "month")
# Of each counter the whole, what concerns own-hospital priors, and what concerns emergencies among the others.
_PARTS: Final[dict[str, Any]] = {
    "whole": true(),
    "own": Monthly.own_hospital,
    "urgent": Monthly.emergency & ~Monthly.own_hospital,
}


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
    if unknown := [name for name in group_by if name not in _GROUP_COLUMNS]:
        raise InvalidInput(f"无此分组:{','.join(unknown)[:40]}", "Unknown grouping", field="group_by")
    group_by = tuple(dict.fromkeys(group_by))
    query = _query(asked, group_by).offset(offset).limit(None if limit is None else limit + 1)
    found = session.execute(query).mappings().all()
    (total,) = session.execute(_query(asked, ())).mappings()
    names = _names(session, items)
    return {
        "from": asked[0].isoformat()[:7],
        "to": asked[1].isoformat()[:7],
        "group_by": list(group_by),
        "rows": [_keys(names, row, group_by) | _figures(row) for row in found[:limit]],
        "next": offset + limit if limit is not None and len(found) > limit else None,
        "total": _figures(total),
        "unpriced": _gaps(session, asked),
    }


def months(first: date, last: date) -> tuple[date, date]:
    """Return the first days of the months from `first` to `last`. Raises InvalidInput for a reversed range."""
    if first > last:
        raise InvalidInput("起始月份晚于截止月份", "The range is reversed", field="from")
    return first.replace(day=1), last.replace(day=1)


def rate(recognised: int, reminders: int, excused: int) -> float | None:
    """Return standing recognitions ÷ (reminders − lawfully excused repeats); None where that is 0."""
    asked = reminders - excused
    return float(round(Fraction(recognised, asked), 6)) if asked > 0 else None


def _query(months: tuple[date, date], group_by: Sequence[str]) -> Select[Any]:
    """Return the query for one row of sums for each group, in the order of its keys."""
    keys = [_GROUP_COLUMNS[name].label(name) for name in group_by]
    sums = [
        func.coalesce(func.sum(getattr(Monthly, name)).filter(part), 0).label(f"{of}_{name}")
        for of, part in _PARTS.items()
        for name in COUNTERS
    ]
    return (
        select(*keys, *sums)
        .join(Hospital, Hospital.id == Monthly.hospital_id)
        .where(Monthly.month.between(*months))
        .group_by(*(_GROUP_COLUMNS[name] for name in group_by))
        .order_by(*(_GROUP_COLUMNS[name] for name in group_by))
    )


def _figures(row: RowMapping) -> dict[str, Any]:
    """Return one row's figures: the whole, and of it what concerns own-hospital priors and emergencies.

    The rate leaves own-hospital priors out: recognising one's own work is no mutual recognition.
    """
    whole, own = _with_net(row, "whole"), _with_net(row, "own")
    others = {name: whole[name] - own[name] for name in COUNTERS}
    return whole | {
        "rate": rate(others["recognised"], others["reminders"], others["excused"]),
        "own_hospital": own,
        "emergency": _with_net(row, "urgent"),
    }


def _with_net(row: RowMapping, of: str) -> dict[str, int]:
    counted = {name: int(row[f"{of}_{name}"]) for name in COUNTERS}
    return counted | {"net_fen": counted["saved_fen"] - counted["reversed_fen"]}


def _keys(names: dict[str, dict[str, str]], row: RowMapping, group_by: Sequence[str]) -> dict[str, Any]:
    """Return what a row is about: codes, and the names that go with them."""
    keys = {name: row[name] for name in group_by}
    return keys | {f"{name}_name": names[name].get(code, "") for name, code in keys.items() if name in names}


def _names(session: Session, items: ItemList) -> dict[str, dict[str, str]]:
    hospitals = session.execute(select(Hospital.code, Hospital.name)).tuples()
    districts = session.execute(select(Region.code, Region.name)).tuples()
    return {
        "hospital": dict(hospitals.all()),
        "district": dict(districts.all()),
        "item": {item.code: item.name_zh for item in items},
    }


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
