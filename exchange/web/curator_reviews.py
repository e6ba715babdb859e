"""Questions about items: what a header means, what a hospital's code means; one after the other, many at once."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from starlette.datastructures import FormData

from exchange.web.forms import numbers_of, text_of, whole
from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)
PAGE: Final = 50
Kind = Literal["mapping", "local_code"]
TaskId = Annotated[int, Path(ge=1, lt=1 << 63)]
_NOTHING: Final = "-"


@router.get("/curator/reviews")
async def reviews(
    visitor: VisitorOf,
    kind: Kind = "mapping",
    hospital: Annotated[str, Query(max_length=32)] = "",
    after: Annotated[int, Query(ge=0, lt=1 << 63)] = 0,
    undo: Annotated[str, Query(max_length=1000)] = "",
) -> Response:
    """Show the open questions of a kind in the order they came."""
    query = {"kind": kind, "hospital": hospital, "after": after, "limit": PAGE}
    tasks = (await visitor.ask("GET", "/v1/admin/reviews", query))["tasks"]
    return visitor.page(
        "curator/reviews.html",
        tasks=tasks,
        kind=kind,
        hospital=hospital,
        after=after,
        more=tasks[-1]["id"] if len(tasks) == PAGE else 0,
        undo=_ids(undo),
    )


@router.get("/curator/reviews/{task_id}")
async def review(
    visitor: VisitorOf, task_id: TaskId, undo: Annotated[str, Query(max_length=1000)] = ""
) -> Response:
    """Show one question with its evidence beside the choice."""
    return await _shown(visitor, task_id, None, undo=_ids(undo))


@router.post("/curator/reviews/{task_id}")
async def answer(visitor: VisitorOf, task_id: TaskId) -> Response:
    """Give the answer, to the questions ticked beside it too, and go on with the next one."""
    form = await visitor.form()
    try:
        task = await visitor.ask("GET", f"/v1/admin/reviews/{task_id}")
        if task["kind"] == "local_code":
            await visitor.ask("POST", f"/v1/admin/reviews/{task_id}/local-code", body=_meaning(form))
            answered = [task_id]
        else:
            body = {"tasks": [task_id, *numbers_of(form, "alike")], "items": _items(form)}
            answered = (await visitor.ask("POST", "/v1/admin/reviews/mapping", body=body))["answered"]
    except Refusal as refusal:
        if refusal.status == 404:
            raise
        return await _shown(visitor, task_id, refusal)
    return await _next(visitor, task["kind"], task_id, answered)


@router.post("/curator/reviews/{task_id}/reopen")
async def reopen(visitor: VisitorOf, task_id: TaskId) -> Response:
    """Take the answer back, and show the question again."""
    form = await visitor.form()
    try:
        for each in numbers_of(form, "task")[:PAGE] or [task_id]:
            await visitor.ask("POST", f"/v1/admin/reviews/{each}/reopen")
    except Refusal as refusal:
        if refusal.status == 404:
            raise
        return await _shown(visitor, task_id, refusal)
    return visitor.go(f"/curator/reviews/{task_id}", done="reopened")


async def _shown(
    visitor: Visitor, task_id: int, refusal: Refusal | None, undo: list[int] | None = None
) -> Response:
    task = await visitor.ask("GET", f"/v1/admin/reviews/{task_id}")
    following = await _following(visitor, task["kind"], task_id)
    items = (await visitor.ask("GET", "/v1/items"))["items"]
    return visitor.page(
        "curator/review.html",
        refusal.status if refusal else 200,
        task=task,
        following=following,
        items=items,
        refusal=refusal,
        undo=undo or [],
    )


async def _following(visitor: Visitor, kind: str, task_id: int) -> int:
    """Return the open question after this one, or the first; 0 where there is no other."""
    for after in (task_id, 0):
        query = {"kind": kind, "after": after, "limit": 1}
        found = (await visitor.ask("GET", "/v1/admin/reviews", query))["tasks"]
        if found and found[0]["id"] != task_id:
            return int(found[0]["id"])
    return 0


async def _next(visitor: Visitor, kind: str, task_id: int, answered: list[int]) -> Response:
    following = await _following(visitor, kind, task_id)
    undo = ",".join(map(str, answered))
    if following:
        return visitor.go(f"/curator/reviews/{following}", done="answered", undo=undo)
    return visitor.go("/curator/reviews", done="answered", undo=undo, kind=kind)


def _chosen(form: FormData) -> tuple[str, str | None, str | None]:
    """Return item, side and part: of the button that was pressed, or as they stand in the fields beside it."""
    said = text_of(form, "choice")
    code, side, part = [*said.split("|"), "", ""][:3] if said else (text_of(form, "item"), "", "")
    code = code.partition(" ")[0]
    return (
        "" if code == _NOTHING else code,
        side or text_of(form, "laterality") or None,
        part or text_of(form, "body_part") or None,
    )


def _items(form: FormData) -> list[dict[str, Any]]:
    code, side, part = _chosen(form)
    if not code and text_of(form, "choice") != _NOTHING:
        code = " "  # nothing was chosen: refused as an item that is on no list, not taken for "none fits"
    return [{"item_code": code, "laterality": side, "body_part": part}] if code else []


def _meaning(form: FormData) -> dict[str, Any]:
    found = _items(form)
    return {**(found[0] if found else {}), "name": text_of(form, "name")}


def _ids(text: str) -> list[int]:
    return [found for each in text.split(",")[:PAGE] if (found := whole(each)) is not None]
