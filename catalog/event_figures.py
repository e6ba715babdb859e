"""Figures added up from the events themselves: as they stood at a past moment, and by what the sums do not keep.

An order counts as a reminder from when a recognisable prior was first shown for it, in the department of its first
check, which its decisions are counted in too. A decision counts until it is undone; money counts when it is posted. A
reminder has no issuing hospital: by that, reminders are not counted at all. What was still being written at a moment
belongs to it by its own time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    Text,
    and_,
    case,
    cast,
    column,
    func,
    literal,
    null,
    select,
    table,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session, aliased

from catalog.figure_filters import CATEGORIES, NO_FILTERS, Filters
from catalog.items import ItemList
from catalog.ledger import COUNTERS
from catalog.tables import Decision, Hospital, LedgerEntry, OrderedItem

# By whether what is counted concerns an own-hospital prior, and whether an emergency: each counter's sum.
Parts = dict[tuple[bool, bool], tuple[int, ...]]
Group = tuple[tuple[str, ...], Parts]  # what it is about, and its sums
ISSUER: Final = "issuing_hospital"
# Of an event, what each grouping needs.
_FACTS: Final[Mapping[str, str]] = {
    "hospital": "hospital_id",
    "district": "hospital_id",
    "tier": "hospital_id",
    "item": "item_code",
    "category": "item_code",
    "department": "department",
    ISSUER: "issuer_id",
    "month": "day",
    "day": "day",
}
GROUPINGS: Final = tuple(_FACTS)
_APART: Final = ("own_hospital", "emergency")
_Issuer: Final = aliased(Hospital)
_Undo: Final = aliased(Decision)
_EXAMINED: Final = table("examined", column("id"), column("hospital_id"))


@dataclass(frozen=True, slots=True)
class Asked:
    """Which events: of the days from `first` to `last`, both inclusive, known at `as_of`; without that, all known now."""

    items: ItemList
    first: date
    last: date
    as_of: datetime | None = None
    filters: Filters = NO_FILTERS
    group_by: Sequence[str] = ()

    @property
    def facts(self) -> list[str]:
        """Return what must be known of each event."""
        return sorted({_FACTS[name] for name in self.group_by})

    def of(self, source: Any) -> list[ColumnElement[bool]]:
        """Return what events of this table must fulfil."""
        return [
            source.business_date.between(self.first, self.last),
            *self.filters.conditions(source, self.items),
        ]

    def known(self, posted: Any) -> ColumnElement[bool]:
        """Return whether what has this time was known."""
        return true() if self.as_of is None else posted <= self.as_of


def read(
    session: Session, asked: Asked, offset: int, limit: int | None
) -> tuple[Sequence[Group], Sequence[Parts]]:
    """Return groups in the order of their keys, one more than the limit if there is one, and what all come to."""
    counted = _counted(asked).cte("counted")
    keys = [counted.c[name] for name in asked.group_by]
    added = [cast(func.sum(counted.c[name]), BigInteger).label(name) for name in COUNTERS]
    parts = [counted.c[name] for name in _APART]
    nothing = [cast(null(), Text).label(name) for name in asked.group_by]
    whole = select(literal(0).label("place"), *nothing, *parts, *added).group_by(*parts)
    page = select(counted).where(counted.c.place > offset)
    if limit is not None:
        page = page.where(counted.c.place <= offset + limit + 1)
    placed = union_all(whole, page).subquery()
    found: dict[tuple[str, ...], Parts] = {} if keys else {(): {}}
    everything: Parts = {}
    for place, *row in session.execute(select(placed).order_by(placed.c.place)):
        of, (own, emergency, *sums) = tuple(row[: len(keys)]), row[len(keys) :]
        group = found.setdefault(of, {}) if place else everything
        group[own, emergency] = tuple(sums)
    return list(found.items()), [everything]


def unpriced(session: Session, asked: Asked) -> Sequence[tuple[str, str, int]]:
    """Return hospital, item and count of the standing recognitions that no price was found for."""
    query = (
        select(Hospital.code, Decision.item_code, func.count())
        .join(Hospital, Hospital.id == Decision.hospital_id)
        .outerjoin(_Undo, _undoes(asked))
        .where(*asked.of(Decision), Decision.action == "recognise", asked.known(Decision.decided_at))
        .where(Decision.price_id.is_(None), _Undo.id.is_(None))
        .group_by(Hospital.code, Decision.item_code)
        .order_by(Hospital.code, Decision.item_code)
    )
    return session.execute(query).tuples().all()


def _counted(asked: Asked) -> Select[Any]:
    """Return the query for the sums of each group, apart as they are told, and for its place among the groups."""
    keyed = _keyed(asked)
    keys = [keyed.c[name] for name in asked.group_by]
    parts = [keyed.c[name] for name in _APART]
    sums = [cast(func.sum(keyed.c[name]), BigInteger).label(name) for name in COUNTERS]
    place = func.dense_rank().over(order_by=keys) if keys else literal(1)
    return select(place.label("place"), *keys, *parts, *sums).group_by(*keys, *parts)


def _keyed(asked: Asked) -> CTE:
    """Return what each kind of event comes to, with the keys of its groups."""
    parts = [_of_decisions(asked)] if ISSUER in asked.group_by else [_of_decisions(asked), _of_orders(asked)]
    events = union_all(*parts).cte("events")
    keys = [_key(name, events, asked.items).label(name) for name in asked.group_by]
    query = select(*keys, *(events.c[name] for name in (*_APART, *COUNTERS))).select_from(events)
    if "hospital_id" in asked.facts:
        query = query.join(Hospital, Hospital.id == events.c.hospital_id)
    if ISSUER in asked.group_by:
        query = query.outerjoin(_Issuer, _Issuer.id == events.c.issuer_id)
    return query.cte("keyed")


def _key(name: str, events: CTE, items: ItemList) -> ColumnElement[Any]:
    """Return what a grouping is by."""
    columns: dict[str, Callable[[], Any]] = {
        "hospital": lambda: Hospital.code,
        "district": lambda: Hospital.region_code,
        "tier": lambda: cast(Hospital.tier, Text),
        "item": lambda: events.c.item_code,
        "category": lambda: _category(events.c.item_code, items),
        "department": lambda: events.c.department,
        ISSUER: lambda: _Issuer.code,
        "month": lambda: func.to_char(events.c.day, "YYYY-MM"),
        "day": lambda: func.to_char(events.c.day, "YYYY-MM-DD"),
    }
    found: ColumnElement[Any] = columns[name]()
    return found


def _category(item_code: ColumnElement[Any], items: ItemList) -> ColumnElement[Any]:
    listed = {name: [item.code for item in items if item.category == name] for name in CATEGORIES}
    return case(*((item_code.in_(codes), name) for name, codes in listed.items()), else_="")


def _of_orders(asked: Asked) -> Select[Any]:
    """Return the reminders."""
    facts = {
        "hospital_id": OrderedItem.hospital_id,
        "item_code": OrderedItem.item_code,
        "day": OrderedItem.business_date,
        "department": OrderedItem.department,
    }
    query = _grouped(asked, OrderedItem, facts, {"reminders": func.count()})
    return query.where(OrderedItem.reminder, asked.known(OrderedItem.reminded_at))


def _of_decisions(asked: Asked) -> Select[Any]:
    """Return the decisions with their money, each by what it was or as undone; an undo is none of its own."""
    stands = _Undo.id.is_(None)
    act, duty = Decision.action, ~Decision.beyond_duty
    override = (act == "override") & duty & stands
    counters = {
        "recognised": (act == "recognise") & duty & stands,
        "beyond_duty": Decision.beyond_duty & stands,
        "refused": override & Decision.counts_as_refusal,
        "excused": override & ~Decision.counts_as_refusal,
        "cited": act == "cite",
        "undone": ~stands,
        "unpriced": (act == "recognise") & stands & Decision.price_id.is_(None),
    }
    money = _money(asked)
    counted: dict[str, Any] = {name: func.count().filter(which) for name, which in counters.items()}
    counted |= {each.name: func.coalesce(func.sum(each), 0) for each in money.c}
    query = (
        _grouped(asked, Decision, _of_decision(), counted)
        .outerjoin(_Undo, _undoes(asked))
        .outerjoin(money, true())
        .where(act != "undo", asked.known(Decision.decided_at))
    )
    if "department" in asked.facts:
        of_order = (OrderedItem.hospital_id, OrderedItem.order_number)
        query = query.join(
            OrderedItem, tuple_(*of_order) == tuple_(Decision.hospital_id, Decision.order_number)
        )
    return query


def _undoes(asked: Asked) -> ColumnElement[bool]:
    return and_(_Undo.undoes_id == Decision.id, asked.known(_Undo.decided_at))


def _of_decision() -> dict[str, Any]:
    """Return the facts of a decision; an override names no issuer but the prior it was about."""
    issuer = select(_EXAMINED.c.hospital_id).where(_EXAMINED.c.id == Decision.result_id).scalar_subquery()
    return {
        "hospital_id": Decision.hospital_id,
        "item_code": Decision.item_code,
        "day": Decision.business_date,
        "department": OrderedItem.department,
        "issuer_id": func.coalesce(Decision.issuing_hospital_id, issuer),
    }


def _money(asked: Asked) -> FromClause:
    """Return what one decision had saved and what had been taken back of it.

    One by one, by an index: PostgreSQL cannot tell how many decisions a policy lets through, and joins all of them to
    all entries where it takes them for few.
    """
    saved = LedgerEntry.kind == "saving"
    return (
        select(
            func.sum(LedgerEntry.amount_fen).filter(saved).label("saved_fen"),
            (-func.sum(LedgerEntry.amount_fen).filter(~saved)).label("reversed_fen"),
        )
        .where(LedgerEntry.decision_id == Decision.id, asked.known(LedgerEntry.posted_at))
        .lateral()
    )


def _grouped(asked: Asked, source: Any, facts: Mapping[str, Any], counters: Mapping[str, Any]) -> Select[Any]:
    """Return some counters of events, the others as 0, by the facts asked for and by what stands apart."""
    keys = [facts[name].label(name) for name in asked.facts] + [getattr(source, name) for name in _APART]
    filled = [cast(counters.get(name, 0), BigInteger).label(name) for name in COUNTERS]
    return select(*keys, *filled).select_from(source).where(*asked.of(source)).group_by(*keys)
