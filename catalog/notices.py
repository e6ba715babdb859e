"""News to a hospital about what its decisions rely on: corrected, withdrawn, or standing again."""

from collections.abc import Collection
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, exists, select, true
from sqlalchemy.orm import Session, aliased

from catalog import audit
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import NotFound
from catalog.registry import hospital_by_code
from catalog.tables import Decision
from catalog.tables_people import Notice

REVIEWER: Final = "auditor"
SYSTEM: Final = "hospital_system"
NoticeKind = Literal[
    "study_withdrawn", "study_restored", "report_withdrawn", "report_corrected", "study_erased"
]


def notify(session: Session, catalogue: Catalogue, result_ids: Collection[int], kind: NoticeKind) -> int:
    """Write a notice for each standing decision that recognised one of these results; returns how many.

    In the transaction of what happened to the result, so that the news is as sure as the fact.
    """
    undo = aliased(Decision)
    query = select(Decision).where(
        Decision.action == "recognise",
        Decision.result_id.in_(result_ids),
        ~exists().where(undo.undoes_id == Decision.id),
    )
    relying = session.scalars(query.order_by(Decision.id)).all()
    for decision in relying:
        session.add(
            Notice(
                hospital_id=decision.hospital_id,
                decision_id=decision.id,
                result_id=decision.result_id,
                kind=kind,
                created_at=catalogue.clock(),
            )
        )
    return len(relying)


def notices(
    catalogue: Catalogue, caller: Caller, *, after: int = 0, unread: bool = False, limit: int = 100
) -> list[dict[str, Any]]:
    """Return the notices of the caller's hospital after the id `after`, oldest first.

    Those about emergency accesses are for its reviewer and its system, not for doctors.
    """
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, caller.hospital_code)
        query = (
            select(Notice, Decision)
            .outerjoin(Decision, Decision.id == Notice.decision_id)
            .where(Notice.hospital_id == hospital.id, Notice.id > after, _meant_for(caller))
            .order_by(Notice.id)
            .limit(limit)
        )
        if unread:
            query = query.where(Notice.read_at.is_(None))
        rows = session.execute(query).tuples()
        found = [_described(notice, decision) for notice, decision in rows]
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
        decision = session.get(Decision, notice.decision_id) if notice.decision_id is not None else None
        return _described(notice, decision)


def _meant_for(caller: Caller) -> ColumnElement[bool]:
    if caller.role == SYSTEM:
        return true()
    return Notice.grant_id.is_not(None) if caller.role == REVIEWER else Notice.grant_id.is_(None)


def _is_meant_for(caller: Caller, notice: Notice) -> bool:
    return caller.role == SYSTEM or (notice.grant_id is not None) == (caller.role == REVIEWER)


def _described(notice: Notice, decision: Decision | None) -> dict[str, Any]:
    told = {
        "notice_id": notice.id,
        "kind": notice.kind,
        "created_at": notice.created_at,
        "read_at": notice.read_at,
    }
    if decision is None:
        return told | {"grant_id": str(notice.grant_id)}
    return told | {
        "decision_id": str(decision.id),
        "check_id": str(decision.check_id),
        "order_id": decision.order_number,
        "item_code": decision.item_code,
        "result_id": str(notice.result_id),
        "decided_by": decision.caller,
        "decided_at": decision.decided_at,
    }
