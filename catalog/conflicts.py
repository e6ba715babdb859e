"""Instances that contradict one already kept: listed for curators, settled once one has looked, and taken back.

Both stay as they came and the first one counts. Until every contradiction of a study is settled, the study is
reference only (`Study.uid_conflict`).
"""

from typing import Any, Final

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from catalog import audit, visibility
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict as ConflictError
from catalog.errors import NotFound
from catalog.tables import Conflict, Hospital, Pack, Study

NOTE_LIMIT: Final = 500


def conflicts(
    session: Session, *, state: str = "", before: int = 0, limit: int = 100
) -> list[dict[str, Any]]:
    """Return the instances kept apart, newest first; `before` reads on below an id."""
    query = (
        select(Conflict, Study, Hospital.code, Pack.key)
        .join(Study, Study.id == Conflict.study_id)
        .join(Hospital, Hospital.id == Conflict.hospital_id)
        .join(Pack, Pack.id == Conflict.pack_id)
        .where(visibility.study_listed())
        .order_by(Conflict.id.desc())
        .limit(limit)
    )
    if state:
        query = query.where(Conflict.state == state)
    if before:
        query = query.where(Conflict.id < before)
    return [_described(*row) for row in session.execute(query).tuples()]


def settle(catalogue: Catalogue, caller: Caller, conflict_id: int, note: str) -> dict[str, Any]:
    """Say that a human has looked: the first instance counts, and no more than that is in doubt.

    Raises NotFound, Conflict where it is settled already.
    """
    return _turn(catalogue, caller, conflict_id, note, before="open", after="settled")


def reopen(catalogue: Catalogue, caller: Caller, conflict_id: int, note: str) -> dict[str, Any]:
    """Take `settle` back: the study waits for a human again. Raises NotFound, Conflict where it is open."""
    return _turn(catalogue, caller, conflict_id, note, before="settled", after="open")


def _turn(
    catalogue: Catalogue, caller: Caller, conflict_id: int, note: str, *, before: str, after: str
) -> dict[str, Any]:
    with transaction(catalogue.engine) as session:
        study, row = _lock(session, conflict_id)
        if row.state != before:
            raise ConflictError(
                "该矛盾已处理" if row.state == "settled" else "该矛盾尚未处理",
                f"The contradiction is {row.state} already",
                code="conflict_state",
            )
        settled = after == "settled"
        row.state, row.note = after, note.strip() or None
        row.decided_by = caller.subject if settled else None
        row.decided_at = catalogue.clock() if settled else None
        session.flush()
        still_open = exists().where(Conflict.study_id == study.id, Conflict.state == "open")
        study.uid_conflict = bool(session.scalar(select(still_open)))
        audit.record(
            session,
            caller,
            "conflict.resolved" if settled else "conflict.reopen",
            hospital_id=row.hospital_id,
            person_id=study.person_id,
            conflict_id=row.id,
            study_id=study.id,
        )
        return {"id": row.id, "state": row.state, "reference_only": study.uid_conflict}


def _lock(session: Session, conflict_id: int) -> tuple[Study, Conflict]:
    """Return a contradiction and its study, locked in the order in which arriving packs lock them."""
    query = select(Conflict.study_id).join(Study, Study.id == Conflict.study_id)
    study_id = session.scalars(
        query.where(Conflict.id == conflict_id, visibility.study_listed())
    ).one_or_none()
    if study_id is None:
        raise NotFound("没有该矛盾记录", "No such contradiction", code="unknown_conflict")
    study = session.get_one(Study, study_id, with_for_update=True)
    return study, session.get_one(Conflict, conflict_id, with_for_update=True)


def _described(row: Conflict, study: Study, hospital: str, pack: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "StudyInstanceUID": study.uid,
        "StudyDescription": study.description,
        "exam_time": study.exam_time,
        "SOPInstanceUID": row.SOPInstanceUID,
        "kind": row.kind,
        "sha256": row.sha256,
        "first_sha256": row.first_sha256,
        "hospital": hospital,
        "pack": pack,
        "state": row.state,
        "seen_at": row.seen_at,
        "decided_by": row.decided_by,
        "decided_at": row.decided_at,
        "note": row.note,
    }
