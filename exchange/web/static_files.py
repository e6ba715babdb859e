"""Scripts and styles of our own pages: public, and by their digest, so that a browser keeps them for ever."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from catalog.errors import NotFound
from exchange.web.pages import static_file

router = APIRouter(tags=["pages"])


@router.get(
    "/static/{digest}/{name}",
    response_class=Response,
    summary="页面文件 / a file of a page",
    responses={200: {"content": {"text/javascript": {"schema": {"type": "string"}, "example": "…"}}}},
)
def static(
    digest: Annotated[str, Path(pattern="^[0-9a-f]{16}$")],
    name: Annotated[str, Path(pattern=r"^[a-z0-9_.-]{1,64}$")],
    request: Request,
) -> Response:
    """Return a script or a style sheet."""
    found = static_file(digest, name, packed="gzip" in request.headers.get("accept-encoding", ""))
    if found is None:
        raise NotFound("没有该文件", "No such file", code="unknown_file")
    return found
