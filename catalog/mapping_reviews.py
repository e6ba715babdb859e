"""Curators' answers to headers the rules leave open: remembered for the hospital, applied to what came before."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import audit, remapping, results, reviews
from catalog.coded_mapping import Answered
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput
from catalog.items import ItemList
from catalog.suggestions import suggestions
from catalog.tables import Hospital, Study
from catalog.tables_items import MappingAnswer
from catalog.tables_review import ReviewTask

MOST_TOGETHER: Final = 50


def answer(catalogue: Catalogue, caller: Caller, task_id: int, items: Sequence[Answered]) -> dict[str, Any]:
    """Say which items the headers of a task hold (none: nothing on the list), for this hospital from now on.

    Earlier studies of the hospital with the same header are mapped by it. Raises NotFound for no such task,
    Conflict where it is closed, InvalidInput for an item, side or part the list does not know.
    """
    with transaction(catalogue.engine) as session:
        task = reviews.claim(session, task_id, results.MAPPING)
        _check(items, results.list_for(session, catalogue, task.hospital_id))
        _remember(session, catalogue, caller, task.hospital_id, task.subject, items)
        reviews.decide(session, caller, task, {"items": [asdict(each) for each in items]}, catalogue.clock())
        earlier = _earlier(session, task)
    changed = remapping.remap_studies(catalogue, earlier)
    return {"task": task_id, "studies": len(earlier), "changed": changed}


def answer_many(
    catalogue: Catalogue, caller: Caller, task_ids: Sequence[int], items: Sequence[Answered]
) -> dict[str, Any]:
    """Give one answer to several tasks, each as `answer` does; a task that is closed by now is left as it is.

    Raises NotFound for an unknown task, InvalidInput as `answer`, Conflict where all are closed; tasks before an
    unknown one are answered by then.
    """
    answered, closed, studies, changed = [], [], 0, 0
    for task_id in dict.fromkeys(task_ids):
        try:
            done = answer(catalogue, caller, task_id, items)
        except Conflict:
            closed.append(task_id)
            continue
        answered.append(task_id)
        studies, changed = studies + done["studies"], changed + done["changed"]
    if not answered:
        raise Conflict("所选任务均已处理", "The tasks are closed already", code="task_closed")
    return {"answered": answered, "closed": closed, "studies": studies, "changed": changed}


def reopen(catalogue: Catalogue, caller: Caller, task_id: int) -> dict[str, Any]:
    """Take an answer back: the hospital's headers are mapped as before it, and the question is open again.

    Raises NotFound for no such task, Conflict where no answer stands or the same question is open already.
    """
    with transaction(catalogue.engine) as session:
        task = reviews.take_back(session, caller, task_id, results.MAPPING)
        session.execute(
            delete(MappingAnswer).where(
                MappingAnswer.hospital_id == task.hospital_id, MappingAnswer.fingerprint == task.subject
            )
        )
        earlier = _earlier(session, task)
    changed = remapping.remap_studies(catalogue, earlier)
    return {"task": task_id, "studies": len(earlier), "changed": changed}


def show(catalogue: Catalogue, caller: Caller, task_id: int) -> dict[str, Any]:
    """Return one task with what may answer it, how many studies it is about, and open ones of the same description.

    Raises NotFound. Audited.
    """
    with transaction(catalogue.engine) as session:
        task = reviews.one(session, task_id)
        row = session.get_one(ReviewTask, task_id)
        facts = results.facts_of_task(row)
        listed = results.list_for(session, catalogue, row.hospital_id)
        audit.record(session, caller, "reviews.list", count=1)
        return task | {
            "studies": len(_earlier(session, row)) if row.kind == results.MAPPING else None,
            "candidates": [each.report() for each in suggestions(session, facts, listed)],
            "alike": _alike(session, row, facts.study_description) if row.kind == results.MAPPING else [],
        }


def _earlier(session: Session, task: ReviewTask) -> Sequence[int]:
    query = select(Study.id).where(Study.hospital_id == task.hospital_id, Study.fingerprint == task.subject)
    return session.scalars(query.order_by(Study.id)).all()


def _alike(session: Session, task: ReviewTask, description: str) -> list[dict[str, Any]]:
    """Return open tasks whose studies bear the same description, of any hospital."""
    if not description:
        return []
    query = (
        select(ReviewTask.id, Hospital.code, ReviewTask.details)
        .join(Hospital, Hospital.id == ReviewTask.hospital_id)
        .where(
            ReviewTask.details[("facts", "study_description")].astext == description,
            ReviewTask.kind == task.kind,
            ReviewTask.state == "open",
            ReviewTask.id != task.id,
        )
        .order_by(ReviewTask.id)
        .limit(MOST_TOGETHER - 1)
    )
    return [
        {"id": found, "hospital": code, "facts": details["facts"], "reason": details["reason"]}
        for found, code, details in session.execute(query).tuples()
    ]


def _check(items: Sequence[Answered], listed: ItemList) -> None:
    for each in items:
        item = listed.get(each.item_code)
        if item is None:
            raise InvalidInput(
                "清单中没有该项目", "No such item on the list", field="items", code="unknown_item"
            )
        if each.laterality and item.laterality == "none":
            raise InvalidInput(f"{item.code} 不分左右", f"{item.code} has no side", field="items.laterality")
        if item.spans_body_parts and not each.body_part:
            raise InvalidInput(
                f"{item.code} 须注明部位", f"{item.code} needs a body part", field="items.body_part"
            )


def _remember(
    session: Session,
    catalogue: Catalogue,
    caller: Caller,
    hospital_id: int,
    name: str,
    items: Sequence[Answered],
) -> None:
    told = {
        "items": [asdict(each) for each in items],
        "answered_by": caller.subject,
        "answered_at": catalogue.clock(),
    }
    session.execute(
        insert(MappingAnswer)
        .values(hospital_id=hospital_id, fingerprint=name, **told)
        .on_conflict_do_update(index_elements=["hospital_id", "fingerprint"], set_=told)
    )
