"""The prebuilt viewer believes that it stands at the root of its server: here it is told that it stands below it.

Ten files say so, each in a known way; where it is not exactly these, another version was built in another way, and
nothing is installed.
"""

import re
from collections.abc import Mapping
from typing import Final

from catalog.errors import IntegrityFault

ROOT: Final = "/viewer/"
_JS_ROOT: Final = b'__webpack_require__.p = "/";'
_CSS_ROOT: Final = b"url(/"
_JS_FILES: Final = 8
_CSS_FILES: Final = 1
_HTML_ROOTS: Final = 2  # window.PUBLIC_URL
_HTML_ADDRESSES: Final = 6  # three favicons, the configuration, the script, the style
_TITLE: Final = "影像 · 互认 Huren"
_DROPPED: Final = re.compile(
    r'<link rel="(?:manifest|apple-touch-icon|apple-touch-startup-image|yandex-tableau-widget)"[^>]*>'
    r'|<link rel="icon"[^>]*href="/assets/coast-[^>]*>'
    r'|<meta name="msapplication-[^>]*>'
)
_SERVICE_WORKER: Final = (
    '<script rel="preload" as="script" type="module" src="/init-service-worker.js"></script>'
)


def rerooted(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files as they are served below ROOT. Raises IntegrityFault where they are not what is known."""
    told = {name: _told(name, content) for name, content in files.items()}
    changed = [name for name in files if told[name] != files[name]]
    kinds = {kind: sum(name.endswith(kind) for name in changed) for kind in (".js", ".css", ".html")}
    _expect("js", kinds[".js"], _JS_FILES)
    _expect("css", kinds[".css"], _CSS_FILES)
    _expect("html", kinds[".html"], 1)
    _expect("files", len(changed), _JS_FILES + _CSS_FILES + 1)
    return told


def _told(name: str, content: bytes) -> bytes:
    if name == "index.html":
        return _page(content.decode()).encode()
    if name.endswith(".js") and _JS_ROOT in content:
        _expect(name, content.count(_JS_ROOT), 1)
        return content.replace(_JS_ROOT, f'__webpack_require__.p = "{ROOT}";'.encode())
    if name.endswith(".css"):
        return content.replace(_CSS_ROOT, f"url({ROOT}".encode())
    return content


def _page(page: str) -> str:
    _expect("service worker", page.count(_SERVICE_WORKER), 1)
    page = _DROPPED.sub("", page.replace(_SERVICE_WORKER, ""))
    page, roots = re.subn(r'window\.PUBLIC_URL="/"', f'window.PUBLIC_URL="{ROOT}"', page)
    _expect("PUBLIC_URL", roots, _HTML_ROOTS)
    page, addresses = re.subn(r'(href|src)="/', rf'\1="{ROOT}', page)
    _expect("addresses", addresses, _HTML_ADDRESSES)
    page, languages = re.subn(r'<html lang="en">', '<html lang="zh-CN">', page)
    page, titles = re.subn(r"<title>[^<]*</title>", f"<title>{_TITLE}</title>", page)
    _expect("language and title", languages + titles, 2)
    return page


def _expect(what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise IntegrityFault(
            f"阅片器的结构与所知不符({what}:{found},应为 {wanted}),未安装",
            f"The viewer is not built as is known ({what}: {found} instead of {wanted}); nothing was installed",
            code="viewer_layout",
        )
