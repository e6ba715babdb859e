"""A package built like that of the viewer, small, and as wrong as a test wants it."""

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from exchange import viewer_installation
from exchange.viewer_package import Package

ROOTED: Final = b'(() => {\n__webpack_require__.p = "/";\n})();\n' + b"// filling\n" * 200
TOURS: Final = (
    b";// CONCATENATED MODULE: ../../../node_modules/shepherd.js/dist/js/shepherd.mjs\n"
    b"/*! shepherd.js 15.2.2 */\n"
    b"class shepherd_i{}const shepherd_fe=new shepherd_i;\n\n//# sourceMappingURL=shepherd.mjs.map\n\n"
    b"// EXTERNAL MODULE: ../../../node_modules/react-router/dist/index.js\n"
    b";// CONCATENATED MODULE: ../../../node_modules/shepherd.js/dist/css/shepherd.css\n"
    b"const tour = new shepherd_fe.Tour({});\n"
)
PAGE: Final = (
    b'<!doctype html><html lang="en"><head><meta name="msapplication-TileImage" content="/assets/m.png">'
    b'<script>console.time("scriptToView"),window.PUBLIC_URL="/"</script><link rel="manifest" href="/manifest.json">'
    b'<link rel="icon shortcut" href="/assets/favicon.ico"><link rel="icon" href="/assets/favicon-16x16.png">'
    b'<link rel="icon" href="/assets/favicon-32x32.png"><link rel="apple-touch-icon" href="/assets/a.png">'
    b'<script rel="preload" as="script" src="/app-config.js"></script>'
    b'<script rel="preload" as="script" type="module" src="/init-service-worker.js"></script>'
    b'<title>OHIF Viewer</title><script>window.PUBLIC_URL="/"</script>'
    b'<script defer src="/app.bundle.0f6159c501addfe9.js"></script><link href="/app.bundle.css" rel="stylesheet">'
    b"</head><body></body></html>"
)


def files() -> dict[str, bytes]:
    """Return the files of a package as they should be."""
    workers = {f"{number}.bundle.{number:016x}.js": ROOTED for number in range(7)}
    return {
        "app.bundle.0f6159c501addfe9.js": ROOTED + TOURS,
        **workers,
        "8.bundle.00000000000000ff.js": b"// EXTERNAL MODULE: ../../../node_modules/@kitware/vtk.js/index.js\n",
        "app.bundle.css": b"@font-face{src:url(/a34f9d1faa5f3315.woff2)}.shepherd-button{color:red}.kept{color:red}",
        "1602.css": b".kept{color:red}",
        "index.html": PAGE,
        "a34f9d1faa5f3315.woff2": b"font",
        "0ddf166f7a343eda.wasm": b"\0asm" * 500,
        "assets/favicon.ico": b"icon",
        "assets/images/CT-Bone.png": b"png",
        "ohif-logo.svg": b"<svg/>",
        "sw.js": b"left out",
        "ort/ort.bundle.js": b"left out",
        "oidc-client.min.js": b"left out",
    }


def tar_of(given: Mapping[str, bytes], *more: tarfile.TarInfo) -> bytes:
    """Return a package with these files below `dist`, its licence, and other members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        whole = {f"package/dist/{name}": content for name, content in given.items()}
        for name, content in {"package/LICENSE": b"The MIT License (MIT)\n", **whole}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in more:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return out.getvalue()


def locked(monkeypatch: pytest.MonkeyPatch, folder: Path, archive: bytes) -> Path:
    """Lock a package as the one that is taken; returns its file."""
    package = Package("@ohif/app", "3.13.2", hashlib.sha512(archive).hexdigest())
    monkeypatch.setattr(viewer_installation, "locked_package", lambda: package)
    path = folder / "ohif-app.tgz"
    path.write_bytes(archive)
    return path
