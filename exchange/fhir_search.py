"""FHIR R4 read and search of a chart: Patient, ImagingStudy, DiagnosticReport, Observation.

Seen is what a check would show, by whoever a check, a stated purpose or an emergency lets see the patient; a patient
of nobody's concern here answers as one whom nobody knows. Nothing of a patient stands in a URL, the next page's
included: that one is sealed, and good for an hour.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from catalog import chart, people, whose
from catalog.chart import Chart, Entry, Part, Position, Question
from catalog.context import Caller, Catalogue
from catalog.errors import Expired, NotFound
from catalog.harvest import Harvest
from catalog.whose import Whose
from exchange import fhir_chart, fhir_search_examples
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, HarvestOf, SettingsOf
from exchange.fhir import FhirAnswer
from exchange.fhir_asking import (
    Asker,
    Given,
    Search,
    bad_parameter,
    form_of,
    ignored,
    read_search,
    refuse_personal,
)
from exchange.fhir_examples import answers
from exchange.fhir_format import InJson
from exchange.fhir_paging import opened, sealed
from exchange.fhir_parameters import PARAMETERS
from exchange.outcomes import Issue, operation_outcome

router = APIRouter(tags=["fhir"])
Write = Callable[[int, Entry], dict[str, Any]]
Form = Annotated[Given, Depends(form_of)]
Number = Annotated[int, Path(ge=1, le=10**18)]
_FORM: Final = "application/x-www-form-urlencoded"
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_LASTING: Final = timedelta(hours=1)
_INCOMPLETE: Final = Issue(
    "incomplete",
    "incomplete",
    "该患者尚有待人工核对的资料,结果可能不全",
    "Something that may be this patient's waits for a human; this may not be everything",
    severity="warning",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource: the part of a chart it is made of, and how; `action` begins its audit events."""

    part: Part
    write: Write
    action: str
    by_id: Callable[[int], Whose]
    zh: str


KINDS: Final[dict[str, Kind]] = {
    "Patient": Kind(chart.patients, fhir_chart.patient, "patient", whose.person, "患者"),
    "ImagingStudy": Kind(chart.images, fhir_chart.imaging_study, "imaging_study", whose.of_study, "影像检查"),
    "DiagnosticReport": Kind(chart.reports, fhir_chart.report, "report", whose.of_report, "报告"),
    "Observation": Kind(chart.values, fhir_chart.observation, "observation", whose.of_result, "检验结果"),
}


@dataclass(frozen=True, slots=True)
class Desk:
    """Who asks, and with what he is answered."""

    caller: Caller
    catalogue: Catalogue
    harvest: Harvest
    base: str

    def counted(self, id_type: str, number: str) -> None:
        """Count a patient who is about to be disclosed. Raises TooMany."""
        self.harvest.take(self.catalogue, self.caller, id_type, number)


def desk_of(
    request: Request,
    caller: CallerOf,
    catalogue: CatalogueOf,
    harvest: HarvestOf,
    settings: SettingsOf,
    _: InJson,
) -> Desk:
    """Return what every answer here needs."""
    return Desk(
        caller, catalogue, harvest, f"{settings.public_url or str(request.base_url).rstrip('/')}/fhir/"
    )


DeskOf = Annotated[Desk, Depends(desk_of)]


# --- routes ---------------------------------------------------------------------------------------------


def _offer_search(name: str) -> None:
    kind, told = KINDS[name], answers(fhir_search_examples.searches(name))

    @router.get(
        f"/fhir/{name}",
        response_class=FhirAnswer,
        summary=f"查询{kind.zh} / search {name}",
        responses=told,
        openapi_extra={"parameters": [_parameter(*each) for each in _in_url(name)]},
    )
    def search(request: Request, desk: DeskOf) -> Response:
        """Search one patient's, newest first; identifiers only by POST. Unknown parameters: `Prefer: handling=`."""
        given = request.query_params.multi_items()
        refuse_personal(given)
        return _searched(desk, name, request, given, given)

    @router.post(
        f"/fhir/{name}/_search",
        response_class=FhirAnswer,
        summary=f"按标识查询{kind.zh} / search {name}, also by identifiers",
        responses=told,
        openapi_extra={"requestBody": {"content": {_FORM: {"schema": {"type": "object"}}}}},
    )
    def search_by_post(request: Request, desk: DeskOf, form: Form) -> Response:
        """As the search by GET; the body may name the patient by an identity document or a hospital's own number."""
        in_url = request.query_params.multi_items()
        refuse_personal(in_url)
        return _searched(desk, name, request, [*in_url, *form], [])


def _offer_read(name: str) -> None:
    kind = KINDS[name]

    @router.get(
        f"/fhir/{name}/{{resource_id}}",
        response_class=FhirAnswer,
        summary=f"读取{kind.zh} / read one {name}",
        responses=answers(fhir_search_examples.reads(name)),
    )
    def read(resource_id: Number, desk: DeskOf) -> Response:
        """Return one resource to whoever may see its patient; audited."""

        def tell(of: Chart, entry: Entry) -> dict[str, Any] | None:
            if name == "Patient" and entry.id != resource_id:
                return fhir_chart.merged_patient(resource_id, of.id)
            return kind.write(of.id, entry) if entry.id == resource_id else None

        question = Question(f"{kind.action}.read", (kind.by_id(resource_id),), kind.part, tell, desk.counted)
        given = chart.ask(desk.catalogue, desk.caller, question, found=_found).given
        return resource_answer(given[0])


def _found(page: chart.Page) -> None:
    if not page.given:
        raise NotFound("没有该资源", "No such resource", code="unknown_resource")


@router.get(
    "/fhir/DiagnosticReport/{report_id}",
    response_class=FhirAnswer,
    summary="一份报告 / a report that was shown",
    responses=answers(fhir_search_examples.reads("DiagnosticReport")),
)
def get_report(report_id: Number, desk: DeskOf) -> Response:
    """Return the version that stands, to a hospital that was shown it; audited."""
    entry, person_id = chart.read_report(desk.catalogue, desk.caller, report_id)
    return resource_answer(fhir_chart.report(person_id, entry))


# --- answers --------------------------------------------------------------------------------------------


def _searched(desk: Desk, name: str, request: Request, given: Given, in_self: Given) -> Response:
    after, words = None, [value for key, value in given if key == "_page"]
    if words:
        given, after = _resumed(desk.catalogue, name, words)
        in_self = [("_page", words[0])]
    asker = Asker(desk.caller.hospital_code, people.today_of(desk.catalogue))
    strict = "handling=strict" in request.headers.get("prefer", "").replace(" ", "").lower()
    search = read_search(name, given, asker, strict=strict)
    used = [(key, value) for key, value in in_self if key not in search.ignored]
    return fhir_answer(_bundle(desk, search, used, after))


def _bundle(desk: Desk, search: Search, used: Given, after: Position | None) -> dict[str, Any]:
    kind = KINDS[search.kind]
    owner: list[dict[str, Any]] = []

    def tell(of: Chart, entry: Entry) -> dict[str, Any] | None:
        resource = kind.write(of.id, entry)
        if not all(test(resource) for test in search.tests):
            return None
        if search.includes_patient and not owner:
            owner.extend(fhir_chart.patient(of.id, each) for each in chart.patients(of))
        return resource

    question = Question(
        f"{kind.action}.search",
        tuple(search.whose),
        kind.part,
        tell,
        desk.counted,
        after=after,
        limit=0 if search.counts_only else search.count,
    )
    page = chart.ask(desk.catalogue, desk.caller, question)
    here = desk.base + search.kind
    links = [{"relation": "self", "url": f"{here}?{urlencode(used)}" if used else here}]
    if page.next is not None:
        links.append({"relation": "next", "url": f"{here}?_page={_next(desk.catalogue, search, page)}"})
    warnings = [*([_INCOMPLETE] if page.incomplete else []), *ignored(search)]
    entries = [matched(desk, each) for each in page.given]
    entries += [matched(desk, each, "include") for each in owner if page.given]
    if warnings:
        entries.append({"resource": operation_outcome(warnings), "search": {"mode": "outcome"}})
    return bundle(links, page.total, entries)


def bundle(links: list[dict[str, str]], total: int, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a searchset; without entries it has no list of them (R4 §2.6.2.1)."""
    found = {"resourceType": "Bundle", "type": "searchset", "total": total, "link": links}
    return found | ({"entry": entries} if entries else {})


def matched(desk: Desk, resource: dict[str, Any], mode: str = "match") -> dict[str, Any]:
    """Return the entry of a resource that was found, or brought along."""
    address = f"{desk.base}{resource['resourceType']}/{resource['id']}"
    return {"fullUrl": address, "resource": resource, "search": {"mode": mode}}


def fhir_answer(content: dict[str, Any]) -> Response:
    """Return an answer that nobody on the way keeps."""
    return FhirAnswer(orjson.dumps(_plain(content)), headers={"Cache-Control": "no-store"})


def _plain(value: Any) -> Any:
    """Return what hospitals wrote without the control characters that FHIR's strings do not have (R4 §2.24.0.1)."""
    if isinstance(value, str):
        return _CONTROLS.sub(" ", value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def resource_answer(resource: dict[str, Any]) -> Response:
    """Return one resource, with its version and time where they are known (R4 §3.1.0.2)."""
    answer, meta = fhir_answer(resource), resource.get("meta", {})
    if "versionId" in meta:
        answer.headers["ETag"] = f'W/"{meta["versionId"]}"'
    if "lastUpdated" in meta:
        updated = datetime.fromisoformat(meta["lastUpdated"])
        answer.headers["Last-Modified"] = format_datetime(updated.astimezone(UTC), usegmt=True)
    return answer


# --- the next page --------------------------------------------------------------------------------------


def _next(catalogue: Catalogue, search: Search, page: chart.Page) -> str:
    """Return the rest of a search: the patient by the catalogue's number, whatever named him."""
    given = [("patient" if search.kind != "Patient" else "_id", str(page.person_id)), *search.kept]
    until = catalogue.clock() + _LASTING
    return sealed(catalogue, search.kind, {"given": given, "after": page.next, "until": until})


def _resumed(catalogue: Catalogue, kind: str, words: list[str]) -> tuple[Given, Position]:
    try:
        (word,) = words
        told = opened(catalogue, kind, word)
    except ValueError:
        raise bad_parameter("_page") from None
    if datetime.fromisoformat(told["until"]) <= catalogue.clock():
        raise Expired(
            "该页链接已过期,请重新查询",
            "The link to this page has expired; search again",
            code="page_expired",
        )
    at, number = told["after"]
    return [(name, value) for name, value in told["given"]], (datetime.fromisoformat(at), number)


# --- description ----------------------------------------------------------------------------------------


def _in_url(name: str) -> list[tuple[str, str]]:
    common = [("_count", "每页份数,至多 100 / at most 100"), ("_page", "续页 / of a next link")]
    own = [(each, parameter.meaning) for each, parameter in PARAMETERS[name].items()]
    about = (
        []
        if name == "Patient"
        else [("patient", "患者编号 / Patient/{id}"), ("subject", "同 patient / the same")]
    )
    return [*about, *own, *common]


def _parameter(name: str, meaning: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": meaning,
        "schema": {"type": "string"},
    }


for _name in KINDS:
    _offer_search(_name)
    if _name != "DiagnosticReport":  # read by its own rule: whom it was shown to, or whose own it is
        _offer_read(_name)
