"""Watches every call the tests make: its status is documented, and a good answer has left its audit record."""

import re
from typing import Any

from sqlalchemy import Engine, text

from exchange.auth import ACCESS, PUBLIC, Rule
from exchange.description import errors_of

_PATTERNS = [
    (method, re.compile(re.sub(r"\\\{[^}]+\}", "[^/]+", re.escape(path)) + "$"), path)
    for method, path in sorted({**ACCESS, **PUBLIC}, key=lambda key: key[1].count("{"))
]


def route_of(method: str, url: str) -> str | None:
    """Return the path of the route that serves an address, as the tables have it."""
    path = url.partition("?")[0]
    return next((own for verb, pattern, own in _PATTERNS if verb == method and pattern.match(path)), None)


def rule_of(method: str, path: str) -> Rule:
    """Return the rule of a route."""
    return {**ACCESS, **PUBLIC}[method, path]


def assert_documented(described: dict[str, Any], method: str, path: str, status: int) -> None:
    """Fail where a route answers with a status that its description does not list."""
    operation = described["paths"][path][method.lower()]
    assert str(status) in operation["responses"], (
        f"{method} {path} answered {status}, which is not documented"
    )
    if status >= 400:
        assert status in errors_of(method, path, rule_of(method, path), operation)


class AuditWatch:
    """Reads what was written to the audit since it was made."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last = self._read("select coalesce(max(id), 0) from audit_event")[0]

    def assert_told(self, rule: Rule, what: str) -> None:
        """Fail where a rule names an event and none of that kind was written."""
        if rule.audit:
            kinds = self._read("select action from audit_event where id > :last", last=self._last)
            assert any(kind.startswith(rule.audit) for kind in kinds), (
                f"{what} left {kinds}, not {rule.audit}"
            )

    def _read(self, query: str, **given: Any) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.scalars(text(query), given))
