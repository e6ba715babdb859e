"""FHIR R4 search and read of AuditEvent, for auditors; a patient's number is asked for by POST only."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from catalog import audit
from catalog.audit_reading import Criteria, find, get
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import NotFound
from exchange import fhir_examples
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.fhir import FhirAnswer
from exchange.fhir_asking import bad_parameter, form_of
from exchange.fhir_audit import CALLER, PERSON, audit_event
from exchange.fhir_dates import Span, span_of
from exchange.fhir_paging import opened, sealed
from exchange.outcomes import refusal

router = APIRouter(tags=["fhir"])
_PATIENT: Final = frozenset({"patient", "patient:identifier", "patient.identifier", "entity"})
_MOST: Final = 500
_USUAL: Final = 50
_SORTS: Final = ("-date",)
_FORM: Final = "application/x-www-form-urlencoded"
Parameters = list[tuple[str, str]]

_ANSWERS: Final = fhir_examples.answers({200: fhir_examples.AUDIT_FOUND, 400: fhir_examples.BAD_COUNT})


Form = Annotated[Parameters, Depends(form_of)]


@router.get(
    "/fhir/AuditEvent",
    response_class=FhirAnswer,
    summary="查询审计 / search the audit",
    responses=_ANSWERS,
)
def search(request: Request, caller: CallerOf, catalogue: CatalogueOf) -> Response:
    """Return records newest first, by date, agent-name or agent:identifier; `next` goes on. Audited itself.

    A hospital's own reviewer finds what his hospital's people did.
    """
    given = request.query_params.multi_items()
    if any(name in _PATIENT for name, _ in given):
        raise refusal(
            "invalid",
            "patient_in_url",
            "",
            "患者标识不得出现在网址中,请用 POST _search",
            "A patient's identifier must not stand in a URL; use POST _search",
            status=400,
        )
    return _search(request, caller, catalogue, given)


@router.post(
    "/fhir/AuditEvent/_search",
    response_class=FhirAnswer,
    summary="按患者查询审计 / search the audit, also by patient",
    responses=_ANSWERS,
    openapi_extra={"requestBody": {"content": {_FORM: {"schema": {"type": "object"}}}}},
)
def search_by_post(request: Request, caller: CallerOf, catalogue: CatalogueOf, form: Form) -> Response:
    """As the search by GET, and by `patient:identifier`, the catalogue's own number of a person."""
    return _search(request, caller, catalogue, form)


@router.get(
    "/fhir/AuditEvent/{record_id}",
    response_class=FhirAnswer,
    summary="一条审计记录 / one record of the audit",
    responses=fhir_examples.answers({200: fhir_examples.AUDIT_EVENT, 404: fhir_examples.NO_RECORD}),
)
def read(
    record_id: Annotated[int, Path(ge=1, le=2**63 - 1)], caller: CallerOf, catalogue: CatalogueOf
) -> Response:
    """Return one record, to a hospital's own reviewer only one of his hospital; audited itself."""
    with transaction(catalogue.engine) as session:
        told = get(session, record_id, caller.hospital_code)
        if told is None:
            raise NotFound("没有该记录", "No such record", code="unknown_record")
        audit.record(session, caller, "audit.read", record_id=record_id)
    return _fhir(audit_event(told))


def _search(request: Request, caller: Caller, catalogue: Catalogue, given: Parameters) -> Response:
    criteria, count = _criteria(catalogue, given)
    criteria = replace(criteria, hospital_code=caller.hospital_code)  # whoever's page is gone on with
    with transaction(catalogue.engine) as session:
        found = find(session, criteria, count + 1)
        page = found[:count]
        audit.record(
            session, caller, "audit.search", person_id=_known(criteria.person_id, page), records=len(page)
        )
    base = f"{request.base_url}fhir/AuditEvent"
    links = [{"relation": "self", "url": base}]
    if len(found) > count:
        following = replace(criteria, before_id=page[-1].entry.id)
        links.append(
            {"relation": "next", "url": f"{base}?_page={sealed(catalogue, 'AuditEvent', [following, count])}"}
        )
    entries = [
        {
            "fullUrl": f"{base}/{told.entry.id}",
            "resource": audit_event(told),
            "search": {"mode": "match"},
        }
        for told in page
    ]
    return _fhir({"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries})


def _known(person_id: int | None, page: list[Any]) -> int | None:
    """A number nobody has cannot be referred to."""
    return person_id if page else None


def _criteria(catalogue: Catalogue, given: Parameters) -> tuple[Criteria, int]:
    """Read the parameters; what is not known is refused, not passed over (R4 §3.1.1.7). Raises Refused."""
    criteria, count = Criteria(), _USUAL
    for name, value in given:
        if name == "_page":
            return _opened(catalogue, value)
        if name == "_count":
            count = _count(value)
        elif name == "date":
            criteria = _within(criteria, value)
        elif name == "agent-name":
            criteria = replace(criteria, caller_begins=value)
        elif name == "agent:identifier":
            criteria = replace(criteria, caller=_token(value, CALLER, name))
        elif name in ("patient:identifier", "patient.identifier"):
            criteria = replace(criteria, person_id=_person(_token(value, PERSON, name), name))
        elif not (name == "_sort" and value in _SORTS):
            raise bad_parameter(name)
    return criteria, count


def _count(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not int(value[:9]) > 0 or len(value) > 9:
        raise bad_parameter("_count")
    return min(int(value), _MOST)


def _within(criteria: Criteria, value: str) -> Criteria:
    try:
        span = Span(criteria.since, criteria.until).narrowed(span_of(value))
    except ValueError:
        raise bad_parameter("date") from None
    return replace(criteria, since=span.since, until=span.until)


def _token(value: str, system: str, name: str) -> str:
    given, bar, code = value.rpartition("|")
    if (bar and given != system) or not code:
        raise bad_parameter(name)
    return code


def _person(code: str, name: str) -> int:
    if not code.isascii() or not code.isdigit() or len(code) > 18:
        raise bad_parameter(name)
    return int(code)


def _opened(catalogue: Catalogue, word: str) -> tuple[Criteria, int]:
    try:
        values, count = opened(catalogue, "AuditEvent", word)
    except ValueError:
        raise bad_parameter("_page") from None
    times = {name: values[name] and datetime.fromisoformat(values[name]) for name in ("since", "until")}
    return Criteria(**(values | times)), count


def _fhir(content: dict[str, Any]) -> Response:
    return FhirAnswer(orjson.dumps(content), headers={"Cache-Control": "no-store"})
