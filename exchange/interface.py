"""The description of this interface, for operators who are signed in and for nobody else."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response

from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.examples import answers
from exchange.interface_page import POLICY, page

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


@router.get(
    "/docs",
    summary="接口说明页 / this description as a page",
    response_class=Response,
    responses={
        200: {
            "content": {
                "text/html": {
                    "schema": {"type": "string"},
                    "example": "<!doctype html><title>Huren 互认</title>…",
                }
            }
        }
    },
)
def docs(request: Request, caller: CallerOf) -> Response:
    """Return every route with its roles, scope, audit rule, errors and examples; the page loads nothing."""
    app: FastAPI = request.app
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": POLICY}
    return Response(page(app.openapi()), headers=headers, media_type="text/html; charset=utf-8")
