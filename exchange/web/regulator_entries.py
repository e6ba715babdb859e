"""From a figure to its entries, and from an entry to everything behind it: money, decision, check, prior, price, audit."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import Response

from exchange.web.narrowing import Narrowing
from exchange.web.regulator import at_once, names_of, number_of, refused
from exchange.web.texts import msgid
from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)
_ROWS: Final = 50
ENTRY_KINDS: Final[Mapping[str, str]] = {
    "saving": msgid("节约入账"),
    "reversal": msgid("冲回"),
    "reinstatement": msgid("恢复"),
}
CAUSES: Final[Mapping[str, str]] = {
    "decision": msgid("医生的决定"),
    "undo": msgid("决定被撤销"),
    "examination": msgid("又做了检查"),
}


@router.get("/regulator/entries")
async def entries(visitor: VisitorOf) -> Response:
    """Show the entries of the ledger behind a figure, a page of them."""
    asked = Narrowing.of(visitor.request, "as_of", "department", "issuing_hospital", "day")
    after = number_of(visitor, "after")
    try:
        names, page, whole = await at_once(
            names_of(visitor),
            visitor.ask("GET", "/v1/savings/entries", asked.query(after=after, limit=_ROWS)),
            _whole(visitor, asked),
        )
    except Refusal as refusal:
        return await refused(visitor, asked, refusal, path="/regulator/entries", as_of=True)
    return visitor.page(
        "regulator/entries.html",
        asked=asked if whole is None else asked.within(whole),
        names=names,
        page=page,
        whole=whole,
        after=after,
        rows_of_a_page=_ROWS,
        kinds=ENTRY_KINDS,
        causes=CAUSES,
    )


@router.get("/regulator/entries/{entry_id}")
async def entry(visitor: VisitorOf, entry_id: str) -> Response:
    """Show everything behind one entry, without a name; a regulator may open an investigation from here."""
    return await shown_entry(visitor, entry_id)


async def shown_entry(
    visitor: Visitor, entry_id: str, *, refusal: Refusal | None = None, reason: str = "", status: int = 200
) -> Response:
    """Return the page of an entry, with what was wrong with the form on it. Raises Refusal."""
    names, chain = await at_once(names_of(visitor), visitor.ask("GET", f"/v1/savings/entries/{entry_id}"))
    mine = await _open_investigations(visitor, chain) if visitor.role == "regulator" else []
    return visitor.page(
        "regulator/entry.html",
        status,
        names=names,
        chain=chain,
        kinds=ENTRY_KINDS,
        causes=CAUSES,
        mine=mine,
        person=None,
        refusal=refusal,
        reason=reason,
    )


async def _open_investigations(visitor: Visitor, chain: Mapping[str, Any]) -> list[Any]:
    """Return one's own open investigations of the same hospital and item: whether one reaches the entry, the API says."""
    found = await visitor.ask("GET", "/v1/investigations", {"limit": 1000})
    about = (chain["entry"]["hospital"], chain["entry"]["item"])
    return [
        each
        for each in found["investigations"]
        if each["open"] and (each["scope"]["hospital"], each["scope"]["item"]) == about
    ]


async def _whole(visitor: Visitor, asked: Narrowing) -> Any:
    """Return the figures of all these entries, where they are a cut that figures are told of."""
    if any(asked[name] for name in ("department", "issuing_hospital", "day")):
        return None
    return await visitor.ask("GET", "/v1/savings", asked.query(group_by="month", limit=1))
