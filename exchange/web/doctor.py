"""The doctor's room: the form before ordering, what a hospital's system handed over, today's list, the notices."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from catalog.identity import DOCUMENT_TYPES, NEWBORN
from exchange.web import doctor_forms
from exchange.web.doctor_forms import Entered
from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)

MOST_NOTICES: Final = 100
_PAGE: Final = 50


@router.get("/doctor")
async def form(visitor: VisitorOf) -> Response:
    """Show an empty form."""
    return await _form(visitor, Entered())


@router.post("/doctor")
async def ask(visitor: VisitorOf) -> Response:
    """Ask, and go on to the answer; a form that is not whole yet is only shown again, with one more row if wanted."""
    given = await visitor.form()
    entered, act = doctor_forms.of_form(given), given.get("act")
    if act != "ask":
        return await _form(visitor, entered.with_another() if act == "more" else entered, kept=True)
    try:
        return await _asked(visitor, entered)
    except Refusal as refusal:
        return await _form(visitor, entered, refusal)


@router.get("/doctor/launched")
async def launched(visitor: VisitorOf) -> Response:
    """Ask what a hospital's system handed over; without orders, the form has the patient already."""
    try:
        carried = await visitor.ask("GET", "/v1/session/launch")
    except Refusal as refusal:
        if refusal.status != 404:
            raise
        return visitor.go("/doctor")
    entered = doctor_forms.of_launch(carried)
    if not carried["orders"]:
        return await _form(visitor, entered)
    try:
        return await _answered(visitor, carried)
    except Refusal as refusal:
        return await _form(visitor, entered, refusal)


@router.get("/doctor/today")
async def today(visitor: VisitorOf, cursor: UUID | None = None) -> Response:
    """Show what one asked today, newest first."""
    query = {"cursor": cursor, "limit": _PAGE}
    found = await visitor.ask("GET", "/v1/checks", query)
    return visitor.page("doctor/today.html", found=found, news=await _news(visitor), cursor=cursor)


@router.get("/doctor/notices")
async def notices(
    visitor: VisitorOf, every: bool = False, after: Annotated[int, Query(ge=0, lt=1 << 63)] = 0
) -> Response:
    """Show what happened to results that were relied on."""
    query = {"unread": "" if every else "true", "after": after, "limit": MOST_NOTICES}
    found = await visitor.ask("GET", "/v1/notices", query)
    return visitor.page("doctor/notices.html", notices=found["notices"], every=every, most=MOST_NOTICES)


@router.post("/doctor/notices/{notice_id}/read")
async def read_notice(visitor: VisitorOf, notice_id: Annotated[int, Path(ge=1, lt=1 << 63)]) -> Response:
    """Note that a notice was read."""
    await visitor.ask("POST", f"/v1/notices/{notice_id}/read")
    return visitor.go("/doctor/notices", done="read")


async def _asked(visitor: Visitor, entered: Entered) -> Response:
    listed = await visitor.ask("GET", "/v1/items")
    codes = (item["code"] for item in listed["items"])
    return await _answered(visitor, doctor_forms.question(entered, codes))


async def _answered(visitor: Visitor, body: dict[str, Any]) -> Response:
    answer = await visitor.ask("POST", "/v1/checks", body=body)
    await visitor.call("DELETE", "/v1/session/launch")  # if anything was handed over: it has been asked about
    return visitor.go(f"/doctor/checks/{answer['check_id']}")


async def _form(
    visitor: Visitor, entered: Entered, refusal: Refusal | None = None, *, kept: bool = False
) -> Response:
    listed = await visitor.ask("GET", "/v1/items")
    documents = [
        (each.code, each.en if visitor.lang == "en" else each.zh)
        for each in DOCUMENT_TYPES.values()
        if each.code != NEWBORN
    ]
    return visitor.page(
        "doctor/form.html",
        refusal.status if refusal else 200,
        entered=entered,
        refusal=refusal,
        kept=kept,
        items=listed["items"],
        asks={
            each["code"]: [each["laterality"] == "paired", each["spans_body_parts"]]
            for each in listed["items"]
        },
        documents=documents,
        most_orders=doctor_forms.MOST_ORDERS,
        news=await _news(visitor),
    )


async def _news(visitor: Visitor) -> int:
    """Return how many notices nobody has read, up to the most that are shown at once."""
    answered = await visitor.call("GET", "/v1/notices", {"unread": "true", "limit": MOST_NOTICES})
    return len(answered.json()["notices"]) if answered.status == 200 else 0
