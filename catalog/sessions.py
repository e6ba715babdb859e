"""Browsers that are signed in: kept here by the digest of their cookie, so that one can be ended at once."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from catalog import audit
from catalog.context import EVERY_SCOPE, Caller, Catalogue
from catalog.db import transaction
from catalog.tables import Hospital
from catalog.tables_access import Account, AccountSession

IDLE: Final = timedelta(minutes=30)
ABSOLUTE: Final = timedelta(hours=12)
OWN_SCOPE: Final = "session.own"  # all that an account without a second factor may do
_SEEN_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who a session speaks for, until when at most, and whether he has a second factor."""

    caller: Caller
    expires_at: datetime
    totp: bool


def begin(session: Session, account_id: int, now: datetime) -> str:
    """Return the cookie of a new session of an account that is locked: nothing can come between."""
    cookie = secrets.token_urlsafe(32)
    session.execute(delete(AccountSession).where(AccountSession.expires_at <= now))
    session.add(
        AccountSession(
            digest=digest_of(cookie), account_id=account_id, seen_at=now, expires_at=now + ABSOLUTE
        )
    )
    return cookie


def find(catalogue: Catalogue, cookie: str, *, totp_required: bool) -> SignedIn | None:
    """Return who a cookie speaks for now, or None; its use keeps the session from going idle. Raises DatabaseDown."""
    now, digest = catalogue.clock(), digest_of(cookie)
    query = (
        select(AccountSession, Account, Hospital.code, Hospital.active)
        .join(Account, Account.id == AccountSession.account_id)
        .outerjoin(Hospital, Hospital.id == Account.hospital_id)
        .where(
            AccountSession.digest == digest,
            AccountSession.expires_at > now,
            AccountSession.seen_at > now - IDLE,
            Account.active,
        )
    )
    with transaction(catalogue.engine) as session:
        found = session.execute(query).tuples().one_or_none()
        if found is None or found[3] is False:
            return None
        row, account, code, _ = found
        if now - row.seen_at >= _SEEN_EVERY:
            mine = AccountSession.digest == digest
            session.execute(update(AccountSession).where(mine).values(seen_at=now))
        full = account.totp_confirmed or not totp_required
        scopes = frozenset({EVERY_SCOPE if full else OWN_SCOPE})
        caller = Caller(account.name, account.role, code or "", scopes, account_id=account.id)
        return SignedIn(caller, row.expires_at, account.totp_confirmed)


def end(catalogue: Catalogue, caller: Caller, cookie: str) -> None:
    """Sign a browser out; audited."""
    with transaction(catalogue.engine) as session:
        session.execute(delete(AccountSession).where(AccountSession.digest == digest_of(cookie)))
        audit.record(session, caller, "session.sign_out", account_id=caller.account_id)


def digest_of(secret: str) -> bytes:
    """Return what is kept of a link or a cookie."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def csrf_token(cookie: str) -> str:
    """Return what a page of ours sends beside the cookie: only who was given the session can know it."""
    return hmac.new(cookie.encode("utf-8", "surrogatepass"), b"csrf", hashlib.sha256).hexdigest()
