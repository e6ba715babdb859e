"""The refusals a route can give, as the description of the interface shows them."""

from typing import Any, Final

_MEANINGS: Final = {
    400: "请求无法解析 / the body cannot be read",
    404: "没有,或不属于本机构 / there is none, or it is not this hospital's",
    409: "与现状矛盾 / it contradicts what stands",
    410: "已过期限 / the time has passed",
    422: "内容不符合要求 / what was given cannot be accepted",
    503: "目录暂不可用,请稍后再试 / the catalogue does not answer; try again",
}
_EVERYWHERE: Final = {
    401: "须有有效的访问令牌 / a valid bearer token is required",
    403: "该角色无权使用 / this role may not",
}
_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "title_en", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "title_en": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
    },
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI of these refusals and of those that every route can give (RFC 9457)."""
    meanings = _EVERYWHERE | {status: _MEANINGS[status] for status in statuses}
    return {
        status: {
            "description": meaning,
            "content": {"application/problem+json": {"schema": _PROBLEM}},
        }
        for status, meaning in sorted(meanings.items())
    }
