"""Request bodies: from whom one is taken at all, how large, how long on its way, and how much of all of them at once.

A body is read whole before a route begins, as every route wants it: what comes after counts and times the work alone,
and a peer that sends slowly holds some memory but nobody's place. The server itself has none of these limits.
The exception are images handed in: such a body is passed on as it comes, and has limits of its own (exchange.upload).
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exchange.problems import problem_at, unauthenticated_at

_CREDENTIALS: Final = frozenset({b"authorization", b"cookie"})
_STREAMED: Final = "huren.streamed"


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How large one body may be, or one below some path; how long it may take; how much all may hold together.

    `anybody` are the paths whose bodies are taken without credentials. What `is_streamed` says of a method and a path
    is read by its route itself, up to `streamed_bytes`.
    """

    one_bytes: int
    below: Mapping[str, int] = field(default_factory=dict)
    anybody: Collection[str] = ()
    seconds: float = 120.0
    together_bytes: int = 256 << 20
    is_streamed: Callable[[str, str], bool] = lambda _method, _path: False
    streamed_bytes: int = 0

    def of(self, path: str) -> int:
        """Return how large a body may be at a path: as the longest of those it is below says."""
        fit = [start for start in self.below if path == start or path.startswith(f"{start}/")]
        return self.below[max(fit, key=len)] if fit else self.one_bytes


class _Refused(Exception):
    """A body that is not read on; nothing told means that nobody says who sends it."""

    def __init__(self, *told: Any) -> None:
        super().__init__()
        self.told = told

    def answer(self, path: str) -> Response:
        answer = problem_at(path, *self.told) if self.told else unauthenticated_at(path, "missing")
        answer.headers["Connection"] = "close"
        return answer


_TOO_LARGE: Final = 413, "too_large", "请求内容过大", "The request body is too large"
_TOO_SLOW: Final = 408, "too_slow", "请求内容未能及时收齐", "The request body did not come in time"
_FULL: Final = 503, "overloaded", "服务繁忙,请稍后再试", "Too busy; try again soon"


class BodyLimit:
    """Answers 401, 413, 408 or 503 to a body that is not to be taken, without reading on."""

    def __init__(self, app: ASGIApp, limits: BodyLimits) -> None:
        self._app = app
        self._limits = limits
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body, or at once where it has none."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        held = _Held()
        try:
            if self._limits.is_streamed(scope["method"], scope["path"]):
                self._admit(scope, self._limits.streamed_bytes)
                await self._app({**scope, _STREAMED: True}, receive, send)
                return
            body = await self._read(scope, receive, held)
            if body is not None:
                await self._app(scope, _replayed(body, receive), send)
        except _Refused as refused:
            await refused.answer(scope["path"])(scope, receive, send)
        finally:
            self._held_bytes -= held.bytes

    async def _read(self, scope: Scope, receive: Receive, held: "_Held") -> bytes | None:
        """Return the body, or None where the peer has gone. Raises _Refused."""
        most = self._limits.of(scope["path"])
        self._admit(scope, most)
        pieces: list[bytes] = []
        try:
            async with asyncio.timeout(self._limits.seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None
                    pieces.append(message.get("body", b""))
                    self._hold(len(pieces[-1]), most, held)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise _Refused(*_TOO_SLOW) from None
        return b"".join(pieces)

    def _admit(self, scope: Scope, most: int) -> None:
        if _declared(scope) > most:
            raise _Refused(*_TOO_LARGE)
        says_who = _CREDENTIALS & {name for name, _ in scope["headers"]}
        if not says_who and scope["path"] not in self._limits.anybody:
            raise _Refused

    def _hold(self, size_bytes: int, most: int, held: "_Held") -> None:
        held.bytes += size_bytes
        self._held_bytes += size_bytes
        if held.bytes > most:
            raise _Refused(*_TOO_LARGE)
        if self._held_bytes > self._limits.together_bytes:
            raise _Refused(*_FULL)


def is_streamed(scope: Scope) -> bool:
    """Say whether a request's body is still to be read, by its route."""
    return bool(scope.get(_STREAMED))


@dataclass(slots=True)
class _Held:
    bytes: int = 0


def _replayed(body: bytes, receive: Receive) -> Receive:
    is_given = False

    async def received() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return received


def _has_body(scope: Scope) -> bool:
    chunked = any(name == b"transfer-encoding" for name, _ in scope["headers"])
    return chunked or _declared(scope) > 0


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
