"""The recount as pages: begun by a button, watched while it goes on, and its signed statement to be kept."""

from fastapi import APIRouter
from fastapi.responses import Response

from exchange.web.visitor import Refusal, VisitorOf

router = APIRouter(include_in_schema=False)


@router.get("/regulator/recount")
async def explain(visitor: VisitorOf) -> Response:
    """Say what a recount is, and let it be begun."""
    return visitor.page("regulator/recount.html", told=None, refusal=None)


@router.post("/regulator/recount")
async def begin(visitor: VisitorOf) -> Response:
    """Begin a recount, or go to one's own that is going on."""
    try:
        begun = await visitor.ask("POST", "/v1/savings/recounts")
    except Refusal as refusal:
        if refusal.status != 503:
            raise
        return visitor.page("regulator/recount.html", refusal.status, told=None, refusal=refusal)
    return visitor.go(f"/regulator/recount/{begun['recount_id']}")


@router.get("/regulator/recount/{recount_id}")
async def watch(visitor: VisitorOf, recount_id: str) -> Response:
    """Show how far a recount is and at its end what it found; its part of the page asks for itself again."""
    try:
        told = await visitor.ask("GET", f"/v1/savings/recounts/{recount_id}")
    except Refusal as refusal:
        if refusal.status != 404 or visitor.is_htmx:
            raise
        return visitor.page("regulator/recount.html", refusal.status, told=None, refusal=refusal)
    template = "regulator/recount_progress.html" if visitor.is_htmx else "regulator/recount.html"
    return visitor.page(template, told=told, refusal=None)
