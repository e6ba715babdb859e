"""A hospital's system opens our pages for its user: an address that is good once and for minutes begins a session.

The user is known to his hospital, not to us: the session speaks for him as a doctor of that hospital, may do no more
than the system might itself, and ends with it (catalog.sessions.find). Emergency access is not among it: who breaks
the glass signs in himself.
"""

import secrets
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import delete, update

from catalog import audit, sessions
from catalog.context import EVERY_SCOPE, Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Expired, NotFound
from catalog.registry import hospital_by_code
from catalog.sessions import SCOPES_OF_ANYBODY, digest_of
from catalog.tables_access import AccountSession, Launch, LaunchedSession

LASTING: Final = timedelta(minutes=5)
SESSION: Final = timedelta(hours=1)
SCOPES: Final = frozenset(
    {
        "checks.read",
        "checks.write",
        "images.read",
        "notices.read",
        "notices.write",
        "reports.read",
        "results.read",
    }
)
_SEALED_AS: Final = "launch"
_LONGEST_SUBJECT: Final = 255


@dataclass(frozen=True, slots=True)
class Practitioner:
    """A user of a hospital's system, as it knows him."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Launched:
    """A new address: its number, its secret, which is told once, and until when it is good."""

    id: uuid.UUID
    secret: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Opened:
    """The cookie of a session that has begun, and the language its user reads, if that was said."""

    cookie: str = field(repr=False)
    lang: str


def add(
    catalogue: Catalogue, caller: Caller, practitioner: Practitioner, carried: dict[str, Any], lang: str = ""
) -> Launched:
    """Make an address that opens our pages once for a user of the caller's hospital; audited.

    `carried` is whom and what he is about to order. Raises NotFound for an unregistered hospital.
    """
    now, secret, number = catalogue.clock(), secrets.token_urlsafe(32), uuid.uuid4()
    granted = SCOPES if EVERY_SCOPE in caller.scopes else SCOPES & caller.scopes
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, caller.hospital_code)
        session.execute(delete(Launch).where(Launch.expires_at <= now))
        subject = f"{practitioner.id} {caller.subject}"[:_LONGEST_SUBJECT]
        row = Launch(
            digest=digest_of(secret),
            id=number,
            hospital_id=hospital.id,
            client_id=caller.client_id,
            token_id=caller.token_id,
            launched_by=caller.subject,
            subject=subject,
            name=practitioner.name,
            scopes=sorted(granted | SCOPES_OF_ANYBODY),
            lang=lang,
            sealed=catalogue.vault.seal(_SEALED_AS, orjson.dumps(carried).decode()),
            expires_at=now + LASTING,
        )
        session.add(row)
        audit.record(
            session,
            caller,
            "launch.add",
            hospital_id=hospital.id,
            launch_id=str(number),
            practitioner=subject,
        )
        return Launched(number, secret, row.expires_at)


def open_launch(catalogue: Catalogue, secret: str, *, older: str = "") -> Opened:
    """Begin the session that an address stands for, and end the one whose cookie is `older`; audited.

    Raises Expired for an address that was used, is too old or never was, and where its maker could make none now.
    """
    opened = _take(catalogue, secret, older)
    if opened is not None and sessions.find(catalogue, opened.cookie, totp_required=False) is not None:
        return opened
    raise Expired(
        "链接已使用或已过期,请在医生工作站重新打开",
        "The link was used or has expired; open it again from your own system",
        code="launch_ended",
    )


def _take(catalogue: Catalogue, secret: str, older: str) -> Opened | None:
    now = catalogue.clock()
    with transaction(catalogue.engine) as session:
        mine = delete(Launch).where(Launch.digest == digest_of(secret)).returning(Launch)
        row = session.scalars(mine).one_or_none()  # whoever deletes it has it: nobody else can
        session.execute(delete(Launch).where(Launch.expires_at <= now))
        if row is None or row.expires_at <= now:
            return None
        if older:
            session.execute(delete(AccountSession).where(AccountSession.digest == digest_of(older)))
        cookie = sessions.begin(session, None, now, SESSION)
        session.add(
            LaunchedSession(
                digest=digest_of(cookie),
                hospital_id=row.hospital_id,
                client_id=row.client_id,
                token_id=row.token_id,
                launched_by=row.launched_by,
                subject=row.subject,
                name=row.name,
                scopes=row.scopes,
                sealed=row.sealed,
            )
        )
        caller = Caller(row.subject, sessions.DOCTOR, client_id=row.client_id)
        audit.record(session, caller, "launch.open", hospital_id=row.hospital_id, launch_id=str(row.id))
        return Opened(cookie, row.lang)


def carried(catalogue: Catalogue, caller: Caller, cookie: str) -> dict[str, Any]:
    """Return what the launch of a session carried, as long as nobody has asked about it; audited. Raises NotFound."""
    with transaction(catalogue.engine) as session:
        row = session.get(LaunchedSession, digest_of(cookie))
        if row is None or row.sealed is None:
            raise _nothing_carried()
        audit.record(session, caller, "launch.read", hospital_id=row.hospital_id)
        found: dict[str, Any] = orjson.loads(catalogue.vault.open(_SEALED_AS, row.sealed))
        return found


def forget(catalogue: Catalogue, caller: Caller, cookie: str) -> None:
    """Keep no longer what a launch carried; audited. Raises NotFound where nothing is kept."""
    with transaction(catalogue.engine) as session:
        query = update(LaunchedSession).where(
            LaunchedSession.digest == digest_of(cookie), LaunchedSession.sealed.is_not(None)
        )
        kept = session.scalars(query.values(sealed=None).returning(LaunchedSession.hospital_id)).all()
        if not kept:
            raise _nothing_carried()
        audit.record(session, caller, "launch.end", hospital_id=kept[0])


def _nothing_carried() -> NotFound:
    return NotFound("没有待询问的医嘱", "Nothing waits to be asked about", code="nothing_carried")
