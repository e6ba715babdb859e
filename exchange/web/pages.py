"""How pages are made: templates that escape by default, files of ours by their digest, and one strict policy."""

import hashlib
import mimetypes
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

import orjson
from fastapi import Request
from fastapi.responses import Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

Language = Literal["zh", "en"]
# Nothing inline, nothing from elsewhere; pictures come from us, or from what our scripts fetched.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "SAMEORIGIN",
}
_FOREVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_STATIC: Final = files(__package__) / "static"


def language_of(request: Request) -> Language:
    """Return the language somebody reads: what he chose, else what his browser prefers, else Chinese."""
    asked = request.query_params.get("lang") or request.headers.get("accept-language", "")
    return "en" if asked.lower().startswith("en") else "zh"


def page(name: str, language: Language, status: int = 200, **told: Any) -> Response:
    """Return a page of a template."""
    text = _templates().get_template(name).render(lang=language, **told)
    return Response(text, status, _HEADERS, media_type="text/html; charset=utf-8")


def told_to_scripts(value: Any) -> Markup:
    """Return data for a script as it stands within a page: nothing in it can end the element it stands in."""
    text = orjson.dumps(value).decode()
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


def static_file(digest: str, name: str) -> Response | None:
    """Return a file of ours to keep for ever, if it has this digest."""
    found = _static().get(name)
    if found is None or found[0] != digest:
        return None
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(found[1], headers=_FOREVER, media_type=kind)


def address_of(name: str) -> str:
    """Return the address of a file of ours: another one whenever it changes. Raises KeyError."""
    return f"/static/{_static()[name][0]}/{name}"


@cache
def _static() -> Mapping[str, tuple[str, bytes]]:
    found = {each.name: each.read_bytes() for each in _STATIC.iterdir() if each.is_file()}
    return {name: (hashlib.sha256(content).hexdigest()[:16], content) for name, content in found.items()}


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["static"] = address_of
    return made
