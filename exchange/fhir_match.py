"""FHIR R4 Patient/$match, by document or hospital number only: a name finds nobody, it can only speak against."""

from typing import Any, Final, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from catalog import chart, people, whose
from catalog.chart import Question
from catalog.context import Caller
from exchange import fhir_chart
from exchange import fhir_search_examples as examples
from exchange import fhir_types as fhir
from exchange.fhir import RawBody, documented, read_json
from exchange.fhir_examples import answers
from exchange.fhir_reading import PatientFacts, Place, read_patient, validated
from exchange.fhir_search import DeskOf, bundle, fhir_answer, matched
from exchange.outcomes import refusal

router = APIRouter(tags=["fhir"])
_GRADE: Final = {
    "score": 1,
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/match-grade", "valueCode": "certain"}],
}


class Parameter(fhir.Element):
    """Parameters.parameter."""

    name: fhir.Short
    resource: dict[str, Any] | None = None
    valueBoolean: bool | None = None
    valueInteger: int | None = None


class Parameters(fhir.Element):
    """Parameters."""

    resourceType: Literal["Parameters"]
    parameter: list[Parameter] = Field(min_length=1, max_length=20)


@router.post(
    "/fhir/Patient/$match",
    summary="按证件或本机构编号核对患者 / match a patient by document or number",
    openapi_extra=documented(examples.MATCH),
    responses=answers({200: examples.found("Patient", **_GRADE), 422: examples.NO_IDENTIFIER}),
)
def match(desk: DeskOf, body: RawBody) -> Response:
    """Return the one certain match or none, `onlyCertainMatches` or not; what is said beside the number must fit."""
    facts = _facts(desk.caller, people.today_of(desk.catalogue), read_json(body))
    named = [whose.holder(facts.document)] if facts.document else []
    named += [whose.patient(facts.patient_id)] if facts.patient_id else []
    question = Question(
        "patient.match",
        tuple(named),
        chart.patients,
        lambda of, entry: fhir_chart.patient(of.id, entry),
        desk.counted,
        demographics=facts.demographics,
        limit=1,
    )
    page = chart.ask(desk.catalogue, desk.caller, question)
    link = [{"relation": "self", "url": f"{desk.base}Patient/$match"}]
    entries = [matched(desk, each) for each in page.given]
    for entry in entries:
        entry["search"] |= _GRADE
    return fhir_answer(bundle(link, page.total, entries))


def _facts(caller: Caller, today: Any, content: Any) -> PatientFacts:
    """Return who is meant. Raises Refused."""
    parameters = validated(Parameters, content, "Parameters")
    for number, parameter in enumerate(parameters.parameter):
        if parameter.name == "resource":
            path = f"Parameters.parameter[{number}].resource"
            _refuse_foreign(caller, validated(fhir.Patient, parameter.resource or {}, path), path)
            return read_patient(parameter.resource or {}, Place(path, caller.hospital_code, today, {}))
    raise refusal(
        "required",
        "element_required",
        "Parameters.parameter",
        "缺少参数 resource",
        "The parameter resource is missing",
        status=400,
    )


def _refuse_foreign(caller: Caller, patient: fhir.Patient, path: str) -> None:
    """Two hospitals' numbers are never one: another hospital's is not matched as if it were the caller's."""
    own = fhir_chart.PATIENT_ID + caller.hospital_code
    for number, identifier in enumerate(patient.identifier):
        if (identifier.system or "").startswith(fhir_chart.PATIENT_ID) and identifier.system != own:
            raise refusal(
                "business-rule",
                "number_of_another_hospital",
                f"{path}.identifier[{number}]",
                "不能用其他机构的患者编号核对",
                "Another hospital's patient number matches nobody",
            )
