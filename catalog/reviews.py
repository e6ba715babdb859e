"""The review queue: questions for a curator, opened once, decided once, whatever they are about."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import case, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import audit, visibility
from catalog.context import Caller
from catalog.errors import Conflict, NotFound
from catalog.tables import Hospital, Study
from catalog.tables_review import ReviewTask

STATES: Final = ("open", "decided", "dropped")


def open_task(
    session: Session,
    *,
    kind: str,
    hospital_id: int,
    subject: str,
    details: dict[str, Any],
    study_id: int | None = None,
) -> None:
    """Ask a curator; the same question that is open already is not asked again."""
    row = {
        "kind": kind,
        "hospital_id": hospital_id,
        "subject": subject,
        "details": details,
        "study_id": study_id,
    }
    session.execute(
        insert(ReviewTask)
        .values(row)
        .on_conflict_do_nothing(
            index_elements=["kind", "hospital_id", "subject"], index_where=text("state = 'open'")
        )
    )


def drop_tasks(
    session: Session, *, kind: str, hospital_id: int, subjects: Iterable[str], at: datetime
) -> None:
    """Close open questions that no longer arise; nobody decided them."""
    session.execute(
        update(ReviewTask)
        .where(
            ReviewTask.kind == kind,
            ReviewTask.hospital_id == hospital_id,
            ReviewTask.subject.in_(list(subjects)),
            ReviewTask.state == "open",
        )
        .values(state="dropped", decided_at=at)
    )


def tasks(
    session: Session,
    *,
    kind: str = "",
    hospital: str = "",
    state: str = "open",
    after: int = 0,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Return questions in the order they were opened, without saying whose studies they concern.

    A question is about a hospital's words; the study that raised it is not named where it may not be listed.
    """
    query = _QUERY.where(ReviewTask.state == state, ReviewTask.id > after)
    if kind:
        query = query.where(ReviewTask.kind == kind)
    if hospital:
        query = query.where(Hospital.code == hospital)
    found = session.execute(query.order_by(ReviewTask.id).limit(limit))
    return [_described(*row) for row in found.tuples()]


def history(session: Session, *, before: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    """Return the questions that were answered, the one opened last first; `before` reads on below an id."""
    query = _QUERY.where(ReviewTask.state == "decided")
    if before:
        query = query.where(ReviewTask.id < before)
    found = session.execute(query.order_by(ReviewTask.id.desc()).limit(limit))
    return [_described(*row) for row in found.tuples()]


def one(session: Session, task_id: int) -> dict[str, Any]:
    """Return one question as `tasks` does. Raises NotFound."""
    found = session.execute(_QUERY.where(ReviewTask.id == task_id)).tuples().one_or_none()
    if found is None:
        raise _unknown()
    return _described(*found)


_QUERY: Final = (
    select(ReviewTask, Hospital.code, case((visibility.study_listed(), Study.uid)))
    .join(Hospital, Hospital.id == ReviewTask.hospital_id)
    .outerjoin(Study, Study.id == ReviewTask.study_id)
)


def _described(task: ReviewTask, hospital: str, uid: str | None) -> dict[str, Any]:
    return {
        "id": task.id,
        "kind": task.kind,
        "hospital": hospital,
        "StudyInstanceUID": uid,
        "subject": task.subject,
        "details": task.details,
        "state": task.state,
        "answer": task.answer,
        "opened_at": task.opened_at,
        "decided_by": task.decided_by,
        "decided_at": task.decided_at,
    }


def _unknown() -> NotFound:
    return NotFound("没有该复核任务", "No such review task", code="unknown_task")


def claim(session: Session, task_id: int, kind: str) -> ReviewTask:
    """Return an open question locked for this transaction.

    Raises NotFound for none of this kind, Conflict where it is decided or dropped already.
    """
    query = select(ReviewTask).where(ReviewTask.id == task_id, ReviewTask.kind == kind).with_for_update()
    task = session.scalars(query).one_or_none()
    if task is None:
        raise _unknown()
    if task.state != "open":
        raise Conflict("该任务已处理", "The task is closed already", code="task_closed")
    return task


def take_back(session: Session, caller: Caller, task_id: int, kind: str) -> ReviewTask:
    """Open an answered question again, locked for this transaction; what was answered stays in the audit.

    Raises NotFound for none of this kind, Conflict where none was answered or the same is open already.
    """
    query = select(ReviewTask).where(ReviewTask.id == task_id, ReviewTask.kind == kind).with_for_update()
    task = session.scalars(query).one_or_none()
    if task is None:
        raise _unknown()
    same = select(ReviewTask.id).where(
        ReviewTask.kind == kind,
        ReviewTask.hospital_id == task.hospital_id,
        ReviewTask.subject == task.subject,
        (ReviewTask.state == "open") | (ReviewTask.id > task.id) & (ReviewTask.state == "decided"),
    )
    if task.state != "decided" or session.scalars(same.limit(1)).first() is not None:
        raise Conflict(
            "该任务没有可撤销的回答", "The task has no answer to take back", code="task_not_decided"
        )
    audit.record(
        session,
        caller,
        "review.reopen",
        hospital_id=task.hospital_id,
        task_id=task.id,
        kind=task.kind,
        before=task.answer,
    )
    task.state, task.answer, task.decided_by, task.decided_at = "open", None, None, None
    return task


def decide(session: Session, caller: Caller, task: ReviewTask, answer: dict[str, Any], at: datetime) -> None:
    """Record a curator's answer to a question that `claim` returned."""
    task.state = "decided"
    task.answer = answer
    task.decided_by = caller.subject
    task.decided_at = at
    audit.record(
        session, caller, "review.decide", hospital_id=task.hospital_id, task_id=task.id, kind=task.kind
    )
