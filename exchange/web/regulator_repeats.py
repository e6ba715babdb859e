"""The other side of the account as pages: avoidable repeats, each of them, why doctors refused, and what hospitals bring."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from catalog.supply_steps import LIMITS_HOURS
from exchange.web import charts
from exchange.web.narrowing import Narrowing
from exchange.web.regulator import CUTS, at_once, names_of, number_of, refused
from exchange.web.visitor import Refusal, VisitorOf

router = APIRouter(include_in_schema=False)
_ROWS: Final = 50
_CUTS: Final = ("month", "district", "hospital", "tier", "item")
_SUPPLY_CUTS: Final = ("hospital", "district", "tier", "item", "category", "month")
_HOURS: Final = tuple(str(hours) for hours in LIMITS_HOURS)


@router.get("/regulator/repeats")
async def repeats(visitor: VisitorOf) -> Response:
    """Show what was examined again although another result could be recognised, by how that came."""
    asked = Narrowing.of(visitor.request, "as_of", "by")
    by = asked["by"] if asked["by"] in _CUTS else "month"
    offset = number_of(visitor, "offset")
    order = "key" if by == "month" else "cost"
    query = asked.query(group_by=by, order=order, offset=offset, limit=_ROWS, by=None)
    try:
        names, told = await at_once(names_of(visitor), visitor.ask("GET", "/v1/savings/repeats", query))
    except Refusal as refusal:
        return await refused(visitor, asked, refusal, path="/regulator/repeats", as_of=True, by=by)
    return visitor.page(
        "regulator/repeats.html",
        asked=asked.within(told),
        names=names,
        told=told,
        by=by,
        cuts={name: CUTS[name] for name in _CUTS},
        offset=offset,
        rows_of_a_page=_ROWS,
        kinds=charts.KINDS,
        avoidable=charts.AVOIDABLE,
        chart=charts.repeats(
            visitor.lang,
            "stacked" if by == "month" else "piled",
            [names.of(by, row[by]) for row in told["rows"]],
            told["rows"],
        ),
    )


@router.get("/regulator/repeats/entries")
async def repeat_entries(visitor: VisitorOf) -> Response:
    """Show single repeats behind a figure, without names, a page of them."""
    asked = Narrowing.of(visitor.request, "as_of", "kind", "superseded")
    after = number_of(visitor, "after")
    query = asked.query(group_by="month", limit=1, kind=None, superseded=None)
    try:
        names, page, whole = await at_once(
            names_of(visitor),
            visitor.ask("GET", "/v1/savings/repeats/entries", asked.query(after=after, limit=_ROWS)),
            visitor.ask("GET", "/v1/savings/repeats", query),
        )
    except Refusal as refusal:
        return await refused(visitor, asked, refusal, path="/regulator/repeats/entries", as_of=True)
    return visitor.page(
        "regulator/repeat_entries.html",
        asked=asked.within(whole),
        names=names,
        page=page,
        whole=whole,
        after=after,
        kinds=charts.KINDS,
    )


@router.get("/regulator/reasons")
async def reasons(visitor: VisitorOf) -> Response:
    """Show why results were not recognised, and how many reminders nobody answered."""
    asked = Narrowing.of(visitor.request)
    try:
        names, told = await at_once(
            names_of(visitor), visitor.ask("GET", "/v1/savings/reasons", asked.query())
        )
    except Refusal as refusal:
        return await refused(visitor, asked, refusal, path="/regulator/reasons")
    return visitor.page("regulator/reasons.html", asked=asked.within(told), names=names, told=told)


@router.get("/regulator/supply")
async def supply(visitor: VisitorOf) -> Response:
    """Show what hospitals bring, how soon and how whole, and how it is used."""
    asked = Narrowing.of(visitor.request, "by", "within_hours")
    by = asked["by"] if asked["by"] in _SUPPLY_CUTS else "hospital"
    offset = number_of(visitor, "offset")
    query = asked.query(group_by=by, offset=offset, limit=_ROWS, by=None)
    try:
        names, told = await at_once(names_of(visitor), visitor.ask("GET", "/v1/savings/supply", query))
    except Refusal as refusal:
        return await refused(visitor, asked, refusal, path="/regulator/supply", by=by)
    return visitor.page(
        "regulator/supply.html",
        asked=asked.within(told),
        names=names,
        told=told,
        by=by,
        cuts={name: CUTS[name] for name in _SUPPLY_CUTS},
        hours=_HOURS,
        offset=offset,
        rows_of_a_page=_ROWS,
    )
