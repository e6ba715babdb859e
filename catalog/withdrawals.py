"""A hospital withdraws what it sent: shown as withdrawn from then on, and whoever relied on it is told.

The saving of a decision that relied on it stays: the examination was spared. But where the withdrawn examination
itself had reversed a saving, that saving is reinstated.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog import audit, groups, notices, settling, visibility
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.registry import hospital_by_code
from catalog.tables import Result, Study


def withdraw_study(
    catalogue: Catalogue, caller: Caller, StudyInstanceUID: str, reason: str
) -> dict[str, Any]:
    """Withdraw a study of the caller's hospital with its results; returns how many hospitals' decisions relied on it.

    Raises InvalidInput without a reason, NotFound for another hospital's study: it looks like none, Conflict where
    it is withdrawn already.
    """
    return _turn(catalogue, caller, StudyInstanceUID, reason, withdrawn=True)


def restore_study(catalogue: Catalogue, caller: Caller, StudyInstanceUID: str, reason: str) -> dict[str, Any]:
    """Take a withdrawal back. Raises as withdraw_study does; Conflict where it is not withdrawn."""
    return _turn(catalogue, caller, StudyInstanceUID, reason, withdrawn=False)


def withdrawn(
    session: Session, *, hospital: str = "", before: int = 0, limit: int = 100
) -> list[dict[str, Any]]:
    """Return withdrawn studies, the newest in the catalogue first, without saying whose; `before` reads on below an id."""
    query = visibility.studies_listed(Study.withdrawn, hospital=hospital, before=before, limit=limit)
    return [
        {
            "id": study.id,
            "StudyInstanceUID": study.uid,
            "hospital": code,
            "exam_time": study.exam_time,
            "StudyDescription": study.description,
            "modalities": study.modalities,
            "withdrawn_at": study.withdrawn_at,
            "reason": study.withdrawn_reason,
        }
        for study, code in session.execute(query).tuples()
    ]


def withdraw_results(
    session: Session, catalogue: Catalogue, result_ids: Collection[int], kind: notices.NoticeKind
) -> int:
    """Withdraw results that stand, tell whoever relied on them, and settle the books; returns the notices.

    In the caller's transaction; for a report or a laboratory result that is all there is of it.
    """
    return _set_status(session, catalogue, result_ids, "active", "withdrawn", kind)


def restore_results(
    session: Session, catalogue: Catalogue, result_ids: Collection[int], kind: notices.NoticeKind
) -> int:
    """Let withdrawn results stand again, as withdraw_results withdrew them."""
    return _set_status(session, catalogue, result_ids, "withdrawn", "active", kind)


def _turn(
    catalogue: Catalogue, caller: Caller, StudyInstanceUID: str, reason: str, *, withdrawn: bool
) -> dict[str, Any]:
    if not reason.strip():
        raise InvalidInput("须说明撤回理由", "A reason is needed", field="reason")
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, caller.hospital_code)
        query = select(Study).where(Study.uid == StudyInstanceUID, Study.hospital_id == hospital.id)
        study = session.scalars(query).one_or_none()
        if study is None:
            raise NotFound("没有该检查", "No such study", code="unknown_study")
        groups.lock(session, {study.person_id} - {None})  # type: ignore[arg-type]
        session.refresh(study, with_for_update=True)
        if study.withdrawn is withdrawn:
            raise Conflict(
                "该检查已撤回" if withdrawn else "该检查未被撤回",
                "It is withdrawn already" if withdrawn else "It is not withdrawn",
                code="already_withdrawn" if withdrawn else "not_withdrawn",
            )
        study.withdrawn = withdrawn
        study.withdrawn_at = catalogue.clock() if withdrawn else None
        study.withdrawn_reason = reason.strip() if withdrawn else None
        results = list(session.scalars(select(Result.id).where(Result.study_id == study.id)))
        turn = withdraw_results if withdrawn else restore_results
        told = turn(session, catalogue, results, "study_withdrawn" if withdrawn else "study_restored")
        audit.record(
            session,
            caller,
            "study.withdraw" if withdrawn else "study.restore",
            hospital_id=hospital.id,
            person_id=study.person_id,
            study_id=study.id,
            reason=reason.strip(),
        )
        return {"withdrawn": withdrawn, "notices": told}


def _set_status(
    session: Session,
    catalogue: Catalogue,
    result_ids: Collection[int],
    before: str,
    after: str,
    kind: notices.NoticeKind,
) -> int:
    query = select(Result).where(Result.id.in_(result_ids), Result.status == before)
    turned = session.scalars(query.order_by(Result.id)).all()
    people = groups.lock(session, (row.person_id for row in turned if row.person_id is not None))
    for row in turned:
        row.status = after
    for person_id in sorted(people):
        settling.settle(session, catalogue, person_id)
    return notices.notify(session, catalogue, result_ids, kind)
