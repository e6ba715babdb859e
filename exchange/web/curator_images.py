"""Contradicting instances and doubts about images: the evidence, a decision, and the way back."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from exchange.web.forms import text_of
from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)
PAGE: Final = 50
Act = Literal["settle", "reopen"]
Decision = Literal["confirm", "dismiss", "reopen"]
Id = Annotated[int, Path(ge=1, lt=1 << 63)]
Undo = Annotated[int, Query(ge=0, lt=1 << 63)]
_DONE: Final = {"settle": "settled", "confirm": "confirmed", "dismiss": "dismissed", "reopen": "reopened"}


@router.get("/curator/conflicts")
async def conflicts(
    visitor: VisitorOf, state: Literal["open", "settled"] = "open", before: Undo = 0, undo: Undo = 0
) -> Response:
    """Show contradictions with both digests."""
    return await _conflicts(visitor, state, before, None, undo)


@router.post("/curator/conflicts/{conflict_id}/{act}")
async def decide_conflict(visitor: VisitorOf, conflict_id: Id, act: Act) -> Response:
    """Settle a contradiction, or take that back."""
    body = {"note": text_of(await visitor.form(), "note")}
    try:
        await visitor.ask("POST", f"/v1/admin/conflicts/{conflict_id}/{act}", body=body)
    except Refusal as refusal:
        return await _conflicts(visitor, "open", 0, refusal)
    undo = {"undo": str(conflict_id)} if act == "settle" else {}
    return visitor.go("/curator/conflicts", done=_DONE[act], **undo)


@router.get("/curator/quality")
async def quality(
    visitor: VisitorOf,
    state: Literal["open", "confirmed", "dismissed"] = "open",
    after: Undo = 0,
    undo: Undo = 0,
) -> Response:
    """Show doubts about images with what was found or said."""
    return await _quality(visitor, state, after, None, undo)


@router.post("/curator/quality/{task_id}/{act}")
async def decide_quality(visitor: VisitorOf, task_id: Id, act: Decision) -> Response:
    """Confirm or dismiss a doubt, or take that back."""
    body = {"note": text_of(await visitor.form(), "note")}
    try:
        await visitor.ask("POST", f"/v1/admin/quality/{task_id}/{act}", body=body)
    except Refusal as refusal:
        return await _quality(visitor, "open", 0, refusal)
    undo = {} if act == "reopen" else {"undo": str(task_id)}
    return visitor.go("/curator/quality", done=_DONE[act], **undo)


async def _conflicts(
    visitor: Visitor, state: str, before: int, refusal: Refusal | None, undo: int = 0
) -> Response:
    query = {"state": state, "before": before, "limit": PAGE}
    rows = (await visitor.ask("GET", "/v1/admin/conflicts", query))["conflicts"]
    return visitor.page(
        "curator/conflicts.html",
        refusal.status if refusal else 200,
        rows=rows,
        state=state,
        refusal=refusal,
        undo=undo,
        more=rows[-1]["id"] if len(rows) == PAGE else 0,
    )


async def _quality(
    visitor: Visitor, state: str, after: int, refusal: Refusal | None, undo: int = 0
) -> Response:
    query = {"state": state, "after": after, "limit": PAGE}
    rows = (await visitor.ask("GET", "/v1/admin/quality", query))["tasks"]
    return visitor.page(
        "curator/quality.html",
        refusal.status if refusal else 200,
        rows=rows,
        state=state,
        refusal=refusal,
        undo=undo,
        more=rows[-1]["task_id"] if len(rows) == PAGE else 0,
    )
