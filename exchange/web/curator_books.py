"""Quality evaluations and prices: listed, added, imported with every fault by line, ended; what expires, what lacks."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from exchange.web.forms import file_of, kept, text_of
from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)
PAGE: Final = 50
EXPIRING_DAYS: Final = 60
After = Annotated[int, Query(ge=0, lt=1 << 63)]
Text = Annotated[str, Query(max_length=64)]
_QC: Final = ("hospital", "item", "scope", "from", "to")


@router.get("/curator/evaluations")
async def evaluations(
    visitor: VisitorOf, hospital: Annotated[str, Query(max_length=32)] = "", after: After = 0
) -> Response:
    """Show evaluations and what expires, and the forms for new ones."""
    return await _evaluations(visitor, hospital=hospital, after=after)


@router.post("/curator/evaluations")
async def add_evaluation(visitor: VisitorOf) -> Response:
    """Record one evaluation."""
    form = await visitor.form()
    given: dict[str, Any] = {name: text_of(form, name) for name in _QC}
    try:
        body = {**given, "passed": text_of(form, "passed") != "no"}
        await visitor.ask("POST", "/v1/admin/qc", body=body)
    except Refusal as refusal:
        return await _evaluations(visitor, given=given, refusal=refusal)
    return visitor.go("/curator/evaluations", done="added", hospital=given["hospital"])


@router.post("/curator/evaluations/import")
async def import_evaluations(visitor: VisitorOf) -> Response:
    """Say what a file would add, or add it."""
    form = await visitor.form()
    content, trial = await file_of(form), text_of(form, "way") != "import"
    try:
        query = {"dry_run": "true" if trial else "false"}
        told = await visitor.ask("POST", "/v1/admin/qc/import", query, content)
    except Refusal as refusal:
        return await _evaluations(visitor, file_refusal=refusal)
    if trial:
        return await _evaluations(visitor, told=told, kept=kept(content))
    return visitor.go("/curator/evaluations", done="imported")


@router.post("/curator/evaluations/{evaluation_id}/end")
async def end_evaluation(
    visitor: VisitorOf, evaluation_id: Annotated[int, Path(ge=1, lt=1 << 63)]
) -> Response:
    """End an evaluation early."""
    body = {"last_day": text_of(await visitor.form(), "last_day")}
    try:
        await visitor.ask("POST", f"/v1/admin/qc/{evaluation_id}/end", body=body)
    except Refusal as refusal:
        return await _evaluations(visitor, refusal=refusal)
    return visitor.go("/curator/evaluations", done="ended")


@router.get("/curator/prices")
async def prices(
    visitor: VisitorOf,
    on: Annotated[str, Query(max_length=10)] = "",
    scope_kind: Literal["", "hospital", "region", "tier"] = "",
    scope: Text = "",
    item: Annotated[str, Query(max_length=32)] = "",
    after: After = 0,
) -> Response:
    """Show the prices of a day, and the form for new ones."""
    asked = {"on": on, "scope_kind": scope_kind, "scope": scope, "item": item, "after": after}
    return await _prices(visitor, asked)


@router.post("/curator/prices")
async def import_prices(visitor: VisitorOf) -> Response:
    """Say what a file would add, or add it."""
    form = await visitor.form()
    content, trial = await file_of(form), text_of(form, "way") != "import"
    source = text_of(form, "source")
    try:
        query = {"dry_run": "true" if trial else "false", "source": source}
        told = await visitor.ask("POST", "/v1/admin/prices/import", query, content)
    except Refusal as refusal:
        return await _prices(visitor, {}, refusal=refusal, source=source)
    if trial:
        return await _prices(visitor, {}, told=told, kept=kept(content), source=source)
    return visitor.go("/curator/prices", done="imported")


@router.get("/curator/prices/gaps")
async def gaps(visitor: VisitorOf, after: Annotated[str, Query(max_length=32)] = "") -> Response:
    """Show which hospitals have no price for which items today."""
    rows = (await visitor.ask("GET", "/v1/admin/prices/gaps", {"after": after, "limit": PAGE}))["gaps"]
    more = rows[-1]["hospital"] if len(rows) == PAGE else ""
    return visitor.page("curator/gaps.html", rows=rows, more=more, after=after)


async def _evaluations(visitor: Visitor, *, hospital: str = "", after: int = 0, **told: Any) -> Response:
    shown = {
        "refusal": None,
        "file_refusal": None,
        "told": None,
        "kept": "",
        "given": {**dict.fromkeys(_QC, ""), "hospital": hospital},
    } | told
    query = {"hospital": hospital, "after": after, "limit": PAGE}
    rows = (await visitor.ask("GET", "/v1/admin/qc", query))["evaluations"]
    expiring = (await visitor.ask("GET", "/v1/admin/qc/expiring", {"days": EXPIRING_DAYS}))["evaluations"]
    refusal = shown["refusal"] or shown["file_refusal"]
    return visitor.page(
        "curator/evaluations.html",
        refusal.status if refusal else 200,
        rows=rows,
        expiring=expiring,
        hospital=hospital,
        after=after,
        days=EXPIRING_DAYS,
        more=rows[-1]["id"] if len(rows) == PAGE else 0,
        **shown,
    )


async def _prices(visitor: Visitor, asked: dict[str, Any], **told: Any) -> Response:
    asked = {"on": "", "scope_kind": "", "scope": "", "item": "", "after": 0} | asked
    shown = {"refusal": None, "told": None, "kept": "", "source": ""} | told
    try:
        rows = (await visitor.ask("GET", "/v1/admin/prices", {**asked, "limit": PAGE}))["prices"]
    except Refusal as refusal:
        rows, shown["refusal"] = [], refusal
    return visitor.page(
        "curator/prices.html",
        shown["refusal"].status if shown["refusal"] else 200,
        rows=rows,
        asked=asked,
        more=rows[-1]["id"] if len(rows) == PAGE else 0,
        **shown,
    )
