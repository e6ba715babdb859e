"""The pages' way to the API: a request to our own routes without a socket, as who is signed in."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson
from fastapi import Request
from starlette.types import ASGIApp, Message

Query = dict[str, Any]
# What describes the page's own request and not the one made for it; a page never speaks for a token.
_NOT_PASSED: Final = frozenset(
    {
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"transfer-encoding",
        b"authorization",
        b"x-csrf-token",
        b"idempotency-key",
        b"accept",
        b"accept-encoding",
        b"range",
        b"if-none-match",
        b"if-modified-since",
        b"expect",
    }
)


@dataclass(frozen=True, slots=True)
class Answered:
    """What the API answered; `cookies` are the `Set-Cookie` headers it wants the browser to have."""

    status: int
    body: bytes
    content_type: str
    cookies: tuple[str, ...]
    retry_after: str

    def json(self) -> Any:
        """Return the answer's JSON, or None where it has none."""
        return orjson.loads(self.body) if self.body and "json" in self.content_type else None


async def call(
    request: Request,
    method: str,
    path: str,
    query: Query | None = None,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
) -> Answered:
    """Return what the API answers to a request with this page's cookie and this body of JSON, or a file's bytes.

    It runs behind what counts requests and reads bodies: the page's own request was counted there.
    """
    app: ASGIApp = request.app.state.inside
    content = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
    kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    given = {"content-type": kind, **(headers or {})} if content else headers or {}
    scope = {
        "type": "http",
        "app": request.app,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": request.scope["scheme"],
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": urlencode(_kept(query), doseq=True).encode(),
        "root_path": request.scope.get("root_path", ""),
        "headers": [
            *(each for each in request.scope["headers"] if each[0] not in _NOT_PASSED),
            (b"content-length", str(len(content)).encode()),
            *((name.encode(), value.encode()) for name, value in given.items()),
        ],
        "client": request.scope.get("client"),
        "server": request.scope.get("server"),
        "state": dict(request.scope.get("state") or {}),
    }
    return await _answered(app, scope, content)


def _kept(query: Query | None) -> Query:
    return {name: value for name, value in (query or {}).items() if value not in (None, "", [], ())}


async def _answered(app: ASGIApp, scope: dict[str, Any], content: bytes) -> Answered:
    waiting: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]
    started: dict[str, Any] = {}
    pieces: list[bytes] = []

    async def receive() -> Message:
        if waiting:
            return waiting.pop()
        await asyncio.Event().wait()  # nobody leaves: who waits for it is cancelled when his answer is whole
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        elif message["type"] == "http.response.body":
            pieces.append(message.get("body", b""))

    try:
        await app(scope, receive, send)
    except Exception:
        if not started:  # else the answer is there, and the fault is in the log (exchange.problems)
            raise
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in started["headers"]]
    named = dict(headers)
    return Answered(
        started["status"],
        b"".join(pieces),
        named.get("content-type", ""),
        tuple(value for name, value in headers if name == "set-cookie"),
        named.get("retry-after", ""),
    )
