"""What the regulator reads: sums by hospital, item and month, rates and gaps."""

from collections.abc import Iterable, Sequence
from datetime import date
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from catalog.errors import InvalidInput
from catalog.items import ItemList
from catalog.ledger import COUNTERS
from catalog.tables import Decision, Hospital, Monthly

GROUPINGS: Final = ("hospital", "item", "month")
_GROUP_COLUMNS: Final[dict[str, Any]] = {
    "hospital": Hospital.code,
    "item": Monthly.item_code,
    "month": func.to_char(Monthly.month, "YYYY-MM"),
}


def report(
    session: Session, items: ItemList, *, first: date, last: date, group_by: Sequence[str] = GROUPINGS
) -> dict[str, Any]:
    """Return the figures of the months from `first` to `last`, both inclusive, grouped as asked.

    Own-hospital and emergency figures stand apart under their own names. Raises InvalidInput for an
    unknown grouping or a reversed range.
    """
    if first > last:
        raise InvalidInput("起始月份晚于截止月份", "The range is reversed", field="from")
    if unknown := [name for name in group_by if name not in GROUPINGS]:
        raise InvalidInput(f"无此分组:{','.join(unknown)[:40]}", "Unknown grouping", field="group_by")
    months = (first.replace(day=1), last.replace(day=1))
    rows = _rows(session, items, months, tuple(dict.fromkeys(group_by)))
    total = _rows(session, items, months, ())
    return {
        "from": months[0].isoformat()[:7],
        "to": months[1].isoformat()[:7],
        "group_by": list(group_by),
        "rows": rows,
        "total": total[0] if total else _figures({}),
        "unpriced": _gaps(session, months),
    }


def rate(recognised: int, reminders: int, excused: int) -> float | None:
    """Return standing recognitions ÷ (reminders − lawfully excused repeats); None where that is 0."""
    asked = reminders - excused
    return float(round(Fraction(recognised, asked), 6)) if asked > 0 else None


def _rows(
    session: Session, items: ItemList, months: tuple[date, date], group_by: tuple[str, ...]
) -> list[dict[str, Any]]:
    keys = [_GROUP_COLUMNS[name].label(name) for name in group_by]
    sums = [func.sum(getattr(Monthly, name)).label(name) for name in COUNTERS]
    query = (
        select(*keys, Monthly.own_hospital, Monthly.emergency, *sums)
        .join(Hospital, Hospital.id == Monthly.hospital_id)
        .where(Monthly.month.between(*months))
        .group_by(*(_GROUP_COLUMNS[name] for name in group_by), Monthly.own_hospital, Monthly.emergency)
    )
    parts: dict[tuple[str, ...], dict[tuple[bool, bool], dict[str, int]]] = {}
    for row in session.execute(query).mappings():
        key = tuple(row[name] for name in group_by)
        counted = {name: int(row[name]) for name in COUNTERS}
        parts.setdefault(key, {})[row["own_hospital"], row["emergency"]] = counted
    names = _names(session, items)
    return [
        {name: value for name, value in zip(group_by, key, strict=True)}
        | _labels(names, dict(zip(group_by, key, strict=True)))
        | _figures(parts[key])
        for key in sorted(parts)
    ]


def _figures(parts: dict[tuple[bool, bool], dict[str, int]]) -> dict[str, Any]:
    """Return one row's figures: the whole, and of it what concerns own-hospital priors and emergencies.

    The rate leaves own-hospital priors out: recognising one's own work is no mutual recognition.
    """
    whole = _sum(parts.values())
    own = _sum(value for (is_own, _), value in parts.items() if is_own)
    urgent = _sum(value for (is_own, emergency), value in parts.items() if emergency and not is_own)
    others = {name: whole[name] - own[name] for name in COUNTERS}
    return _with_net(whole) | {
        "rate": rate(others["recognised"], others["reminders"], others["excused"]),
        "own_hospital": _with_net(own),
        "emergency": _with_net(urgent),
    }


def _with_net(counted: dict[str, int]) -> dict[str, int]:
    return counted | {"net_fen": counted["saved_fen"] - counted["reversed_fen"]}


def _sum(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    listed = list(parts)
    return {name: sum(part[name] for part in listed) for name in COUNTERS}


def _names(session: Session, items: ItemList) -> dict[str, dict[str, str]]:
    hospitals = session.execute(select(Hospital.code, Hospital.name)).tuples()
    return {"hospital": dict(hospitals.all()), "item": {item.code: item.name_zh for item in items}}


def _labels(names: dict[str, dict[str, str]], key: dict[str, str]) -> dict[str, str]:
    return {f"{name}_name": names[name].get(value, "") for name, value in key.items() if name in names}


def _gaps(session: Session, months: tuple[date, date]) -> list[dict[str, Any]]:
    """Return what was recognised without a price, so that nobody mistakes 0 for nothing."""
    query = (
        select(Hospital.code, Decision.item_code, func.count())
        .join(Hospital, Hospital.id == Decision.hospital_id)
        .where(Decision.action == "recognise", Decision.price_id.is_(None))
        .where(func.date(func.date_trunc("month", Decision.business_date)).between(*months))
        .group_by(Hospital.code, Decision.item_code)
        .order_by(Hospital.code, Decision.item_code)
    )
    return [
        {"hospital": code, "item": item, "recognised": count} for code, item, count in session.execute(query)
    ]
