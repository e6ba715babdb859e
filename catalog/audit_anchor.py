"""The head of the audit's chain, kept where the database's masters cannot reach: an object store with its own key,
and a file that an auditor may carry away.

    heads/000000000042.json    in the bucket, one object for each anchored link, never overwritten
    heads.jsonl                one line for each link, only ever appended to

Both hold the same line of JSON: number, time, range and head of the link, its signature and the key's name.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from catalog.audit_chain import Seal
from catalog.errors import Conflict, IntegrityFault, InvalidInput
from catalog.objects import ObjectStore

PREFIX: Final = "heads/"
_TAIL_BYTES: Final = 4096  # a line has less than 500
_KEY: Final = re.compile(r"heads/\d{12}\.json")


@dataclass(frozen=True, slots=True)
class Anchor:
    """What is kept of a link outside the database."""

    number: int
    sealed_at: str
    through_id: int
    head: str
    signature: str
    key: str

    @classmethod
    def of(cls, seal: Seal) -> "Anchor":
        """Return the anchor of a link."""
        return cls(
            seal.number, seal.sealed_at, seal.through_id, seal.head.hex(), seal.signature.hex(), seal.key
        )

    @classmethod
    def read(cls, line: bytes) -> "Anchor":
        """Return what a line says. Raises InvalidInput where it is none."""
        try:
            found: dict[str, Any] = orjson.loads(line)
            return cls(
                int(found["number"]),
                str(found["sealed_at"]),
                int(found["through_id"]),
                str(found["head"]),
                str(found["signature"]),
                str(found["key"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput("锚定文件无法读取", "The anchor cannot be read", field="anchor") from error

    @property
    def object_key(self) -> str:
        """Return where in the bucket it is kept."""
        return object_key(self.number)

    def line(self) -> bytes:
        """Return it as one line of JSON."""
        return orjson.dumps(self, option=orjson.OPT_APPEND_NEWLINE)


def object_key(number: int) -> str:
    """Return the key under which the anchor of a link is kept."""
    return f"{PREFIX}{number:012d}.json"


def store_anchor(store: ObjectStore, anchor: Anchor) -> None:
    """Keep an anchor in the object store; the same one again is no error.

    Raises Conflict where another head stands under its number: two chains, one of them no true one.
    """
    line = anchor.line()
    if store.put_new(anchor.object_key, line, "application/json"):
        return
    if _read(store, anchor.object_key) != anchor:
        raise forked(anchor.number)


def append_anchor(path: Path, anchor: Anchor) -> None:
    """Append an anchor to the auditor's file, durable once this returns; a line a crash cut short is closed first."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    cut_short = _is_cut_short(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, (b"\n" if cut_short else b"") + anchor.line())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_cut_short(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def file_anchors(path: Path) -> Iterator[Anchor]:
    """Yield what the file holds. Raises InvalidInput where it cannot be read."""
    try:
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"}\n"):  # else a crash has cut it short
                    yield Anchor.read(line)
    except OSError as error:
        raise InvalidInput("锚定文件无法读取", "The anchor file cannot be read", field="anchor") from error


def last_file_anchor(path: Path) -> Anchor | None:
    """Return the newest anchor of the file, or None where there is none yet. Raises InvalidInput, OSError."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        whole = [line for line in file.read().splitlines(keepends=True) if line.endswith(b"}\n")]
    return Anchor.read(whole[-1]) if whole else None


def stored_anchors(store: ObjectStore, after: int = 0) -> Iterator[Anchor]:
    """Yield what the object store holds of the links after a number, in their order."""
    for found in store.list(PREFIX, after=object_key(after)):
        if _KEY.fullmatch(found.key):
            yield _read(store, found.key)


def refuse_fork(last: Seal | None, anchors: Iterable[Anchor]) -> None:
    """Raises Conflict where an anchor contradicts the newest link, or speaks of links that are not there.

    Then the database is an older one, or another: its chain must not be gone on with.
    """
    for anchor in anchors:
        if last is None or anchor.number > last.number:
            raise forked(anchor.number)
        if anchor.number == last.number and anchor.head != last.head.hex():
            raise forked(anchor.number)


def forked(number: int) -> Conflict:
    """Return the error that says that two chains share a number."""
    return Conflict(
        f"第 {number} 号封存与数据库之外的锚定不符:数据库可能被恢复或改动,请运行 huren audit verify",
        f"Seal {number} is not the one anchored outside the database, which may have been restored or altered;"
        " run `huren audit verify`",
        code="audit_forked",
    )


def _read(store: ObjectStore, key: str) -> Anchor:
    size_bytes = store.stat(key).size_bytes
    anchor = Anchor.read(store.read_range(key, 0, size_bytes))
    if anchor.object_key != key:
        raise IntegrityFault("锚定对象的编号不符", "An anchor bears another number than its object")
    return anchor
