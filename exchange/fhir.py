"""FHIR R4: patients and reports come in as a Bundle or one by one."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response

from exchange import fhir_examples
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, StoreOf, StoreThreadsOf
from exchange.fhir_bundles import Desk, take_bundle, take_report
from exchange.outcomes import FHIR_JSON, Refused, operation_outcome, outcome, refusal

router = APIRouter(tags=["fhir"])


class FhirAnswer(Response):
    """An answer in FHIR JSON."""

    media_type = FHIR_JSON


async def raw_body(request: Request) -> bytes:
    """Return the body as it came."""
    return await request.body()


RawBody = Annotated[bytes, Depends(raw_body)]


def documented(example: dict[str, Any]) -> dict[str, Any]:
    """Say in OpenAPI what the body is: FHIR JSON is read here and not by the framework, for its own errors."""
    content = {FHIR_JSON: {"schema": {"type": "object"}, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/fhir",
    response_class=FhirAnswer,
    summary="提交 transaction 或 batch / a transaction or a batch",
    openapi_extra=documented(fhir_examples.BUNDLE),
    responses=fhir_examples.answers({200: fhir_examples.BUNDLE_TAKEN, 400: fhir_examples.REFUSED}),
)
async def post_bundle(
    caller: CallerOf, catalogue: CatalogueOf, store: StoreOf, threads: StoreThreadsOf, body: RawBody
) -> Response:
    """Take patients and reports: a transaction as a whole or not at all, a batch entry by entry."""
    desk = Desk(catalogue, store, caller)
    return await threads.run(lambda: _answered(lambda: (200, take_bundle(desk, read_json(body)))))


@router.post(
    "/fhir/DiagnosticReport",
    response_class=FhirAnswer,
    summary="提交一份报告 / one report with what it contains",
    status_code=201,
    openapi_extra=documented(fhir_examples.REPORT),
    responses=fhir_examples.answers(
        {201: fhir_examples.REPORT_TAKEN, 200: fhir_examples.REPORT_TAKEN, 400: fhir_examples.REFUSED}
    ),
)
async def post_report(
    caller: CallerOf,
    catalogue: CatalogueOf,
    store: StoreOf,
    threads: StoreThreadsOf,
    body: RawBody,
    if_none_exist: Annotated[str, Header()] = "",
) -> Response:
    """Take one report: 201 for a new version, 200 for one that is kept already."""
    desk = Desk(catalogue, store, caller)

    def take() -> tuple[int, dict[str, Any]]:
        status, answer = take_report(desk, read_json(body), if_none_exist)
        return status, {"location": answer["location"]}

    return await threads.run(lambda: _answered(take))


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
    return FhirAnswer(orjson.dumps(content), status, headers)


def read_json(body: bytes) -> Any:
    """Read JSON with its decimals as written (R4 §2.24.0.1). Raises Refused."""
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise refusal(
            "invalid", "bad_request", "", "请求不是 JSON", "The request is not JSON", status=400
        ) from None


def _no_number(_: str) -> Any:
    raise ValueError("NaN and Infinity are no JSON")
