"""The page for everybody: which items are recognised, which institutions take part, and their marks."""

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import Response

from exchange.figures import NoNul
from exchange.web.visitor import AnybodyOf

router = APIRouter(include_in_schema=False)
_ROWS: Final = 50


@router.get("/public")
async def institutions(
    visitor: AnybodyOf,
    text: Annotated[str, Query(max_length=64, pattern=NoNul)] = "",
    district: Annotated[str, Query(max_length=32, pattern=NoNul)] = "",
    offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
) -> Response:
    """Show institutions and their marks, and the way to the items."""
    asked = {"text": text, "district": district, "offset": offset, "limit": _ROWS}
    found = await visitor.ask("GET", "/v1/public/institutions", asked)
    listed = await visitor.ask("GET", "/v1/public/items")
    named = urlencode({"text": text, "district": district})
    return visitor.page(
        "public/institutions.html",
        found=found,
        listed=listed,
        text=text,
        district=district,
        rows=_ROWS,
        query=f"{named}&",
    )


@router.get("/public/items")
async def items(visitor: AnybodyOf) -> Response:
    """Show every recognised item."""
    return visitor.page("public/items.html", listed=await visitor.ask("GET", "/v1/public/items"))
