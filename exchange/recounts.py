"""A recount over HTTP that may take longer than a request: begun, looked at, and kept as a signed statement."""

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.examples import RECOUNT, answers
from exchange.recount_desk import RecountDesk

router = APIRouter(tags=["savings"])
RecountId = Annotated[str, Path(pattern="^[0-9a-f-]{36}$", description="重新核算编号 / its number")]
_STARTED: Final[dict[str, Any]] = {
    "recount_id": "5d0c6f0e-3a38-4b0c-9c53-0f2a0f6e8a11",
    "state": "running",
    "begun_at": "2026-06-30T04:00:00+00:00",
    "done": 0,
    "steps": 27,
    "checks": [
        {
            "kind": "saved_twice",
            "text": "同一决定只入账一次",
            "text_en": "No decision saves twice",
            "done": False,
            "disagreements": None,
        }
    ],
    "found": None,
}
DONE: Final[dict[str, Any]] = {
    **_STARTED,
    "state": "done",
    "done": 27,
    "checks": [{**_STARTED["checks"][0], "done": True, "disagreements": 0}],
    "found": RECOUNT,
}


async def _desk_of(request: Request) -> RecountDesk:
    desk: RecountDesk = request.app.state.recount_desk
    return desk


DeskOf = Annotated[RecountDesk, Depends(_desk_of)]


@router.post(
    "/v1/savings/recounts",
    status_code=202,
    summary="开始重新核算 / begin a recount",
    responses=answers(_STARTED, 202),
)
def begin_recount(caller: CallerOf, catalogue: CatalogueOf, desk: DeskOf) -> Json:
    """Begin to recount every sum from the events by different SQL, or return one's own recount that is going on.

    It ends where nobody asks for its progress for two minutes.
    """
    return Json(desk.begin(caller, catalogue), 202)


@router.get(
    "/v1/savings/recounts/{recount_id}",
    summary="核算进度与结果 / how far a recount is, and what it found",
    responses=answers(DONE),
)
def read_recount(recount_id: RecountId, caller: CallerOf, desk: DeskOf) -> Json:
    """Return one's own recount: `running`, `done`, `abandoned` or `failed`, its steps, and at the end what was found."""
    return Json(desk.read(caller, recount_id))


@router.get(
    "/v1/savings/recounts/{recount_id}/statement",
    summary="签名的核算结果 / what a recount found, signed, as a file",
    responses=answers(RECOUNT),
)
def read_statement(recount_id: RecountId, caller: CallerOf, catalogue: CatalogueOf, desk: DeskOf) -> Response:
    """Return the answer of `POST /v1/savings/verify` as a file to be kept; /.well-known/jwks.json has the key."""
    found = desk.statement(caller, catalogue, recount_id)
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="recount_{found["as_of"][:10]}_{recount_id[:8]}.json"',
    }
    return Response(
        orjson.dumps(found, option=orjson.OPT_INDENT_2), headers=headers, media_type="application/json"
    )
