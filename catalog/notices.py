"""News to a hospital about what its decisions rely on, or what it was shown and has yet to decide on."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, exists, select, true, tuple_
from sqlalchemy.orm import Session, aliased

from catalog import audit, groups, notice_numbers, webhooks
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import NotFound
from catalog.registry import hospital_by_code
from catalog.scope import books
from catalog.tables import Decision, OrderCheck, Result
from catalog.tables_people import Notice

REVIEWER: Final = "auditor"
SYSTEM: Final = "hospital_system"
NoticeKind = Literal[
    "study_withdrawn", "study_restored", "report_withdrawn", "report_corrected", "study_erased"
]


@books
def notify(session: Session, catalogue: Catalogue, result_ids: Collection[int], kind: NoticeKind) -> int:
    """Write a notice for each standing decision that recognised or cited one of these results; returns how many.

    And one for each order that is still to be decided, where its last check has shown the result; of a result that the
    order cites, its citation tells.
    In the transaction of what happened to the result, so that the news is as sure as the fact.
    """
    relying = _relying(session, result_ids)
    undecided = list(_shown_undecided(session, catalogue, set(result_ids), kind))
    hospital_ids = {each.hospital_id for each in relying} | {check.hospital_id for check, _, _ in undecided}
    notice_numbers.announce(session, hospital_ids)
    told = {(decision.hospital_id, decision.order_number, decision.result_id) for decision in relying}
    news = [
        Notice(
            hospital_id=decision.hospital_id,
            decision_id=decision.id,
            result_id=decision.result_id,
            kind=kind,
            created_at=catalogue.clock(),
        )
        for decision in relying
    ]
    news += [
        Notice(
            hospital_id=check.hospital_id,
            check_id=check.id,
            order_number=order_number,
            result_id=result_id,
            kind=kind,
            created_at=catalogue.clock(),
        )
        for check, order_number, result_id in undecided
        if (check.hospital_id, order_number, result_id) not in told
    ]
    session.add_all(news)
    webhooks.enqueue(session, catalogue, news)
    return len(news)


def _relying(session: Session, result_ids: Collection[int]) -> Sequence[Decision]:
    undo = aliased(Decision)
    query = select(Decision).where(
        Decision.action.in_(("recognise", "cite")),
        Decision.result_id.in_(result_ids),
        ~exists().where(undo.undoes_id == Decision.id),
    )
    return session.scalars(query.order_by(Decision.id)).all()


def _shown_undecided(
    session: Session, catalogue: Catalogue, result_ids: set[int], kind: NoticeKind
) -> Iterator[tuple[OrderCheck, str, int]]:
    """Yield the orders that wait for their decision with each of these results that their last check has shown."""
    wanted = {str(each) for each in result_ids}
    for check, order in _undecided(session, catalogue, result_ids):
        for candidate in order["candidates"]:
            if candidate["result_id"] in wanted and _was_shown(candidate, kind):
                yield check, order["order_id"], int(candidate["result_id"])


def _undecided(
    session: Session, catalogue: Catalogue, result_ids: set[int]
) -> list[tuple[OrderCheck, dict[str, Any]]]:
    """Return the orders about these patients that wait for their decision, each with the last check that asked."""
    owners = session.scalars(select(Result.person_id).where(Result.id.in_(result_ids)).distinct())
    people = groups.members(session, {each for each in owners if each is not None})
    query = select(OrderCheck).where(
        OrderCheck.person_id.in_(people), OrderCheck.expires_at >= catalogue.clock()
    )
    last = {
        (check.hospital_id, order["order_id"]): (check, order)
        for check in session.scalars(query.order_by(OrderCheck.number))
        for order in check.given["orders"]
    }
    decided = select(Decision.hospital_id, Decision.order_number).where(
        tuple_(Decision.hospital_id, Decision.order_number).in_(last), Decision.action != "cite"
    )
    done = set(session.execute(decided).tuples())
    return [asked for key, asked in last.items() if key not in done]


def _was_shown(candidate: dict[str, Any], kind: NoticeKind) -> bool:
    """Say whether what changed was in the answer: an answer may have shown the images before any report."""
    return not kind.startswith("report_") or candidate.get("report") is not None


def notices(
    catalogue: Catalogue, caller: Caller, *, after: int = 0, unread: bool = False, limit: int = 100
) -> list[dict[str, Any]]:
    """Return the notices of the caller's hospital after the id `after`, oldest first.

    Those about emergency accesses are for its reviewer and its system, not for doctors.
    """
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, caller.hospital_code)
        query = (
            select(Notice, Decision, OrderCheck)
            .outerjoin(Decision, Decision.id == Notice.decision_id)
            .outerjoin(OrderCheck, OrderCheck.id == Notice.check_id)
            .where(Notice.hospital_id == hospital.id, Notice.id > after, _meant_for(caller))
            .where(Notice.id <= notice_numbers.settled(session, hospital.id))
            .order_by(Notice.id)
            .limit(limit)
        )
        if unread:
            query = query.where(Notice.read_at.is_(None))
        found = [_described(*row) for row in session.execute(query).tuples()]
        listed = [row["notice_id"] for row in found]
        audit.record(session, caller, "notices.list", hospital_id=hospital.id, notices=listed)
        return found


def mark_read(catalogue: Catalogue, caller: Caller, notice_id: int) -> dict[str, Any]:
    """Note that the caller's hospital has read a notice; the first reader stays. Raises NotFound."""
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, caller.hospital_code)
        notice = session.get(Notice, notice_id, with_for_update=True)
        if notice is None or notice.hospital_id != hospital.id or not _is_meant_for(caller, notice):
            raise NotFound("没有该通知", "No such notice", code="unknown_notice")
        if notice.read_at is None:
            notice.read_at, notice.read_by = catalogue.clock(), caller.subject
        audit.record(session, caller, "notices.read", hospital_id=hospital.id, notice_id=notice_id)
        decision = session.get(Decision, notice.decision_id) if notice.decision_id else None
        check = session.get(OrderCheck, notice.check_id) if notice.check_id else None
        return _described(notice, decision, check)


def _meant_for(caller: Caller) -> ColumnElement[bool]:
    if caller.role == SYSTEM:
        return true()
    return Notice.grant_id.is_not(None) if caller.role == REVIEWER else Notice.grant_id.is_(None)


def _is_meant_for(caller: Caller, notice: Notice) -> bool:
    return caller.role == SYSTEM or (notice.grant_id is not None) == (caller.role == REVIEWER)


def _described(notice: Notice, decision: Decision | None, check: OrderCheck | None) -> dict[str, Any]:
    return {
        "notice_id": notice.id,
        "kind": notice.kind,
        **_cause(notice, decision, check),
        "created_at": notice.created_at,
        "read_at": notice.read_at,
    }


def _cause(notice: Notice, decision: Decision | None, check: OrderCheck | None) -> dict[str, Any]:
    if notice.grant_id is not None:
        return {"grant_id": str(notice.grant_id)}
    about = _of_decision(decision) if decision else _of_order(notice, check)
    return {**about, "result_id": str(notice.result_id)}


def _of_decision(decision: Decision) -> dict[str, Any]:
    return {
        "decision_id": str(decision.id),
        "check_id": str(decision.check_id),
        "order_id": decision.order_number,
        "item_code": decision.item_code,
        "decided_by": decision.caller,
        "decided_at": decision.decided_at,
    }


def _of_order(notice: Notice, check: OrderCheck | None) -> dict[str, Any]:
    orders = check.given["orders"] if check else []
    item = next((order["item"] for order in orders if order["order_id"] == notice.order_number), None)
    return {
        "decision_id": None,
        "check_id": str(notice.check_id),
        "order_id": notice.order_number,
        "item_code": item["code"] if item else None,
        "decided_by": None,
        "decided_at": None,
    }
