"""Append-only record of disclosures and acts, written in the transaction of what it records."""

from typing import Any

from sqlalchemy.orm import Session

from catalog.context import Caller
from catalog.tables import AuditEvent


def record(
    session: Session,
    caller: Caller,
    action: str,
    *,
    hospital_id: int | None = None,
    person_id: int | None = None,
    **detail: Any,
) -> None:
    """Add one audit record; if it cannot be written, the transaction and so the disclosure fails."""
    session.add(
        AuditEvent(
            action=action,
            caller=caller.subject,
            role=caller.role,
            hospital_id=hospital_id,
            person_id=person_id,
            detail=detail,
        )
    )
