"""The description of this interface, for operators who are signed in and for nobody else."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request

from exchange.answers import Json
from exchange.auth import CallerOf

router = APIRouter()


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request, caller: CallerOf) -> Json:
    """Return the document, with an example of every answer; it names no person who exists."""
    app: FastAPI = request.app
    told: dict[str, Any] = app.openapi()
    return Json(told)
