"""What a caller asked on one day, and how each order of a check stands now: what was given never changes, this does."""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, select, tuple_
from sqlalchemy.orm import Session

from catalog import audit, groups
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.registry import hospital_by_code
from catalog.rules import HOSPITAL_ZONE, local_day
from catalog.tables import Decision, OrderCheck, OrderedItem, Person
from catalog.visibility import opted_out

_YEARS: Final = range(2000, 2200)


def listed(
    catalogue: Catalogue,
    caller: Caller,
    *,
    day: date | None = None,
    after: uuid.UUID | None = None,
    limit: int = 50,
) -> dict[str, Any]:
    """Return the caller's own checks of a day, today by default, newest first; those that follow the check `after`.

    Of somebody who opted out since, it says nothing but that something was asked. Raises InvalidInput for a day
    beyond what is kept, NotFound for an unregistered hospital.
    """
    asked_on = day or local_day(catalogue.clock())
    if asked_on.year not in _YEARS:
        raise InvalidInput("日期超出范围", "The day is out of range", field="day")
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, caller.hospital_code)
        rows = _page(session, hospital.id, caller.subject, asked_on, after, limit)
        shown = rows[:limit]
        hidden = _hidden(session, {row.person_id for row in shown if row.person_id is not None})
        given = {row.id: as_shown(row.given, is_shared=row.person_id not in hidden) for row in shown}
        stands = _decisions(session, hospital.id, shown)
        audit.record(
            session, caller, "check.list", hospital_id=hospital.id, checks=[str(row.id) for row in shown]
        )
        return {
            "day": asked_on.isoformat(),
            "checks": [_described(row, given[row.id], stands[row.id]) for row in shown],
            "next_cursor": str(shown[-1].id) if len(rows) > limit else None,
        }


def state(
    session: Session, catalogue: Catalogue, check: OrderCheck, given: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return how each order of a check stands now, in their order.

    Each with the days its priors are still good for, and with the actions that can still be taken on it.
    """
    now, found = catalogue.clock(), _decisions(session, check.hospital_id, [check])[check.id]
    told = []
    for position, order in enumerate(given["orders"], 1):
        standing, _ = found[order["order_id"]]
        told.append(
            {
                "order_id": order["order_id"],
                "position": position,
                **_stands(order, given["answer"], found),
                "days_left": _days_left(order["candidates"], local_day(now)),
                "can": list(_can(catalogue, order, standing, now=now, until=check.expires_at)),
            }
        )
    return told


def _can(
    catalogue: Catalogue,
    order: Mapping[str, Any],
    standing: Mapping[str, Any] | None,
    *,
    now: datetime,
    until: datetime,
) -> Iterator[str]:
    """Yield what can still be done (catalog.decisions refuses the rest)."""
    if order["candidates"] and now <= until:
        yield "cite"
        if standing is None:
            yield from ("recognise", "override")
    if standing is not None:
        decided_at = datetime.fromisoformat(standing["decided_at"])
        if now - decided_at <= catalogue.limits.undo_within:
            yield "undo"


def as_shown(given: dict[str, Any], *, is_shared: bool) -> dict[str, Any]:
    """Return an answer as given; once the person has opted out of sharing, as if nothing had been found."""
    if is_shared:
        return given
    orders = [{**order, "candidates": []} for order in given["orders"]]
    return {**given, "answer": "complete", "patient": None, "orders": orders}


def _page(
    session: Session, hospital_id: int, subject: str, day: date, after: uuid.UUID | None, limit: int
) -> Sequence[OrderCheck]:
    """Return the checks of one page and one more, where there is one."""
    begins = datetime.combine(day, time(), HOSPITAL_ZONE)
    mine = (OrderCheck.hospital_id == hospital_id, OrderCheck.caller == subject)
    wanted: list[ColumnElement[bool]] = [
        *mine,
        OrderCheck.asked_at >= begins,
        OrderCheck.asked_at < begins + timedelta(days=1),
    ]
    place = tuple_(OrderCheck.asked_at, OrderCheck.number)
    if after is not None:
        last = select(OrderCheck.asked_at, OrderCheck.number).where(*mine, OrderCheck.id == after)
        found = session.execute(last).one_or_none()
        if found is None:
            raise InvalidInput(
                "游标不是本人的询问", "The cursor is no check of yours", field="cursor", code="invalid_cursor"
            )
        wanted.append(place < tuple(found))
    query = select(OrderCheck).where(*wanted)
    return session.scalars(
        query.order_by(OrderCheck.asked_at.desc(), OrderCheck.number.desc()).limit(limit + 1)
    ).all()


def _hidden(session: Session, person_ids: Collection[int]) -> frozenset[int]:
    """Return those of these people who no longer share, or who are merged with somebody who does not."""
    if not person_ids:
        return frozenset()
    groups.members(session, person_ids)
    return frozenset(
        session.scalars(select(Person.id).where(Person.id.in_(person_ids), opted_out(Person.id)))
    )


_Found = dict[str, tuple[dict[str, Any] | None, list[str]]]


def _decisions(session: Session, hospital_id: int, checks: Iterable[OrderCheck]) -> dict[uuid.UUID, _Found]:
    """Return, by check and order number, the decision that stands and the results that were cited."""
    numbers = {(check.id, order["order_id"]): check for check in checks for order in check.given["orders"]}
    names = {name for _, name in numbers}
    standing = (
        select(OrderedItem.order_number, OrderedItem.person_id, Decision)
        .join(Decision, Decision.id == OrderedItem.standing_decision_id)
        .where(OrderedItem.hospital_id == hospital_id, OrderedItem.order_number.in_(names))
    )
    stands = {
        (number, person): event for number, person, event in session.execute(standing).tuples() if names
    }
    citing = select(Decision).where(
        Decision.hospital_id == hospital_id, Decision.order_number.in_(names), Decision.action == "cite"
    )
    cited: dict[tuple[str, int], list[str]] = defaultdict(list)
    for event in session.scalars(citing.order_by(Decision.id)):
        cited[event.order_number, event.person_id].append(str(event.result_id))
    found: dict[uuid.UUID, _Found] = defaultdict(dict)
    for (check_id, number), check in numbers.items():
        # an order's number may have been used for somebody else before
        key = (number, check.person_id or 0)
        decision = stands.get(key)
        found[check_id][number] = (_event(decision) if decision else None, cited.get(key, []))
    return found


def _event(decision: Decision) -> dict[str, Any]:
    decided_at = decision.decided_at.astimezone(HOSPITAL_ZONE).isoformat(timespec="seconds")
    return {
        "decision_id": str(decision.id),
        "action": decision.action,
        "result_id": str(decision.result_id) if decision.result_id else None,
        "reason_code": decision.reason_code,
        "decided_by": decision.caller,
        "decided_at": decided_at,
        "saving_fen": decision.price_fen,
        "beyond_duty": decision.beyond_duty,
    }


def _stands(order: Mapping[str, Any], answer: str, found: _Found) -> dict[str, Any]:
    standing, cited = found[order["order_id"]]
    return {"best": _best(order, answer), "standing": standing, "cited": cited}


def _best(order: Mapping[str, Any], answer: str) -> str:
    """Return the best verdict of an order; where not everything could be searched, nothing found is not "none"."""
    if order.get("error"):
        return "refused"
    if order["candidates"]:
        return str(order["candidates"][0]["verdict"])
    return "none" if answer == "complete" else "unknown"


def _days_left(candidates: Iterable[Mapping[str, Any]], today: date) -> dict[str, int]:
    return {
        each["result_id"]: (date.fromisoformat(each["valid_until"]) - today).days
        for each in candidates
        if each["valid_until"]
    }


def _described(check: OrderCheck, given: Mapping[str, Any], found: _Found) -> dict[str, Any]:
    return {
        "check_id": str(check.id),
        "asked_at": given["asked_at"],
        "expires_at": given["expires_at"],
        "department": check.department,
        "urgency": check.urgency,
        "answer": given["answer"],
        "patient_name": given["patient"]["name"] if given["patient"] else None,
        "orders": [
            {
                "order_id": order["order_id"],
                "position": position,
                "item": order["item"],
                "laterality": order.get("laterality"),
                "body_part": order.get("body_part"),
                **_stands(order, given["answer"], found),
            }
            for position, order in enumerate(given["orders"], 1)
        ],
    }
