"""A regulator's investigations as pages: opened with a reason, who stands behind an entry, closed; and reviewed."""

from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import Response

from exchange.web.narrowing import Narrowing
from exchange.web.regulator import names_of, number_of
from exchange.web.regulator_entries import CAUSES, ENTRY_KINDS, shown_entry
from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)
_ROWS: Final = 50
_SCOPE: Final = ("entry_id", "decision_id", "hospital", "item", "from", "to")
_NUMBERS: Final = ("entry_id", "decision_id", "days")


@router.get("/regulator/investigations")
async def investigations(visitor: VisitorOf) -> Response:
    """Show one's own investigations; to an auditor everybody's, with those that wait for his review."""
    return await _listed(visitor)


@router.get("/regulator/investigations/new")
async def new(visitor: VisitorOf) -> Response:
    """Show the form that opens an investigation of what the address names."""
    asked = Narrowing.of(visitor.request, "decision_id")
    return await _form(visitor, asked, None)


@router.post("/regulator/investigations")
async def open_one(visitor: VisitorOf) -> Response:
    """Open an investigation, and go to whom it is about."""
    form = await visitor.form()
    sent = {name: str(form.get(name, "")).strip() for name in (*_SCOPE, "reason", "days")}
    body: dict[str, Any] = {name: value for name, value in sent.items() if value}
    body |= {name: int(body[name]) for name in _NUMBERS if body.get(name, "").isdecimal()}
    try:
        opened = await visitor.ask("POST", "/v1/investigations", body=body)
    except Refusal as refusal:
        if refusal.status not in (404, 422):
            raise
        if sent["entry_id"]:
            return await shown_entry(
                visitor, sent["entry_id"], refusal=refusal, reason=sent["reason"], status=refusal.status
            )
        return await _form(visitor, Narrowing(sent), refusal, sent["reason"])
    number = opened["investigation_id"]
    if sent["entry_id"]:
        return visitor.go(f"/regulator/investigations/{number}/entries/{sent['entry_id']}", done="opened")
    return visitor.go("/regulator/investigations", done="opened")


@router.get("/regulator/investigations/{number}/entries/{entry_id}")
async def investigated(visitor: VisitorOf, number: str, entry_id: str) -> Response:
    """Show who stands behind an entry, while the investigation is open and reaches it."""
    found = await visitor.ask("GET", f"/v1/investigations/{number}/entries/{entry_id}")
    return visitor.page(
        "regulator/entry.html",
        names=await names_of(visitor),
        chain=found,
        kinds=ENTRY_KINDS,
        causes=CAUSES,
        mine=[],
        person=found,
        refusal=None,
        reason="",
    )


@router.post("/regulator/investigations/{number}/close")
async def close(visitor: VisitorOf, number: str) -> Response:
    """End one's own investigation."""
    await visitor.ask("POST", f"/v1/investigations/{number}/close")
    return visitor.go("/regulator/investigations", done="closed")


@router.post("/regulator/investigations/{number}/review")
async def review(visitor: VisitorOf, number: str) -> Response:
    """Say whether an investigation was justified."""
    form = await visitor.form()
    body = {"verdict": str(form.get("verdict", "")), "note": str(form.get("note", ""))}
    try:
        await visitor.ask("POST", f"/v1/investigations/{number}/review", body=body)
    except Refusal as refusal:
        if refusal.status not in (409, 422):
            raise
        return await _listed(visitor, refusal)
    return visitor.go("/regulator/investigations", done="reviewed")


async def _listed(visitor: Visitor, refusal: Refusal | None = None) -> Response:
    after = number_of(visitor, "after")
    pending = "true" if visitor.request.query_params.get("pending") else ""
    query = {"after": after, "limit": _ROWS, "pending": pending}
    told = await visitor.ask("GET", "/v1/investigations", query)
    return visitor.page(
        "regulator/investigations.html",
        refusal.status if refusal else 200,
        names=await names_of(visitor),
        found=told["investigations"],
        pending=pending,
        rows_of_a_page=_ROWS,
        refusal=refusal,
    )


async def _form(visitor: Visitor, asked: Narrowing, refusal: Refusal | None, reason: str = "") -> Response:
    return visitor.page(
        "regulator/investigate.html",
        refusal.status if refusal else 200,
        names=await names_of(visitor),
        asked=asked,
        refusal=refusal,
        reason=reason,
    )
