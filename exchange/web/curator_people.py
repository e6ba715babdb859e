"""Whose a number, a study or a report is: the people side by side, a ruling each, and everything taken back."""

from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.datastructures import FormData

from exchange.web.forms import number_of, text_of
from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)
PAGE: Final = 50
_WAYS: Final = {"accept": "accepted", "reject": "rejected"}


@router.get("/curator/identity")
async def identity(visitor: VisitorOf, undo: str = "") -> Response:
    """Show what waits for a ruling."""
    return await _queue(visitor, None, undo=undo[:20])


@router.post("/curator/identity/undo")
async def undo_event(visitor: VisitorOf) -> Response:
    """Take a ruling or a merge back."""
    form = await visitor.form()
    body = {"event_id": number_of(form, "event"), "reason": text_of(form, "reason")}
    try:
        await visitor.ask("POST", "/v1/admin/people/undo", body=body)
    except Refusal as refusal:
        return await _queue(visitor, refusal)
    return visitor.go("/curator/identity", done="undone")


@router.post("/curator/identity/merge")
async def merge(visitor: VisitorOf) -> Response:
    """Find two people to be one."""
    form = await visitor.form()
    body = {
        "person_id": number_of(form, "person"),
        "into_person_id": number_of(form, "into"),
        "reason": text_of(form, "reason"),
        "despite_conflicts": text_of(form, "despite") == "yes",
    }
    try:
        done = await visitor.ask("POST", "/v1/admin/people/merge", body=body)
    except Refusal as refusal:
        return await _person(visitor, form, refusal)
    return visitor.go("/curator/identity", done="merged", undo=str(done["event_id"]))


@router.post("/curator/identity/rule")
async def rule(visitor: VisitorOf) -> Response:
    """Accept or reject a claim."""
    form = await visitor.form()
    way = "accept" if text_of(form, "way") == "accept" else "reject"
    body: dict[str, Any] = {"person_id": number_of(form, "person"), "reason": text_of(form, "reason")}
    body |= {
        f"{kind}_id": found
        for kind in ("alias", "study", "report")
        if (found := number_of(form, kind)) is not None
    }
    try:
        done = await visitor.ask("POST", f"/v1/admin/people/{way}", body=body)
    except Refusal as refusal:
        return await _queue(visitor, refusal)
    return visitor.go("/curator/identity", done=_WAYS[way], undo=str(done["event_id"]))


@router.get("/curator/people")
async def search(visitor: VisitorOf) -> Response:
    """Show the form by which a person is found; what is typed stands in no address."""
    return visitor.page("curator/person.html", person=None, refusal=None)


@router.post("/curator/people")
async def person(visitor: VisitorOf) -> Response:
    """Show one person with numbers, studies and everything that was decided."""
    return await _person(visitor, await visitor.form(), None)


async def _person(visitor: Visitor, form: FormData, refusal: Refusal | None) -> Response:
    known = number_of(form, "person")
    told = {"id_type": text_of(form, "id_type") or "01", "id_number": text_of(form, "id_number")}
    body = {"person_id": known} if known is not None else {"patient": told}
    found = None
    try:
        found = await visitor.ask("POST", "/v1/admin/people/show", body=body)
    except Refusal as error:
        refusal = refusal or error
    return visitor.page(
        "curator/person.html", refusal.status if refusal else 200, person=found, refusal=refusal
    )


async def _queue(visitor: Visitor, refusal: Refusal | None, undo: str = "") -> Response:
    queue = await visitor.ask("GET", "/v1/admin/people/queue", {"limit": PAGE})
    numbers: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in queue["numbers"]:
        numbers.setdefault((row["hospital"], row["kind"], row["number"]), []).append(row)
    return visitor.page(
        "curator/identity.html",
        refusal.status if refusal else 200,
        numbers=list(numbers.values()),
        studies=queue["studies"],
        reports=queue["reports"],
        refusal=refusal,
        undo=int(undo) if undo.isascii() and undo.isdigit() else 0,
    )
