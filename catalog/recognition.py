"""The one operation: orders of a person → candidates with verdicts, kept as given."""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog import audit, check_list, check_record, db, groups, lookup, sharing
from catalog.candidates import Candidate, KnownPrior, in_order, judged, priors_of
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import InvalidInput, NotFound
from catalog.identity import Demographics, Document, conflicts, display_name
from catalog.items import Item
from catalog.lookup import Images, Known
from catalog.orders import Asking, OrderFault, OrderRequest, resolve
from catalog.presentation import presented
from catalog.pricing import PriceRow
from catalog.records import Order, Urgency
from catalog.registry import hospital_by_code
from catalog.registry_kept import Kept
from catalog.registry_view import KEPT_ONLY, NotKept, Registry
from catalog.rules import HOSPITAL_ZONE, REASONS, local_day
from catalog.steps import Rows, Statement, Steps
from catalog.swift import Swift
from catalog.tables import Decision, OrderCheck

StillWanted = Callable[[], bool]

COMPLETE: Final = "complete"
INCOMPLETE: Final = "incomplete"


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """A question before ordering: who, what, from which department, how urgent."""

    document: Document
    demographics: Demographics
    orders: tuple[OrderRequest, ...]
    department: str = ""
    urgency: Urgency = "routine"


def check(
    catalogue: Catalogue, caller: Caller, request: CheckRequest, *, still_wanted: StillWanted = lambda: True
) -> dict[str, Any]:
    """Answer which priors of a person are recognisable for each order, and keep the answer as given.

    `still_wanted` is asked before the commit: an answer nobody waits for any more is not kept.
    Raises InvalidInput for duplicate order numbers, NotFound for an unregistered hospital,
    DatabaseDown where the catalogue does not answer.
    """
    asking_person = _asking_person(catalogue, request)
    with db.straight(catalogue.engine) as at, Session(catalogue.engine) as session:
        (row,) = db.rows(at, asking_person.text, asking_person.values)
        stamp, person = lookup.known(*row)
        asked = _asked(catalogue, session, catalogue.registry.under(stamp), caller, request)
        given, _ = db.run(at, _answer_and_keep(asked, caller, request, person))
        _refuse_unwanted(still_wanted)
    return given


async def check_swiftly(
    catalogue: Catalogue, swift: Swift, caller: Caller, request: CheckRequest, *, still_wanted: StillWanted
) -> bytes:
    """Answer as `check` does, in JSON, on a connection of the event loop, from registers that are kept.

    What is looked up goes out in one message, what is kept in another. Raises what `check` does, and NotKept where
    something of the registers must be read first: `check` does, and keeps it.
    """
    asking_person = _asking_person(catalogue, request)
    kept = catalogue.registry.latest()
    asked = _asked(catalogue, KEPT_ONLY, kept, caller, request)
    async with swift.straight(catalogue.engine, asking_person, lookup.done_of_asked(asked.wanted)) as at:
        (row,), found = at.found
        stamp, person = lookup.known(*row)
        if stamp != kept.stamp:
            raise NotKept
        steps = _answer_and_keep(asked, caller, request, person, found)
        _, written = await at.run(steps, before_commit=lambda: _refuse_unwanted(still_wanted))
    return written


def _asking_person(catalogue: Catalogue, request: CheckRequest) -> Statement:
    """Return the first statement of a check. Raises InvalidInput."""
    _refuse_duplicates(catalogue, request.orders)
    document = request.document
    return lookup.asking(document.id_type, catalogue.vault.digests(document.id_type, document.number))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as the registers read it."""

    asking: Asking
    registry: Registry
    resolved: list[tuple[OrderRequest, Order | OrderFault, Item | None]]

    @property
    def wanted(self) -> frozenset[str]:
        """Return the items that could answer one of the orders."""
        orders = (order for _, order, _ in self.resolved if isinstance(order, Order))
        return frozenset().union(*(order.answered_by for order in orders))


def _asked(
    catalogue: Catalogue, session: Session, kept: Kept, caller: Caller, request: CheckRequest
) -> _Asked:
    registry = Registry(session, kept)
    hospital_id, asker = registry.hospital(caller.hospital_code)
    now = catalogue.clock()
    items = registry.items(catalogue.items, asker.regions, now)
    asking = Asking(session, catalogue, asker, hospital_id, now, request.urgency, items)
    return _Asked(asking, registry, [(order, *resolve(asking, order)) for order in request.orders])


def _answer_and_keep(
    asked: _Asked,
    caller: Caller,
    request: CheckRequest,
    person: Known | None,
    found: Rows | None = None,
) -> Steps[tuple[dict[str, Any], bytes]]:
    """Return the answer, and the JSON of it that is kept.

    `found` are the rows of the look-up of what the person had done, where they are there already.
    """
    asking = asked.asking
    answer, disclosed = may_disclose(person, request.document, request.demographics)
    given = yield from _answer(asked, person if disclosed else None, answer, found)
    written = orjson.dumps(given)
    yield from check_record.keep(
        caller,
        given,
        written,
        hospital_id=asking.hospital_id,
        person_id=person.id if person else None,
        department=request.department,
        asked_at=asking.now,
        expires_at=asking.now + asking.catalogue.limits.decide_within,
        business_date=local_day(asking.now),
    )
    return given, written


def _refuse_unwanted(still_wanted: StillWanted) -> None:
    if not still_wanted():
        raise TimeoutError("nobody waits for this answer any more")


def read(catalogue: Catalogue, caller: Caller, check_id: uuid.UUID) -> dict[str, Any]:
    """Return a check of the caller's hospital exactly as it was answered, with the decisions since and how it stands now.

    Once the person has opted out of sharing it reads as if nothing had been found.
    Raises NotFound for another hospital's check: it looks like none.
    """
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, caller.hospital_code)
        kept = session.get(OrderCheck, check_id)
        if kept is None or kept.hospital_id != hospital.id:
            raise NotFound("没有该次询问", "No such check", code="unknown_check")
        query = select(Decision).where(Decision.check_id == check_id).order_by(Decision.id)
        events = [_event(decision) for decision in session.scalars(query)]
        audit.record(
            session,
            caller,
            "check.read",
            hospital_id=hospital.id,
            person_id=kept.person_id,
            check_id=str(check_id),
        )
        asked = groups.members(session, {kept.person_id}) if kept.person_id is not None else frozenset()
        given = check_list.as_shown(kept.given, is_shared=sharing.is_shared(session, asked))
        stands = check_list.state(session, catalogue, kept, given)
        return {**given, "decisions": events, "state": stands}


def _event(decision: Decision) -> dict[str, Any]:
    return {
        "decision_id": str(decision.id),
        "order_id": decision.order_number,
        "action": decision.action,
        "result_id": str(decision.result_id) if decision.result_id else None,
        "reason_code": decision.reason_code,
        "decided_at": _iso(decision.decided_at),
        "saving_fen": decision.price_fen,
    }


def _refuse_duplicates(catalogue: Catalogue, orders: Sequence[OrderRequest]) -> None:
    numbers = [order.order_number for order in orders]
    if len(numbers) > catalogue.limits.orders_in_a_check:
        raise InvalidInput("一次询问的医嘱过多", "Too many orders in one check", field="orders")
    if len(set(numbers)) < len(numbers):
        raise InvalidInput(
            "医嘱号重复", "An order number stands twice", field="orders", code="duplicate_order"
        )


def may_disclose(
    person: Known | None, document: Document | None, demographics: Demographics
) -> tuple[str, bool]:
    """Return the kind of answer and whether the person's results may be shown."""
    if person is None or person.opted_out:
        return COMPLETE, False
    if conflicts(person.demographics, demographics, document):
        return INCOMPLETE, False
    return (INCOMPLETE if person.held else COMPLETE), True


def _answer(asked: _Asked, person: Known | None, answer: str, found: Rows | None) -> Steps[dict[str, Any]]:
    asking, registry = asked.asking, asked.registry
    priors: list[KnownPrior] = []
    if person is not None and (wanted := asked.wanted):
        priors = yield from priors_of(asking, registry, person, wanted, found)
    prices = registry.prices(asking.asker, asking.items, local_day(asking.now))
    answers = [_answer_order(asking, *each, priors, prices) for each in asked.resolved]
    return {
        "check_id": str(uuid.uuid4()),
        "answer": answer,
        "asked_at": _iso(asking.now),
        "expires_at": _iso(asking.now + asking.catalogue.limits.decide_within),
        "urgency": asking.urgency,
        **presented(asking.catalogue.override_reasons.values(), asking.urgency),
        "item_list": asking.items.version,
        "patient": described_person(person) if any(answer["candidates"] for answer in answers) else None,
        "orders": answers,
    }


def _answer_order(
    asking: Asking,
    request: OrderRequest,
    order: Order | OrderFault,
    item: Item | None,
    priors: Iterable[KnownPrior],
    prices: Mapping[str, PriceRow],
) -> dict[str, Any]:
    described = None if item is None else {"code": item.code, "name": item.name_zh, "name_en": item.name_en}
    answer: dict[str, Any] = {"order_id": request.order_number, "item": described, "candidates": []}
    if isinstance(order, OrderFault):
        return answer | {"error": order.described()}
    if order.laterality is not None:
        answer["laterality"] = order.laterality
    if order.body_part is not None:
        answer["body_part"] = order.body_part
    price = prices.get(order.item_code)
    found = in_order(judged(asking, order, priors))[: asking.catalogue.limits.candidates]
    return answer | {"candidates": [_describe(candidate, price) for candidate in found]}


def as_if_ordered(
    asking: Asking, registry: Registry, person: Known, orders: Mapping[int, Order]
) -> dict[int, dict[str, Any]]:
    """Return results of a person by id, each judged and described as a check of its own order would; hidden: absent."""
    prices = registry.prices(asking.asker, asking.items, local_day(asking.now))
    described: dict[int, dict[str, Any]] = {}
    wanted = frozenset().union(*(order.answered_by for order in orders.values()))
    priors = db.run(asking.session, priors_of(asking, registry, person, wanted)) if wanted else []
    for known in priors:
        order = orders.get(known.done.id)
        for candidate in judged(asking, order, [known]) if order else ():
            described[known.done.id] = _describe(candidate, prices.get(candidate.done.item_code))
    return described


def _describe(candidate: Candidate, price: PriceRow | None) -> dict[str, Any]:
    done, verdict = candidate.done, candidate.verdict
    return {
        "result_id": str(done.id),
        "verdict": verdict.shown.value,
        "reasons": [reason_text(code, REASONS) for code in verdict.reasons],
        "item_code": done.item_code,
        "laterality": done.laterality,
        "body_part": done.body_part,
        "hospital": {"code": candidate.hospital.code, "name": candidate.hospital.name},
        "own_hospital": verdict.own_hospital,
        "hr_marks": list(verdict.marks),
        "exam_time": _iso(done.exam_time),
        "report": candidate.report.described if candidate.report else None,
        "images": None if done.images is None else _images(done.images),
        "saving_fen": price.price_fen if price else 0,
        "price_id": price.row_id if price else None,
        "valid_until": verdict.valid_until.isoformat() if verdict.valid_until else None,
    }


def _images(study: Images) -> dict[str, Any]:
    return {
        "StudyInstanceUID": study.uid,
        "StudyDescription": study.description,
        "PatientName": display_name(study.patient_name),
        "Modalities": study.modalities,
        "series": study.series_count,
        "instances": study.instance_count,
    }


def described_person(person: Known | None) -> dict[str, Any] | None:
    """Return what a doctor is shown of a person, to know him again."""
    if person is None:
        return None
    birth_date = person.birth_date.isoformat() if person.birth_date else None
    return {"name": display_name(person.name), "birth_date": birth_date, "sex": person.sex}


def reason_text(code: str, table: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Return a code with its Chinese and English text."""
    zh, en = table[code]
    return {"code": code, "text": zh, "text_en": en}


def _iso(moment: datetime) -> str:
    return moment.astimezone(HOSPITAL_ZONE).isoformat(timespec="seconds")
