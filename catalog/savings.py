"""What the regulator reads: sums by hospital, item and month, or of the events themselves; rates and gaps."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

from sqlalchemy import CTE, BigInteger, ColumnElement, Select, and_, cast, func, null, select
from sqlalchemy.orm import Session

from catalog import event_figures, groupings
from catalog.accounting_months import last_day
from catalog.errors import InvalidInput
from catalog.event_figures import ISSUER, Asked, Group, Parts
from catalog.figure_filters import NO_FILTERS, Filters
from catalog.items import ItemList
from catalog.ledger import COUNTERS
from catalog.tables import Hospital, Monthly

_GROUP_COLUMNS: Final = groupings.columns(Monthly.item_code, Monthly.month)
# What monthly sums are added up by before anything is named: a city's year has a hundred thousand of them.
_OF_SUMS: Final = {"item": Monthly.item_code, "month": Monthly.month}
GROUPINGS: Final = ("hospital", "item", "month")
_PARTS: Final = (Monthly.own_hospital, Monthly.emergency)
_NOTHING: Final = (0,) * len(COUNTERS)
Order = Literal["key", "net"]
_SUMS: Final = tuple(cast(func.sum(getattr(Monthly, name)), BigInteger).label(name) for name in COUNTERS)


def report(
    session: Session,
    items: ItemList,
    *,
    first: date,
    last: date,
    group_by: Sequence[str] = GROUPINGS,
    filters: Filters = NO_FILTERS,
    as_of: datetime | None = None,
    order: Order = "key",
    offset: int = 0,
    limit: int | None = None,
) -> dict[str, Any]:
    """Return the figures of the months from `first` to `last`, both inclusive, grouped as asked.

    They come from the monthly sums where these have the grouping and nothing is asked of the past; else from the events.
    Own-hospital and emergency figures stand apart under their own names. They come by their keys, or by `order` what
    saved most first. `limit` rows after the first `offset`; `next` is the offset of those that follow, None at the end.
    Raises InvalidInput for an unknown grouping or category, a reversed range, or an order of more than one grouping.
    """
    begun = months(first, last)
    group_by = groupings.asked(group_by, event_figures.GROUPINGS)
    asked = Asked(items, begun[0], last_day(begun[1]), as_of, filters, group_by)
    found, everything = _in_order(session, asked, order, offset, limit)
    shown = found[:limit]
    names = groupings.names(session, items)
    figures = _figures_of_issuers if ISSUER in group_by else _figures
    return {
        "from": begun[0].isoformat()[:7],
        "to": begun[1].isoformat()[:7],
        "group_by": list(group_by),
        "rows": [groupings.keys(names, keys, group_by) | figures([parts]) for keys, parts in shown],
        "next": None if len(shown) == len(found) else offset + len(shown),
        "total": figures(everything),
        "unpriced": _as_gaps(
            _gaps(session, asked) if as_of is None else event_figures.unpriced(session, asked)
        ),
    }


def months(first: date, last: date) -> tuple[date, date]:
    """Return the first days of the months from `first` to `last`. Raises InvalidInput for a reversed range."""
    if first > last:
        raise InvalidInput("起始月份晚于截止月份", "The range is reversed", field="from")
    return first.replace(day=1), last.replace(day=1)


def rate(recognised: int, reminders: int, excused: int) -> float | None:
    """Return standing recognitions ÷ (reminders − lawfully excused repeats); None where that is 0."""
    asked = reminders - excused
    return float(round(Decimal(recognised) / asked, 6)) if asked > 0 else None


def _in_order(
    session: Session, asked: Asked, order: Order, offset: int, limit: int | None
) -> tuple[Sequence[Group], Sequence[Parts]]:
    """Return the groups of a page and one more if there is one, and what all come to.

    One grouping has thousands of groups at most: all of them are had at once, and with them what they come to. To know
    what saved most, all must be read. Raises InvalidInput for an order of more than one grouping.
    """
    is_summed = asked.as_of is None and set(asked.group_by) <= _GROUP_COLUMNS.keys()
    read = _summed if is_summed else event_figures.read
    is_single = len(asked.group_by) == 1
    if order == "net" and not is_single:
        raise InvalidInput(
            "只有单一分组可按净节约排序", "Only one grouping has an order by net", field="order"
        )
    if order == "key" and not (is_summed and is_single):
        return read(session, asked, offset, limit)
    found, everything = read(session, asked, 0, None)
    if order == "net":
        found = sorted(found, key=lambda group: (-_figures([group[1]])["net_fen"], group[0]))
    return found[offset : None if limit is None else offset + limit + 1], everything


def _summed(
    session: Session, asked: Asked, offset: int, limit: int | None
) -> tuple[Sequence[Group], Sequence[Parts]]:
    """Return what `event_figures.read` does, of the monthly sums."""
    found = _read(session, asked, asked.group_by, offset, limit)
    is_whole = not offset and (limit is None or len(found) <= limit)
    return found, [parts for _, parts in (found if is_whole else _read(session, asked, (), 0, None))]


def _read(
    session: Session, asked: Asked, group_by: Sequence[str], offset: int, limit: int | None
) -> list[Group]:
    """Return each group's keys and sums in the order of the keys, and one group more than the limit if there is one."""
    by = {name: _OF_SUMS.get(name, Monthly.hospital_id) for name in group_by}
    raw = {column.key: column for column in by.values()}
    query = select(*raw.values(), *_PARTS, *_SUMS).where(*_narrowed(asked)).group_by(*raw.values(), *_PARTS)
    keys = [_GROUP_COLUMNS[name] for name in group_by]
    if limit is not None and keys:
        # Which groups a page has is known before anything is added up.
        named = [key.label(name) for name, key in zip(group_by, keys, strict=True)]
        page = (
            _asked(asked, *named).group_by(*keys).order_by(*keys).offset(offset).limit(limit + 1).cte("page")
        )
        query = query.join(Hospital, Hospital.id == Monthly.hospital_id).join(
            page, and_(*(key == page.c[name] for name, key in zip(group_by, keys, strict=True)))
        )
    found: dict[tuple[str, ...], Parts] = {} if keys else {(): {}}
    for row in session.execute(_named(query.cte("added"), group_by)):
        of, (own, emergency, *sums) = tuple(row[: len(keys)]), row[len(keys) :]
        found.setdefault(of, {})[own, emergency] = tuple(sums)
    return list(found.items())


def _named(added: CTE, group_by: Sequence[str]) -> Select[Any]:
    """Return the query for sums by what their groups are called, of sums by what these are kept by."""
    item, month = added.c.get("item_code", null()), added.c.get("month", null())
    columns = groupings.columns(item, month)
    keys = [columns[name] for name in group_by]
    parts = [added.c[part.key] for part in _PARTS]
    sums = [cast(func.sum(added.c[name]), BigInteger) for name in COUNTERS]
    query = select(*keys, *parts, *sums).select_from(added)
    if "hospital_id" in added.c:
        query = query.join(Hospital, Hospital.id == added.c.hospital_id)
    return query.group_by(*keys, *parts).order_by(*keys)


def _asked(asked: Asked, *columns: Any) -> Select[Any]:
    query = select(*columns).select_from(Monthly).join(Hospital, Hospital.id == Monthly.hospital_id)
    return query.where(*_narrowed(asked))


def _narrowed(asked: Asked) -> list[ColumnElement[bool]]:
    return [Monthly.month.between(asked.first, asked.last), *asked.filters.conditions(Monthly, asked.items)]


def _figures(groups: Sequence[Parts]) -> dict[str, Any]:
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


def _figures_of_issuers(groups: Sequence[Parts]) -> dict[str, Any]:
    """Return the figures by whose priors they are: a reminder is of none, so neither it nor a rate is known."""
    figures = _figures(groups) | {"reminders": None, "rate": None}
    return figures | {part: figures[part] | {"reminders": None} for part in ("own_hospital", "emergency")}


def _added(several: Iterable[tuple[int, ...]]) -> dict[str, int]:
    counted = dict(zip(COUNTERS, map(sum, zip(_NOTHING, *several, strict=True)), strict=True))
    counted["net_fen"] = counted["saved_fen"] - counted["reversed_fen"]
    return counted


def _gaps(session: Session, asked: Asked) -> Sequence[tuple[str, str, int]]:
    """Return hospital, item and count of the standing recognitions that no price was found for."""
    unpriced = func.sum(Monthly.unpriced)
    query = (
        select(Hospital.code, Monthly.item_code, unpriced)
        .join(Hospital, Hospital.id == Monthly.hospital_id)
        .where(Monthly.unpriced != 0, *_narrowed(asked))
        .group_by(Hospital.code, Monthly.item_code)
        .having(unpriced != 0)
        .order_by(Hospital.code, Monthly.item_code)
    )
    return session.execute(query).tuples().all()


def _as_gaps(found: Iterable[tuple[str, str, int]]) -> list[dict[str, Any]]:
    """Return what was recognised without a price, so that nobody mistakes 0 for nothing."""
    return [{"hospital": code, "item": item, "recognised": int(count)} for code, item, count in found]
