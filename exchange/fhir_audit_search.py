"""FHIR R4 search and read of AuditEvent, for auditors; a patient's number is asked for by POST only."""

import base64
import binascii
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

import orjson
from fastapi import APIRouter, Depends, HTTPException, Path, Request
from fastapi.responses import Response

from catalog import audit
from catalog.audit_reading import Criteria, find, get
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import IntegrityFault, NotFound
from catalog.rules import HOSPITAL_ZONE
from exchange import fhir_examples
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.fhir import FhirAnswer
from exchange.fhir_audit import CALLER, PERSON, audit_event
from exchange.fhir_types import moment
from exchange.outcomes import Refused, outcome, refusal

router = APIRouter(tags=["fhir"])
_PATIENT: Final = frozenset({"patient", "patient:identifier", "patient.identifier", "entity"})
_DATE: Final = re.compile(
    r"(eq|ge|gt|le|lt)?(\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d))?)?)?)"
)
_MOST: Final = 500
_USUAL: Final = 50
_SORTS: Final = ("-date",)
_FORM: Final = "application/x-www-form-urlencoded"
Parameters = list[tuple[str, str]]

_ANSWERS: Final = fhir_examples.answers({200: fhir_examples.AUDIT_FOUND, 400: fhir_examples.BAD_COUNT})


async def form_of(request: Request) -> Parameters:
    """Return the parameters of a form in the body. Raises HTTPException where there are too many."""
    body = await request.body()
    try:
        return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50)
    except ValueError as error:
        raise HTTPException(400) from error


Form = Annotated[Parameters, Depends(form_of)]


@router.get(
    "/fhir/AuditEvent",
    response_class=FhirAnswer,
    summary="查询审计 / search the audit",
    responses=_ANSWERS,
)
def search(request: Request, caller: CallerOf, catalogue: CatalogueOf) -> Response:
    """Return records newest first, by date, agent-name or agent:identifier; `next` goes on. Audited itself."""
    given = request.query_params.multi_items()
    if any(name in _PATIENT for name, _ in given):
        return _refused(
            refusal(
                "invalid",
                "patient_in_url",
                "",
                "患者标识不得出现在网址中,请用 POST _search",
                "A patient's identifier must not stand in a URL; use POST _search",
                status=400,
            )
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
    """Return one record; audited itself."""
    with transaction(catalogue.engine) as session:
        told = get(session, record_id)
        if told is None:
            raise NotFound("没有该记录", "No such record", code="unknown_record")
        audit.record(session, caller, "audit.read", record_id=record_id)
    return _fhir(audit_event(told))


def _search(request: Request, caller: Caller, catalogue: Catalogue, given: Parameters) -> Response:
    try:
        criteria, count = _criteria(catalogue, given)
    except Refused as refused:
        return _refused(refused)
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
        links.append({"relation": "next", "url": f"{base}?_page={_page(catalogue, following, count)}"})
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
            raise _bad(name)
    return criteria, count


def _count(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not int(value[:9]) > 0 or len(value) > 9:
        raise _bad("_count")
    return min(int(value), _MOST)


def _within(criteria: Criteria, value: str) -> Criteria:
    found = _DATE.fullmatch(value)
    try:
        if not found:
            raise _bad("date")
        first, end = _span(found[2])
    except (ValueError, OverflowError):
        raise _bad("date") from None
    prefix = found[1] or "eq"
    since = {"eq": first, "ge": first, "gt": end}.get(prefix)
    until = {"eq": end, "le": end, "lt": first}.get(prefix)
    return replace(
        criteria,
        since=max(filter(None, (since, criteria.since)), default=None),
        until=min(filter(None, (until, criteria.until)), default=None),
    )


def _span(text: str) -> tuple[datetime, datetime]:
    """Return the first moment a date or instant means, and the first after it."""
    first = moment(text)
    if "T" in text:
        return first, first + (timedelta(microseconds=1) if "." in text else timedelta(seconds=1))
    if len(text) == 10:
        return first, first + timedelta(days=1)
    local = first.astimezone(HOSPITAL_ZONE)
    if len(text) == 7:
        return first, local.replace(year=local.year + local.month // 12, month=local.month % 12 + 1)
    return first, local.replace(year=local.year + 1)


def _token(value: str, system: str, name: str) -> str:
    given, bar, code = value.rpartition("|")
    if (bar and given != system) or not code:
        raise _bad(name)
    return code


def _person(code: str, name: str) -> int:
    if not code.isascii() or not code.isdigit() or len(code) > 18:
        raise _bad(name)
    return int(code)


def _page(catalogue: Catalogue, criteria: Criteria, count: int) -> str:
    """Return the rest of a search as a word that says nothing: it may stand in a URL even for a patient's."""
    sealed = catalogue.vault.seal("page", orjson.dumps([criteria, count]).decode())
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _opened(catalogue: Catalogue, word: str) -> tuple[Criteria, int]:
    try:
        sealed = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4))
        values, count = orjson.loads(catalogue.vault.open("page", sealed))
    except (binascii.Error, ValueError, IntegrityFault):
        raise _bad("_page") from None
    times = {name: values[name] and datetime.fromisoformat(values[name]) for name in ("since", "until")}
    return Criteria(**(values | times)), count


def _bad(name: str) -> Refused:
    known = name if re.fullmatch(r"[A-Za-z_:.-]{1,40}", name) else ""
    return refusal(
        "invalid",
        "bad_parameter",
        "",
        f"查询参数不支持或取值有误:{known}",
        f"A search parameter is not supported, or its value is wrong: {known}",
        status=400,
    )


def _refused(refused: Refused) -> Response:
    return outcome(refused.status, refused.issues)


def _fhir(content: dict[str, Any]) -> Response:
    return FhirAnswer(orjson.dumps(content), headers={"Cache-Control": "no-store"})
