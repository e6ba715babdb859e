"""The OHIF viewer below /viewer/: its files as they were installed, its configuration, and the page for any address.

Nothing here knows a patient: what it shows it fetches from /dicom-web, with the rights of whoever opened it.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from exchange import viewer_installation
from exchange.problems import problem
from exchange.viewer_installation import NOTICES, File, Installed, compressed

_PAGE: Final = "index.html"
_CONFIGURATION: Final = "app-config.js"
_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
}
_HASHED: Final = re.compile(r"(^|\.)[0-9a-f]{16}\.[a-z0-9]+$")
_FOR_A_YEAR: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"
_SCRIPT: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' {more}; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_MISSING_ZH: Final = "本系统未装影像浏览器;请由管理员运行 huren viewer install"
_MISSING_EN: Final = "The viewer is not installed here; an administrator adds it with: huren viewer install"


class Viewer:
    """Answers what is asked below /viewer/; one that is installed while the service runs is found at once."""

    def __init__(self, viewer_dir: Path) -> None:
        self._viewer_dir = viewer_dir
        self._configuration = Path(__file__).with_name("viewer_config.js").read_bytes()
        self._installed: Installed | None = None
        self._page_policy = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = await self._answer(scope)
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return problem(
                405, "method_not_allowed", "此地址不接受该方法", "This address does not take that method"
            )
        path = str(scope["path"]).removeprefix(str(scope["root_path"])).lstrip("/")
        headers = Headers(scope=scope)
        if self._installed is None:
            await run_in_threadpool(self._look)
        if self._installed is None:
            return _missing(headers)
        if path == _CONFIGURATION:
            return self._given(self._configuration, headers)
        return self._file(self._installed, path, headers)

    def _look(self) -> None:
        """Read what is installed, and allow the scripts that stand in its page."""
        found = viewer_installation.find(self._viewer_dir)
        if found is None:
            return
        page = (found.folder / _PAGE).read_text(encoding="utf-8")
        digests = (hashlib.sha256(each.encode()).digest() for each in _SCRIPT.findall(page))
        inline = " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in digests)
        self._page_policy = _POLICY.format(more=inline)
        self._installed = found

    def _file(self, installed: Installed, path: str, headers: Headers) -> Response:
        """Return a file, or the page where the address is one of its own: it reads it itself."""
        name = {"notices": NOTICES, "": _PAGE}.get(path, path)
        if name not in installed.files:
            if "." in name.rpartition("/")[2]:
                return problem(404, "not_found", "没有此地址", "There is nothing at this address")
            name = _PAGE
        file = installed.files[name]
        packed = bool(file.gzip_bytes) and _takes_gzip(headers)
        told = self._headers(name, _tag(file, packed=packed))
        if _has(headers, told["etag"]):
            return Response(status_code=304, headers=told)
        place = installed.folder / name
        if packed:
            told["content-encoding"] = "gzip"
            place = compressed(place)
        return FileResponse(place, headers=told, media_type=_KINDS[Path(name).suffix])

    def _given(self, content: bytes, headers: Headers) -> Response:
        told = self._headers(_CONFIGURATION, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
        if _has(headers, told["etag"]):
            return Response(status_code=304, headers=told)
        return Response(content, headers=told, media_type=_KINDS[".js"])

    def _headers(self, name: str, etag: str) -> dict[str, str]:
        return {
            "cache-control": _FOR_A_YEAR if _HASHED.search(name) else _ASK_AGAIN,
            "content-security-policy": self._policy_of(name),
            "etag": etag,
            "vary": "Accept-Encoding",
            "x-frame-options": "SAMEORIGIN",
        }

    def _policy_of(self, name: str) -> str:
        """Return the policy of an answer. A worker obeys that of its own script, and some decoders make functions."""
        if name.endswith(".js"):
            return _POLICY.format(more="'unsafe-eval'")
        return self._page_policy


def _missing(headers: Headers) -> Response:
    if "text/html" not in headers.get("accept", ""):
        return problem(404, "viewer_not_installed", _MISSING_ZH, _MISSING_EN)
    page = (
        f'<!doctype html><html lang="zh-CN"><meta charset="utf-8"><title>{_MISSING_ZH}</title>'
        f'<h1>{_MISSING_ZH}</h1><p lang="en">{_MISSING_EN}</p></html>'
    )
    return Response(page, 404, media_type=_KINDS[".html"])


def _tag(file: File, *, packed: bool) -> str:
    return f'"{file.sha256[:32]}{"-gz" if packed else ""}"'


def _has(headers: Mapping[str, str], etag: str) -> bool:
    """Say whether the caller has this very content already (RFC 9110 §13.1.2)."""
    given = {each.strip().removeprefix("W/") for each in headers.get("if-none-match", "").split(",")}
    return etag in given or "*" in given


def _takes_gzip(headers: Mapping[str, str]) -> bool:
    """Say whether the caller takes gzip (RFC 9110 §12.5.3)."""
    for each in headers.get("accept-encoding", "").lower().split(","):
        coding, _, weight = each.replace(" ", "").partition(";q=")
        if coding == "gzip":
            return weight.strip("0.") != "" or not weight
    return False
