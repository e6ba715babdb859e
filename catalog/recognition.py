"""The one operation: orders of a person → candidates with verdicts, kept as given."""

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import audit, groups, item_lists, ledger, people, registry, report_views, sharing
from catalog.completeness import stands
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import InvalidInput, NotFound
from catalog.identity import Demographics, Document, conflicts, display_name
from catalog.items import Item
from catalog.orders import Asking, OrderFault, OrderRequest, resolve, side
from catalog.presentation import presented
from catalog.pricing import PriceRow
from catalog.records import Evaluation, Institution, Order, Prior, Shown, Urgency, Verdict
from catalog.report_views import ResultReport
from catalog.rules import HOSPITAL_ZONE, REASONS, decide, local_day
from catalog.tables import Decision, Hospital, OrderCheck, OrderedItem, Person, Result, Study

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


@dataclass(frozen=True, slots=True)
class _Candidate:
    verdict: Verdict
    result: Result
    study: Study | None
    hospital: Institution
    exact: bool
    report: ResultReport | None


@dataclass(frozen=True, slots=True)
class _Known:
    """One result of the person with everything that belongs to it."""

    prior: Prior
    result: Result
    study: Study | None
    report: ResultReport | None


def check(
    catalogue: Catalogue, caller: Caller, request: CheckRequest, *, still_wanted: StillWanted = lambda: True
) -> dict[str, Any]:
    """Answer which priors of a person are recognisable for each order, and keep the answer as given.

    `still_wanted` is asked before the commit: an answer nobody waits for any more is not kept.
    Raises InvalidInput for duplicate order numbers, NotFound for an unregistered hospital,
    DatabaseDown where the catalogue does not answer.
    """
    _refuse_duplicates(catalogue, request.orders)
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, caller.hospital_code)
        asker = registry.institutions(session, [hospital])[hospital.id]
        now = catalogue.clock()
        items = item_lists.in_force(session, catalogue, asker.regions, now)
        asking = Asking(session, catalogue, asker, hospital.id, now, request.urgency, items)
        person = people.find(session, catalogue, request.document)
        everybody = groups.of_person(session, person) if person else frozenset()
        answer, disclosed = may_disclose(session, person, everybody, request.document, request.demographics)
        given = _answer(asking, request, person if disclosed else None, answer)
        _keep(asking, caller, request, person, given)
        if not still_wanted():
            raise TimeoutError("nobody waits for this answer any more")
        return given


def read(catalogue: Catalogue, caller: Caller, check_id: uuid.UUID) -> dict[str, Any]:
    """Return a check of the caller's hospital exactly as it was answered, with the decisions since.

    Once the person has opted out of sharing it reads as if nothing had been found.
    Raises NotFound for another hospital's check: it looks like none.
    """
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, caller.hospital_code)
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
        given = kept.given
        asked = groups.members(session, {kept.person_id}) if kept.person_id is not None else frozenset()
        if not sharing.is_shared(session, asked):
            given = _nothing_shown(given)
        return {**given, "decisions": events}


def _nothing_shown(given: dict[str, Any]) -> dict[str, Any]:
    orders = [{**order, "candidates": []} for order in given["orders"]]
    return {**given, "answer": COMPLETE, "patient": None, "orders": orders}


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
    session: Session,
    person: Person | None,
    everybody: Collection[int],
    document: Document,
    demographics: Demographics,
) -> tuple[str, bool]:
    """Return the kind of answer and whether the person's results may be shown."""
    if person is None or not sharing.is_shared(session, everybody):
        return COMPLETE, False
    if conflicts(people.demographics(person), demographics, document):
        return INCOMPLETE, False
    return (INCOMPLETE if people.held(session, everybody) else COMPLETE), True


def _answer(asking: Asking, request: CheckRequest, person: Person | None, answer: str) -> dict[str, Any]:
    resolved = [(order, *resolve(asking, order)) for order in request.orders]
    orders = [order for _, order, _ in resolved if isinstance(order, Order)]
    priors = _priors(asking, person, orders) if person is not None and orders else []
    prices = _prices(asking, orders)
    answers = [_answer_order(asking, asked, order, item, priors, prices) for asked, order, item in resolved]
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


def _priors(asking: Asking, person: Person, orders: Iterable[Order]) -> list[_Known]:
    """Return every result of the person that could answer one of the orders."""
    wanted = set().union(*(order.answered_by for order in orders))
    everybody = groups.of_person(asking.session, person)
    query = (
        select(Result, Study, Hospital)
        .join(Hospital, Hospital.id == Result.hospital_id)
        .outerjoin(Study, Study.id == Result.study_id)
        .where(
            Result.person_id.in_(everybody),
            Result.item_code.in_(wanted),
            Result.status.in_(("active", "withdrawn")),
        )
    )
    rows = asking.session.execute(query).tuples().all()
    hospitals = {hospital.id: hospital for _, _, hospital in rows}
    places = registry.institutions(asking.session, hospitals.values())
    marks = registry.evaluations(asking.session, hospitals)
    reports = report_views.reports_of(asking.session, (result for result, _, _ in rows))
    return [
        _known(asking, result, study, places[hospital.id], marks.get(hospital.id, ()), reports.get(result.id))
        for result, study, hospital in rows
    ]


def _known(
    asking: Asking,
    result: Result,
    study: Study | None,
    hospital: Institution,
    evaluations: tuple[Evaluation, ...],
    report: ResultReport | None,
) -> _Known:
    item = asking.items.get(result.item_code)
    if item is None:
        raise LookupError(f"result {result.id} names an item that is not on the list")
    complete, flagged = _images_stand(study, asking.now)
    prior = Prior(
        result_id=str(result.id),
        item_code=item.code,
        category=item.category,
        negative=item.negative,
        hospital=hospital,
        exam_time=result.exam_time,
        evaluations=evaluations,
        item_groups=item.groups,
        reports=(report.version,) if report else (),
        laterality=side(result.laterality),
        body_part=result.body_part,
        withdrawn=result.status == "withdrawn" or (study is not None and study.withdrawn),
        images_complete=complete,
        quality_flagged=flagged,
        uid_conflict=study is not None and study.uid_conflict,
    )
    return _Known(prior, result, study, report)


def _images_stand(study: Study | None, now: datetime) -> tuple[bool, bool]:
    if study is None:
        return True, False
    return stands(
        now,
        images_complete=study.images_complete,
        settles_at=study.settles_at,
        flagged=study.quality_flagged,
        count_short=study.count_short,
    )


def _prices(asking: Asking, orders: Iterable[Order]) -> dict[str, PriceRow]:
    codes = {order.item_code for order in orders}
    if not codes:
        return {}
    return registry.prices_for(asking.session, asking.asker, codes, local_day(asking.now))


def _answer_order(
    asking: Asking,
    request: OrderRequest,
    order: Order | OrderFault,
    item: Item | None,
    priors: Iterable[_Known],
    prices: dict[str, PriceRow],
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
    found = _sorted_candidates(_judged(asking, order, priors))[: asking.catalogue.limits.candidates]
    return answer | {"candidates": [_describe(candidate, price) for candidate in found]}


def _judged(asking: Asking, order: Order, priors: Iterable[_Known]) -> Iterable[_Candidate]:
    for known in priors:
        verdict = decide(order, known.prior, asking.catalogue.policy, asking.now)
        if verdict.shown is not Shown.HIDDEN:
            exact = known.prior.item_code == order.item_code
            yield _Candidate(verdict, known.result, known.study, known.prior.hospital, exact, known.report)


def as_if_ordered(asking: Asking, person: Person, orders: Mapping[int, Order]) -> dict[int, dict[str, Any]]:
    """Return results of a person by id, each judged and described as a check of its own order would; hidden: absent."""
    prices = _prices(asking, orders.values())
    described: dict[int, dict[str, Any]] = {}
    for known in _priors(asking, person, orders.values()) if orders else ():
        order = orders.get(known.result.id)
        for candidate in _judged(asking, order, [known]) if order else ():
            described[known.result.id] = _describe(candidate, prices.get(candidate.result.item_code))
    return described


def _sorted_candidates(candidates: Iterable[_Candidate]) -> list[_Candidate]:
    """Recognisable first, exact item before covering, newest exam, newest report, then result id."""
    return sorted(
        candidates,
        key=lambda c: (
            c.verdict.shown is not Shown.RECOGNISABLE,
            not c.exact,
            -c.result.exam_time.timestamp(),
            -c.report.version.reported_at.timestamp() if c.report else 0.0,
            c.result.id,
        ),
    )


def _describe(candidate: _Candidate, price: PriceRow | None) -> dict[str, Any]:
    result, study, verdict = candidate.result, candidate.study, candidate.verdict
    return {
        "result_id": str(result.id),
        "verdict": verdict.shown.value,
        "reasons": [reason_text(code, REASONS) for code in verdict.reasons],
        "item_code": result.item_code,
        "laterality": result.laterality,
        "body_part": result.body_part,
        "hospital": {"code": candidate.hospital.code, "name": candidate.hospital.name},
        "own_hospital": verdict.own_hospital,
        "hr_marks": list(verdict.marks),
        "exam_time": _iso(result.exam_time),
        "report": candidate.report.described if candidate.report else None,
        "images": None if study is None else _images(study),
        "saving_fen": price.price_fen if price else 0,
        "price_id": price.row_id if price else None,
        "valid_until": verdict.valid_until.isoformat() if verdict.valid_until else None,
    }


def _images(study: Study) -> dict[str, Any]:
    return {
        "StudyInstanceUID": study.uid,
        "StudyDescription": study.description,
        "PatientName": display_name(study.patient_name),
        "Modalities": study.modalities,
        "series": study.series_count,
        "instances": study.instance_count,
    }


def _keep(
    asking: Asking, caller: Caller, request: CheckRequest, person: Person | None, given: dict[str, Any]
) -> None:
    session = asking.session
    session.add(
        OrderCheck(
            id=uuid.UUID(given["check_id"]),
            hospital_id=asking.hospital_id,
            person_id=person.id if person else None,
            department=request.department,
            urgency=request.urgency,
            answer=given["answer"],
            caller=caller.subject,
            given=given,
            asked_at=asking.now,
            expires_at=asking.now + asking.catalogue.limits.decide_within,
        )
    )
    session.flush()
    if person is not None:
        for answer in given["orders"]:
            _keep_order(asking, person, given["check_id"], answer)
        report_views.remember_shown(session, asking.hospital_id, person.id, _shown_reports(given))
    audit.record(
        session,
        caller,
        "check",
        hospital_id=asking.hospital_id,
        person_id=person.id if person else None,
        check_id=given["check_id"],
        answer=given["answer"],
        shown=[c["result_id"] for o in given["orders"] for c in o["candidates"]],
    )


def _shown_reports(given: dict[str, Any]) -> Iterable[int]:
    for answer in given["orders"]:
        for candidate in answer["candidates"]:
            if candidate["report"] is not None:
                yield int(candidate["report"]["report_id"])


def _keep_order(asking: Asking, person: Person, check_id: str, answer: dict[str, Any]) -> None:
    """Remember an order at its first check; it becomes a reminder once a recognisable prior was shown."""
    if answer.get("error"):
        return
    recognisable = [c for c in answer["candidates"] if c["verdict"] == Shown.RECOGNISABLE]
    key = {"hospital_id": asking.hospital_id, "order_number": answer["order_id"]}
    row = key | {
        "person_id": person.id,
        "item_code": answer["item"]["code"],
        "first_check_id": uuid.UUID(check_id),
        "business_date": local_day(asking.now),
        "emergency": asking.urgency == "emergency",
        "own_hospital": False,
        "reminder": False,
    }
    asking.session.execute(insert(OrderedItem).values(row).on_conflict_do_nothing())
    if recognisable:
        _remind(asking, key, person.id, own=all(c["own_hospital"] for c in recognisable))


def _remind(asking: Asking, key: dict[str, Any], person_id: int, *, own: bool) -> None:
    query = select(OrderedItem).filter_by(**key, person_id=person_id, reminder=False).with_for_update()
    order = asking.session.scalars(query).one_or_none()
    if order is None:
        return
    order.reminder, order.own_hospital = True, own
    account = ledger.Account(order.hospital_id, order.item_code, order.business_date, own, order.emergency)
    ledger.add_to_month(asking.session, account, {"reminders": 1})


def described_person(person: Person | None) -> dict[str, Any] | None:
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
