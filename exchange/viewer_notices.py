"""What the viewer is made of, and under which licences: a text to be served beside it.

The package brings only its own licence, though its bundles hold much that others wrote: their names stand in the
comments of the bundles, and so do some of their own notices.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from exchange.viewer_package import Package

_LICENCES: Final = Path(__file__).with_name("viewer_licences.csv")
_NAMED: Final = re.compile(rb"/node_modules/((?:@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*)")
_NOTICE: Final = re.compile(rb"/\*[*!](?:(?!\*/).){0,2000}?@license(?:(?!\*/).){0,2000}\*/", re.DOTALL)
_STARS: Final = re.compile(r"^[ \t]*\*[ \t]?", re.MULTILINE)
_HEAD: Final = """第三方声明 / Third-party notices

影像浏览器 OHIF Viewer({spec})按其作者发布的构建使用;仅改动其根路径、页面标题与语言,略去未用的文件与引导组件。
The OHIF Viewer ({spec}) is used as its authors built it; only its root path, the page's title and language were
changed, and files that are not used and the guided tours were left out.

{licence}
----------------------------------------------------------------------------------------------------
主要组成部分及其许可证 / the main parts and their licences

{main}

----------------------------------------------------------------------------------------------------
构建文件中提到的全部软件包 / every package that the bundles name ({count})

{names}

----------------------------------------------------------------------------------------------------
构建文件中自带的声明 / notices that stand in the bundles themselves

{own}
"""


def notices(package: Package, licence: str, files: Mapping[str, bytes]) -> str:
    """Return the notices of what is installed of a package as a text."""
    scripts = [content for name, content in files.items() if name.endswith(".js")]
    names = packages_in(scripts)
    own = sorted(_own_notices(scripts))
    return _HEAD.format(
        spec=package.spec,
        licence=licence,
        main="\n".join(_main_parts()),
        count=len(names),
        names="\n".join(names),
        own="\n\n".join(own),
    )


def packages_in(scripts: Iterable[bytes]) -> list[str]:
    """Return the names of the packages that bundles name in their comments."""
    return sorted({found.decode() for script in scripts for found in _NAMED.findall(script)})


def _own_notices(scripts: Iterable[bytes]) -> Iterator[str]:
    found = {match for script in scripts for match in _NOTICE.findall(script)}
    for notice in found:
        if rb"\n" in notice:  # within a string of a script: what it is the notice of is left out
            continue
        text = _STARS.sub("", notice.decode("utf-8", "replace").strip("/*! \n"))
        yield text.strip()


def _main_parts() -> Iterator[str]:
    for part in main_parts():
        note = f" ({part['note']})" if part["note"] else ""
        yield f"{part['name']}: {part['licence']}{note}"


def main_parts() -> list[Mapping[str, str]]:
    """Return the main parts with their licences, as the packages themselves state them."""
    with _LICENCES.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
