"""Signing in for people without an identity provider: password and one-time code, then a cookie."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from catalog import accounts, sessions
from catalog.context import Catalogue
from catalog.errors import NotAllowed
from catalog.sessions import SignedIn
from exchange import cookies
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import GateOf, PasswordWorkOf, SettingsOf
from exchange.examples import answers
from exchange.settings import ExchangeSettings

router = APIRouter(prefix="/v1/session", tags=["session"])

Password = Annotated[str, Field(min_length=1, max_length=128)]
Code = Annotated[str, Field(pattern=r"^[0-9]{6}$", examples=["123456"])]
_STRICT: Final = ConfigDict(extra="forbid", hide_input_in_errors=True)
_EXAMPLE: Final[dict[str, Any]] = {
    "subject": "operator.zhao",
    "name": "operator.zhao",
    "role": "operator",
    "hospital": None,
    "own_account": True,
    "totp": True,
    "totp_needed": False,
    "csrf_token": "5f2b…",
    "expires_at": "2026-06-30T16:00:00+00:00",
}


class SignIn(BaseModel):
    """Who signs in; the code is needed once a second factor is in use."""

    model_config = _STRICT

    name: str = Field(min_length=1, max_length=64, examples=["operator.zhao"])
    password: Password
    code: Code | None = None


class First(BaseModel):
    """The first password, by a one-time link."""

    model_config = _STRICT

    link: str = Field(min_length=1, max_length=128)
    password: Password


class PasswordIn(BaseModel):
    """Another password."""

    model_config = _STRICT

    old: Password
    new: Password


class CodeIn(BaseModel):
    """A code of the new second factor."""

    model_config = _STRICT

    code: Code


async def own_page(request: Request) -> Request:
    """Return the request, if no page of another site makes it. Raises NotAllowed."""
    cookies.refuse_foreign_page(request)
    return request


async def own_cookie(request: Request, caller: CallerOf) -> str:
    """Return the cookie a session came with. Raises NotAllowed for a caller with a bearer token."""
    if request.headers.get("authorization"):
        raise NotAllowed("仅限登录会话", "Only for a signed-in browser", code="no_session")
    return cookies.given(request)


async def own_account(request: Request, caller: CallerOf) -> str:
    """Return the cookie of an account's session. Raises NotAllowed where a hospital's system vouches for the user."""
    if caller.account_id is None:
        raise NotAllowed("仅限本平台账号的登录会话", "Only for an account of our own", code="no_session")
    return await own_cookie(request, caller)


OwnPage = Annotated[Request, Depends(own_page)]
Cookie = Annotated[str, Depends(own_cookie)]
AccountCookie = Annotated[str, Depends(own_account)]


@router.post("", summary="登录 / sign in", responses=answers(_EXAMPLE))
async def sign_in(
    body: SignIn, request: OwnPage, catalogue: GateOf, settings: SettingsOf, passwords: PasswordWorkOf
) -> Json:
    """Begin a session; what was wrong is not said, and failures in a row shut the name out for a while."""

    def begun() -> Json:
        source = request.client.host if request.client else ""
        cookie = accounts.sign_in(catalogue, body.name, body.password, body.code or "", source)
        return _begun(request, catalogue, settings, cookie)

    return await passwords.run(begun)


@router.post("/first", summary="以一次性链接设置口令 / the first password", responses=answers(_EXAMPLE))
async def first(
    body: First, request: OwnPage, catalogue: GateOf, settings: SettingsOf, passwords: PasswordWorkOf
) -> Json:
    """Set the password by the link an operator gave, and begin a session."""

    def begun() -> Json:
        cookie = accounts.use_link(catalogue, body.link, body.password)
        return _begun(request, catalogue, settings, cookie)

    return await passwords.run(begun)


@router.get("", summary="当前会话 / who is signed in", responses=answers(_EXAMPLE))
def who(request: Request, caller: CallerOf, cookie: Cookie) -> Json:
    """Return who is signed in, and the CSRF token that his page must send with what it changes."""
    return Json(_described(cookies.signed_in(request, cookie), cookie, request.app.state.settings))


@router.delete("", summary="退出 / sign out", responses=answers({"signed_out": True}))
def sign_out(request: Request, caller: CallerOf, cookie: Cookie, catalogue: GateOf) -> Json:
    """End the session here and take the cookie from the browser."""
    sessions.end(catalogue, caller, cookie)
    answer = Json({"signed_out": True})
    cookies.drop(request, answer)
    return answer


@router.post(
    "/others/end", summary="结束其他会话 / sign out everywhere else", responses=answers({"ended": 2})
)
def end_others(caller: CallerOf, cookie: AccountCookie, catalogue: GateOf) -> Json:
    """End every session of one's account but this one."""
    return Json({"ended": accounts.end_others(catalogue, caller, sessions.digest_of(cookie))})


@router.post("/password", summary="修改口令 / another password", responses=answers({"changed": True}))
async def change_password(
    body: PasswordIn, caller: CallerOf, cookie: AccountCookie, catalogue: GateOf, passwords: PasswordWorkOf
) -> Json:
    """Set another password; every other session of the account ends."""
    keep = sessions.digest_of(cookie)
    await passwords.run(lambda: accounts.change_password(catalogue, caller, body.old, body.new, keep))
    return Json({"changed": True})


@router.post(
    "/totp",
    summary="登记动态码 / a second factor",
    responses=answers({"secret": "JBSWY3DP…", "otpauth_url": "otpauth://totp/Huren:operator.zhao?secret=…"}),
)
def begin_totp(caller: CallerOf, cookie: AccountCookie, catalogue: GateOf) -> Json:
    """Return a fresh secret for an authenticator (RFC 6238); it counts once a code of it was given."""
    return Json(accounts.begin_totp(catalogue, caller))


@router.post("/totp/confirm", summary="启用动态码 / let it count", responses=answers({"totp": True}))
def confirm_totp(body: CodeIn, caller: CallerOf, cookie: AccountCookie, catalogue: GateOf) -> Json:
    """Let the second factor count from now on."""
    accounts.confirm_totp(catalogue, caller, body.code)
    return Json({"totp": True})


def _begun(request: Request, catalogue: Catalogue, settings: ExchangeSettings, cookie: str) -> Json:
    found = sessions.find(catalogue, cookie, totp_required=settings.totp_required)
    if found is None:
        raise NotAllowed("该账号已停用", "This account is shut out", code="sign_in_failed")
    answer = Json(_described(found, cookie, settings))
    cookies.put(request, answer, cookie)
    return answer


def _described(found: SignedIn, cookie: str, settings: ExchangeSettings) -> dict[str, Any]:
    return {
        "subject": found.caller.subject,
        "name": found.caller.name or found.caller.subject,
        "role": found.caller.role,
        "hospital": found.caller.hospital_code or None,
        "own_account": found.caller.account_id is not None,
        "totp": found.totp,
        "totp_needed": settings.totp_required and found.caller.account_id is not None and not found.totp,
        "csrf_token": sessions.csrf_token(cookie),
        "expires_at": found.expires_at,
    }
