"""Who visits a page: signed in, in a room that is his, with forms that are ours; all else he asks of the API."""

import hmac
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from catalog import sessions
from catalog.context import EVERY_SCOPE, Caller
from catalog.errors import NotAllowed
from exchange import cookies
from exchange.problems import Unauthenticated
from exchange.settings import ExchangeSettings
from exchange.web import inside, rooms
from exchange.web.pages import LANGUAGE_COOKIE, language_of, page
from exchange.web.texts import Language

CSRF_FIELD: Final = "csrf"
SECOND_FACTOR: Final = "/account/second-factor"
_MOST_FIELDS: Final = 1_000
_MOST_FILES: Final = 4
_YEAR_SECONDS: Final = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Account:
    """Who is signed in."""

    name: str
    role: str
    hospital: str


class SignInNeeded(Exception):
    """Nobody is signed in, or no longer."""


class SecondFactorNeeded(Exception):
    """The account can do nothing before it has a second factor."""


class Refusal(Exception):
    """What the API refused, as it said it; not caught, it is a page of its own."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after: str = "") -> None:
        super().__init__(problem.get("code", "error"))
        self.status = status
        self.problem = problem
        self.code: str = problem.get("code", "error")
        self.field: str = problem.get("field", "")
        self.errors: list[dict[str, Any]] = problem.get("errors", [])
        self.retry_after = retry_after

    def said(self, language: Language) -> str:
        """Return what was wrong."""
        return str(self.problem.get("title_en" if language == "en" else "title", self.code))


class Visitor:
    """One request for a page, by somebody signed in or by anybody."""

    def __init__(self, request: Request, account: Account | None, csrf: str, form: FormData) -> None:
        self.request = request
        self.account = account
        self.csrf = csrf
        self.lang: Language = language_of(request)
        self._form = form

    @property
    def role(self) -> str:
        """The role of who is signed in, or nothing."""
        return self.account.role if self.account else ""

    @property
    def is_htmx(self) -> bool:
        """Say whether a part of a page is asked for by the page that shows it."""
        return self.request.headers.get("hx-request") == "true"

    async def form(self) -> FormData:
        """Return the form that was sent; it was seen to be of one of our own pages."""
        return self._form

    async def call(
        self, method: str, path: str, query: inside.Query | None = None, body: Any = None, *, key: str = ""
    ) -> inside.Answered:
        """Return what the API answers, whatever it is."""
        headers = {cookies.CSRF_HEADER: self.csrf} if self.csrf else {}
        if key:
            headers["idempotency-key"] = key
        return await inside.call(self.request, method, path, query, body, headers=headers)

    async def ask(
        self, method: str, path: str, query: inside.Query | None = None, body: Any = None, *, key: str = ""
    ) -> Any:
        """Return the JSON of what the API answers. Raises Refusal, SignInNeeded."""
        answered = await self.call(method, path, query, body, key=key)
        if answered.status == 401 and self.account is not None:
            raise SignInNeeded
        if answered.status >= 400:
            raise Refusal(answered.status, answered.json() or {}, answered.retry_after)
        return answered.json()

    def page(self, template: str, status: int = 200, /, **told: Any) -> Response:
        """Return a page of a template, within the frame of all pages."""
        settings: ExchangeSettings = self.request.app.state.settings
        answer = page(
            template,
            self.lang,
            status,
            account=self.account,
            csrf_token=self.csrf,
            path=self.request.url.path,
            room=rooms.room_of(self.request.url.path),
            menus=[rooms.MENUS[room] for room in rooms.MENUS if self.role in rooms.ROOMS[room]],
            done=self.request.query_params.get("done", "")[:40],
            demo=settings.demo,
            **told,
        )
        if self.request.query_params.get("lang"):
            answer.set_cookie(
                LANGUAGE_COOKIE, self.lang, max_age=_YEAR_SECONDS, path="/", httponly=True, samesite="lax"
            )
        return answer

    def go(self, path: str, *, done: str = "", **query: str) -> Response:
        """Send the browser on, by GET; the page it reaches says what was `done`."""
        named = urlencode({**query, **({"done": done} if done else {})})
        address = f"{path}?{named}" if named else path
        if self.is_htmx:
            return Response(status_code=204, headers={"HX-Redirect": address})
        return RedirectResponse(address, 303)


async def visitor_of(request: Request) -> Visitor:
    """Return who is signed in and visits a room of his.

    Raises SignInNeeded; SecondFactorNeeded; NotAllowed in a room of others, and (`csrf`) for a form that no page of
    ours has made.
    """
    cookie = cookies.given(request)
    if not cookie:
        raise SignInNeeded
    try:
        found = await run_in_threadpool(cookies.session_of, request, cookie)
    except Unauthenticated:
        raise SignInNeeded from None
    caller = found.caller
    room = rooms.room_of(request.url.path)
    if caller.role not in rooms.ROOMS.get(room, frozenset()):
        raise NotAllowed("该账号无权进入此页", "This page is not for this account", code="role_not_allowed")
    token = sessions.csrf_token(cookie)
    form = await _form_of(request, token)
    is_own_account = caller.account_id is not None  # a hospital's system answers for its own users
    if is_own_account and EVERY_SCOPE not in caller.scopes and room not in ("account", "sign-out"):
        raise SecondFactorNeeded
    return Visitor(request, _account_of(caller), token, form)


async def anybody_of(request: Request) -> Visitor:
    """Return who visits a page that is open to all; who is signed in is known by his name."""
    account, token = None, ""
    if cookie := cookies.given(request):
        try:
            found = await run_in_threadpool(cookies.session_of, request, cookie)
        except Unauthenticated:
            pass
        else:
            account = _account_of(found.caller)
            token = sessions.csrf_token(cookie)
    form = await _form_of(request, None)
    return Visitor(request, account, token, form)


def _account_of(caller: Caller) -> Account:
    return Account(caller.name or caller.subject, caller.role, caller.hospital_code)


VisitorOf = Annotated[Visitor, Depends(visitor_of)]
AnybodyOf = Annotated[Visitor, Depends(anybody_of)]


async def _form_of(request: Request, token: str | None) -> FormData:
    """Return the form that came; with a `token`, only one that carries it. Raises NotAllowed, HTTPException."""
    if request.method != "POST":
        return FormData()
    cookies.refuse_foreign_page(request)
    try:
        form = await request.form(max_files=_MOST_FILES, max_fields=_MOST_FIELDS)
    except ValueError:  # a multipart part of no charset, and the like
        raise HTTPException(400) from None
    if token is not None:
        sent = request.headers.get(cookies.CSRF_HEADER) or form.get(CSRF_FIELD)
        given = sent.encode("utf-8", "surrogatepass") if isinstance(sent, str) else b""
        if not hmac.compare_digest(given, token.encode()):
            raise NotAllowed(
                "页面已过期,请刷新后重试", "This page is out of date; reload it and try again", code="csrf"
            )
    return form


def install(app: FastAPI) -> None:
    """Let `app` answer what stops a visitor: with the way to sign in, or with a page that says why."""
    app.add_exception_handler(SignInNeeded, _sign_in)
    app.add_exception_handler(SecondFactorNeeded, _second_factor)
    app.add_exception_handler(Refusal, _refused)


async def _sign_in(request: Request, _: Exception) -> Response:
    is_looked_at = request.method == "GET" and rooms.is_way_back(request.url.path)
    if request.headers.get("hx-request") == "true":
        return Response(status_code=204, headers={"HX-Refresh": "true"})
    query = f"?{urlencode({'next': request.url.path})}" if is_looked_at else ""
    return RedirectResponse(f"/sign-in{query}", 303)


async def _second_factor(_: Request, __: Exception) -> Response:
    return RedirectResponse(SECOND_FACTOR, 303)


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    problem = error.problem
    answer = page(
        "trouble.html",
        language_of(request),
        error.status,
        said=problem.get("title", error.code),
        said_too=problem.get("title_en", ""),
        code=error.code,
        reference=problem.get("reference", ""),
        home="/",
    )
    if error.retry_after:
        answer.headers["Retry-After"] = error.retry_after
    return answer
