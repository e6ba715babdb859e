"""The other side of the account: repeats counted by how they came, and each of them, without names."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, RowMapping, Select, func, select, true
from sqlalchemy.orm import Session, aliased

from catalog import groupings, savings
from catalog.accounting_months import last_day
from catalog.errors import InvalidInput
from catalog.figure_filters import NO_FILTERS, Filters
from catalog.items import ItemList
from catalog.repetition import AVOIDABLE, KINDS
from catalog.tables import Hospital
from catalog.tables_repeats import Repeat

Order = Literal["key", "cost"]
_COLUMNS: Final = groupings.columns(Repeat.item_code, Repeat.business_date)
# The whole, and of it what repeated the hospital's own work, and what concerns emergencies among the others.
_PARTS: Final[dict[str, Any]] = {
    "whole": true(),
    "own": Repeat.own_hospital,
    "urgent": Repeat.emergency & ~Repeat.own_hospital,
}


def report(
    session: Session,
    items: ItemList,
    *,
    first: date,
    last: date,
    group_by: Sequence[str] = savings.GROUPINGS,
    filters: Filters = NO_FILTERS,
    as_of: datetime | None = None,
    order: Order = "key",
    offset: int = 0,
    limit: int | None = None,
) -> dict[str, Any]:
    """Return the repeats of the months from `first` to `last`, both inclusive, grouped as asked.

    Of each kind how many there were and what they cost in fen, at the price of the hospital that did them on that day;
    where it had none the cost is 0 and it counts as `unpriced`. They come by their keys, or by `order` what the
    avoidable ones cost. `next` is the offset of the page that follows, None at the end. Raises InvalidInput for an
    unknown grouping or category, or a reversed range.
    """
    asked = savings.months(first, last)
    group_by = groupings.asked(group_by)
    wanted = [*filters.conditions(Repeat, items), *_standing(as_of)]
    costly = [_AVOIDABLE_FEN.desc()] if order == "cost" and group_by else []
    query = _query(asked, group_by, wanted, costly)
    found = session.execute(query.offset(offset).limit(None if limit is None else limit + 1)).mappings().all()
    (total,) = session.execute(_query(asked, (), wanted, ())).mappings()
    names = groupings.names(session, items)
    return {
        "from": f"{asked[0]:%Y-%m}",
        "to": f"{asked[1]:%Y-%m}",
        "group_by": list(group_by),
        "rows": [_keys(names, row, group_by) | _figures(row) for row in found[:limit]],
        "next": offset + limit if limit is not None and len(found) > limit else None,
        "total": _figures(total),
    }


def page(
    session: Session,
    items: ItemList,
    *,
    first: date,
    last: date,
    filters: Filters = NO_FILTERS,
    kind: str | None = None,
    as_of: datetime | None = None,
    superseded: bool = False,
    after: int = 0,
    limit: int = 100,
) -> dict[str, Any]:
    """Return single repeats done in the months from `first` to `last`, oldest first, by number and without names.

    With `superseded` also those that did not hold: what was learnt since took them out of the figures, then. Of a past
    moment those that stood then are told, and with `superseded` all that had been posted.
    `next` is what to give as `after` for the following page; None at the end. Raises InvalidInput for a reversed range,
    or a kind or category that is none.
    """
    if kind is not None and kind not in KINDS:
        raise InvalidInput("无此类别", "There is no such kind of repeat", field="kind")
    prior = aliased(Hospital)
    query = (
        select(Repeat, Hospital.code, prior.code)
        .join(Hospital, Hospital.id == Repeat.hospital_id)
        .join(prior, prior.id == Repeat.prior_hospital_id)
        .where(Repeat.business_date.between(*_days(savings.months(first, last))), Repeat.id > after)
    )
    query = query.where(*filters.conditions(Repeat, items))
    if kind is not None:
        query = query.where(Repeat.kind == kind)
    if not superseded:
        query = query.where(*_standing(as_of))
    elif as_of is not None:
        query = query.where(Repeat.posted_at <= as_of)
    rows = session.execute(query.order_by(Repeat.id).limit(limit + 1)).tuples().all()
    entries = [_entry(*row) for row in rows[:limit]]
    return {"entries": entries, "next": rows[limit - 1][0].id if len(rows) > limit else None}


def _standing(as_of: datetime | None) -> list[ColumnElement[bool]]:
    """Return what repeats fulfil that are in the figures, now or as the books stood."""
    if as_of is None:
        return [Repeat.superseded_at.is_(None)]
    return [Repeat.posted_at <= as_of, func.coalesce(Repeat.superseded_at > as_of, true())]


_AVOIDABLE_FEN: Final = func.coalesce(func.sum(Repeat.price_fen).filter(Repeat.kind.in_(AVOIDABLE)), 0)


def _query(
    months: tuple[date, date],
    group_by: Sequence[str],
    wanted: Sequence[ColumnElement[bool]],
    order: Sequence[ColumnElement[Any]],
) -> Select[Any]:
    keys = [_COLUMNS[name].label(name) for name in group_by]
    sums = [
        column.label(f"{of}_{name}")
        for of, part in _PARTS.items()
        for kind in KINDS
        for name, column in _sums(kind, part).items()
    ]
    return (
        select(*keys, *sums)
        .join(Hospital, Hospital.id == Repeat.hospital_id)
        .where(Repeat.business_date.between(*_days(months)), *wanted)
        .group_by(*(_COLUMNS[name] for name in group_by))
        .order_by(*order, *(_COLUMNS[name] for name in group_by))
    )


def _sums(kind: str, part: Any) -> dict[str, Any]:
    counted = (Repeat.kind == kind) & part
    return {
        kind: func.count().filter(counted),
        f"{kind}_fen": func.coalesce(func.sum(Repeat.price_fen).filter(counted), 0),
        f"{kind}_unpriced": func.count().filter(counted & Repeat.price_id.is_(None)),
    }


def _days(months: tuple[date, date]) -> tuple[date, date]:
    """Return the first and last day of months."""
    return months[0], last_day(months[1])


def _keys(names: groupings.Names, row: RowMapping, group_by: Sequence[str]) -> dict[str, Any]:
    return groupings.keys(names, [row[name] for name in group_by], group_by)


def _figures(row: RowMapping) -> dict[str, Any]:
    return _part(row, "whole") | {"own_hospital": _part(row, "own"), "emergency": _part(row, "urgent")}


def _part(row: RowMapping, of: str) -> dict[str, Any]:
    counted = {f"{kind}{what}": int(row[f"{of}_{kind}{what}"]) for kind in KINDS for what in ("", "_fen")}
    return {
        "avoidable": sum(counted[kind] for kind in AVOIDABLE),
        "avoidable_fen": sum(counted[f"{kind}_fen"] for kind in AVOIDABLE),
        **counted,
        "unpriced": sum(int(row[f"{of}_{kind}_unpriced"]) for kind in KINDS),
    }


def _entry(row: Repeat, hospital: str, prior_hospital: str) -> dict[str, Any]:
    return {
        "repeat_id": str(row.id),
        "kind": row.kind,
        "hospital": hospital,
        "item": row.item_code,
        "business_date": row.business_date.isoformat(),
        "exam_time": row.exam_time.isoformat(),
        "cost_fen": row.price_fen,
        "price_id": None if row.price_id is None else str(row.price_id),
        "result_id": str(row.result_id),
        "prior_result_id": str(row.prior_result_id),
        "prior_hospital": prior_hospital,
        "own_hospital": row.own_hospital,
        "emergency": row.emergency,
        "check_id": None if row.check_id is None else str(row.check_id),
        "order_id": row.order_number,
        "decision_id": None if row.decision_id is None else str(row.decision_id),
        "posted_at": row.posted_at.isoformat(),
        "superseded_at": row.superseded_at.isoformat() if row.superseded_at else None,
    }
