"""Append-only record of disclosures and acts, written in the transaction of what it records."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import orjson
from sqlalchemy import exc
from sqlalchemy.orm import Session

from catalog import db
from catalog.context import Caller
from catalog.errors import AuditDown

INSERT: Final = """
    insert into audit_event (action, caller, role, hospital_id, person_id, detail)
    values (%(action)s, %(caller)s, %(role)s, %(hospital_id)s, %(person_id)s, %(detail)s)
"""
_TABLE: Final = "audit_event"


def record(
    session: Session,
    caller: Caller,
    action: str,
    *,
    hospital_id: int | None = None,
    person_id: int | None = None,
    **detail: Any,
) -> None:
    """Write one audit record.

    Raises AuditDown where it cannot be written: then the transaction is lost, and so is what would be disclosed.
    """
    row = record_of(caller, action, hospital_id=hospital_id, person_id=person_id, **detail)
    session.flush()  # of what it tells; a fault there is not one of the audit
    try:
        db.rows(session, INSERT, row)
    except (exc.OperationalError, exc.InterfaceError):  # the database itself is down
        raise
    except exc.DBAPIError as error:
        raise down() from error


def record_of(
    caller: Caller,
    action: str,
    *,
    hospital_id: int | None = None,
    person_id: int | None = None,
    **detail: Any,
) -> dict[str, Any]:
    """Return what INSERT needs for one audit record."""
    return {
        "action": action,
        "caller": caller.subject,
        "role": caller.role,
        "hospital_id": hospital_id,
        "person_id": person_id,
        "detail": orjson.dumps(detail).decode(),
    }


@contextmanager
def blamed() -> Iterator[None]:
    """Raise AuditDown for a statement that writes more than the audit, where it failed at the audit."""
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError):  # the database itself is down
        raise
    except exc.DBAPIError as error:
        if _TABLE in str(error.orig):
            raise down() from error
        raise


def down() -> AuditDown:
    """Return the error that says the audit cannot be written."""
    return AuditDown(
        "审计记录无法写入,因此不提供任何数据,请通知运维人员",
        "The audit cannot be written, so nothing is disclosed; tell the operators",
    )
