"""Coming in and going out: sign in, the first password, one's own account, and where each role begins."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import RedirectResponse, Response

from exchange.web import rooms
from exchange.web.forms import typed
from exchange.web.inside import Answered
from exchange.web.visitor import SECOND_FACTOR, AnybodyOf, Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home(visitor: AnybodyOf) -> Response:
    """Send whoever comes where he begins."""
    return RedirectResponse(rooms.home_of(visitor.role) if visitor.account else "/sign-in", 303)


@router.get("/sign-in")
async def sign_in_form(visitor: AnybodyOf, next: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Show the form; who is signed in goes on."""
    if visitor.account is not None:
        return RedirectResponse(_onwards(next, visitor.role), 303)
    return visitor.page("entrance/sign_in.html", refusal=None, name="", next=next)


@router.post("/sign-in")
async def sign_in(visitor: AnybodyOf) -> Response:
    """Begin a session; one that the browser had before ends, so that nobody can have put it there."""
    form = await visitor.form()
    name, following = typed(form, "name"), typed(form, "next")
    body: dict[str, Any] = {"name": name, "password": typed(form, "password")}
    if code := typed(form, "code").replace(" ", ""):
        body["code"] = code
    answered = await visitor.call("POST", "/v1/session", body=body)
    if answered.status >= 400:
        refusal = Refusal(answered.status, answered.json() or {}, answered.retry_after)
        shown = visitor.page(
            "entrance/sign_in.html", answered.status, refusal=refusal, name=name, next=following
        )
        if answered.retry_after:
            shown.headers["Retry-After"] = answered.retry_after
        return shown
    if visitor.account is not None:
        await visitor.call("DELETE", "/v1/session")
    return _entered(answered, following)


@router.get("/first")
async def first_form(visitor: AnybodyOf) -> Response:
    """Show where the first password is chosen; the link's secret stands after `#` and is read by the page alone."""
    return visitor.page("entrance/first.html", refusal=None, link="", differs=False)


@router.post("/first")
async def first(visitor: AnybodyOf) -> Response:
    """Set the first password by a one-time link, and begin a session."""
    form = await visitor.form()
    link = typed(form, "link").rpartition("#")[2]
    body = {"link": link, "password": typed(form, "password")}
    if body["password"] != typed(form, "again"):
        return visitor.page("entrance/first.html", 422, refusal=None, link=link, differs=True)
    answered = await visitor.call("POST", "/v1/session/first", body=body)
    if answered.status >= 400:
        refusal = Refusal(answered.status, answered.json() or {})
        return visitor.page("entrance/first.html", answered.status, refusal=refusal, link=link, differs=False)
    return _entered(answered, "")


@router.post("/sign-out")
async def sign_out(visitor: VisitorOf) -> Response:
    """End the session, and have the browser forget all it kept of us."""
    answered = await visitor.call("DELETE", "/v1/session")
    answer = RedirectResponse("/sign-in", 303)
    answer.headers["Clear-Site-Data"] = '"cache", "storage"'
    return _with_cookies(answer, answered)


@router.get("/account")
async def own_account(visitor: VisitorOf) -> Response:
    """Show one's own account."""
    return await _account(visitor, None)


@router.post("/account/password")
async def password(visitor: VisitorOf) -> Response:
    """Set another password; every other session ends."""
    form = await visitor.form()
    if typed(form, "new") != typed(form, "again"):
        return await _account(visitor, None, differs=True)
    try:
        body = {"old": typed(form, "old"), "new": typed(form, "new")}
        await visitor.ask("POST", "/v1/session/password", body=body)
    except Refusal as refusal:
        return await _account(visitor, refusal)
    return visitor.go("/account", done="password")


@router.post("/account/others")
async def end_others(visitor: VisitorOf) -> Response:
    """Sign out everywhere else."""
    try:
        await visitor.ask("POST", "/v1/session/others/end")
    except Refusal as refusal:
        return await _account(visitor, refusal)
    return visitor.go("/account", done="others")


@router.get("/account/second-factor")
async def second_factor(visitor: VisitorOf) -> Response:
    """Tell what a second factor is, and begin one."""
    return visitor.page("entrance/second_factor.html", begun=None, refusal=None)


@router.post("/account/second-factor")
async def begin_second_factor(visitor: VisitorOf) -> Response:
    """Show a fresh secret, or let it count once a code of it was typed."""
    form = await visitor.form()
    begun = {"secret": typed(form, "secret"), "otpauth_url": typed(form, "otpauth_url")}
    try:
        if not begun["secret"]:
            begun = await visitor.ask("POST", "/v1/session/totp")
            return visitor.page("entrance/second_factor.html", begun=begun, refusal=None)
        code = typed(form, "code").replace(" ", "")
        await visitor.ask("POST", "/v1/session/totp/confirm", body={"code": code})
    except Refusal as refusal:
        shown = begun if begun["secret"] else None
        return visitor.page("entrance/second_factor.html", refusal.status, begun=shown, refusal=refusal)
    return visitor.go(rooms.home_of(visitor.role))


async def _account(visitor: Visitor, refusal: Refusal | None, *, differs: bool = False) -> Response:
    own = await visitor.ask("GET", "/v1/session")
    status = 422 if differs else refusal.status if refusal else 200
    return visitor.page("entrance/account.html", status, own=own, refusal=refusal, differs=differs)


def _entered(answered: Answered, following: str) -> Response:
    told = answered.json()
    where = SECOND_FACTOR if told["totp_needed"] else _onwards(following, told["role"])
    return _with_cookies(RedirectResponse(where, 303), answered)


def _onwards(following: str, role: str) -> str:
    """Return where somebody wanted to go, if it is a room of his, else where he begins."""
    room = rooms.room_of(following.partition("?")[0])
    is_his = rooms.is_way_back(following) and role in rooms.ROOMS[room]
    return following if is_his else rooms.home_of(role)


def _with_cookies(answer: Response, answered: Answered) -> Response:
    for each in answered.cookies:
        answer.headers.append("Set-Cookie", each)
    return answer
