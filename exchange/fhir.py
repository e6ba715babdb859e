"""FHIR R4: reports come in as a Bundle or one by one, and go out to whom a check has shown them."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Header, Path, Request
from fastapi.responses import Response

from catalog import report_views
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, StoreOf
from exchange.fhir_bundles import Desk, take_bundle, take_report
from exchange.fhir_writing import diagnostic_report
from exchange.outcomes import FHIR_JSON, Refused, operation_outcome, outcome, refusal

router = APIRouter(tags=["fhir"])
ReportId = Annotated[int, Path(ge=1, le=1 << 62)]

_REPORT_EXAMPLE: Final[dict[str, Any]] = {
    "resourceType": "DiagnosticReport",
    "identifier": [{"value": "R20260630001"}],
    "status": "final",
    "category": [{"coding": [{"code": "RAD"}]}],
    "code": {"text": "胸部CT平扫"},
    "subject": {"identifier": {"type": {"coding": [{"code": "MR"}]}, "value": "P0001"}},
    "imagingStudy": [{"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:2.25.1001"}}],
    "issued": "2026-06-30T12:00:00+08:00",
    "resultsInterpreter": [{"display": "王医生"}],
    "conclusion": "未见明显异常。",
}
_BUNDLE_EXAMPLE: Final[dict[str, Any]] = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        {
            "fullUrl": "urn:uuid:6f6f3b0a-0000-4000-8000-000000000001",
            "resource": {
                "resourceType": "Patient",
                "identifier": [
                    {"type": {"coding": [{"code": "MR"}]}, "value": "P0001"},
                    {"type": {"coding": [{"code": "NNCHN"}]}, "value": "999999198001010011"},
                ],
                "name": [{"text": "张三丰"}],
                "gender": "male",
                "birthDate": "1980-01-01",
            },
            "request": {"method": "POST", "url": "Patient"},
        },
        {
            "fullUrl": "urn:uuid:6f6f3b0a-0000-4000-8000-000000000002",
            "resource": {
                "resourceType": "Observation",
                "status": "final",
                "code": {"coding": [{"system": "http://loinc.org", "code": "2823-3", "display": "钾"}]},
                "effectiveDateTime": "2026-06-30T08:00:00+08:00",
                "valueQuantity": {"value": 4.1, "unit": "mmol/L"},
                "referenceRange": [{"text": "3.5-5.3"}],
                "method": {"text": "离子选择电极法"},
            },
            "request": {"method": "POST", "url": "Observation"},
        },
        {
            "resource": {
                "resourceType": "DiagnosticReport",
                "identifier": [{"value": "L20260630001"}],
                "status": "final",
                "category": [{"coding": [{"code": "LAB"}]}],
                "code": {"text": "电解质"},
                "subject": {"reference": "urn:uuid:6f6f3b0a-0000-4000-8000-000000000001"},
                "issued": "2026-06-30T12:00:00+08:00",
                "result": [{"reference": "urn:uuid:6f6f3b0a-0000-4000-8000-000000000002"}],
            },
            "request": {"method": "POST", "url": "DiagnosticReport"},
        },
    ],
}


async def raw_body(request: Request) -> bytes:
    """Return the body as it came."""
    return await request.body()


RawBody = Annotated[bytes, Depends(raw_body)]


def _documented(example: dict[str, Any]) -> dict[str, Any]:
    """Say in OpenAPI what the body is: FHIR JSON is read here and not by the framework, for its own errors."""
    content = {FHIR_JSON: {"schema": {"type": "object"}, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/fhir",
    summary="提交 transaction 或 batch / a transaction or a batch",
    openapi_extra=_documented(_BUNDLE_EXAMPLE),
)
def post_bundle(caller: CallerOf, catalogue: CatalogueOf, store: StoreOf, body: RawBody) -> Response:
    """Take patients and reports: a transaction as a whole or not at all, a batch entry by entry."""
    desk = Desk(catalogue, store, caller)
    return _answered(lambda: (200, take_bundle(desk, _json(body))))


@router.post(
    "/fhir/DiagnosticReport",
    summary="提交一份报告 / one report with what it contains",
    status_code=201,
    responses={200: {"description": "已有,未变 / kept already, nothing changed"}},
    openapi_extra=_documented(_REPORT_EXAMPLE),
)
def post_report(
    caller: CallerOf,
    catalogue: CatalogueOf,
    store: StoreOf,
    body: RawBody,
    if_none_exist: Annotated[str, Header()] = "",
) -> Response:
    """Take one report: 201 for a new version, 200 for one that is kept already."""
    desk = Desk(catalogue, store, caller)

    def take() -> tuple[int, dict[str, Any]]:
        status, answer = take_report(desk, _json(body), if_none_exist)
        return status, {"location": answer["location"]}

    return _answered(take)


@router.get("/fhir/DiagnosticReport/{report_id}", summary="一份报告 / a report that a check has shown")
def get_report(report_id: ReportId, caller: CallerOf, catalogue: CatalogueOf) -> Response:
    """Return the version that stands, to a hospital that was shown it; audited."""
    return _fhir(200, diagnostic_report(report_views.read(catalogue, caller, report_id)))


def _answered(take: Callable[[], tuple[int, dict[str, Any]]]) -> Response:
    try:
        status, answer = take()
    except Refused as refused:
        return outcome(refused.status, refused.issues)
    if "location" in answer:
        return _fhir(status, operation_outcome([]) | {"issue": [_accepted()]}, answer["location"])
    return _fhir(status, answer)


def _accepted() -> dict[str, Any]:
    return {"severity": "information", "code": "informational", "details": {"text": "已接收 / taken"}}


def _fhir(status: int, content: dict[str, Any], location: str = "") -> Response:
    headers = {"Cache-Control": "no-store"}
    if location:
        headers["Location"] = f"/fhir/{location}"
    return Response(orjson.dumps(content), status, headers, media_type=FHIR_JSON)


def _json(body: bytes) -> Any:
    """Read JSON with its decimals as written (R4 §2.24.0.1). Raises Refused."""
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise refusal(
            "invalid", "bad_request", "", "请求不是 JSON", "The request is not JSON", status=400
        ) from None


def _no_number(_: str) -> Any:
    raise ValueError("NaN and Infinity are no JSON")
