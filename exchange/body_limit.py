"""A limit on request bodies, counted as they arrive: the server itself has none."""

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exchange.problems import problem_at


class BodyLimit:
    """Answers 413 to a body beyond `limit_bytes`, or beyond what `larger` allows below a path."""

    def __init__(self, app: ASGIApp, limit_bytes: int, larger: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on while it stays within the limit."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit_bytes = self._limit_of(scope["path"])
        if _declared(scope) > limit_bytes:
            return await self._refuse(scope, receive, send)
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit_bytes:
                raise HTTPException(413)
            return message

        return await self._app(scope, counted, send)

    def _limit_of(self, path: str) -> int:
        below = [
            limit for start, limit in self._larger.items() if path == start or path.startswith(f"{start}/")
        ]
        return max(below, default=self._limit_bytes)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = problem_at(scope["path"], 413, "too_large", "请求内容过大", "The request body is too large")
        answer.headers["Connection"] = "close"
        await answer(scope, receive, send)


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
