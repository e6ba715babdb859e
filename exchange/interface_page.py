"""The description of the interface as a page to read: every route, who may call it, its errors, its examples.

Made here out of the OpenAPI document; nothing of it is fetched from anywhere, and it runs no script.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from exchange.auth import ACCESS, PUBLIC, Rule

_STYLE: Final = """
body{font-family:system-ui,"Noto Sans CJK SC",sans-serif;max-width:62em;margin:2em auto;padding:0 1em;line-height:1.5}
h2{margin-top:2em}details{border-top:1px solid #ccc;padding:.3em 0}summary{cursor:pointer}code,pre{font-family:monospace}
pre{background:#f4f4f4;padding:.6em;overflow-x:auto;max-height:24em}b{display:inline-block;min-width:4.5em}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1em 1em;margin:.5em 0}dd{margin:0}
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def page(told: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI document, the routes under their tags."""
    parts: dict[str, list[str]] = {}
    for path, operations in told["paths"].items():
        for method, operation in operations.items():
            parts.setdefault(operation["tags"][0], []).append(_route(method.upper(), path, operation))
    title = escape(f"{told['info']['title']} {told['info']['version']}")
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(routes)}" for tag, routes in parts.items())
    return (
        f'<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>"
    )


def _route(method: str, path: str, operation: Mapping[str, Any]) -> str:
    key = (method, path)
    rule = ACCESS.get(key) or PUBLIC[key]
    facts = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in _facts(rule, operation))
    examples = "".join(_shown(*each) for each in _examples(operation))
    return (
        f"<details><summary><b>{method}</b> <code>{escape(path)}</code> {escape(operation['summary'])}</summary>"
        f"<p>{escape(operation.get('description', ''))}</p><dl>{facts}</dl>{examples}</details>"
    )


def _facts(rule: Rule, operation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "角色 / roles", ", ".join(sorted(rule.roles)) or "—"
    yield "授权范围 / scope", rule.scope or "—"
    yield "审计 / audit", rule.audit or "—"
    for each in operation.get("parameters", ()):
        required = " *" if each.get("required") else ""
        yield "参数 / parameter", f"{each['name']}{required} ({each['in']}) {each.get('description', '')}"
    for status, answer in sorted(operation["responses"].items()):
        yield status, answer["description"]


def _examples(operation: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the examples of what is sent, and of each good answer."""
    contents = [("→", operation.get("requestBody", {}))]
    contents += [(f"← {status}", each) for status, each in operation["responses"].items() if status < "300"]
    for direction, described in contents:
        for kind, shown in described.get("content", {}).items():
            if "example" in shown:
                yield f"{direction} {kind}", shown["example"]


def _shown(title: str, example: Any) -> str:
    text = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False, indent=1)
    return f"<p>{escape(title)}</p><pre>{escape(text)}</pre>"
