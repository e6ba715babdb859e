"""The session cookie of a signed-in browser, and what must stand beside it when something is to change."""

import hmac
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import Response

from catalog import sessions
from catalog.context import Catalogue
from catalog.errors import NotAllowed
from catalog.scope import GATE, acting_as
from catalog.sessions import SignedIn
from catalog.settings import is_loopback
from exchange.problems import Unauthenticated
from exchange.settings import ExchangeSettings

CSRF_HEADER: Final = "x-csrf-token"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# `__Host-` (RFC 6265bis §4.1.3.2): no other host and no plain connection can have set it.
COOKIE: Final = "__Host-huren"
_LOOPBACK_NAME: Final = "huren"
_LONGEST: Final = 128


def given(request: Request) -> str:
    """Return the cookie that came, or nothing."""
    cookie = request.cookies.get(_name(request), "")
    return cookie if len(cookie) <= _LONGEST else ""


def signed_in(request: Request, cookie: str) -> SignedIn:
    """Return whose session it is.

    Raises Unauthenticated where it has ended, NotAllowed (`csrf`) where something is to change and the request
    does not carry the session's CSRF token.
    """
    found = session_of(request, cookie)
    if request.method not in _SAFE:
        sent = request.headers.get(CSRF_HEADER, "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(sent, sessions.csrf_token(cookie).encode()):
            raise NotAllowed("缺少或不符的 CSRF 令牌", "The CSRF token is missing or not right", code="csrf")
    return found


def session_of(request: Request, cookie: str) -> SignedIn:
    """Return whose session it is, for a page that is looked at. Raises Unauthenticated where it has ended."""
    catalogue: Catalogue = acting_as(request.app.state.catalogue, GATE)
    settings: ExchangeSettings = request.app.state.settings
    found = sessions.find(catalogue, cookie, totp_required=settings.totp_required)
    if found is None:
        raise Unauthenticated("session_ended")
    return found


def refuse_foreign_page(request: Request) -> None:
    """Raise NotAllowed where a page of another origin makes a browser sign in (Fetch Metadata)."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise NotAllowed("请求来自其他网站", "The request comes from another site", code="csrf")


def put(request: Request, answer: Response, cookie: str) -> None:
    """Give the browser its cookie: out of reach of scripts and of other sites."""
    answer.set_cookie(
        _name(request),
        cookie,
        max_age=int(sessions.ABSOLUTE.total_seconds()),
        path="/",
        secure=not _is_plain(request),
        httponly=True,
        samesite="strict",
    )


def drop(request: Request, answer: Response) -> None:
    """Take the cookie from the browser."""
    answer.delete_cookie(
        _name(request), path="/", secure=not _is_plain(request), httponly=True, samesite="strict"
    )


def _is_plain(request: Request) -> bool:
    """Say whether browsers reach us without TLS, on this machine: as configured, for anybody may name any Host."""
    settings: ExchangeSettings = request.app.state.settings
    parts = urlsplit(settings.address)
    return parts.scheme == "http" and is_loopback(parts.hostname or "")


def _name(request: Request) -> str:
    return _LOOPBACK_NAME if _is_plain(request) else COOKIE
