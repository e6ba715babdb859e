"""News to a hospital about what its decisions rely on: corrected, withdrawn, or standing again."""

from collections.abc import Collection
from typing import Any, Literal

from sqlalchemy import exists, select
from sqlalchemy.orm import Session, aliased

from catalog import audit, webhooks
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import NotFound
from catalog.registry import hospital_by_code
from catalog.tables import Decision
from catalog.tables_people import Notice

NoticeKind = Literal[
    "study_withdrawn", "study_restored", "report_withdrawn", "report_corrected", "study_erased"
]


def notify(session: Session, catalogue: Catalogue, result_ids: Collection[int], kind: NoticeKind) -> int:
    """Write a notice for each standing decision that recognised or cited one of these results; returns how many.

    In the transaction of what happened to the result, so that the news is as sure as the fact.
    """
    undo = aliased(Decision)
    query = select(Decision).where(
        Decision.action.in_(("recognise", "cite")),
        Decision.result_id.in_(result_ids),
        ~exists().where(undo.undoes_id == Decision.id),
    )
    relying = session.scalars(query.order_by(Decision.id)).all()
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
    session.add_all(news)
    webhooks.enqueue(session, catalogue, news)
    return len(news)


def notices(
    catalogue: Catalogue, caller: Caller, *, after: int = 0, unread: bool = False, limit: int = 100
) -> list[dict[str, Any]]:
    """Return the notices of the caller's hospital after the id `after`, oldest first."""
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, caller.hospital_code)
        query = (
            select(Notice, Decision)
            .join(Decision, Decision.id == Notice.decision_id)
            .where(Notice.hospital_id == hospital.id, Notice.id > after)
            .order_by(Notice.id)
            .limit(limit)
        )
        if unread:
            query = query.where(Notice.read_at.is_(None))
        found = [_described(notice, decision) for notice, decision in session.execute(query)]
        listed = [row["notice_id"] for row in found]
        audit.record(session, caller, "notices.list", hospital_id=hospital.id, notices=listed)
        return found


def mark_read(catalogue: Catalogue, caller: Caller, notice_id: int) -> dict[str, Any]:
    """Note that the caller's hospital has read a notice; the first reader stays. Raises NotFound."""
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, caller.hospital_code)
        notice = session.get(Notice, notice_id, with_for_update=True)
        if notice is None or notice.hospital_id != hospital.id:
            raise NotFound("没有该通知", "No such notice", code="unknown_notice")
        if notice.read_at is None:
            notice.read_at, notice.read_by = catalogue.clock(), caller.subject
        audit.record(session, caller, "notices.read", hospital_id=hospital.id, notice_id=notice_id)
        return _described(notice, session.get_one(Decision, notice.decision_id))


def _described(notice: Notice, decision: Decision) -> dict[str, Any]:
    return {
        "notice_id": notice.id,
        "kind": notice.kind,
        "decision_id": str(decision.id),
        "check_id": str(decision.check_id),
        "order_id": decision.order_number,
        "item_code": decision.item_code,
        "result_id": str(notice.result_id),
        "decided_by": decision.caller,
        "decided_at": decision.decided_at,
        "created_at": notice.created_at,
        "read_at": notice.read_at,
    }
