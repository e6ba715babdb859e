"""The page a hospital's system opens for its user: it begins his session, and goes on from our own origin.

The cookie is not sent with what another site brings about (SameSite=Strict), so the page goes on by itself. The
secret is taken out of the address before anybody could write it down, and the page names no address it came from.
"""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from catalog import launches
from catalog.errors import Expired
from catalog.scope import GATE, acting_as
from exchange import cookies
from exchange.web.pages import LANGUAGE_COOKIE, language_of, page

router = APIRouter(include_in_schema=False)

_ROOT: Final = "/launch"
_KEY: Final = "huren.launch"
_HOUR_SECONDS: Final = 3600


class LaunchPaths:
    """Takes the secret out of an address, so that no log of addresses can have it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["path"].startswith(f"{_ROOT}/"):
            secret = scope["path"].removeprefix(f"{_ROOT}/")
            scope.update(path=_ROOT, raw_path=_ROOT.encode())  # for what stands around us as well
            scope[_KEY] = secret
        await self._app(scope, receive, send)


@router.get(_ROOT)
async def launch(request: Request) -> Response:
    """Begin the session in place of any that the browser had, and go on to what was handed over."""
    catalogue = acting_as(request.app.state.catalogue, GATE)
    secret, older = request.scope.get(_KEY, ""), cookies.given(request)
    try:
        opened = await run_in_threadpool(launches.open_launch, catalogue, secret, older=older)
    except Expired as ended:
        said = {"said": ended.zh, "said_too": ended.en, "code": ended.code, "reference": "", "home": "/"}
        return page("trouble.html", language_of(request), 410, **said)
    language = "en" if opened.lang == "en" else "zh" if opened.lang else language_of(request)
    answer = page("doctor/launch.html", language)
    cookies.put(request, answer, opened.cookie)
    if opened.lang:
        answer.set_cookie(
            LANGUAGE_COOKIE, language, max_age=_HOUR_SECONDS, path="/", httponly=True, samesite="lax"
        )
    return answer
