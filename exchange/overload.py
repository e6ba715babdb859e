"""Requests at once, and how long one may take: what is over is refused at once, so the rest is answered in time."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exchange.body_limit import is_streamed
from exchange.problems import problem_at


class Overload:
    """Answers 503 to what is beyond `requests_at_once`, and to what has no answer after `seconds`.

    It stands behind what reads the body (exchange.body_limit): a request counts from when it is whole until its
    answer begins. A body still on its way, or an answer that is read slowly, takes nobody's place, and is not cut here
    either; the connection watches over both. What reads its body itself (exchange.upload) counts until it begins to:
    then it has a place among the uploads, and their time.
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
        has_left = False
        self._under_way += 1

        def leave() -> None:
            nonlocal has_left
            if not has_left:
                has_left = True
                self._under_way -= 1
                time_left.reschedule(None)

        async def begins(message: Message) -> None:
            leave()
            await send(message)

        async def reads() -> Message:
            leave()
            return await receive()

        try:
            async with asyncio.timeout(self._seconds) as time_left:
                await self._app(scope, reads if is_streamed(scope) else receive, begins)
        except TimeoutError:
            if has_left:
                raise
            await _refuse(
                "timeout", "未能及时答复,请稍后再试", "No answer in time; try again", scope, receive, send
            )
        finally:
            self._under_way -= not has_left


async def _refuse(code: str, zh: str, en: str, scope: Scope, receive: Receive, send: Send) -> None:
    await problem_at(scope["path"], 503, code, zh, en)(scope, receive, send)
