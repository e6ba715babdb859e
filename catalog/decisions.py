"""Decisions on a check: recognise, override, undo, cite. Events, never changed; money follows in the ledger."""

import hashlib
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog import deciding, groups, ledger, quality, registry, settling
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.deciding import Asked, Claimed, Ordered
from catalog.errors import Conflict, Expired, InvalidInput, NotFound
from catalog.lookup import Done
from catalog.records import Shown
from catalog.registry_view import Registry
from catalog.rules import local_day
from catalog.scope import planned
from catalog.tables import Decision, Result

Action = Literal["recognise", "override", "undo", "cite"]
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
    """A request on an order of a check; `people` are the person asked about and those merged with him, all locked."""

    session: Session
    catalogue: Catalogue
    caller: Caller
    registry: Registry
    hospital_id: int
    check_id: uuid.UUID
    check: Asked
    answer: dict[str, Any]
    order: Ordered
    people: frozenset[int]
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
    with transaction(planned(catalogue.engine)) as session:
        claimed = deciding.claim(
            session, caller, check_id, request.order_number, key=idempotency_key, body_sha256=body
        )
        if claimed.earlier:
            return claimed.earlier
        on = _open(session, catalogue, caller, claimed, check_id, request)
        return _finish(on, _ACTIONS[request.action](on), idempotency_key)


def _check_key(key: str) -> None:
    if not 0 < len(key) <= _KEY_LENGTH or not key.isprintable():
        raise InvalidInput(
            "须有 Idempotency-Key,1 到 255 个可见字符",
            "An Idempotency-Key of 1 to 255 visible characters is required",
            field="Idempotency-Key",
            code="idempotency_key_required",
        )


def _open(
    session: Session,
    catalogue: Catalogue,
    caller: Caller,
    claimed: Claimed,
    check_id: uuid.UUID,
    request: DecisionRequest,
) -> _Deciding:
    check = claimed.check
    if check is None:
        raise NotFound("没有该次询问", "No such check", code="unknown_check")
    answer = check.answer
    if answer is None:
        raise NotFound("该次询问中没有此医嘱", "The check has no such order", code="unknown_order")
    if check.person_id is None or answer.get("error") or not answer["candidates"]:
        raise InvalidInput(
            "此医嘱没有可供决定的既往结果",
            "This order has no prior to decide on",
            field="order_id",
            code="no_candidate",
        )
    people = groups.lock(session, {check.person_id})
    return _Deciding(
        session=session,
        catalogue=catalogue,
        caller=caller,
        registry=Registry(session, catalogue.registry.under(claimed.stamp)),
        hospital_id=claimed.hospital_id,
        check_id=check_id,
        check=check,
        answer=answer,
        order=deciding.lock_order(session, claimed.hospital_id, request.order_number, people),
        people=people,
        request=request,
        now=catalogue.clock(),
    )


def _recognise(on: _Deciding) -> Decision:
    request = on.request
    if request.reason_code or request.reason_text:
        raise InvalidInput("认可时不填理由", "Recognising takes no reason", field="reason_code")
    _refuse_late(on)
    _refuse_second(on)
    _refuse_other_person(on, on.order.person_id)
    candidate = _candidate(on)
    result = _standing_result(on, int(candidate["result_id"]))
    price = _price(on)
    return _event(
        on,
        result_id=result.id,
        issuing_hospital_id=result.hospital_id,
        beyond_duty=candidate["verdict"] != Shown.RECOGNISABLE,
        own_hospital=candidate["own_hospital"],
        price_fen=price[0],
        price_id=price[1],
    )


def _override(on: _Deciding) -> Decision:
    request = on.request
    reason = on.catalogue.override_reasons.get(request.reason_code or "")
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
    _refuse_late(on)
    _refuse_second(on)
    _refuse_other_person(on, on.order.person_id)
    candidate = _candidate(on) if request.result_id is not None else on.answer["candidates"][0]
    return _event(
        on,
        result_id=int(candidate["result_id"]),
        reason_code=reason.code,
        reason_text=text or None,
        explained_to_patient=True,
        counts_as_refusal=reason.counts_as_refusal,
        beyond_duty=not on.order.reminder,
        own_hospital=on.order.own_hospital,
    )


def _undo(on: _Deciding) -> Decision:
    standing = _standing(on)
    if standing is None:
        raise Conflict("没有可撤销的决定", "No decision stands that could be undone", code="nothing_to_undo")
    _refuse_other_person(on, standing.person_id)
    if on.now - standing.decided_at > on.catalogue.limits.undo_within:
        raise Expired("已超过可撤销的期限", "The time to undo has passed", code="undo_expired")
    undone = {name: getattr(standing, name) for name in _TAKEN_BY_UNDO}
    return _event(on, **undone, undoes_id=standing.id)


def _cite(on: _Deciding) -> Decision:
    """Let the record cite a prior (引用): no order is replaced by it, nothing is saved, and it never stands in the way."""
    request = on.request
    if request.reason_code or request.reason_text:
        raise InvalidInput("引用时不填理由", "Citing takes no reason", field="reason_code")
    _refuse_late(on)
    _refuse_other_person(on, on.order.person_id)
    candidate = _candidate(on)
    result = _standing_result(on, int(candidate["result_id"]))
    _refuse_cited(on, result.id)
    return _event(
        on,
        result_id=result.id,
        issuing_hospital_id=result.hospital_id,
        own_hospital=candidate["own_hospital"],
    )


_ACTIONS: Final = {"recognise": _recognise, "override": _override, "undo": _undo, "cite": _cite}


def _finish(on: _Deciding, event: Decision, key: str) -> dict[str, Any]:
    deciding.record(on.session, event)
    _tell_quality(on, event)
    # An order lies behind no examination before it, so without one since no repeat changes.
    settle = settling.settle if on.order.examined else ledger.settle
    stands = settle(on.session, on.catalogue, event.person_id, people=on.people, counted=_counted(on, event))
    answer = _describe(event, stands.get(event.undoes_id or event.id, 0))
    deciding.keep_answer(on.session, on.caller, event, key, answer, **_money(event))
    return answer


def _money(event: Decision) -> dict[str, int]:
    """Return what the audit keeps of it, so that the savings can be added up again from the audit alone."""
    if event.undoes_id is not None:
        return {"undoes_id": event.undoes_id}
    return {"saving_fen": event.price_fen} if event.action == "recognise" else {}


def _tell_quality(on: _Deciding, event: Decision) -> None:
    reason = on.catalogue.override_reasons.get(event.reason_code or "")
    if reason is not None and reason.opens_quality_task and event.result_id is not None:
        result = on.session.get_one(Result, event.result_id)
        quality.take_decision(on.session, event, result.study_id)
    elif event.undoes_id is not None:
        quality.take_undo(on.session, event.undoes_id)


def _counted(on: _Deciding, event: Decision) -> ledger.Sums:
    """Return what the event adds to its month; an undo takes its decision out of the month it was counted in."""
    counted, sign = event, 1
    if event.undoes_id is not None:
        counted, sign = on.session.get_one(Decision, event.undoes_id), -1
    counters = {_counter_of(counted): sign}
    if counted.action == "recognise" and counted.price_id is None:
        counters["unpriced"] = sign
    if sign < 0:
        counters["undone"] = 1
    account = ledger.Account.of(
        counted.hospital_id,
        counted.item_code,
        counted.business_date,
        own_hospital=counted.own_hospital,
        emergency=counted.emergency,
    )
    return {account: counters}


def _counter_of(decision: Decision) -> str:
    """Return the monthly counter a standing decision belongs to."""
    if decision.action == "cite":
        return "cited"
    if decision.beyond_duty:
        return "beyond_duty"
    if decision.action == "recognise":
        return "recognised"
    return "refused" if decision.counts_as_refusal else "excused"


def _describe(event: Decision, standing_fen: int) -> dict[str, Any]:
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
        "standing_fen": standing_fen,
    }


def _event(on: _Deciding, **more: Any) -> Decision:
    """Return the event to come; what it says of itself stands in `more`."""
    told = {
        "check_id": on.check_id,
        "hospital_id": on.hospital_id,
        "order_number": on.request.order_number,
        "person_id": on.check.person_id,
        "item_code": on.answer["item"]["code"],
        "laterality": on.answer.get("laterality"),
        "body_part": on.answer.get("body_part"),
        "action": on.request.action,
        "counts_as_refusal": False,
        "beyond_duty": False,
        "own_hospital": False,
        "emergency": on.check.urgency == "emergency",
        "price_fen": 0,
        "checked_at": on.check.asked_at,
        "decided_at": on.now,
        "business_date": local_day(on.now),
        "caller": on.caller.subject,
    }
    return Decision(**told | more)


def _refuse_late(on: _Deciding) -> None:
    if on.now > on.check.expires_at:
        raise Expired("该次询问已过期,请重新询问", "This check has expired; ask again", code="check_expired")


def _refuse_second(on: _Deciding) -> None:
    standing = _standing(on)
    if standing is not None:
        raise Conflict(
            f"此医嘱已有决定({standing.id}),如需更改请先撤销",
            f"Decision {standing.id} stands for this order; undo it first",
            code="already_decided",
        )


def _refuse_other_person(on: _Deciding, person_id: int) -> None:
    if person_id not in on.people:
        raise Conflict(
            "此医嘱号曾用于另一患者",
            "This order number was used for another patient",
            code="order_number_reused",
        )


def _refuse_cited(on: _Deciding, result_id: int) -> None:
    """A prior is cited once for an order, or the figures would count how often a button was pressed."""
    query = select(Decision.id).filter_by(
        hospital_id=on.hospital_id,
        order_number=on.request.order_number,
        action="cite",
        result_id=result_id,
    )
    cited = on.session.scalars(query).first()
    if cited is not None:
        raise Conflict(
            f"此医嘱已引用该结果({cited})",
            f"Decision {cited} cites this result for this order already",
            code="already_cited",
        )


def _standing(on: _Deciding) -> Decision | None:
    decision_id = on.order.standing_decision_id
    return on.session.get_one(Decision, decision_id) if decision_id is not None else None


def _candidate(on: _Deciding) -> dict[str, Any]:
    wanted = on.request.result_id
    for candidate in on.answer["candidates"]:
        if candidate["result_id"] == wanted:
            return dict(candidate)
    raise InvalidInput(
        "该结果不在此医嘱的答复中",
        "This result was not among the candidates of the order",
        field="result_id",
        code="not_a_candidate",
    )


def _standing_result(on: _Deciding, result_id: int) -> Done:
    """Return the prior as it stands now. Raises Conflict where it was withdrawn or is another person's."""
    found = None if on.order.opted_out else deciding.stands(on.session, result_id, on.people)
    if found is None:
        raise Conflict(
            "该结果已撤回或变更,请重新询问",
            "The prior was withdrawn or changed; ask again",
            code="prior_withdrawn",
        )
    return found


def _price(on: _Deciding) -> tuple[int, int | None]:
    _, asker = on.registry.hospital(on.caller.hospital_code)
    items = on.registry.items(on.catalogue.items, asker.regions, on.now)
    code, day = on.answer["item"]["code"], local_day(on.now)
    kept = items.get(code) is not None  # it may have left the list since the check
    prices = (
        on.registry.prices(asker, items, day) if kept else registry.prices_for(on.session, asker, [code], day)
    )
    row = prices.get(code)
    return (row.price_fen, int(row.row_id)) if row else (0, None)
