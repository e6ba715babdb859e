"""Hospitals' own code tables in the database: imported whole or not at all, asked for a study at a time."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog import audit, registry, results, reviews
from catalog.context import Caller, Catalogue
from catalog.local_codes import LocalMeaning
from catalog.tables import Hospital, LocalCode


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


def _row(meaning: LocalMeaning) -> dict[str, Any]:
    return {
        "code": meaning.code,
        "name": meaning.name,
        "item_code": meaning.item_code,
        "laterality": meaning.laterality,
        "body_part": meaning.body_part,
    }
