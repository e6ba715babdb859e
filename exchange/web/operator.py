"""The operator's first pages: how the exchange runs now, how each hospital stands, and the audit's chain."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import Response

from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)
_ROWS: Final = 50
Offset = Annotated[int, Query(ge=0, le=1_000_000)]


@router.get("/operator")
async def running(visitor: VisitorOf) -> Response:
    """Show how the exchange runs; the page fetches the middle of itself again and again."""
    return await _now(visitor, "operator/running.html")


@router.get("/operator/now")
async def now(visitor: VisitorOf) -> Response:
    """Show that middle alone, for the page that shows it; whoever opens the address gets a page too."""
    return await _now(visitor, "operator/now.html" if visitor.is_htmx else "operator/running.html")


@router.get("/operator/hospitals")
async def hospitals(visitor: VisitorOf, offset: Offset = 0) -> Response:
    """Show when each hospital was last heard of, and what of a day was refused."""
    found = await visitor.ask("GET", "/v1/admin/running/hospitals", {"offset": offset, "limit": _ROWS})
    refused = await visitor.ask("GET", "/v1/admin/running/refusals")
    return visitor.page("operator/hospitals.html", found=found, refusals=refused["refusals"])


@router.get("/operator/audit")
async def audit(visitor: VisitorOf) -> Response:
    """Show how the audit's chain stands."""
    told = await visitor.ask("GET", "/v1/admin/running")
    return visitor.page("operator/audit.html", told=told)


async def _now(visitor: Visitor, template: str) -> Response:
    told: dict[str, Any] | None = None
    refusal: Refusal | None = None
    try:
        told = await visitor.ask("GET", "/v1/admin/running")
    except Refusal as error:  # a database that is down is what the page is for
        refusal = error
    return visitor.page(template, told=told, refusal=refusal)
