"""Errors on the wire: RFC 9457 problem+json, one mapping for the whole error tree, no patient data."""

import logging
import re
import uuid
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from catalog.datafile import MOST_FAULTS, InvalidList
from catalog.errors import (
    Conflict,
    Expired,
    HurenError,
    IntegrityFault,
    InvalidInput,
    NotAllowed,
    NotFound,
    TooMany,
    Unavailable,
)
from exchange.outcomes import Refused, issue_of_problem, outcome
from exchange.web.pages import page
from exchange.web.rooms import is_page

log = logging.getLogger("huren.exchange")


class NoPicture(HurenError):
    """This frame cannot be shown as a picture; its stored bytes can be fetched."""


STATUS: Final[dict[type[HurenError], HTTPStatus]] = {
    NoPicture: HTTPStatus.NOT_ACCEPTABLE,
    InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    NotAllowed: HTTPStatus.FORBIDDEN,
    Conflict: HTTPStatus.CONFLICT,
    Expired: HTTPStatus.GONE,
    TooMany: HTTPStatus.TOO_MANY_REQUESTS,
    IntegrityFault: HTTPStatus.BAD_GATEWAY,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    HurenError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_PLAIN: Final[dict[int, tuple[str, str, str]]] = {
    400: ("bad_request", "请求无法解析", "The request cannot be read"),
    401: ("unauthenticated", "须有有效的访问令牌", "A valid bearer token is required"),
    406: ("format_not_supported", "不能以所要的格式回答", "There is no answer in the form asked for"),
    404: ("not_found", "没有此地址", "There is nothing at this address"),
    405: ("method_not_allowed", "此地址不接受该方法", "This address does not take that method"),
    413: ("too_large", "请求内容过大", "The request body is too large"),
    500: ("internal_error", "服务内部错误,已记录", "An internal error; it has been logged"),
}
_OUR_NAMES: Final = re.compile(r"[a-z_]{1,32}")
_ASKING: Final = frozenset({"/v1/checks", "/v1/results/search"})  # where silence must not read as "no prior"


class NotAcceptable(Exception):
    """There is no answer in the form asked for (RFC 9110 §15.5.7)."""


class Unauthenticated(Exception):
    """No token, or none that can be trusted; `reason` is safe to show."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def status_of(error: HurenError) -> HTTPStatus:
    """Return the HTTP status of an error: that of its nearest class in the tree."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem_at(path: str, status: int, code: str, zh: str, en: str, **extra: Any) -> Response:
    """Return the answer in the language of the address: an OperationOutcome below /fhir, a page where pages are.

    Everywhere else it is problem+json.
    """
    if path.startswith("/look/") or is_page(path):
        told = {"reference": extra.get("reference", ""), "home": "/" if is_page(path) else ""}
        answer = page("trouble.html", "zh", int(status), said=zh, said_too=en, code=code, **told)
        answer.headers.update(_headers(status))
        return answer
    if path == "/fhir" or path.startswith("/fhir/"):
        issue = issue_of_problem(int(status), code, zh, en, str(extra.get("field", "")))
        return outcome(status, [issue], _headers(status))
    return problem(status, code, zh, en, **extra)


def problem(status: int, code: str, zh: str, en: str, **extra: Any) -> Response:
    """Return a problem+json answer, Chinese first, English beside it."""
    body = {
        "type": f"urn:huren:problem:{code}",
        "title": zh,
        "title_en": en,
        "status": int(status),
        "code": code,
        **extra,
    }
    return Response(orjson.dumps(body), status, _headers(status), media_type="application/problem+json")


def unauthenticated_at(path: str, reason: str) -> Response:
    """Return the answer to who has not said who he is, or could not be believed."""
    return problem_at(path, 401, *_PLAIN[401], reason=reason)


def _headers(status: int) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "2"
    return headers


class _WithoutTraceback(logging.Filter):
    """The server logs what `_unexpected` has logged already, with a traceback: an exception's text can name anybody."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not log.isEnabledFor(logging.DEBUG):
            record.exc_info = record.exc_text = None
        return True


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem+json answer, and keep tracebacks out of the log.

    The handlers are `async`, so that a flood of what is refused takes no thread from what is let in.
    """
    server_log = logging.getLogger("uvicorn.error")
    if not any(isinstance(each, _WithoutTraceback) for each in server_log.filters):
        server_log.addFilter(_WithoutTraceback())
    app.add_exception_handler(HurenError, _domain)
    app.add_exception_handler(Unauthenticated, _unauthenticated)
    app.add_exception_handler(NotAcceptable, _not_acceptable)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _domain(request: Request, error: Exception) -> Response:
    if not isinstance(error, HurenError):
        raise error
    extra: dict[str, Any] = {"field": error.field} if isinstance(error, InvalidInput) and error.field else {}
    if isinstance(error, InvalidList):
        extra["errors"] = [
            {"line": each.line, "field": each.field, "message": each.zh, "message_en": each.en}
            for each in error.problems[:MOST_FAULTS]
        ]
    if isinstance(error, Unavailable) and request.url.path in _ASKING:
        extra["answer"] = "unknown"
    answer = problem_at(request.url.path, status_of(error), error.code, error.zh, error.en, **extra)
    if isinstance(error, TooMany):
        answer.headers["Retry-After"] = str(error.seconds)
    return answer


async def _unauthenticated(request: Request, error: Exception) -> Response:
    return unauthenticated_at(request.url.path, str(error))


async def _not_acceptable(request: Request, _: Exception) -> Response:
    return problem_at(request.url.path, 406, *_PLAIN[406])


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refused):
        raise error
    return outcome(error.status, error.issues)


async def _invalid(request: Request, error: Exception) -> Response:
    """Say which fields are wrong and why, never what stood in them."""
    if not isinstance(error, RequestValidationError):
        raise error
    if any(fault["type"] == "json_invalid" for fault in error.errors()):
        return problem_at(request.url.path, 400, *_PLAIN[400])
    faults = [
        {"field": ".".join(str(part) for part in _place(fault)), "message": fault["msg"]}
        for fault in error.errors()
    ]
    return problem_at(
        request.url.path,
        422,
        "invalid_input",
        "请求内容不符合要求",
        "The request is not valid",
        errors=faults[:20],
    )


def _place(fault: dict[str, Any]) -> tuple[str | int, ...]:
    """Return where a fault is; a field we do not know has a name of the caller's making, which is not repeated."""
    place: tuple[str | int, ...] = fault["loc"][1:]
    is_theirs = fault["type"] == "extra_forbidden" and not _OUR_NAMES.fullmatch(str(place[-1]))
    return place[:-1] if is_theirs else place


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code, zh, en = _PLAIN.get(error.status_code, ("error", "请求未能完成", "The request failed"))
    return problem_at(request.url.path, error.status_code, code, zh, en)


async def _unexpected(request: Request, error: Exception) -> Response:
    reference = uuid.uuid4().hex[:12]
    log.error("unexpected error %s on %s: %s", reference, request.scope.get("path"), type(error).__name__)
    log.debug("traceback of %s", reference, exc_info=error)
    return problem_at(request.url.path, 500, *_PLAIN[500], reference=reference)
