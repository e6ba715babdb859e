"""Hospitals' own code tables in the database: imported whole or not at all, asked for a study at a time."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog import audit, registry, remapping, results, reviews
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput
from catalog.items import ItemList
from catalog.local_codes import LocalMeaning, side
from catalog.tables import Hospital, LocalCode
from catalog.tables_review import ReviewTask


def import_codes(
    session: Session, catalogue: Catalogue, caller: Caller, hospital: Hospital, rows: Sequence[LocalMeaning]
) -> int:
    """Write a hospital's own codes; one given again takes the new meaning. Returns how many there were.

    Questions about codes that were unknown are answered by it. What came before keeps its items until it is
    mapped again (`remapping.remap`).
    """
    written = registry.map_local_codes(session, hospital, (_row(row) for row in rows))
    reviews.drop_tasks(
        session,
        kind=results.UNKNOWN_CODE,
        hospital_id=hospital.id,
        subjects=[row.code for row in rows],
        at=catalogue.clock(),
    )
    audit.record(session, caller, "local_codes.import", hospital_id=hospital.id, codes=written)
    return written


@dataclass(frozen=True, slots=True)
class Effect:
    """What a table would do: codes that are new or mean something else, and of the newest studies those it changes."""

    new: int
    changed: int
    studies: int
    would_change: int

    def report(self) -> dict[str, int]:
        """Return it as JSON would have it."""
        return asdict(self)


def try_codes(
    session: Session, catalogue: Catalogue, hospital: Hospital, rows: Sequence[LocalMeaning]
) -> Effect:
    """Return what `import_codes` and mapping again would change, looking at the newest studies; nothing is kept."""
    known = registry.known_local_codes(session, hospital.id, [row.code for row in rows])
    meanings = {row.code: (row.item_code, row.laterality, row.body_part) for row in rows}
    changed = sum(code in known and known[code] != meaning for code, meaning in meanings.items())
    trial = session.begin_nested()
    registry.map_local_codes(session, hospital, (_row(row) for row in rows))
    looked, stale = remapping.newest_stale(session, catalogue, hospital.id)
    trial.rollback()
    return Effect(len(meanings.keys() - known.keys()), changed, looked, stale)


def answer(catalogue: Catalogue, caller: Caller, task_id: int, meaning: LocalMeaning) -> dict[str, Any]:
    """Say what an unknown code of a hospital means: its table has it from now on, the study that asked is mapped by it.

    Earlier studies follow when they are mapped again. Raises NotFound for no such task, Conflict where it is
    closed, InvalidInput for an item, side or part the list does not know.
    """
    with transaction(catalogue.engine) as session:
        task = reviews.claim(session, task_id, results.UNKNOWN_CODE)
        hospital = session.get_one(Hospital, task.hospital_id)
        check_meaning(meaning, results.list_for(session, catalogue, hospital.id))
        row = _row(replace(meaning, code=task.subject))
        registry.map_local_codes(session, hospital, [row])
        reviews.decide(session, caller, task, row, catalogue.clock())
    changed = remapping.remap_studies(catalogue, [task.study_id] if task.study_id else [])
    return {"task": task_id, "changed": changed}


def reopen(catalogue: Catalogue, caller: Caller, task_id: int) -> dict[str, Any]:
    """Take `answer` back: the table has the code no longer, and the question is open again.

    Raises NotFound for no such task, Conflict where no answer stands or the table says something else by now.
    """
    with transaction(catalogue.engine) as session:
        asked = session.get(ReviewTask, task_id)
        said = asked.answer if asked is not None else None
        task = reviews.take_back(session, caller, task_id, results.UNKNOWN_CODE)
        kept = registry.local_item(session, task.hospital_id, task.subject)
        if kept is not None:
            if said is None or _row(_meaning(kept)) != said:
                raise Conflict(
                    "代码表已另有规定", "The table says something else by now", code="code_changed"
                )
            session.delete(kept)
    changed = remapping.remap_studies(catalogue, [task.study_id] if task.study_id else [])
    return {"task": task_id, "studies": 1, "changed": changed}


def check_meaning(meaning: LocalMeaning, items: ItemList) -> None:
    """Raises InvalidInput for an item that is on no list, or a side or part it does not take."""
    item = items.get(meaning.item_code) if meaning.item_code else None
    if meaning.item_code and item is None:
        raise InvalidInput(
            "清单中没有该项目", "No such item on the list", field="item_code", code="unknown_item"
        )
    if meaning.laterality and (item is None or item.laterality == "none"):
        raise InvalidInput("该项目不分左右", "The item has no side", field="laterality")
    if meaning.body_part and (item is None or not item.spans_body_parts):
        raise InvalidInput("该项目只有一个部位", "The item has one body part", field="body_part")


def codes_of(session: Session, hospital: Hospital) -> list[dict[str, Any]]:
    """Return a hospital's own codes in their order; an empty item says that none fits."""
    query = select(LocalCode).where(LocalCode.hospital_id == hospital.id).order_by(LocalCode.code)
    return [
        {
            "local_code": row.code,
            "name": row.name,
            "item_code": row.item_code,
            "laterality": row.laterality,
            "body_part": row.body_part,
        }
        for row in session.scalars(query)
    ]


def _meaning(row: LocalCode) -> LocalMeaning:
    return LocalMeaning(row.code, row.name, row.item_code, side(row.laterality), row.body_part)


def _row(meaning: LocalMeaning) -> dict[str, Any]:
    return {
        "code": meaning.code,
        "name": meaning.name,
        "item_code": meaning.item_code,
        "laterality": meaning.laterality,
        "body_part": meaning.body_part,
    }
