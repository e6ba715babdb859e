"""FAULTS A15: what must stand in nothing that a process writes but its stores: people and secrets of the tests.

Every person of the tests is invented: his number is of the region 999999, which does not exist, and he has one of these
names. So whatever test runs, a log, an error or a counter with one of them in it has told of a patient. The plugin of
`tests/conftest.py` looks through what every test's processes wrote.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TEXTS: Final = ("林晓渝", "林^晓渝", "测试^甲", "双肺纹理清晰", "未见明显异常")
STORES: Final = frozenset({"spool", "keys", "postgres", "s3"})  # where patients and keys belong
_AROUND: Final = 40


def _written(text: str) -> set[bytes]:
    """A text as logs could have it: in either code, or with its characters escaped."""
    return {
        text.encode(),
        text.encode("gb18030"),
        json.dumps(text)[1:-1].encode(),
        repr(text.encode())[2:-1].encode(),
    }


_FORBIDDEN: Final = re.compile(
    b"|".join(
        [
            rb"999999(?:19|20)\d\d[01]\d[0-3]\d{4}[\dXx]",
            rb"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}",  # a token
            rb"-----BEGIN [A-Z ]*PRIVATE KEY",
            *(re.escape(each) for text in TEXTS for each in sorted(_written(text))),
        ]
    )
)


def leaks(content: bytes | str, *secrets: str) -> list[str]:
    """Return what of a patient, or of these secrets, stands in a text, each with a little around it."""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    places = [found.span() for found in _FORBIDDEN.finditer(content)]
    places += [
        found.span() for secret in secrets for found in re.finditer(re.escape(secret.encode()), content)
    ]
    return [content[max(0, a - _AROUND) : b + _AROUND].decode("utf-8", "replace") for a, b in places]


def leaks_below(folder: Path, *secrets: str, every_file: bool = False) -> list[str]:
    """Return what stands in the logs and run folders below a folder, or in every file outside the stores."""
    return [
        f"{path}: {found}"
        for path in _files(folder)
        if every_file or path.suffix == ".log" or {"run", "logs"} & set(path.relative_to(folder).parts[:-1])
        for found in leaks(path.read_bytes(), *secrets)
    ]


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in STORES]
        for name in names:
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                yield path
