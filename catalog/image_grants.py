"""Links by which a browser fetches images: for one patient, in the name of whoever asked for it, for a short time.

A link opens nothing that its holder may not see at that moment by himself: it only stands in for his token, so that a
page or a viewer needs none. It ends with the session it was asked for in, with the holder's account, and when told to.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, or_, select, update

from catalog import audit, image_views, registry
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import NotFound
from catalog.image_views import Counted
from catalog.sessions import digest_of
from catalog.tables import Hospital
from catalog.tables_access import Account, AccountSession, ImageGrant

SCOPE: Final = "images.read"
MOST_STUDIES: Final = 8
_SWEPT: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Opened:
    """A new link: its number, its secret, which is told once, and until when it holds."""

    id: int
    secret: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """In whose name a link fetches, and of which patient (his regional number)."""

    caller: Caller
    patient_id: int


def open_link(
    catalogue: Catalogue,
    caller: Caller,
    StudyInstanceUIDs: Sequence[str],
    lasting: timedelta,
    counted: Counted,
    *,
    cookie: str = "",
) -> Opened:
    """Make a link to the studies of one patient, and to what else of his is shown; audited.

    `cookie` is that of the session it is to end with. Raises NotFound where one of the studies is not for the
    caller to see, or where they are not one patient's.
    """
    now, secret = catalogue.clock(), secrets.token_urlsafe(32)
    with transaction(catalogue.engine) as session:
        found = [image_views.shown(session, catalogue, caller, uid, counted) for uid in StudyInstanceUIDs]
        patients = {study.patient_id for study in found if study}
        if None in found or len(patients) != 1:
            raise NotFound("没有该检查", "No such study", code="unknown_study")
        hospital_id = registry.hospital_by_code(session, caller.hospital_code).id
        session.execute(delete(ImageGrant).where(ImageGrant.expires_at <= now - _SWEPT))
        row = ImageGrant(
            digest=digest_of(secret),
            hospital_id=hospital_id,
            subject=caller.subject,
            role=caller.role,
            client_id=caller.client_id,
            account_id=caller.account_id,
            session_digest=digest_of(cookie) if cookie else None,
            patient_id=patients.pop(),
            granted_at=now,
            expires_at=now + lasting,
        )
        session.add(row)
        session.flush()
        shown = [str(study.id) for study in found if study]
        audit.record(
            session, caller, "image_grant.add", hospital_id=hospital_id, grant_id=row.id, shown=shown
        )
        return Opened(row.id, secret, row.expires_at)


def held(catalogue: Catalogue, secret: str) -> Held | None:
    """Return what a link stands for now, or None where there is none, or no more."""
    now = catalogue.clock()
    query = (
        select(ImageGrant, Hospital.code)
        .join(Hospital, Hospital.id == ImageGrant.hospital_id)
        .outerjoin(Account, Account.id == ImageGrant.account_id)
        .outerjoin(AccountSession, AccountSession.digest == ImageGrant.session_digest)
        .where(
            ImageGrant.digest == digest_of(secret),
            ImageGrant.expires_at > now,
            ImageGrant.revoked_at.is_(None),
            Hospital.active,
            or_(ImageGrant.account_id.is_(None), Account.active & (Account.role == ImageGrant.role)),
            or_(ImageGrant.session_digest.is_(None), AccountSession.expires_at > now),
        )
    )
    with transaction(catalogue.engine) as session:
        found = session.execute(query).tuples().one_or_none()
        if found is None:
            return None
        row, code = found
        caller = Caller(
            row.subject,
            row.role,
            code,
            frozenset({SCOPE}),
            client_id=row.client_id,
            account_id=row.account_id,
        )
        return Held(caller, row.patient_id)


def end(catalogue: Catalogue, caller: Caller, grant_id: int) -> datetime:
    """End one's own link; returns when; audited. One that has ended stays as it is. Raises NotFound."""
    now = catalogue.clock()
    with transaction(catalogue.engine) as session:
        hospital_id = registry.hospital_by_code(session, caller.hospital_code).id
        mine = (
            ImageGrant.id == grant_id,
            ImageGrant.hospital_id == hospital_id,
            ImageGrant.subject == caller.subject,
        )
        row = session.scalar(select(ImageGrant).where(*mine).with_for_update())
        if row is None:
            raise NotFound("没有该链接", "No such link", code="unknown_grant")
        ended_at = min(row.revoked_at or now, row.expires_at)
        session.execute(update(ImageGrant).where(*mine).values(revoked_at=ended_at))
        audit.record(session, caller, "image_grant.end", hospital_id=hospital_id, grant_id=grant_id)
        return ended_at
