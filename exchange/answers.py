"""JSON answers, never kept by a cache on the way."""

from typing import Any

import orjson
from fastapi.responses import JSONResponse


class Json(JSONResponse):
    """A JSON answer written by orjson and marked as not to be stored."""

    def __init__(self, content: Any, status_code: int = 200) -> None:
        super().__init__(content, status_code, {"Cache-Control": "no-store"})

    def render(self, content: Any) -> bytes:
        """Return the bytes of the body; what comes as bytes is written already."""
        return content if isinstance(content, bytes) else orjson.dumps(content)
