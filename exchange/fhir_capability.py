"""The CapabilityStatement (R4 §5.6), made of the tables that do the work; public: it names no patient."""

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from exchange.deps import SettingsOf
from exchange.fhir import FhirAnswer
from exchange.fhir_asking import included
from exchange.fhir_examples import answers
from exchange.fhir_format import InJson
from exchange.fhir_parameters import PARAMETERS
from exchange.fhir_search import fhir_answer
from exchange.outcomes import FHIR_JSON, Issue, operation_outcome

router = APIRouter(tags=["fhir"])
_CHANGED: Final = "2026-11-25"
_BASE: Final = "http://hl7.org/fhir/"
_SERVICE: Final = "http://terminology.hl7.org/CodeSystem/restful-security-service"
_SUBJECT: Final = "患者;标识仅用 POST / the patient; identifiers by POST only"
_DOCUMENT: Final = "证件或本机构编号,仅用 POST / document or own number, by POST only"
_TAKEN: Final = {
    "DiagnosticReport": [{"code": "create", "documentation": "hospital_system"}],
}
_AUDIT: Final[dict[str, Any]] = {
    "type": "AuditEvent",
    "profile": f"{_BASE}StructureDefinition/AuditEvent",
    "interaction": [{"code": "read"}, {"code": "search-type", "documentation": "auditor"}],
    "searchParam": [
        {"name": "date", "type": "date"},
        {"name": "agent-name", "type": "string"},
        {"name": "patient", "type": "reference", "documentation": "patient:identifier, POST"},
    ],
}


def capability_statement(url: str) -> dict[str, Any]:
    """Return what the service at `url` can do in FHIR."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": _CHANGED,
        "kind": "instance",
        "software": {"name": "Huren 互认"},
        "implementation": {
            "description": "检查检验结果互认 / mutual recognition of examinations",
            "url": url,
        },
        "fhirVersion": "4.0.1",
        "format": ["json", FHIR_JSON],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "cors": False,
                    "service": [{"coding": [{"system": _SERVICE, "code": "OAuth"}], "text": "OAuth2"}],
                    "description": "见 / see /.well-known/smart-configuration",
                },
                "resource": [*(_resource(name) for name in PARAMETERS), _AUDIT],
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
            }
        ],
    }


def _resource(name: str) -> dict[str, Any]:
    resource = {
        "type": name,
        "profile": f"{_BASE}StructureDefinition/{name}",
        "interaction": [{"code": "read"}, {"code": "search-type"}, *_TAKEN.get(name, [])],
        "versioning": "versioned" if name == "DiagnosticReport" else "no-version",
        "conditionalRead": "not-supported",
        "searchInclude": included(name),
        "searchParam": _parameters(name),
    }
    if name == "Patient":
        definition = f"{_BASE}OperationDefinition/Patient-match"
        resource["operation"] = [{"name": "match", "definition": definition}]
    return {key: value for key, value in resource.items() if value != []}


def _parameters(name: str) -> list[dict[str, str]]:
    about = (
        [("identifier", "token", _DOCUMENT)]
        if name == "Patient"
        else [("patient", "reference", _SUBJECT), ("subject", "reference", _SUBJECT)]
    )
    own = [(each, parameter.kind, parameter.meaning) for each, parameter in PARAMETERS[name].items()]
    return [{"name": name, "type": kind, "documentation": text} for name, kind, text in (*about, *own)]


_EXAMPLE: Final = capability_statement("https://huren.example/fhir")
_NOT_JSON: Final = operation_outcome(
    [
        Issue(
            "not-supported",
            "format_not_supported",
            "仅提供 application/fhir+json(FHIR 4.0)",
            "Only application/fhir+json (FHIR 4.0) is given",
        )
    ]
)


@router.get(
    "/fhir/metadata",
    response_class=FhirAnswer,
    summary="能力声明 / what the service can do in FHIR",
    responses=answers({200: _EXAMPLE, 406: _NOT_JSON}),
)
def metadata(request: Request, settings: SettingsOf, _: InJson) -> Response:
    """Return the CapabilityStatement; anybody may ask."""
    return fhir_answer(
        capability_statement(f"{settings.public_url or str(request.base_url).rstrip('/')}/fhir")
    )
