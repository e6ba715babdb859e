"""News for those who relied on a prior that was corrected or withdrawn afterwards."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from catalog.tables import Decision
from catalog.tables_reports import Notice


def note_reliance(session: Session, result_ids: Iterable[int], kind: str) -> int:
    """Write a notice for every standing decision that recognised one of these results; gives their number."""
    ids = set(result_ids)
    if not ids:
        return 0
    undo = aliased(Decision)
    query = select(Decision.hospital_id, Decision.id, Decision.result_id).where(
        Decision.result_id.in_(ids),
        Decision.action == "recognise",
        ~select(undo.id).where(undo.undoes_id == Decision.id).exists(),
    )
    rows = [
        {"hospital_id": hospital_id, "decision_id": decision_id, "result_id": result_id, "kind": kind}
        for hospital_id, decision_id, result_id in session.execute(query)
    ]
    if rows:
        session.execute(insert(Notice).values(rows))
    return len(rows)
