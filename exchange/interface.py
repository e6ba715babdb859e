"""The description of this interface, for operators who are signed in and for nobody else."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request

from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.examples import answers

router = APIRouter(tags=["interface"])


@router.get(
    "/openapi.json",
    summary="接口说明 / this description",
    responses=answers({"openapi": "3.1.0", "info": {"title": "Huren 互认", "version": "0.1.0"}, "paths": {}}),
)
def openapi(request: Request, caller: CallerOf) -> Json:
    """Return the document, with an example of every answer; it names no person who exists."""
    app: FastAPI = request.app
    told: dict[str, Any] = app.openapi()
    return Json(told)
