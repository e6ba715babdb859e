"""Doubts about the images of a study: found in the archive or told by a doctor, settled by a curator.

What the archive finds makes a study reference only until a curator dismisses it; a doctor's word does so once a
curator confirms it. A dismissal holds for the evidence that was seen: when there is more, the task opens again.
Every step is audited and can be taken back.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from catalog import audit, visibility
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.scope import books
from catalog.tables import Decision, Hospital, Study
from catalog.tables_quality import QualityTask

State = Literal["open", "confirmed", "dismissed", "resolved"]
STATES: Final = ("open", "confirmed", "dismissed", "resolved")
NOTE_LIMIT: Final = 500
FOUND_KINDS: Final = ("flawed", "unreadable", "missing_slices", "count_short")
KINDS: Final[dict[str, tuple[str, str]]] = {
    "image_quality": (
        "医师认为图像质量不满足诊断要求",
        "A doctor found the images insufficient for diagnosis",
    ),
    "flawed": ("影像文件截断或有缺陷", "Instances are truncated or flawed"),
    "unreadable": ("同批影像文件无法读取", "Instances that came with the study could not be read"),
    "missing_slices": ("序列缺层", "Slices are missing within a series"),
    "count_short": ("影像数少于所声明", "There are fewer instances than were declared"),
}


def review(
    session: Session,
    study: Study,
    findings: Mapping[str, tuple[str, ...]],
    now: datetime,
    *,
    short_until: datetime,
) -> frozenset[str]:
    """Bring the tasks of a study, locked by the caller, in line with what was found, and its flags with them.

    Returns the kinds that stand. A `count_short` begins to count at `short_until`.
    """
    query = select(QualityTask).where(QualityTask.study_id == study.id)
    tasks = {task.kind: task for task in session.scalars(query) if task.decision_id is None}
    for kind in FOUND_KINDS:
        due_at = short_until if kind == "count_short" else now
        _review_one(session, study, kind, tasks.get(kind), list(findings.get(kind, ())), due_at)
    session.flush()
    return _flag(session, study)


@books
def take_decision(session: Session, event: Decision, study_id: int | None) -> None:
    """Open a task where a doctor's override says that the images were insufficient."""
    if study_id is not None:
        session.add(
            QualityTask(
                study_id=study_id, kind="image_quality", decision_id=event.id, due_at=event.decided_at
            )
        )


@books
def take_undo(session: Session, undone_decision_id: int) -> None:
    """Close the task of a decision that its doctor has undone, if no curator has looked at it yet."""
    query = select(QualityTask).where(QualityTask.decision_id == undone_decision_id)
    task = session.scalars(query.with_for_update()).one_or_none()
    if task is not None and task.state == "open":
        task.state = "resolved"


def tasks(
    catalogue: Catalogue,
    caller: Caller,
    *,
    state: str = "open",
    hospital_code: str = "",
    after: int = 0,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Return tasks that count by now, oldest first; audited. Raises InvalidInput for an unknown state."""
    if state not in STATES:
        raise InvalidInput(
            f"状态应为 {'、'.join(STATES)}", f"A state is one of {', '.join(STATES)}", field="state"
        )
    asking = aliased(Hospital)
    query = (
        select(QualityTask, Study, Hospital.code, Decision, asking.code)
        .join(Study, Study.id == QualityTask.study_id)
        .join(Hospital, Hospital.id == Study.hospital_id)
        .outerjoin(Decision, Decision.id == QualityTask.decision_id)
        .outerjoin(asking, asking.id == Decision.hospital_id)
        .where(QualityTask.state == state, QualityTask.id > after, QualityTask.due_at <= catalogue.clock())
        .where(visibility.study_listed())
        .order_by(QualityTask.id)
        .limit(limit)
    )
    if hospital_code:
        query = query.where(Hospital.code == hospital_code)
    with transaction(catalogue.engine) as session:
        rows = [_described(*row) for row in session.execute(query).tuples()]
        audit.record(session, caller, "quality.list", state=state, tasks=[row["task_id"] for row in rows])
        return rows


def confirm(catalogue: Catalogue, caller: Caller, task_id: int, note: str = "") -> dict[str, Any]:
    """Say that a doubt is right: the study is reference only. Raises NotFound, Conflict if it is not open."""
    return _decide(catalogue, caller, task_id, "confirmed", note, allowed=("open",))


def dismiss(catalogue: Catalogue, caller: Caller, task_id: int, note: str = "") -> dict[str, Any]:
    """Say that the images are good enough: this doubt no longer counts. Raises NotFound, Conflict."""
    return _decide(catalogue, caller, task_id, "dismissed", note, allowed=("open",))


def reopen(catalogue: Catalogue, caller: Caller, task_id: int, note: str = "") -> dict[str, Any]:
    """Take a curator's decision back. Raises NotFound, Conflict where none stands."""
    return _decide(catalogue, caller, task_id, "open", note, allowed=("confirmed", "dismissed"))


def _review_one(
    session: Session,
    study: Study,
    kind: str,
    task: QualityTask | None,
    evidence: list[str],
    due_at: datetime,
) -> None:
    if not evidence:
        if task is not None and task.state in ("open", "confirmed"):
            task.state = "resolved"
    elif task is None:
        session.add(QualityTask(study_id=study.id, kind=kind, evidence=evidence, due_at=due_at))
    elif task.state != "dismissed" or not set(evidence) <= set(task.evidence):
        if task.state != "confirmed":
            task.state, task.due_at = "open", due_at
            task.decided_by = task.decided_at = task.note = None
        task.evidence = evidence


def _flag(session: Session, study: Study) -> frozenset[str]:
    """Set the flags of a study from its tasks; returns the kinds that stand."""
    query = select(QualityTask.kind, QualityTask.state).where(QualityTask.study_id == study.id)
    standing = {kind for kind, state in session.execute(query) if _counts(kind, state)}
    study.count_short = "count_short" in standing
    study.quality_flagged = bool(standing - {"count_short"})
    return frozenset(standing)


def _counts(kind: str, state: str) -> bool:
    return state == "confirmed" or (state == "open" and kind in FOUND_KINDS)


def _decide(
    catalogue: Catalogue, caller: Caller, task_id: int, state: State, note: str, *, allowed: tuple[State, ...]
) -> dict[str, Any]:
    if len(note) > NOTE_LIMIT:
        raise InvalidInput(
            f"说明不超过 {NOTE_LIMIT} 字", f"A note has at most {NOTE_LIMIT} characters", field="note"
        )
    with transaction(catalogue.engine) as session:
        study, task = _lock(session, task_id)
        if task.state not in allowed:
            raise Conflict(
                f"该任务当前状态为 {task.state},不能这样处理",
                f"The task is {task.state}; this cannot be done with it",
                code="task_state",
            )
        before, task.state = task.state, state
        decided = state != "open"
        task.decided_by = caller.subject if decided else None
        task.decided_at = catalogue.clock() if decided else None
        task.note = note.strip() or None
        session.flush()
        _apply(session, study, catalogue)
        audit.record(
            session,
            caller,
            f"quality.{'reopen' if state == 'open' else state}",
            hospital_id=study.hospital_id,
            person_id=study.person_id,
            task_id=task.id,
            study_id=study.id,
            before=before,
        )
        return {"task_id": str(task.id), "state": task.state, "StudyInstanceUID": study.uid}


def _lock(session: Session, task_id: int) -> tuple[Study, QualityTask]:
    """Return a task and its study, locked in the order in which arriving packs lock them."""
    query = select(QualityTask.study_id).join(Study, Study.id == QualityTask.study_id)
    query = query.where(QualityTask.id == task_id, visibility.study_listed())
    study_id = session.scalars(query).one_or_none()
    if study_id is None:
        raise NotFound("没有该质量任务", "No such quality task", code="unknown_task")
    study = session.get_one(Study, study_id, with_for_update={"key_share": True})
    return study, session.get_one(QualityTask, task_id, with_for_update=True)


def _apply(session: Session, study: Study, catalogue: Catalogue) -> None:
    """A study that waited for a declared count only is complete once that count is dismissed, and waits again."""
    was_short = study.count_short
    standing = _flag(session, study)
    short_until = study.last_received_at + catalogue.limits.complete_within
    if was_short and "count_short" not in standing and study.settles_at == short_until:
        study.images_complete, study.settles_at = True, None
    elif not was_short and "count_short" in standing and study.images_complete:
        study.images_complete, study.settles_at = False, short_until


def _described(
    task: QualityTask, study: Study, hospital: str, decision: Decision | None, asking: str | None
) -> dict[str, Any]:
    zh, en = KINDS[task.kind]
    return {
        "task_id": str(task.id),
        "kind": task.kind,
        "text": zh,
        "text_en": en,
        "StudyInstanceUID": study.uid,
        "hospital": hospital,
        "exam_time": study.exam_time,
        "StudyDescription": study.description,
        "modalities": study.modalities,
        "series": study.series_count,
        "instances": study.instance_count,
        "evidence": task.evidence,
        "asked_by": asking,
        "reason_text": decision.reason_text if decision else None,
        "state": task.state,
        "since": task.due_at,
        "decided_by": task.decided_by,
        "decided_at": task.decided_at,
        "note": task.note,
    }
