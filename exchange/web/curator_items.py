"""Versions of the recognised list: read, compared, tried and imported; and mapping earlier studies again."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from exchange.web.forms import file_of, kept, text_of
from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)
Version = Annotated[str, Query(max_length=64)]
Region = Annotated[str, Query(max_length=32)]
_FIELDS = ("version", "effective_from", "title", "source", "region")


@router.get("/curator/items")
async def versions(visitor: VisitorOf) -> Response:
    """Show every version, and the form by which another is imported."""
    return await _versions(visitor)


@router.post("/curator/items")
async def import_list(visitor: VisitorOf) -> Response:
    """Say what a file would change, or import it."""
    form = await visitor.form()
    content = await file_of(form)
    given = {name: text_of(form, name) for name in _FIELDS}
    trial = text_of(form, "way") != "import"
    try:
        query = {**given, "dry_run": "true" if trial else "false"}
        told = await visitor.ask("POST", "/v1/admin/item-lists", query, content)
    except Refusal as refusal:
        return await _versions(visitor, given=given, refusal=refusal)
    if trial:
        return await _versions(visitor, given=given, told=told, kept=kept(content))
    return visitor.go("/curator/items", done="imported")


@router.get("/curator/items/diff")
async def diff(
    visitor: VisitorOf, version: Version = "", against: Version = "", region: Region = ""
) -> Response:
    """Show what a version adds, drops and alters against another."""
    query = {"against": against or version, "region": region}
    told = await visitor.ask("GET", f"/v1/admin/item-lists/{version or '-'}/diff", query)
    listed = await visitor.ask("GET", f"/v1/admin/item-lists/{version}", {"region": region})
    named = {each["code"]: each for each in listed["items"]}
    return visitor.page("curator/diff.html", told=told, named=named)


@router.get("/curator/items/version/{version}")
async def one(
    visitor: VisitorOf, version: Annotated[str, Path(max_length=64)], region: Region = ""
) -> Response:
    """Show one version as it was imported."""
    told = await visitor.ask("GET", f"/v1/admin/item-lists/{version}", {"region": region})
    return visitor.page("curator/version.html", told=told)


@router.get("/curator/remap")
async def remap_state(visitor: VisitorOf) -> Response:
    """Show how far mapping again is."""
    told = await visitor.ask("GET", "/v1/admin/remap")
    return visitor.page("curator/remap.html", told=told, done_now=None)


@router.post("/curator/remap/effect")
async def remap_effect(visitor: VisitorOf) -> Response:
    """Show what mapping again would change; it is tried on the newest studies and nothing is kept."""
    told = await visitor.ask("GET", "/v1/admin/remap", {"effect": "true"})
    return visitor.page("curator/remap.html", told=told, done_now=None)


@router.post("/curator/remap")
async def remap(visitor: VisitorOf) -> Response:
    """Go on with mapping again; the page sends this until it is done."""
    done_now = await visitor.ask("POST", "/v1/admin/remap")
    if visitor.is_htmx:
        return visitor.page("curator/remap_progress.html", done_now=done_now)
    if done_now["state"] == "done":
        return visitor.go("/curator/remap", done="remapped")
    told = await visitor.ask("GET", "/v1/admin/remap")
    return visitor.page("curator/remap.html", told=told, done_now=done_now)


async def _versions(
    visitor: Visitor,
    *,
    given: dict[str, str] | None = None,
    told: dict[str, Any] | None = None,
    kept: str = "",
    refusal: Refusal | None = None,
) -> Response:
    listed = (await visitor.ask("GET", "/v1/admin/item-lists"))["versions"]
    return visitor.page(
        "curator/items.html",
        refusal.status if refusal else 200,
        versions=listed,
        given=given or dict.fromkeys(_FIELDS, ""),
        told=told,
        kept=kept,
        refusal=refusal,
    )
