"""Who is shut out, known in memory: asked at every call, so read from the database in the background.

What an operator takes back holds within `EVERY_SECONDS`. Where the database has not been read for longer than
`STALE_SECONDS`, nobody is let in: a token that was taken back meanwhile would not be noticed.
"""

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, delete, select
from sqlalchemy.dialects.postgresql import insert

from catalog import audit
from catalog.context import Caller, Catalogue
from catalog.db import database_down, transaction
from catalog.errors import HurenError, NotFound
from catalog.tables_access import BlockedSubject, Client, RevokedToken

EVERY_SECONDS: Final = 5.0
STALE_SECONDS: Final = 45.0
_FIRST_SECONDS: Final = 1.0  # how long the first caller waits for the first reading
_STOP_SECONDS: Final = 5.0
_SWEPT: Final = timedelta(minutes=10)  # a token stays taken back while clocks differ or are set
_LOG: Final = logging.getLogger("huren.revocations")


class Revocations:
    """Disabled clients and subjects, and revoked tokens, as the database had them a moment ago."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shut_out: frozenset[str] = frozenset()
        self._read_at = float("-inf")
        self._first = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="revocations", daemon=True)

    def start(self) -> None:
        """Begin reading."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading; returns once no connection is in use for it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def holds(self, jti: str, client_id: str = "", subject: str = "") -> bool:
        """Say whether this token, the client it was issued to or whom it speaks for is shut out. Raises DatabaseDown."""
        if time.monotonic() - self._read_at > STALE_SECONDS:
            self._first.wait(_FIRST_SECONDS)
            if time.monotonic() - self._read_at > STALE_SECONDS:
                raise database_down()
        names = (f"token:{jti}", f"client:{client_id}", f"subject:{subject}")
        return not self._shut_out.isdisjoint(names)

    def read(self) -> None:
        """Read now. Raises DatabaseDown."""
        started = time.monotonic()
        with transaction(self._engine) as session:
            clients = session.scalars(select(Client.client_id).where(~Client.active)).all()
            tokens = session.scalars(select(RevokedToken.jti)).all()
            subjects = session.scalars(select(BlockedSubject.subject)).all()
        named = {"client": clients, "token": tokens, "subject": subjects}
        self._shut_out = frozenset(f"{kind}:{each}" for kind, found in named.items() for each in found)
        self._read_at = started
        self._first.set()

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.read()
            except HurenError as error:
                _LOG.warning("who is shut out could not be read: %s", error.code)
            self._stop.wait(EVERY_SECONDS)


def revoke(catalogue: Catalogue, caller: Caller, jti: str, expires_at: datetime) -> None:
    """Take a token back before its time; audited."""
    now = datetime.now(UTC)
    with transaction(catalogue.engine) as session:
        session.execute(delete(RevokedToken).where(RevokedToken.expires_at < now - _SWEPT))
        kept = {"jti": jti, "expires_at": expires_at, "revoked_by": caller.subject, "revoked_at": now}
        session.execute(insert(RevokedToken).values(kept).on_conflict_do_nothing())
        audit.record(session, caller, "token.revoke", jti=jti)


def block(catalogue: Catalogue, caller: Caller, subject: str, reason: str) -> None:
    """Let somebody in no more, whoever issues his tokens; audited. `subject` is as the audit names him."""
    now = datetime.now(UTC)
    with transaction(catalogue.engine) as session:
        kept = {"subject": subject, "reason": reason, "blocked_by": caller.subject, "blocked_at": now}
        session.execute(insert(BlockedSubject).values(kept).on_conflict_do_nothing())
        audit.record(session, caller, "subject.disable", subject=subject)


def unblock(catalogue: Catalogue, caller: Caller, subject: str) -> None:
    """Let him in again; audited. Raises NotFound for somebody who is not shut out."""
    with transaction(catalogue.engine) as session:
        row = session.get(BlockedSubject, subject)
        if row is None:
            raise NotFound("该主体未被停用", "Nobody of this name is shut out", code="unknown_subject")
        session.delete(row)
        audit.record(session, caller, "subject.enable", subject=subject)


def blocked(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return everybody who is shut out, and why."""
    with transaction(catalogue.engine) as session:
        return [
            {
                "subject": row.subject,
                "reason": row.reason,
                "blocked_by": row.blocked_by,
                "blocked_at": row.blocked_at.isoformat(timespec="seconds"),
            }
            for row in session.scalars(select(BlockedSubject).order_by(BlockedSubject.subject))
        ]
