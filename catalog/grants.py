"""Why somebody may see what other hospitals know of a person: a check showed it, a stated purpose, an emergency."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import and_, exists, or_, select, update
from sqlalchemy.orm import Session

from catalog import groups, sharing
from catalog.context import Caller
from catalog.tables import Hospital
from catalog.tables_access import AccessGrant

Basis = Literal["check", "purpose", "break_glass"]
CHECK: Final[Basis] = "check"
OWN: Final[tuple[Basis, ...]] = ("purpose", "break_glass")  # for the subject alone, not for his hospital
EVERY: Final[tuple[Basis, ...]] = (CHECK, *OWN)


def grant(
    session: Session,
    caller: Caller,
    hospital_id: int,
    person_id: int,
    basis: Basis,
    now: datetime,
    lasting: timedelta,
    *,
    reason: str = "",
) -> AccessGrant:
    """Let a caller of a hospital see a person for a time."""
    row = AccessGrant(
        subject=caller.subject,
        hospital_id=hospital_id,
        person_id=person_id,
        basis=basis,
        reason=reason,
        granted_at=now,
        expires_at=now + lasting,
    )
    session.add(row)
    return row


def may_see(
    session: Session,
    caller: Caller,
    person_id: int,
    now: datetime,
    bases: Collection[Basis] = EVERY,
) -> bool:
    """Say whether a caller may see a person now, on one of these bases.

    Asked at each disclosure, so what is revoked or has expired holds at once. A person who has opted out of sharing
    is seen by nobody, whatever was granted.
    """
    everybody = groups.members(session, {person_id})
    own = and_(AccessGrant.basis.in_(OWN), AccessGrant.subject == caller.subject)
    query = (
        select(AccessGrant.id)
        .join(Hospital, Hospital.id == AccessGrant.hospital_id)
        .where(
            AccessGrant.person_id.in_(everybody),
            AccessGrant.basis.in_(bases),
            AccessGrant.expires_at > now,
            AccessGrant.granted_at <= now,
            AccessGrant.revoked_at.is_(None),
            Hospital.code == caller.hospital_code,
            Hospital.active,
            or_(AccessGrant.basis == CHECK, own),
        )
    )
    granted = session.scalar(select(exists(query)))
    return bool(granted) and sharing.is_shared(session, everybody)


def revoke(session: Session, grant_id: int, now: datetime) -> None:
    """End a grant; one that is revoked already stays as it is."""
    still = and_(AccessGrant.id == grant_id, AccessGrant.revoked_at.is_(None))
    session.execute(update(AccessGrant).where(still).values(revoked_at=now))
