"""How pages are made: templates that escape by default, files of ours by their digest, and one strict policy."""

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import orjson
from fastapi import Request
from fastapi.responses import Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from exchange.web.readings import Readings
from exchange.web.texts import Language, say, say_many

# Nothing inline, nothing from elsewhere; pictures come from us, or from what our scripts fetched.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "SAMEORIGIN",
}
LANGUAGE_COOKIE: Final = "huren_language"
_FOREVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_STATIC: Final = files(__package__) / "static"


def language_of(request: Request) -> Language:
    """Return the language somebody reads: what he chose now or before, else what his browser prefers, else Chinese."""
    asked = (
        request.query_params.get("lang")
        or request.cookies.get(LANGUAGE_COOKIE)
        or request.headers.get("accept-language", "")
    )
    return "en" if asked.lower().startswith("en") else "zh"


def page(name: str, language: Language, status: int = 200, /, **told: Any) -> Response:
    """Return a page of a template."""
    text = _templates(language).get_template(name).render(lang=language, **told)
    return Response(text, status, _HEADERS, media_type="text/html; charset=utf-8")


def told_to_scripts(value: Any) -> Markup:
    """Return data for a script as it stands within a page: nothing in it can end the element it stands in."""
    text = orjson.dumps(value).decode()
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


def static_file(digest: str, name: str, *, packed: bool) -> Response | None:
    """Return a file of ours to keep for ever, if it has this digest; `packed` by gzip where that makes it smaller."""
    found = _static().get(name)
    if found is None or found.digest != digest:
        return None
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {**_FOREVER, "Vary": "Accept-Encoding"}
    if packed and found.packed:
        return Response(found.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=kind)
    return Response(found.content, headers=headers, media_type=kind)


def address_of(name: str) -> str:
    """Return the address of a file of ours: another one whenever it changes. Raises KeyError."""
    return f"/static/{_static()[name].digest}/{name}"


@dataclass(frozen=True, slots=True)
class _File:
    digest: str
    content: bytes
    packed: bytes


@cache
def _static() -> Mapping[str, _File]:
    return {each.name: _file(each.read_bytes()) for each in _STATIC.iterdir() if each.is_file()}


def _file(content: bytes) -> _File:
    packed = gzip.compress(content, mtime=0)
    is_smaller = len(packed) < len(content)
    return _File(hashlib.sha256(content).hexdigest()[:16], content, packed if is_smaller else b"")


@cache
def _templates(language: Language) -> Environment:
    made = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.globals["static"] = address_of
    made.install_gettext_callables(  # type: ignore[attr-defined]
        lambda text: say(text, language),
        lambda one, many, count: say_many(one, many, count, language),
        newstyle=True,
    )
    readings = Readings(language)
    for name in (
        "when",
        "day",
        "month",
        "month_or_text",
        "yuan",
        "briefly",
        "number",
        "percent",
        "size",
        "told",
    ):
        made.filters[name] = getattr(readings, name)
    made.filters["json"] = told_to_scripts
    made.filters["said"] = lambda text: say(text, language)
    return made
