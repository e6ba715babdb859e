"""Bundles and single reports taken: a transaction as a whole or not at all, a batch entry by entry."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog import audit, documents, people, registry, reports
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, DatabaseDown, HurenError, InvalidInput
from catalog.objects import ObjectStore
from catalog.report_records import ReportMessage
from catalog.tables import Hospital
from catalog.tables_reports import Report
from exchange import fhir_types as fhir
from exchange.fhir_reading import (
    PatientFacts,
    Place,
    ReadReport,
    number_of_query,
    read_patient,
    read_report,
    validated,
)
from exchange.outcomes import Issue, Refused, operation_outcome, refusal

_TAKEN: Final = ("DiagnosticReport", "Patient")
_ALONG: Final = frozenset(
    (
        "Observation",
        "ImagingStudy",
        "ServiceRequest",
        "Specimen",
        "Practitioner",
        "PractitionerRole",
        "Organization",
        "Encounter",
    )
)
_TRIES: Final = 3
# where the parts of a report that the catalogue may refuse stand in a DiagnosticReport
_PLACES: Final[Mapping[str, str]] = {
    "number": ".identifier",
    "reported_at": ".issued",
    "findings": ".result",
    "conclusion": ".conclusion",
    "title": ".code.text",
    "author": ".performer",
    "values": ".result",
    "attachments": ".presentedForm",
    "StudyInstanceUID": ".imagingStudy",
    "AccessionNumber": ".basedOn",
    "PatientID": ".subject",
    "patient_id": ".subject",
    "demographics": ".subject",
}


@dataclass(frozen=True, slots=True)
class Desk:
    """What taking needs: the catalogue, where documents are kept, and who brings something."""

    catalogue: Catalogue
    store: ObjectStore | None
    caller: Caller


@dataclass(frozen=True, slots=True)
class _Step:
    """One entry ready to be carried out: a patient, a report, or something that only comes along."""

    path: str
    patient: PatientFacts | None = None
    report: ReadReport | None = None
    only_if_new: str | None = None


def take_bundle(desk: Desk, content: Any) -> dict[str, Any]:
    """Return the answer to a Bundle. Raises Refused; for a transaction then nothing of it was kept."""
    bundle = validated(fhir.Bundle, content, "Bundle")
    known = _known(bundle)
    if bundle.type == "transaction":
        return _answer("transaction-response", _transaction(desk, bundle, known))
    return _answer("batch-response", [_one_of_batch(desk, *each) for each in enumerate(bundle.entry)])


def take_report(desk: Desk, content: Any, if_none_exist: str = "") -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the answer to a single DiagnosticReport. Raises Refused."""
    report = read_report(content, _place(desk, "DiagnosticReport", {}))
    step = _Step("DiagnosticReport", report=report, only_if_new=_condition(if_none_exist, "DiagnosticReport"))
    (answer,) = _carry_out(desk, [_with_documents(desk, step)])
    return int(answer["status"].split()[0]), answer


# --- what a bundle asks for -----------------------------------------------------------------------------


def _transaction(
    desk: Desk, bundle: fhir.Bundle, known: Mapping[str, tuple[Mapping[str, Any], str]]
) -> list[dict[str, Any]]:
    steps: list[_Step] = []
    issues: list[Issue] = []
    status = 0
    for number, entry in enumerate(bundle.entry):
        try:
            steps.append(_step(desk, f"Bundle.entry[{number}]", entry, known))
        except Refused as refused:
            issues += refused.issues
            status = max(status, refused.status)
    if issues:
        raise Refused(status, issues)
    _refuse_unreferenced(bundle)
    return _carry_out(desk, [_with_documents(desk, step) for step in steps])


def _one_of_batch(desk: Desk, number: int, entry: fhir.Entry) -> dict[str, Any]:
    """Carry out one entry; entries of a batch do not refer to each other (R4 §3.1.0.11.1)."""
    path = f"Bundle.entry[{number}]"
    try:
        if entry.resource.get("resourceType") not in _TAKEN:
            raise _not_supported(f"{path}.resource")
        (answer,) = _carry_out(desk, [_with_documents(desk, _step(desk, path, entry, {}))])
    except Refused as refused:
        outcome = operation_outcome(refused.issues)
        return {"status": f"{refused.status} {_PHRASES.get(refused.status, 'Error')}", "outcome": outcome}
    return answer


def _step(
    desk: Desk, path: str, entry: fhir.Entry, known: Mapping[str, tuple[Mapping[str, Any], str]]
) -> _Step:
    kind = entry.resource.get("resourceType")
    condition = _check_request(entry, str(kind), path)
    place = _place(desk, f"{path}.resource", known)
    if kind == "Patient":
        return _Step(path, patient=read_patient(entry.resource, place))
    if kind == "DiagnosticReport":
        return _Step(path, report=read_report(entry.resource, place), only_if_new=condition)
    if kind not in _ALONG:
        raise _not_supported(f"{path}.resource")
    return _Step(path)


def _check_request(entry: fhir.Entry, kind: str, path: str) -> str | None:
    """Return the number of `ifNoneExist`. POST to the type, or PUT to `type?identifier=…`: no ids are given here."""
    request = entry.request
    target, _, query = request.url.partition("?")
    by_identifier = request.method == "PUT" and number_of_query(query) is not None
    if not (request.method == "POST" and not query) and not by_identifier:
        raise refusal(
            "not-supported",
            "method_not_supported",
            f"{path}.request",
            "只接受 POST 或按 identifier 的 PUT",
            "Only POST, or PUT by identifier, is taken",
        )
    if target.strip("/") != kind:
        raise refusal(
            "invalid",
            "request_mismatch",
            f"{path}.request.url",
            "请求地址与资源类型不符",
            "The request's address is not of the resource's type",
        )
    return _condition(request.ifNoneExist or "", f"{path}.request.ifNoneExist")


def _condition(query: str, expression: str) -> str | None:
    if not query:
        return None
    number = number_of_query(query.removeprefix("?"))
    if number is None:
        raise refusal(
            "not-supported",
            "condition_not_supported",
            expression,
            "条件只接受 identifier=",
            "The condition may only be identifier=",
        )
    return number


def _known(bundle: fhir.Bundle) -> dict[str, tuple[Mapping[str, Any], str]]:
    """Return what references inside a transaction lead to, by fullUrl and by Type/id."""
    known: dict[str, tuple[Mapping[str, Any], str]] = {}
    for number, entry in enumerate(bundle.entry):
        found = (entry.resource, f"Bundle.entry[{number}].resource")
        names = [entry.fullUrl, f"{entry.resource.get('resourceType')}/{entry.resource.get('id')}"]
        for name in names:
            if name and name in known and name == entry.fullUrl:
                raise refusal(
                    "duplicate",
                    "full_url_twice",
                    f"Bundle.entry[{number}].fullUrl",
                    "fullUrl 重复",
                    "A fullUrl stands twice",
                    status=400,
                )
            if name:
                known.setdefault(name, found)
    return known


def _refuse_unreferenced(bundle: fhir.Bundle) -> None:
    """An observation that no report refers to would be lost without a word."""
    wanted = set(_references([entry.resource for entry in bundle.entry]))
    for number, entry in enumerate(bundle.entry):
        resource = entry.resource
        names = {entry.fullUrl, f"Observation/{resource.get('id')}"}
        if resource.get("resourceType") == "Observation" and not names & wanted:
            raise refusal(
                "business-rule",
                "observation_without_report",
                f"Bundle.entry[{number}].resource",
                "没有报告引用该检验结果",
                "No report refers to this observation",
            )


def _references(resources: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for resource in resources:
        for reference in [*(resource.get("result") or []), *(resource.get("hasMember") or [])]:
            if isinstance(reference, dict) and isinstance(reference.get("reference"), str):
                yield reference["reference"]


def _place(desk: Desk, path: str, known: Mapping[str, tuple[Mapping[str, Any], str]]) -> Place:
    return Place(path, desk.caller.hospital_code, people.today_of(desk.catalogue), known)


def _not_supported(expression: str) -> Refused:
    return refusal(
        "not-supported",
        "resource_not_supported",
        expression,
        f"此处只接受 {'、'.join(_TAKEN)} 及其引用的资源",
        f"Only {', '.join(_TAKEN)} and what they refer to are taken here",
    )


# --- carrying it out ------------------------------------------------------------------------------------


def _with_documents(desk: Desk, step: _Step) -> _Step:
    """Keep a report's documents before anything is committed: their keys are their digests."""
    if step.report is None:
        return step
    try:
        reports.refuse_erased(desk.catalogue, desk.caller, step.report.message)
    except Conflict as error:
        raise _refused(error, step) from error
    if not step.report.forms:
        return step
    kept = []
    for form in step.report.forms:
        try:
            attachment = documents.describe(form.content, form.content_type, form.title)
        except InvalidInput as error:
            raise refusal("value", error.code, form.expression, error.zh, error.en) from None
        documents.keep(desk.store, form.content, attachment)
        kept.append(attachment)
    message = replace(step.report.message, attachments=tuple(kept))
    return replace(step, report=replace(step.report, message=message))


def _carry_out(desk: Desk, steps: list[_Step]) -> list[dict[str, Any]]:
    """Carry out every step in one transaction; two that meet at one patient are tried again."""
    for tries_left in reversed(range(_TRIES)):
        try:
            with transaction(desk.catalogue.engine) as session:
                hospital = registry.hospital_by_code(session, desk.caller.hospital_code)
                return [_carry_out_one(desk, session, hospital, step) for step in steps]
        except DatabaseDown:
            if not tries_left:
                raise
    raise AssertionError("unreachable")


def _carry_out_one(desk: Desk, session: Session, hospital: Hospital, step: _Step) -> dict[str, Any]:
    try:
        if step.patient is not None:
            return _link(desk, session, hospital, step.patient)
        if step.report is not None:
            return _take(desk, session, hospital, step.report.message, step.only_if_new)
    except (InvalidInput, Conflict) as error:
        raise _refused(error, step) from error
    return {"status": "200 OK"}


def _take(
    desk: Desk, session: Session, hospital: Hospital, message: ReportMessage, only_if_new: str | None
) -> dict[str, Any]:
    if only_if_new is not None:
        query = select(Report.id).where(Report.hospital_id == hospital.id, Report.number == only_if_new)
        existing = session.scalars(query).one_or_none()
        if existing is not None:
            return {"status": "200 OK", "location": f"DiagnosticReport/{existing}"}
    taken = reports.take(session, desk.catalogue, desk.caller, hospital, message)
    return {
        "status": "201 Created" if taken.made else "200 OK",
        "location": f"DiagnosticReport/{taken.report_id}/_history/{taken.version_id}",
    }


def _link(desk: Desk, session: Session, hospital: Hospital, patient: PatientFacts) -> dict[str, Any]:
    if patient.document is None:
        return {"status": "200 OK"}
    if patient.patient_id:
        link = people.link_number(
            session,
            desk.catalogue,
            desk.caller,
            patient.document,
            patient.demographics,
            kind="PatientID",
            number=patient.patient_id,
        )
        state = str(link["state"])
    else:
        people.hold_still(session, desk.catalogue, hospital.id, patient.document)
        person, clash = people.register(session, desk.catalogue, patient.document, patient.demographics)
        state = people.DOUBTFUL if clash else people.LINKED
        audit.record(
            session,
            desk.caller,
            "patient.register",
            hospital_id=hospital.id,
            person_id=person.id,
            state=state,
            reasons=list(clash),
        )
    if state == people.LINKED:
        return {"status": "200 OK"}
    held = Issue(
        "conflict",
        "identity_held",
        "与已知身份信息不符,待核实",
        "It contradicts what is known and is held for review",
        severity="warning",
    )
    return {"status": "202 Accepted", "outcome": operation_outcome([held])}


def _refused(error: HurenError, step: _Step) -> Refused:
    path = step.report.path if step.report else f"{step.path}.resource"
    part = error.field if isinstance(error, InvalidInput) else "number"
    kind = "conflict" if isinstance(error, Conflict) else "value"
    kind = "deleted" if error.code in ("report_erased", "study_erased") else kind
    status = 409 if isinstance(error, Conflict) else 422
    return refusal(kind, error.code, path + _PLACES.get(part, ""), error.zh, error.en, status=status)


_PHRASES: Final = {400: "Bad Request", 409: "Conflict", 422: "Unprocessable Entity"}


def _answer(kind: str, responses: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": kind,
        "entry": [{"response": dict(response)} for response in responses],
    }
