"""Questions about figures that are not plausible, and the regulators' forms filled in."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from catalog.plausibility import months_before
from catalog.rules import local_day
from exchange.web.narrowing import Narrowing, page_of
from exchange.web.regulator import at_once, names_of, number_of, refused
from exchange.web.visitor import Refusal, VisitorOf

router = APIRouter(include_in_schema=False)
_ROWS: Final = 20


@router.get("/regulator/questions")
async def questions(visitor: VisitorOf) -> Response:
    """Show what should be asked about: what was seen, what was expected and why; never a verdict.

    Without months it is of this one, and leads to the one before: each is read from every decision of it.
    """
    asked = Narrowing.of(visitor.request)
    now = local_day(visitor.request.app.state.catalogue.clock())
    if not asked["from"] and not asked["to"]:
        asked = asked.but(**{"from": f"{now:%Y-%m}"})
    offset = number_of(visitor, "offset")
    query = {**asked.only("from", "to", "hospital"), "offset": offset, "limit": _ROWS}
    try:
        names, told = await at_once(names_of(visitor), visitor.ask("GET", "/v1/savings/questions", query))
    except Refusal as refusal:
        return await refused(visitor, asked, refusal, path="/regulator/questions")
    return visitor.page(
        "regulator/questions.html",
        asked=asked.within(told),
        names=names,
        told=told,
        offset=offset,
        rows_of_a_page=_ROWS,
        month_before=f"{months_before(now, 1):%Y-%m}",
        entries_of=lambda question: page_of("/regulator/entries", question["entries"]),
    )


@router.get("/regulator/forms")
async def forms(visitor: VisitorOf) -> Response:
    """Show which forms there are."""
    told = await visitor.ask("GET", "/v1/savings/forms")
    return visitor.page("regulator/forms.html", forms=told["forms"])


@router.get("/regulator/forms/{form_name}")
async def form(visitor: VisitorOf, form_name: str) -> Response:
    """Show one form, and filled in for some months once they are chosen; what is not known is told as that."""
    asked = Narrowing.of(visitor.request)
    if not asked.given:
        listed = await visitor.ask("GET", "/v1/savings/forms")
        found = [each for each in listed["forms"] if each["form"] == form_name]
        if found:
            return visitor.page("regulator/form.html", asked=asked, told=found[0], groups=[])
    try:
        told = await visitor.ask("GET", f"/v1/savings/forms/{form_name}", asked.only("from", "to"))
    except Refusal as refusal:
        return await refused(visitor, asked, refusal, path=f"/regulator/forms/{form_name}")
    groups: list[tuple[str, str, int]] = []
    for column in told["columns"]:
        above = (column["group_zh"], column["group_en"])
        if groups and groups[-1][:2] == above:
            groups[-1] = (*above, groups[-1][2] + 1)
        else:
            groups.append((*above, 1))
    return visitor.page("regulator/form.html", asked=asked.within(told), told=told, groups=groups)
