"""Requests at once, and how long one may take: what is over is refused at once, so the rest is answered in time."""

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exchange.problems import problem_at


class Overload:
    """Answers 503 to what is beyond `requests_at_once`, and to what has no answer after `seconds`.

    A request counts from when it is whole until its answer begins: a body still on its way, or an answer that is
    read slowly, takes nobody's place, and is not cut here either; the connection watches over both.
    """

    def __init__(self, app: ASGIApp, requests_at_once: int, seconds: float) -> None:
        self._app = app
        self._requests_at_once = requests_at_once
        self._seconds = seconds
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on while there is room and time."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._under_way >= self._requests_at_once:
            await _refuse(
                "overloaded", "服务繁忙,请稍后再试", "Too busy; try again soon", scope, receive, send
            )
        else:
            await self._count(scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_counted = has_begun = False

        def count() -> None:
            nonlocal is_counted
            if not is_counted and not has_begun:
                is_counted = True
                self._under_way += 1
                time_left.reschedule(asyncio.get_running_loop().time() + self._seconds)

        async def begins(message: Message) -> None:
            nonlocal has_begun, is_counted
            if not has_begun:
                has_begun = True
                self._under_way -= is_counted
                is_counted = False
                time_left.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(None) as time_left:
                if not _has_body(scope):
                    count()
                await self._app(scope, _whole(receive, count), begins)
        except TimeoutError:
            if has_begun:
                raise
            await _refuse(
                "timeout", "未能及时答复,请稍后再试", "No answer in time; try again", scope, receive, send
            )
        finally:
            self._under_way -= is_counted


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


def _whole(receive: Receive, then: Callable[[], None]) -> Receive:
    async def received() -> Message:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            then()
        return message

    return received


async def _refuse(code: str, zh: str, en: str, scope: Scope, receive: Receive, send: Send) -> None:
    await problem_at(scope["path"], 503, code, zh, en)(scope, receive, send)
