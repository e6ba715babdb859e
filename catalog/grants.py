"""Why somebody may see what other hospitals know of a person: a check showed it, a stated purpose, an emergency."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, and_, false, or_, select, update
from sqlalchemy.orm import Session

from catalog import groups, visibility
from catalog.context import Caller
from catalog.tables import Hospital, OrderCheck, Person
from catalog.tables_access import AccessGrant

Granted = Literal["purpose", "break_glass"]
Basis = Literal["check"] | Granted
CHECK: Final[Basis] = "check"
OWN: Final[tuple[Granted, ...]] = ("purpose", "break_glass")  # for the subject alone, not for his hospital
EVERY: Final[tuple[Basis, ...]] = (CHECK, *OWN)


def grant(
    session: Session,
    caller: Caller,
    hospital_id: int,
    person_id: int,
    basis: Granted,
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
    query = select(seen_by(caller, Person.id, now, bases)).where(Person.id == person_id)
    return bool(session.scalar(query))


def seen_by(
    caller: Caller, person_id: Any, now: datetime, bases: Collection[Basis] = EVERY
) -> ColumnElement[bool]:
    """Say the same within a query; `person_id` is a column, it may be empty."""
    reasons = [_by_check(caller, person_id, now)] if CHECK in bases else []
    if own := [basis for basis in OWN if basis in bases]:
        reasons.append(_by_grant(caller, person_id, now, own))
    return or_(false(), *reasons) & ~visibility.opted_out(person_id)


def _by_grant(
    caller: Caller, person_id: Any, now: datetime, bases: Collection[Granted]
) -> ColumnElement[bool]:
    """Say whether this subject has a grant of his own."""
    return (
        select(AccessGrant.id)
        .join(Hospital, Hospital.id == AccessGrant.hospital_id)
        .where(
            groups.holds(person_id, AccessGrant.person_id),
            AccessGrant.basis.in_(bases),
            AccessGrant.expires_at > now,
            AccessGrant.granted_at <= now,
            AccessGrant.revoked_at.is_(None),
            AccessGrant.subject == caller.subject,
            Hospital.code == caller.hospital_code,
            Hospital.active,
        )
    ).exists()


def _by_check(caller: Caller, person_id: Any, now: datetime) -> ColumnElement[bool]:
    """Say whether a check of his hospital that still counts showed the person: that is for all of the hospital."""
    return (
        select(OrderCheck.id)
        .join(Hospital, Hospital.id == OrderCheck.hospital_id)
        .where(
            groups.holds(person_id, OrderCheck.person_id),
            OrderCheck.disclosed,
            OrderCheck.expires_at > now,
            OrderCheck.asked_at <= now,
            Hospital.code == caller.hospital_code,
            Hospital.active,
        )
    ).exists()


def revoke(session: Session, grant_id: int, now: datetime) -> None:
    """End a grant; one that is revoked already stays as it is."""
    still = and_(AccessGrant.id == grant_id, AccessGrant.revoked_at.is_(None))
    session.execute(update(AccessGrant).where(still).values(revoked_at=now))
