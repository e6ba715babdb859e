"""The entries behind a figure, and the whole chain behind one entry: from the money to the order, without names.

Order, check, verdict with its reasons, the prior and the digests of its images, the evaluation that made it
recognisable, the price row, the decision, what took the money back, and the audit of all that.
"""

from datetime import date
from typing import Any, Final

from sqlalchemy import RowMapping, Select, select, text
from sqlalchemy.orm import Session

from catalog import savings
from catalog.errors import NotFound
from catalog.items import ItemList
from catalog.rules import local_day
from catalog.tables import Decision, Hospital, LedgerEntry, OrderCheck, Price, QcEvaluation

# Of what was shown for the order; what the images say of the patient is left out.
_VERDICT: Final = (
    *("verdict", "reasons", "item_code", "laterality", "body_part", "hospital", "own_hospital", "hr_marks"),
    *("exam_time", "valid_until", "saving_fen", "price_id"),
)


def page(
    session: Session,
    *,
    first: date,
    last: date,
    hospital: str | None = None,
    item: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> dict[str, Any]:
    """Return entries whose business date lies in the months from `first` to `last`, oldest first.

    `next` is what to give as `after` for the following page; None at the end. Raises InvalidInput for a reversed range.
    """
    months = savings.months(first, last)
    query = _entries().where(
        LedgerEntry.business_date.between(months[0], savings.last_day(months[1])),
        LedgerEntry.id > after,
    )
    if hospital is not None:
        query = query.where(Hospital.code == hospital)
    if item is not None:
        query = query.where(LedgerEntry.item_code == item)
    rows = session.execute(query.order_by(LedgerEntry.id).limit(limit + 1)).tuples().all()
    entries = [_entry(*row) for row in rows[:limit]]
    return {"entries": entries, "next": rows[limit - 1][0].id if len(rows) > limit else None}


def explain(session: Session, items: ItemList, entry_id: int) -> dict[str, Any]:
    """Return the chain behind one entry. Raises NotFound."""
    found = session.execute(_entries().where(LedgerEntry.id == entry_id)).tuples().one_or_none()
    if found is None:
        raise NotFound("没有此账目", "No such entry of the ledger", code="unknown_entry")
    entry, decision, _ = found
    of_decision = _entries().where(LedgerEntry.decision_id == decision.id).order_by(LedgerEntry.id)
    entries = [_entry(*row) for row in session.execute(of_decision).tuples()]
    undone_by = session.scalar(select(Decision.id).where(Decision.undoes_id == decision.id))
    prior = _examined(session, decision.result_id)
    return {
        "entry": _entry(*found),
        "entries": entries,
        "net_fen": sum(each["amount_fen"] for each in entries),
        "decision": _decision(session, decision),
        "undone_by": None if undone_by is None else str(undone_by),
        "contradicted_by": _contradiction(session, entry),
        **_asked(session, decision),
        "prior": _examination(session, prior),
        "evaluations": _evaluations(session, items, prior),
        "price": _price(session, decision.price_id),
        "audit": _audit(session, decision, undone_by),
    }


def _entries() -> Select[LedgerEntry, Decision, str]:
    return (
        select(LedgerEntry, Decision, Hospital.code)
        .join(Decision, Decision.id == LedgerEntry.decision_id)
        .join(Hospital, Hospital.id == LedgerEntry.hospital_id)
    )


def _entry(entry: LedgerEntry, decision: Decision, hospital: str) -> dict[str, Any]:
    return {
        "entry_id": str(entry.id),
        "kind": entry.kind,
        "amount_fen": entry.amount_fen,
        "hospital": hospital,
        "item": entry.item_code,
        "business_date": entry.business_date.isoformat(),
        "posted_at": entry.posted_at.isoformat(),
        "cause": entry.cause,
        "decision_id": str(entry.decision_id),
        "own_hospital": decision.own_hospital,
        "emergency": decision.emergency,
        "beyond_duty": decision.beyond_duty,
    }


def _decision(session: Session, decision: Decision) -> dict[str, Any]:
    hospital = session.get_one(Hospital, decision.hospital_id)
    return {
        "decision_id": str(decision.id),
        "action": decision.action,
        "order_id": decision.order_number,
        "hospital": {"code": hospital.code, "name": hospital.name},
        "item": decision.item_code,
        "decided_at": decision.decided_at.isoformat(),
        "business_date": decision.business_date.isoformat(),
        "price_fen": decision.price_fen,
        "result_id": str(decision.result_id),
    }


def _asked(session: Session, decision: Decision) -> dict[str, Any]:
    """Return the check, and what it said of the prior for this order, exactly as it was shown."""
    check = session.get_one(OrderCheck, decision.check_id)
    answer = next(each for each in check.given["orders"] if each["order_id"] == decision.order_number)
    shown = next((c for c in answer["candidates"] if c["result_id"] == str(decision.result_id)), None)
    return {
        "check": {
            "check_id": str(check.id),
            "asked_at": check.asked_at.isoformat(),
            "department": check.department,
            "urgency": check.urgency,
            "answer": check.answer,
            "item_list": check.given["item_list"],
            "candidates": len(answer["candidates"]),
        },
        "verdict": None if shown is None else {name: shown[name] for name in _VERDICT},
    }


def _examined(session: Session, result_id: int | None) -> RowMapping | None:
    return session.execute(_EXAMINED, {"id": result_id}).mappings().one_or_none()


def _contradiction(session: Session, entry: LedgerEntry) -> dict[str, Any] | None:
    """Return the examination that took the saving away, where that is what the entry is about."""
    return _examination(session, _examined(session, entry.cause_id)) if entry.cause == "examination" else None


def _examination(session: Session, row: RowMapping | None) -> dict[str, Any] | None:
    """Return an examination without its patient, and the digests of what is kept of its images."""
    if row is None:
        return None
    packs = session.execute(_PACKS, {"study_id": row["study_id"]}).mappings()
    return {
        "result_id": str(row["id"]),
        "hospital": row["hospital"],
        "item": row["item_code"],
        "laterality": row["laterality"],
        "body_part": row["body_part"],
        "exam_time": row["exam_time"].isoformat(),
        "status": row["status"],
        "StudyInstanceUID": row["uid"],
        "packs": [{**pack, "received_at": pack["received_at"].isoformat()} for pack in packs],
    }


def _evaluations(session: Session, items: ItemList, row: RowMapping | None) -> list[dict[str, Any]]:
    """Return the evaluations of who did the prior, for that item, that held on the day of the examination."""
    if row is None:
        return []
    item, day = items.get(row["item_code"]), local_day(row["exam_time"])
    query = select(QcEvaluation).where(
        QcEvaluation.hospital_id == row["hospital_id"],
        QcEvaluation.valid_from <= day,
        QcEvaluation.valid_to >= day,
        (QcEvaluation.item_code == row["item_code"])
        | QcEvaluation.item_group.in_(item.groups if item else ()),
    )
    return [
        {
            "evaluation_id": each.id,
            "item": each.item_code,
            "group": each.item_group,
            "scope": each.scope_code,
            "passed": each.passed,
            "valid_from": each.valid_from.isoformat(),
            "valid_to": each.valid_to.isoformat(),
        }
        for each in session.scalars(query.order_by(QcEvaluation.id))
    ]


def _price(session: Session, price_id: int | None) -> dict[str, Any] | None:
    price = session.get(Price, price_id) if price_id is not None else None
    if price is None:
        return None
    return {
        "price_id": str(price.id),
        "price_fen": price.price_fen,
        "scope_kind": price.scope_kind,
        "scope": price.scope,
        "valid_from": price.valid_from.isoformat(),
        "valid_to": price.valid_to.isoformat() if price.valid_to else None,
        "source": price.source,
    }


def _audit(session: Session, decision: Decision, undone_by: int | None) -> list[dict[str, Any]]:
    """Return what the audit has of check, decision and undo."""
    values = {
        "person_id": decision.person_id,
        "check_id": decision.check_id,
        "decisions": [decision.id, undone_by or decision.id],
    }
    return [
        {
            "audit_id": str(row["id"]),
            "action": row["action"],
            "role": row["role"],
            "recorded_at": row["recorded_at"].isoformat(),
        }
        for row in session.execute(_AUDITED, values).mappings()
    ]


_EXAMINED: Final = text(
    "select examined.*, hospital.code as hospital from examined join hospital on hospital.id = examined.hospital_id"
    " where examined.id = :id"
)
_PACKS: Final = text(
    "select sha256, size_bytes, instance_count, received_at from pack_digest where study_id = :study_id order by id"
)
# By the person too, whose records have an index.
_AUDITED: Final = text("""
    select id, recorded_at, action, role from audited_act
    where person_id = :person_id
      and (action = 'check' and check_id = :check_id or decision_id = any(:decisions)) order by id
""")
