"""Curators' answers to headers the rules leave open: remembered for the hospital, applied to what came before."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import remapping, results, reviews
from catalog.coded_mapping import Answered
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.items import ItemList
from catalog.tables import Study
from catalog.tables_items import MappingAnswer


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
        earlier = session.scalars(
            select(Study.id)
            .where(Study.hospital_id == task.hospital_id, Study.fingerprint == task.subject)
            .order_by(Study.id)
        ).all()
    changed = remapping.remap_studies(catalogue, earlier)
    return {"task": task_id, "studies": len(earlier), "changed": changed}


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
