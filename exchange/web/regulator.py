"""The regulator's first page, and his figures by one cut: what was saved, how much was recognised, what was repeated."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import Response

from exchange.web import charts
from exchange.web.narrowing import Narrowing, page_of
from exchange.web.readings import Readings
from exchange.web.texts import msgid, say
from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)
CUTS: Final[Mapping[str, str]] = {
    "month": msgid("月份"),
    "district": msgid("区县"),
    "hospital": msgid("机构"),
    "tier": msgid("等级"),
    "item": msgid("项目"),
    "category": msgid("类别"),
    "department": msgid("科室"),
    "issuing_hospital": msgid("出具机构"),
    "day": msgid("日期"),
}
RANKED: Final[Mapping[str, str]] = {
    "district": msgid("各区县净节约"),
    "hospital": msgid("净节约最多的机构"),
    "item": msgid("净节约最多的项目"),
}
_IN_TIME: Final = frozenset({"month", "day"})
_RANKED: Final = 15
_ROWS: Final = 50
_MONTHS: Final = 120
_CHOICES: Final = 150


class Names:
    """What hospitals, districts, items, tiers and categories are called, by their codes."""

    def __init__(self, axes: Mapping[str, Sequence[Mapping[str, Any]]], read: Readings) -> None:
        self.axes = axes
        self._read = read
        self._of = {
            name: {each["code"]: each for each in axes[many]}
            for name, many in (
                ("hospital", "hospitals"),
                ("issuing_hospital", "hospitals"),
                ("district", "districts"),
                ("tier", "tiers"),
                ("item", "items"),
                ("category", "categories"),
            )
        }

    def of(self, name: str, code: str | None) -> str:
        """Return the name behind a code, or the code where it has none."""
        found = self._of.get(name, {}).get(code or "")
        if found is None:
            return self._dated(name, code or "")
        return self._read.told(found, "name")

    def near(self, district: str, hospital: str) -> list[Mapping[str, Any]] | None:
        """Return the hospitals to choose from: those of a district, or all where they are few; None of too many."""
        found = [
            each
            for each in self.axes["hospitals"]
            if not district or each["district"] == district or each["code"] == hospital
        ]
        return found if len(found) <= _CHOICES else None

    def _dated(self, name: str, code: str) -> str:
        if name == "month":
            return self._read.month(code)
        return self._read.day(code) if name == "day" else code


async def names_of(visitor: Visitor) -> Names:
    """Return what everything is called."""
    return Names(await visitor.ask("GET", "/v1/savings/axes"), Readings(visitor.lang))


@router.get("/regulator")
async def overview(visitor: VisitorOf) -> Response:
    """Show what was saved, recognised and repeated over time; what saved most comes as parts of the page."""
    asked = Narrowing.of(visitor.request, "as_of")
    try:
        names, months, repeats = await at_once(
            names_of(visitor),
            _savings(visitor, asked, "month", limit=_MONTHS),
            _repeats(visitor, asked, "month", limit=_MONTHS),
        )
    except Refusal as refusal:
        return await refused(visitor, asked, refusal, path="/regulator", as_of=True)
    return visitor.page(
        "regulator/overview.html",
        asked=asked.within(months),
        names=names,
        month=months,
        repeats=repeats,
        cuts=CUTS,
        ranked=RANKED,
        entries_of=_entries_of,
        chart=_chart(visitor, names, "month", months),
        repeat_chart=charts.repeats(
            visitor.lang,
            "stacked",
            [names.of("month", row["month"]) for row in repeats["rows"]],
            repeats["rows"],
        ),
        avoidable_kinds={kind: charts.KINDS[kind] for kind in charts.AVOIDABLE},
    )


@router.get("/regulator/ranked")
async def ranked(visitor: VisitorOf) -> Response:
    """Show the part of the first page that says which districts, hospitals or items saved most."""
    asked = Narrowing.of(visitor.request, "as_of", "by")
    by = asked["by"] if asked["by"] in RANKED else "district"
    names, told = await at_once(names_of(visitor), _savings(visitor, asked, by, order="net", limit=_RANKED))
    return visitor.page(
        "regulator/ranked.html",
        asked=asked,
        names=names,
        told=told,
        by=by,
        title=RANKED[by],
        cuts=CUTS,
        entries_of=_entries_of,
        chart=_chart(visitor, names, by, told),
    )


@router.get("/regulator/figures")
async def figures(visitor: VisitorOf) -> Response:
    """Show the figures by one cut, what saved most first, with what each row is made of."""
    asked = Narrowing.of(visitor.request, "as_of", "by")
    by = asked["by"] if asked["by"] in CUTS else "hospital"
    offset = number_of(visitor, "offset")
    page = {"order": _order(by), "offset": offset, "limit": _ROWS}
    try:
        names, told = await at_once(names_of(visitor), _savings(visitor, asked, by, **page))
    except Refusal as refusal:
        return await refused(visitor, asked, refusal, path="/regulator/figures", as_of=True, by=by)
    return visitor.page(
        "regulator/figures.html",
        asked=asked.within(told),
        names=names,
        told=told,
        by=by,
        cuts=CUTS,
        offset=offset,
        rows_of_a_page=_ROWS,
        entries_of=_entries_of,
        chart=_chart(visitor, names, by, told),
    )


async def at_once(*asks: Awaitable[Any]) -> list[Any]:
    """Return what several questions are answered, asked beside each other. Raises what the first of them does."""
    found = await asyncio.gather(*asks, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found


async def refused(
    visitor: Visitor, asked: Narrowing, refusal: Refusal, *, path: str, as_of: bool = False, by: str = ""
) -> Response:
    """Return the page that says what was wrong with what was asked, with the form to ask otherwise.

    Raises Refusal where nothing of the form was wrong.
    """
    if refusal.status != 422:
        raise refusal
    return visitor.page(
        "regulator/refused.html",
        422,
        asked=asked,
        names=await names_of(visitor),
        refusal=refusal,
        filtered=path,
        with_as_of=as_of,
        by=by,
    )


def number_of(visitor: Visitor, name: str) -> int:
    """Return a number that the address gives, or 0."""
    return _number(visitor.request.query_params.get(name, ""))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


async def _savings(visitor: Visitor, asked: Narrowing, by: str, **more: Any) -> Any:
    query = {name: value for name, value in asked.query(group_by=by, **more).items() if name != "by"}
    return await visitor.ask("GET", "/v1/savings", query)


async def _repeats(visitor: Visitor, asked: Narrowing, by: str, **more: Any) -> Any:
    return await visitor.ask("GET", "/v1/savings/repeats", asked.query(group_by=by, **more))


def _order(by: str) -> str:
    return "key" if by in _IN_TIME else "net"


def _entries_of(row: Mapping[str, Any]) -> str:
    return page_of("/regulator/entries", row["entries"])


def _chart(visitor: Visitor, names: Names, by: str, told: Mapping[str, Any]) -> Any:
    rows = told["rows"]
    labels = [names.of(by, row[by]) or say(msgid("未填写"), visitor.lang) for row in rows]
    drawn = charts.savings(visitor.lang, "time" if by in _IN_TIME else "ranked", labels, rows)
    return drawn | {"links": [_entries_of(row) for row in rows]}
