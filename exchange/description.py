"""The description of the interface (OpenAPI 3.1): every route with its scope and each error it can answer."""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from exchange.auth import ACCESS, PUBLIC, Rule
from exchange.cookies import COOKIE
from exchange.outcomes import FHIR_JSON, issue_of_problem, operation_outcome

PROBLEM_JSON: Final = "application/problem+json"
_UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_WORDS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("bad_request", "请求无法解析 / the request cannot be read"),
    401: ("unauthenticated", "须有有效的访问令牌或会话 / a valid token or session is required"),
    403: ("role_not_allowed", "角色或授权范围不符 / not for this role or scope"),
    404: ("not_found", "没有,或不可见 / there is none, or it is not yours to see"),
    406: ("format_not_supported", "不能以所要的格式回答 / there is no answer in the form asked for"),
    408: ("too_slow", "请求内容未能及时收齐 / the body did not come in time"),
    409: ("conflict", "与已有事实矛盾 / it contradicts what already stands"),
    410: ("expired", "已过期限 / it was possible earlier"),
    412: ("precondition_failed", "前提不成立 / the condition does not hold"),
    413: ("too_large", "请求内容过大 / the body is too large"),
    415: ("media_type_not_supported", "不接受该格式 / not a form that is taken here"),
    422: ("invalid_input", "请求内容不符合要求 / the request is not valid"),
    429: ("too_many", "请求过多,见 Retry-After / too many, see Retry-After"),
    500: ("internal_error", "服务内部错误 / an internal error"),
    501: ("stow_off", "此处不接收上传 / nothing can be stored at this address"),
    502: ("integrity_fault", "字节与承诺不符 / bytes are not the bytes promised"),
    503: ("database_down", "存储暂时无法访问,见 Retry-After / a store is down, see Retry-After"),
}
_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "title_en", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "title_en": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
    },
}


def describe(app: FastAPI) -> None:
    """Let `app.openapi` describe the scope and the errors of every route as well."""
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(_described(app))
        return made

    app.openapi = openapi  # type: ignore[method-assign]


def errors_of(method: str, path: str, rule: Rule, operation: Mapping[str, Any]) -> set[int]:
    """Return every error status a route may answer: its own, and those that its shape brings about."""
    found = {500, 503, *rule.errors} if rule.scope or rule.errors else {500}
    if (method, path) in ACCESS:
        found |= {401, 403, 429}
    if operation.get("parameters") or operation.get("requestBody"):
        found.add(422)
    if method in _UNSAFE:
        found |= {400, 413}
    return found


def _described(app: FastAPI) -> dict[str, Any]:
    told = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = told.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = _PROBLEM
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    for path, operations in told["paths"].items():
        for name, operation in operations.items():
            key = (name.upper(), path)
            rule = ACCESS.get(key) or PUBLIC[key]
            operation["security"] = [{"bearer": [rule.scope]}, {"session": []}] if key in ACCESS else []
            _put_errors(operation, path, errors_of(*key, rule, operation))
    return told


def _put_errors(operation: dict[str, Any], path: str, statuses: set[int]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)  # the framework's own: another shape than what is answered
    fhir = path == "/fhir" or path.startswith("/fhir/")
    described = _page_error if path.startswith("/look/") else partial(_error, fhir=fhir)
    for status in sorted(statuses):
        if str(status) not in answers:
            answers[str(status)] = described(status)


def _page_error(status: int) -> dict[str, Any]:
    words = _WORDS[status][1]
    page = f"<!doctype html><title>{words.partition(' / ')[0]}</title>…"
    return {"description": words, "content": {"text/html": {"schema": {"type": "string"}, "example": page}}}


def _error(status: int, *, fhir: bool) -> dict[str, Any]:
    code, words = _WORDS[status]
    zh, _, en = words.partition(" / ")
    if fhir:
        shown = operation_outcome([issue_of_problem(status, code, zh, en)])
        return {
            "description": words,
            "content": {FHIR_JSON: {"schema": {"type": "object"}, "example": shown}},
        }
    problem = {
        "type": f"urn:huren:problem:{code}",
        "title": zh,
        "title_en": en,
        "status": int(HTTPStatus(status)),
        "code": code,
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": words, "content": {PROBLEM_JSON: {"schema": schema, "example": problem}}}
