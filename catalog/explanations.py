"""What one order of a check comes to, for the patient and for the medical record (Measures of 2022).

They ask that a patient who is examined again be told the purpose and need of it, and that what was recognised be
written into the record.
"""

import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog import audit, groups, registry, sharing
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import NotFound
from catalog.report_records import LABEL_EN, LABEL_ZH
from catalog.rules import HOSPITAL_ZONE
from catalog.tables import Decision, OrderCheck


def explain(
    catalogue: Catalogue, caller: Caller, check_id: uuid.UUID, position: int, *, form: str
) -> dict[str, Any]:
    """Return what was found for the order at `position` (the first is 1), what was decided and why; audited as `form`.

    Once the person has opted out, it reads as if nothing had been found. Raises NotFound for another hospital's
    check or a position it does not have.
    """
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, caller.hospital_code)
        check = session.get(OrderCheck, check_id)
        if check is None or check.hospital_id != hospital.id:
            raise NotFound("没有该次询问", "No such check", code="unknown_check")
        orders = check.given["orders"]
        if not 1 <= position <= len(orders):
            raise NotFound("该次询问中没有此医嘱", "The check has no such order", code="unknown_order")
        audit.record(
            session,
            caller,
            f"check.{form}",
            hospital_id=hospital.id,
            person_id=check.person_id,
            check_id=str(check_id),
            position=position,
        )
        order = orders[position - 1]
        shown = _is_shown(session, check)
        return {
            "check_id": str(check_id),
            "position": position,
            "hospital": hospital.name,
            "department": check.department,
            "asked_at": check.given["asked_at"],
            "emergency": check.urgency == "emergency",
            "answer": check.given["answer"] if shown else "complete",
            "patient": check.given["patient"] if shown else None,
            "item": order["item"],
            "error": order.get("error"),
            "laterality": order.get("laterality"),
            "body_part": order.get("body_part"),
            "candidates": _whole(order["candidates"]) if shown else [],
            "label": LABEL_ZH,
            "label_en": LABEL_EN,
            **_decided(session, catalogue, check, order["order_id"], shown=shown),
        }


def _is_shown(session: Session, check: OrderCheck) -> bool:
    if check.person_id is None:
        return True
    return sharing.is_shared(session, groups.members(session, {check.person_id}))


def _whole(candidates: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the candidates that no erasure has emptied since."""
    return [candidate for candidate in candidates if candidate["images"] or candidate["report"]]


def _decided(
    session: Session, catalogue: Catalogue, check: OrderCheck, order_number: str, *, shown: bool
) -> dict[str, Any]:
    """Return the decision that stands of those taken on this check, and what was cited."""
    query = select(Decision).filter_by(check_id=check.id, order_number=order_number).order_by(Decision.id)
    events = session.scalars(query).all()
    undone = {event.undoes_id for event in events}
    standing = [e for e in events if e.action in ("recognise", "override") and e.id not in undone]
    cited = [str(event.result_id) for event in events if event.action == "cite"]
    return {
        "decision": _described(catalogue, standing[-1]) if standing else None,
        "cited": cited if shown else [],
    }


def _described(catalogue: Catalogue, event: Decision) -> dict[str, Any]:
    reason = catalogue.override_reasons.get(event.reason_code or "")
    national = catalogue.override_reasons.get(reason.national_code) if reason is not None else None
    return {
        "decision_id": str(event.id),
        "action": event.action,
        "result_id": str(event.result_id) if event.result_id else None,
        "decided_by": event.caller,
        "decided_at": event.decided_at.astimezone(HOSPITAL_ZONE).isoformat(timespec="seconds"),
        "reason_code": event.reason_code,
        "reason": reason.zh if reason is not None else None,
        "reason_en": reason.en if reason is not None else None,
        "national_reason": national.zh if national is not None else None,
        "reason_text": event.reason_text,
        "explained_to_patient": event.explained_to_patient,
    }
