"""A curator's start: what waits in every queue, and the lists in which there is nothing to rule on."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import Response

from exchange.web.forms import text_of
from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)
PAGE: Final = 50

Before = Annotated[int, Query(ge=0, lt=1 << 63)]
Hospital = Annotated[str, Query(max_length=32)]


@router.get("/curator")
async def start(visitor: VisitorOf) -> Response:
    """Show every queue with its count and what it needs; the part that changes fetches itself again."""
    told = await visitor.ask("GET", "/v1/admin/queues")
    return visitor.page("curator/queues.html" if visitor.is_htmx else "curator/start.html", told=told)


@router.get("/curator/unmapped")
async def unmapped(visitor: VisitorOf, hospital: Hospital = "", before: Before = 0) -> Response:
    """Show studies on no list, newest first."""
    told = await _listed(visitor, "/v1/admin/unmapped", "studies", hospital=hospital, before=before)
    return visitor.page("curator/unmapped.html", hospital=hospital, **told)


@router.get("/curator/reports")
async def reports(visitor: VisitorOf) -> Response:
    """Show reports that wait for a study or for a ruling."""
    told = await visitor.ask("GET", "/v1/admin/reports", {"limit": PAGE})
    return visitor.page("curator/reports.html", rows=told["reports"])


@router.get("/curator/withdrawn")
async def withdrawn(visitor: VisitorOf, hospital: Hospital = "", before: Before = 0) -> Response:
    """Show what hospitals took back."""
    return await _withdrawn(visitor, hospital, before, None)


@router.post("/curator/withdrawn/{act}")
async def turn(visitor: VisitorOf, act: str) -> Response:
    """Let a withdrawn study stand again, or withdraw one for its hospital."""
    form = await visitor.form()
    code, way = text_of(form, "hospital"), "restore" if act == "restore" else "withdraw"
    body = {"StudyInstanceUID": text_of(form, "uid"), "reason": text_of(form, "reason")}
    try:
        await visitor.ask("POST", f"/v1/admin/hospitals/{code or '-'}/studies/{way}", body=body)
    except Refusal as refusal:
        return await _withdrawn(visitor, "", 0, refusal)
    return visitor.go("/curator/withdrawn", done="restored" if way == "restore" else "withdrawn")


@router.get("/curator/history")
async def history(visitor: VisitorOf, before: Before = 0, events_before: Before = 0) -> Response:
    """Show what was decided, the newest first, each with the way to take it back."""
    answered = await visitor.ask("GET", "/v1/admin/reviews/history", {"before": before, "limit": PAGE})
    events = await visitor.ask("GET", "/v1/admin/people/history", {"before": events_before, "limit": PAGE})
    return visitor.page(
        "curator/history.html",
        tasks=answered["tasks"],
        events=events["events"],
        before=before,
        events_before=events_before,
        more=answered["tasks"][-1]["id"] if len(answered["tasks"]) == PAGE else 0,
        more_events=events["events"][-1]["event_id"] if len(events["events"]) == PAGE else 0,
    )


async def _withdrawn(visitor: Visitor, hospital: str, before: int, refusal: Refusal | None) -> Response:
    told = await _listed(visitor, "/v1/admin/withdrawn", "studies", hospital=hospital, before=before)
    status = refusal.status if refusal else 200
    return visitor.page("curator/withdrawn.html", status, hospital=hospital, refusal=refusal, **told)


async def _listed(visitor: Visitor, path: str, name: str, **query: Any) -> dict[str, Any]:
    """Return a page of rows, and the id below which the next one begins, or 0."""
    rows = (await visitor.ask("GET", path, {**query, "limit": PAGE}))[name]
    return {"rows": rows, "more": rows[-1]["id"] if len(rows) == PAGE else 0, "before": query["before"]}
