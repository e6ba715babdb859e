"""The viewer's guided tours are left out, and with them all of one package: shepherd.js, which is AGPL-3.0.

Whoever serves AGPL code owes its users the source of the work it is part of; nothing of ours shows tours. The package
stands in one bundle and one style sheet; what calls it finds a tour without steps in its place.
"""

import re
from collections.abc import Mapping
from typing import Final

from catalog.errors import IntegrityFault

_SCRIPT: Final = re.compile(
    rb";// CONCATENATED MODULE: [./]*/node_modules/shepherd\.js/dist/js/shepherd\.mjs\n"
    rb"/\*! shepherd\.js [0-9.]+ \*/\n[^\n]*const shepherd_fe=[^\n]*\n(?:\n?//# sourceMappingURL=shepherd\.mjs\.map\n)?"
)
_STYLE_IN_SCRIPT: Final = re.compile(
    rb";// CONCATENATED MODULE: [./]*/node_modules/shepherd\.js/dist/css/shepherd\.css\n"
)
_IN_ITS_PLACE: Final = b"const shepherd_fe = { Tour: class { addStep() {} start() {} } };\n"
_RULES: Final = re.compile(rb"[^{}]*\.shepherd[^{}]*\{[^{}]*\}")
_NAMES: Final = re.compile(rb"\bshepherd_\w+")


def without_tours(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files without the tours. Raises IntegrityFault where they are not found exactly once."""
    told = dict(files)
    scripts = [
        name for name in files if name.endswith(".js") and b"/node_modules/shepherd.js/" in files[name]
    ]
    styles = [name for name in files if name.endswith(".css") and b".shepherd" in files[name]]
    if len(scripts) != 1 or len(styles) != 1:
        raise _unknown(f"{len(scripts)} + {len(styles)}")
    told[scripts[0]] = _script(files[scripts[0]])
    told[styles[0]] = _RULES.sub(b"", files[styles[0]])
    if b"shepherd" in told[styles[0]]:
        raise _unknown("css")
    return told


def _script(script: bytes) -> bytes:
    cut, scripts = _SCRIPT.subn(_IN_ITS_PLACE, script)
    cut, styles = _STYLE_IN_SCRIPT.subn(b"", cut)
    if (scripts, styles) != (1, 1) or set(_NAMES.findall(cut)) != {b"shepherd_fe"}:
        raise _unknown("js")
    return cut


def _unknown(what: str) -> IntegrityFault:
    return IntegrityFault(
        f"阅片器中的引导组件与所知不符({what}),未安装",
        f"The viewer's tours are not where they are known to be ({what}); nothing was installed",
        code="viewer_layout",
    )
