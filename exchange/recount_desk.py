"""Recounts that take their time: begun, watched while they go on, and signed where they end.

A recount over years outlasts any request. It works as its caller, one for each caller and few together; who does not
look for a while has left, and his recount ends with the statement it is at. What was found is kept until the next of
the same caller, or until others need the room: the signed statement is what lasts.
"""

import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Literal
from uuid import uuid4

import psycopg

from catalog import audit, recount
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, NotFound, Unavailable
from catalog.recount_texts import TEXTS
from catalog.scope import steady
from exchange import statements
from exchange.tokens import TokenKey

State = Literal["running", "done", "abandoned", "failed"]
ABANDONED_SECONDS: Final = 120.0
_AT_ONCE: Final = 2
_KEPT: Final = 32
_LOOKS_EVERY_SECONDS: Final = 0.5
log = logging.getLogger("huren.recount")


class _Left(Exception):
    """Nobody looks any more."""


@dataclass(slots=True, eq=False)
class _Recount:
    """One recount: how far it is, and what it found; `looked_at` is when somebody last asked."""

    caller: Caller
    begun_at: str
    number: str = field(default_factory=lambda: str(uuid4()))
    looked_at: float = field(default_factory=monotonic)
    state: State = "running"
    done: int = 0
    found: dict[str, Any] | None = None
    connection: "psycopg.Connection[Any] | None" = None
    ended: threading.Event = field(default_factory=threading.Event)
    is_left: bool = False

    def progress(self, _step: str, done: int, _steps: int) -> None:
        """Note how far it is. Raises _Left where nobody looks any more."""
        self.done = done
        if self.is_left:
            raise _Left

    def leave(self) -> None:
        """End it with the statement it is at."""
        self.is_left = True
        if self.connection is not None:
            with suppress(psycopg.Error):
                self.connection.cancel_safe(timeout=5)

    def told(self) -> dict[str, Any]:
        """Return how far it is and, once it is done, what was found."""
        faults = _counted(self.found)
        return {
            "recount_id": self.number,
            "state": self.state,
            "begun_at": self.begun_at,
            "done": self.done,
            "steps": len(recount.STEPS),
            "checks": [
                {
                    "kind": kind,
                    "text": TEXTS[kind][0],
                    "text_en": TEXTS[kind][1],
                    "done": place < self.done,
                    "disagreements": faults.get(kind, 0) if faults is not None else None,
                }
                for place, kind in enumerate(recount.STEPS)
            ],
            "found": self.found,
        }


class RecountDesk:
    """Has recounts made in threads of its own."""

    def __init__(self, key: TokenKey, abandoned_seconds: float = ABANDONED_SECONDS) -> None:
        self._key = key
        self._abandoned_seconds = abandoned_seconds
        self._lock = threading.Lock()
        self._of: dict[tuple[str, str, str], _Recount] = {}
        self._threads: set[threading.Thread] = set()

    def begin(self, caller: Caller, catalogue: Catalogue) -> dict[str, Any]:
        """Begin a recount, or return the caller's own that is still going on. Raises Unavailable where others fill the room."""
        with self._lock:
            if (mine := self._of.get(_key(caller))) is not None and mine.state == "running":
                mine.looked_at = monotonic()
                return mine.told()
            if sum(each.state == "running" for each in self._of.values()) >= _AT_ONCE:
                raise Unavailable(
                    "已有其他重新核算在进行,请稍后再试",
                    "Others are being recounted; try again soon",
                    code="recounts_busy",
                )
            with transaction(catalogue.engine) as session:
                audit.record(session, caller, "savings.recount")
            begun = _Recount(caller, catalogue.clock().isoformat(timespec="seconds"))
            self._of.pop(_key(caller), None)
            self._of[_key(caller)] = begun
            self._make_room()
            told = begun.told()
            self._start(begun, catalogue)
        return told

    def read(self, caller: Caller, recount_id: str) -> dict[str, Any]:
        """Return how far one's own recount is, and that somebody looks. Raises NotFound."""
        return self._found(caller, recount_id).told()

    def statement(self, caller: Caller, catalogue: Catalogue, recount_id: str) -> dict[str, Any]:
        """Return what one's own recount found, signed; audited. Raises NotFound, Conflict where it has not ended well."""
        found = self._found(caller, recount_id).found
        if found is None:
            raise Conflict("重新核算尚未完成", "The recount is not done", code="recount_not_done")
        with transaction(catalogue.engine) as session:
            audit.record(session, caller, "savings.export", recount_id=recount_id)
        return found

    def close(self) -> None:
        """End every recount and wait for it."""
        for each in list(self._of.values()):
            each.leave()
        for thread in list(self._threads):
            thread.join()

    def _found(self, caller: Caller, recount_id: str) -> _Recount:
        mine = self._of.get(_key(caller))
        if mine is None or mine.number != recount_id:
            raise NotFound("没有该重新核算", "No such recount", code="unknown_recount")
        mine.looked_at = monotonic()
        return mine

    def _make_room(self) -> None:
        ended = [key for key, each in self._of.items() if each.state != "running"]
        for key in ended[: max(len(self._of) - _KEPT, 0)]:
            del self._of[key]

    def _start(self, begun: _Recount, catalogue: Catalogue, /) -> None:
        work = threading.Thread(target=self._work, args=(begun, catalogue), name="recount", daemon=True)
        watch = threading.Thread(target=self._watch, args=(begun,), name="recount watch", daemon=True)
        self._threads = {thread for thread in self._threads if thread.is_alive()} | {work, watch}
        work.start()
        watch.start()

    def _watch(self, begun: _Recount) -> None:
        """Have it end where nobody has looked for a while; a statement that began meanwhile is ended too."""
        while not begun.ended.wait(_LOOKS_EVERY_SECONDS):
            if begun.is_left or monotonic() - begun.looked_at > self._abandoned_seconds:
                begun.leave()

    def _work(self, begun: _Recount, catalogue: Catalogue) -> None:
        try:
            begun.found = self._recounted(begun, catalogue)
            begun.state = "done"
        except Exception as error:  # whatever it was, whoever looks is told
            begun.state = "abandoned" if begun.is_left else "failed"
            if not begun.is_left:
                log.error("recount failed: %s", type(error).__name__)
        finally:
            begun.connection = None
            begun.ended.set()

    def _recounted(self, begun: _Recount, catalogue: Catalogue) -> dict[str, Any]:
        """Return what was found in one snapshot, with its signature; audited with its digest."""
        with transaction(steady(catalogue.engine)) as session:
            begun.connection = session.connection().connection.driver_connection
            as_of = catalogue.clock().isoformat(timespec="seconds")
            found = {"as_of": as_of, **recount.verify(session, progress=begun.progress)}
            digest = statements.digest_of(found)
            audit.record(session, begun.caller, "savings.verify", agrees=found["agrees"], sha256=digest)
        return {**found, "signed": statements.sign(self._key, begun.caller, found, catalogue.clock())}


def _key(caller: Caller) -> tuple[str, str, str]:
    return caller.subject, caller.role, caller.hospital_code


def _counted(found: Mapping[str, Any] | None) -> dict[str, int] | None:
    """Return how often each step found something; None before the end."""
    if found is None:
        return None
    counted = {recount.SUMS: len(found["differing"])}
    for fault in found["faults"]:
        counted[fault["fault"]] = counted.get(fault["fault"], 0) + 1
    return counted
