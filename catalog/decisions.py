"""Decisions on a check: recognise, override, undo. Events, never changed; money follows in the ledger."""

import hashlib
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal

import orjson
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import audit, groups, ledger, people, quality, registry, reports, sharing
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, Expired, InvalidInput, NotFound
from catalog.records import Shown
from catalog.report_records import WITHDRAWN
from catalog.rules import local_day
from catalog.tables import (
    Decision,
    Hospital,
    Idempotency,
    LedgerEntry,
    OrderCheck,
    OrderedItem,
    Result,
    Study,
)

Action = Literal["recognise", "override", "undo"]
_KEY_LENGTH: Final = 255
_TAKEN_BY_UNDO: Final = (
    "check_id",
    "person_id",
    "item_code",
    "laterality",
    "body_part",
    "result_id",
    "beyond_duty",
    "own_hospital",
    "emergency",
    "checked_at",
)


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    """What the doctor decided on one order of a check."""

    order_number: str
    action: Action
    result_id: str | None = None
    reason_code: str | None = None
    reason_text: str | None = None
    explained_to_patient: bool | None = None


@dataclass(frozen=True, slots=True)
class _Deciding:
    session: Session
    catalogue: Catalogue
    caller: Caller
    hospital: Hospital
    check: OrderCheck
    order: OrderedItem
    answer: dict[str, Any]
    request: DecisionRequest
    now: datetime


def decide(
    catalogue: Catalogue,
    caller: Caller,
    check_id: uuid.UUID,
    request: DecisionRequest,
    *,
    idempotency_key: str,
) -> dict[str, Any]:
    """Record a decision and return it with the money it moved.

    The same key with the same body gives the same answer again. Raises InvalidInput for a bad request,
    NotFound for a check, order or result that is not this hospital's, Expired after the time allowed,
    Conflict where another decision stands, the prior was withdrawn, or the key has another body.
    """
    _check_key(idempotency_key)
    body = hashlib.sha256(orjson.dumps([str(check_id), asdict(request)])).hexdigest()
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, caller.hospital_code)
        earlier = _claim_key(session, hospital.id, idempotency_key, body)
        if earlier:
            return earlier
        deciding = _open(session, catalogue, caller, hospital, check_id, request)
        event = _ACTIONS[request.action](deciding)
        answer = _finish(deciding, event)
        session.get_one(Idempotency, (hospital.id, idempotency_key)).answer = answer
        return answer


def _check_key(key: str) -> None:
    if not 0 < len(key) <= _KEY_LENGTH or not key.isprintable():
        raise InvalidInput(
            "须有 Idempotency-Key,1 到 255 个可见字符",
            "An Idempotency-Key of 1 to 255 visible characters is required",
            field="Idempotency-Key",
            code="idempotency_key_required",
        )


def _claim_key(session: Session, hospital_id: int, key: str, body: str) -> dict[str, Any]:
    """Return the answer already given to this key, or nothing after claiming it for this transaction."""
    row = {"hospital_id": hospital_id, "key": key, "body_sha256": body, "answer": {}}
    session.execute(insert(Idempotency).values(row).on_conflict_do_nothing())
    standing = session.get_one(Idempotency, (hospital_id, key), with_for_update=True)
    if standing.body_sha256 != body:
        raise Conflict(
            "该 Idempotency-Key 已用于另一请求",
            "This Idempotency-Key was used for a different request",
            code="idempotency_key_reused",
        )
    return standing.answer


def _open(
    session: Session,
    catalogue: Catalogue,
    caller: Caller,
    hospital: Hospital,
    check_id: uuid.UUID,
    request: DecisionRequest,
) -> _Deciding:
    check = session.get(OrderCheck, check_id)
    if check is None or check.hospital_id != hospital.id:
        raise NotFound("没有该次询问", "No such check", code="unknown_check")
    answer = next((o for o in check.given["orders"] if o["order_id"] == request.order_number), None)
    if answer is None:
        raise NotFound("该次询问中没有此医嘱", "The check has no such order", code="unknown_order")
    if check.person_id is None or answer.get("error") or not answer["candidates"]:
        raise InvalidInput(
            "此医嘱没有可供决定的既往结果",
            "This order has no prior to decide on",
            field="order_id",
            code="no_candidate",
        )
    people.lock(session, {check.person_id})
    order = session.get_one(OrderedItem, (hospital.id, request.order_number), with_for_update=True)
    return _Deciding(session, catalogue, caller, hospital, check, order, answer, request, catalogue.clock())


def _recognise(deciding: _Deciding) -> Decision:
    request = deciding.request
    if request.reason_code or request.reason_text:
        raise InvalidInput("认可时不填理由", "Recognising takes no reason", field="reason_code")
    _refuse_late(deciding)
    _refuse_second(deciding)
    candidate = _candidate(deciding)
    result = _standing_result(deciding, int(candidate["result_id"]))
    price = _price(deciding)
    return Decision(
        **_common(deciding),
        result_id=result.id,
        issuing_hospital_id=result.hospital_id,
        beyond_duty=candidate["verdict"] != Shown.RECOGNISABLE,
        own_hospital=candidate["own_hospital"],
        price_fen=price[0],
        price_id=price[1],
    )


def _override(deciding: _Deciding) -> Decision:
    request = deciding.request
    reason = deciding.catalogue.override_reasons.get(request.reason_code or "")
    if reason is None:
        raise InvalidInput(
            "须选择重新检查的理由",
            "Choose a reason for repeating",
            field="reason_code",
            code="reason_required",
        )
    text = (request.reason_text or "").strip()
    if reason.needs_text and not text:
        raise InvalidInput(
            "该理由须填写说明", "This reason needs its text", field="reason_text", code="reason_text_required"
        )
    if request.explained_to_patient is not True:
        raise InvalidInput(
            "须先向患者或家属说明复检的目的及必要性",
            "The purpose and need of repeating must be explained to the patient first",
            field="explained_to_patient",
            code="explanation_required",
        )
    _refuse_late(deciding)
    _refuse_second(deciding)
    candidate = _candidate(deciding) if request.result_id is not None else deciding.answer["candidates"][0]
    return Decision(
        **_common(deciding),
        result_id=int(candidate["result_id"]),
        reason_code=reason.code,
        reason_text=text or None,
        explained_to_patient=True,
        counts_as_refusal=reason.counts_as_refusal,
        beyond_duty=not deciding.order.reminder,
        own_hospital=deciding.order.own_hospital,
    )


def _undo(deciding: _Deciding) -> Decision:
    standing = _standing(deciding)
    if standing is None:
        raise Conflict("没有可撤销的决定", "No decision stands that could be undone", code="nothing_to_undo")
    _refuse_other_person(deciding, standing.person_id)
    if deciding.now - standing.decided_at > deciding.catalogue.limits.undo_within:
        raise Expired("已超过可撤销的期限", "The time to undo has passed", code="undo_expired")
    undone = {name: getattr(standing, name) for name in _TAKEN_BY_UNDO}
    return Decision(**_common(deciding) | undone, undoes_id=standing.id)


_ACTIONS: Final = {"recognise": _recognise, "override": _override, "undo": _undo}


def _finish(deciding: _Deciding, event: Decision) -> dict[str, Any]:
    session, order = deciding.session, deciding.order
    session.add(event)
    session.flush()
    order.standing_decision_id = None if event.action == "undo" else event.id
    _count(deciding, event)
    _tell_quality(deciding, event)
    ledger.settle(session, deciding.catalogue, event.person_id)
    session.flush()
    audit.record(
        session,
        deciding.caller,
        f"decision.{event.action}",
        hospital_id=event.hospital_id,
        person_id=event.person_id,
        decision_id=event.id,
        check_id=str(event.check_id),
    )
    return _describe(deciding, event)


def _tell_quality(deciding: _Deciding, event: Decision) -> None:
    reason = deciding.catalogue.override_reasons.get(event.reason_code or "")
    if reason is not None and reason.opens_quality_task and event.result_id is not None:
        result = deciding.session.get_one(Result, event.result_id)
        quality.take_decision(deciding.session, event, result.study_id)
    elif event.undoes_id is not None:
        quality.take_undo(deciding.session, event.undoes_id)


def _count(deciding: _Deciding, event: Decision) -> None:
    """Add the event to its month; an undo takes its decision out of the month it was counted in."""
    counted, sign = event, 1
    if event.undoes_id is not None:
        counted, sign = deciding.session.get_one(Decision, event.undoes_id), -1
    counters = {counter_of(counted): sign}
    if counted.action == "recognise" and counted.price_id is None:
        counters["unpriced"] = sign
    if sign < 0:
        counters["undone"] = 1
    ledger.add_to_month(deciding.session, ledger.account_of(counted), counters)


def counter_of(decision: Decision) -> str:
    """Return the monthly counter a standing decision belongs to."""
    if decision.beyond_duty:
        return "beyond_duty"
    if decision.action == "recognise":
        return "recognised"
    return "refused" if decision.counts_as_refusal else "excused"


def _describe(deciding: _Deciding, event: Decision) -> dict[str, Any]:
    entries = deciding.session.scalars(
        select(LedgerEntry.amount_fen).where(LedgerEntry.decision_id == (event.undoes_id or event.id))
    ).all()
    return {
        "decision_id": str(event.id),
        "check_id": str(event.check_id),
        "order_id": event.order_number,
        "action": event.action,
        "result_id": str(event.result_id) if event.result_id else None,
        "reason_code": event.reason_code,
        "beyond_duty": event.beyond_duty,
        "undoes": str(event.undoes_id) if event.undoes_id else None,
        "decided_at": event.decided_at.isoformat(),
        "saving_fen": event.price_fen,
        "price_id": event.price_id,
        "standing_fen": sum(entries),
    }


def _common(deciding: _Deciding) -> dict[str, Any]:
    return {
        "check_id": deciding.check.id,
        "hospital_id": deciding.hospital.id,
        "order_number": deciding.request.order_number,
        "person_id": deciding.check.person_id,
        "item_code": deciding.answer["item"]["code"],
        "laterality": deciding.answer.get("laterality"),
        "body_part": deciding.answer.get("body_part"),
        "action": deciding.request.action,
        "emergency": deciding.check.urgency == "emergency",
        "checked_at": deciding.check.asked_at,
        "decided_at": deciding.now,
        "business_date": local_day(deciding.now),
        "caller": deciding.caller.subject,
    }


def _refuse_late(deciding: _Deciding) -> None:
    if deciding.now > deciding.check.expires_at:
        raise Expired("该次询问已过期,请重新询问", "This check has expired; ask again", code="check_expired")


def _refuse_other_person(deciding: _Deciding, person_id: int) -> None:
    if person_id not in _people_asked(deciding):
        raise Conflict(
            "此医嘱号曾用于另一患者",
            "This order number was used for another patient",
            code="order_number_reused",
        )


def _refuse_second(deciding: _Deciding) -> None:
    standing = _standing(deciding)
    if standing is not None:
        raise Conflict(
            f"此医嘱已有决定({standing.id}),如需更改请先撤销",
            f"Decision {standing.id} stands for this order; undo it first",
            code="already_decided",
        )
    if deciding.order.person_id not in _people_asked(deciding):
        raise Conflict(
            "此医嘱号曾用于另一患者",
            "This order number was used for another patient",
            code="order_number_reused",
        )


def _standing(deciding: _Deciding) -> Decision | None:
    decision_id = deciding.order.standing_decision_id
    return deciding.session.get_one(Decision, decision_id) if decision_id is not None else None


def _candidate(deciding: _Deciding) -> dict[str, Any]:
    wanted = deciding.request.result_id
    for candidate in deciding.answer["candidates"]:
        if candidate["result_id"] == wanted:
            return dict(candidate)
    raise InvalidInput(
        "该结果不在此医嘱的答复中",
        "This result was not among the candidates of the order",
        field="result_id",
        code="not_a_candidate",
    )


def _standing_result(deciding: _Deciding, result_id: int) -> Result:
    """Return the prior as it stands now. Raises Conflict where it was withdrawn or is another person's."""
    result = deciding.session.get_one(Result, result_id)
    study = deciding.session.get(Study, result.study_id) if result.study_id else None
    asked = _people_asked(deciding)
    hidden = not sharing.is_shared(deciding.session, asked)
    changed = result.status != "active" or result.person_id not in asked
    if study is not None:
        changed = changed or reports.newest_status(deciding.session, study.id) in WITHDRAWN
    if changed or hidden or (study is not None and study.withdrawn):
        raise Conflict(
            "该结果已撤回或变更,请重新询问",
            "The prior was withdrawn or changed; ask again",
            code="prior_withdrawn",
        )
    return result


def _people_asked(deciding: _Deciding) -> frozenset[int]:
    """Return the person asked about and those merged with him."""
    asked = deciding.check.person_id
    return groups.members(deciding.session, {asked}) if asked is not None else frozenset()


def _price(deciding: _Deciding) -> tuple[int, int | None]:
    asker = registry.institutions(deciding.session, [deciding.hospital])[deciding.hospital.id]
    code = deciding.answer["item"]["code"]
    row = registry.prices_for(deciding.session, asker, [code], local_day(deciding.now)).get(code)
    return (row.price_fen, int(row.row_id)) if row else (0, None)
