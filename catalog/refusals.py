"""Why examinations were done again although a result could have been recognised, and reminders nobody answered."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, func, select
from sqlalchemy.orm import Session, aliased

from catalog import savings
from catalog.accounting_months import last_day
from catalog.figure_filters import NO_FILTERS, Filters
from catalog.items import ItemList
from catalog.reasons import OverrideReason
from catalog.tables import Decision, OrderedItem

_UNDO: Final = aliased(Decision)
_STANDS: Final = _UNDO.id.is_(None)


def by_reason(
    session: Session,
    items: ItemList,
    reasons: Mapping[str, OverrideReason],
    *,
    first: date,
    last: date,
    filters: Filters = NO_FILTERS,
) -> dict[str, Any]:
    """Return the refusals of the months from `first` to `last` by reason, and the reminders without an answer.

    Each reason comes with its words and the national one it falls under, in the order in which they are offered; where
    its weight in the rate was changed meanwhile it stands twice. Raises InvalidInput for a reversed range or an unknown category.
    """
    months = savings.months(first, last)
    days = months[0], last_day(months[1])
    refusals = _refusals(days, filters.conditions(Decision, items))
    found = session.execute(refusals).mappings().all()
    rows = [_reason(reasons, row) for row in found]
    places = {code: place for place, code in enumerate(reasons)}
    return {
        "from": f"{months[0]:%Y-%m}",
        "to": f"{months[1]:%Y-%m}",
        "rows": sorted(rows, key=lambda row: (places.get(row["reason"], len(places)), row["reason"])),
        "reminders": _reminders(session, days, filters.conditions(OrderedItem, items)),
    }


def _refusals(days: tuple[date, date], wanted: Sequence[ColumnElement[bool]]) -> Any:
    own, urgent = Decision.own_hospital, Decision.emergency & ~Decision.own_hospital
    sums = {
        "standing": _STANDS,
        "undone": ~_STANDS,
        "own_hospital": _STANDS & own,
        "emergency": _STANDS & urgent,
        "beyond_duty": _STANDS & Decision.beyond_duty,
    }
    keys = (Decision.reason_code, Decision.counts_as_refusal)
    return (
        select(*keys, *(func.count().filter(part).label(name) for name, part in sums.items()))
        .outerjoin(_UNDO, _UNDO.undoes_id == Decision.id)
        .where(Decision.action == "override", Decision.business_date.between(*days))
        .where(*wanted)
        .group_by(*keys)
        .order_by(*keys)
    )


def _reason(reasons: Mapping[str, OverrideReason], row: RowMapping) -> dict[str, Any]:
    """Return one reason's figures with its words; one that is offered no more has none."""
    known = reasons.get(row["reason_code"])
    national = reasons.get(known.national_code) if known else None
    return {
        "reason": row["reason_code"],
        "text": known.zh if known else "",
        "text_en": known.en if known else "",
        "national": known.national_code if known else "",
        "national_text": national.zh if national else "",
        "national_text_en": national.en if national else "",
        "counts_as_refusal": row["counts_as_refusal"],
        **{name: row[name] for name in ("standing", "undone", "own_hospital", "emergency", "beyond_duty")},
    }


def _reminders(
    session: Session, days: tuple[date, date], wanted: Sequence[ColumnElement[bool]]
) -> dict[str, int]:
    """Return how many orders had a recognisable result, and for how many of them no decision stands."""
    unanswered = OrderedItem.standing_decision_id.is_(None)
    own, urgent = OrderedItem.own_hospital, OrderedItem.emergency & ~OrderedItem.own_hospital
    query = (
        select(
            func.count().label("reminders"),
            func.count().filter(unanswered).label("unanswered"),
            func.count().filter(unanswered & own).label("unanswered_own_hospital"),
            func.count().filter(unanswered & urgent).label("unanswered_emergency"),
        )
        .where(OrderedItem.reminder, OrderedItem.business_date.between(*days))
        .where(*wanted)
    )
    return dict(session.execute(query).mappings().one())
