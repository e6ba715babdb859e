"""The answer to a check as a doctor reads it in one glance, and what he decides on it."""

import secrets
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from starlette.datastructures import FormData

from exchange.web.forms import text_of
from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)

Position = Annotated[int, Path(ge=1, le=1000)]
ReportId = Annotated[int, Path(ge=1, le=1 << 62)]
_ACTIONS: Final = ("recognise", "override", "undo", "cite")


@router.get("/doctor/checks/{check_id}")
async def answer(
    visitor: VisitorOf, check_id: UUID, order: Annotated[int, Query(ge=0, le=1000)] = 0
) -> Response:
    """Show the answer; `order` is the place of the one that was just decided on."""
    return await _answer(visitor, check_id, order)


@router.post("/doctor/checks/{check_id}/decisions")
async def decide(visitor: VisitorOf, check_id: UUID) -> Response:
    """Record a decision once, however often the form is sent, and show what was recorded."""
    form = await visitor.form()
    action, place = text_of(form, "action"), text_of(form, "position")
    order = int(place) if place.isdecimal() and len(place) <= 4 else 0
    try:
        body = _decision(form, action)
        await visitor.ask("POST", f"/v1/checks/{check_id}/decisions", body=body, key=text_of(form, "key"))
    except Refusal as refusal:
        return await _answer(visitor, check_id, order, refusal)
    return visitor.go(
        f"/doctor/checks/{check_id}", done=action if action in _ACTIONS else "", order=str(order)
    )


@router.get("/doctor/checks/{check_id}/orders/{position}/record")
async def record(visitor: VisitorOf, check_id: UUID, position: Position) -> Response:
    """Show the text for the medical record, to be copied."""
    path = f"/v1/checks/{check_id}/orders/{position}/record-text"
    answered = await visitor.call("GET", path)
    if answered.status >= 400:
        raise Refusal(answered.status, answered.json() or {}, answered.retry_after)
    return visitor.page("doctor/record.html", text=answered.body.decode(), check_id=check_id)


@router.get("/doctor/checks/{check_id}/reports/{report_id}")
async def report(visitor: VisitorOf, check_id: UUID, report_id: ReportId) -> Response:
    """Show a whole report with all its versions, and the way back to the decision."""
    found = await visitor.ask("GET", f"/v1/reports/{report_id}")
    return visitor.page("doctor/report.html", report=found, check_id=check_id)


@router.get("/doctor/reports/{report_id}")
async def report_alone(visitor: VisitorOf, report_id: ReportId) -> Response:
    """Show a whole report that no check has led to."""
    found = await visitor.ask("GET", f"/v1/reports/{report_id}")
    return visitor.page("doctor/report.html", report=found, check_id=None)


async def _answer(
    visitor: Visitor, check_id: UUID, order: int = 0, refusal: Refusal | None = None
) -> Response:
    check = await visitor.ask("GET", f"/v1/checks/{check_id}")
    reasons = {each["code"]: each for each in (await visitor.ask("GET", "/v1/reasons"))["reasons"]}
    return visitor.page(
        "doctor/answer.html",
        refusal.status if refusal else 200,
        check=check,
        orders=list(zip(check["orders"], check["state"], strict=True)),
        reasons=reasons,
        offered=[reasons[code] for code in check["reason_codes"] if code in reasons],
        names=await _names(visitor, check),
        order=order,
        refusal=refusal,
        new_key=lambda: secrets.token_urlsafe(16),
    )


async def _names(visitor: Visitor, check: dict[str, Any]) -> dict[str, Any]:
    """Return the items of priors that are of another item than was ordered, by code."""
    others = any(
        each["item_code"] != order["item"]["code"]
        for order in check["orders"]
        for each in order["candidates"]
    )
    listed = await visitor.ask("GET", "/v1/items") if others else {"items": []}
    return {item["code"]: item for item in listed["items"]}


def _decision(form: FormData, action: str) -> dict[str, Any]:
    body: dict[str, Any] = {"order_id": text_of(form, "order_id"), "action": action}
    if result_id := text_of(form, "result_id"):
        body["result_id"] = result_id
    if action == "override":
        body |= {
            "reason_code": text_of(form, "reason_code") or None,
            "reason_text": text_of(form, "reason_text") or None,
            "explained_to_patient": form.get("explained") == "yes",
        }
    return body
