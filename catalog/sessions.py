"""Browsers that are signed in: kept here by the digest of their cookie, so that one can be ended at once.

A session speaks for a local account, or for a user of a hospital's system that launched our pages for him.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from catalog import audit
from catalog.context import EVERY_SCOPE, Caller, Catalogue
from catalog.db import transaction
from catalog.tables import Hospital
from catalog.tables_access import (
    Account,
    AccountSession,
    BlockedSubject,
    Client,
    LaunchedSession,
    RevokedToken,
)

IDLE: Final = timedelta(minutes=30)
ABSOLUTE: Final = timedelta(hours=12)
OWN_SCOPE: Final = "session.own"  # all that an account without a second factor may do
SYSTEM: Final = "hospital_system"
DOCTOR: Final = "doctor"
LAUNCHING: Final = "launches.write"
SCOPES_OF_ANYBODY: Final = frozenset({OWN_SCOPE, "lists.read"})
_SEEN_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who a session speaks for, until when at most, and whether he has a second factor."""

    caller: Caller
    expires_at: datetime
    totp: bool


def begin(session: Session, account_id: int | None, now: datetime, lasting: timedelta = ABSOLUTE) -> str:
    """Return the cookie of a new session of an account that is locked: nothing can come between."""
    cookie = secrets.token_urlsafe(32)
    ended = or_(AccountSession.expires_at <= now, AccountSession.seen_at <= now - IDLE)
    session.execute(delete(AccountSession).where(ended))  # with what launches carried into them
    session.add(
        AccountSession(digest=digest_of(cookie), account_id=account_id, seen_at=now, expires_at=now + lasting)
    )
    session.flush()
    return cookie


def find(catalogue: Catalogue, cookie: str, *, totp_required: bool) -> SignedIn | None:
    """Return who a cookie speaks for now, or None; its use keeps the session from going idle. Raises DatabaseDown."""
    now, digest = catalogue.clock(), digest_of(cookie)
    query = (
        select(AccountSession, Account, LaunchedSession, Hospital.code, Hospital.active)
        .outerjoin(Account, Account.id == AccountSession.account_id)
        .outerjoin(LaunchedSession, LaunchedSession.digest == AccountSession.digest)
        .outerjoin(Hospital, Hospital.id == func.coalesce(LaunchedSession.hospital_id, Account.hospital_id))
        .where(
            AccountSession.digest == digest,
            AccountSession.expires_at > now,
            AccountSession.seen_at > now - IDLE,
            or_(Account.active, LaunchedSession.digest.is_not(None)),
        )
    )
    with transaction(catalogue.engine) as session:
        found = session.execute(query).tuples().one_or_none()
        if found is None or found[4] is False:
            return None
        row, account, launched, code, _ = found
        caller = (
            _launched_caller(session, launched, code)
            if launched is not None
            else _account_caller(account, code, totp_required=totp_required)
        )
        if caller is not None and now - row.seen_at >= _SEEN_EVERY:
            mine = AccountSession.digest == digest
            session.execute(update(AccountSession).where(mine).values(seen_at=now))
        totp = account is not None and account.totp_confirmed
        return SignedIn(caller, row.expires_at, totp) if caller is not None else None


def _account_caller(account: Account, code: str | None, *, totp_required: bool) -> Caller:
    full = account.totp_confirmed or not totp_required
    scopes = frozenset({EVERY_SCOPE if full else OWN_SCOPE})
    return Caller(account.name, account.role, code or "", scopes, account_id=account.id)


def _launched_caller(session: Session, launched: LaunchedSession, code: str) -> Caller | None:
    """Return whom a launched session speaks for, as long as the system that began it could still begin it."""
    scopes = frozenset(launched.scopes)
    if launched.client_id:
        client = session.get(Client, launched.client_id)
        if client is None or not client.active or client.hospital_id != launched.hospital_id:
            return None
        scopes &= {*client.scopes, *SCOPES_OF_ANYBODY}
        if client.role != SYSTEM or LAUNCHING not in client.scopes:
            return None
    shut_out = select(BlockedSubject.subject).where(
        BlockedSubject.subject.in_((launched.subject, launched.launched_by))
    )
    taken_back = select(RevokedToken.jti).where(RevokedToken.jti == launched.token_id)
    if session.scalar(select(or_(shut_out.exists(), taken_back.exists()))):
        return None
    return Caller(launched.subject, DOCTOR, code, scopes, client_id=launched.client_id, name=launched.name)


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
