"""Append-only record of disclosures and acts, written in the transaction of what it records."""

from typing import Any, Final

from sqlalchemy import exc, insert
from sqlalchemy.orm import Session

from catalog.context import Caller
from catalog.errors import AuditDown
from catalog.tables import AuditEvent

# By the table and without RETURNING: one INSERT, that flushes nothing else whose failure could be taken for its own.
_INSERT: Final = insert(AuditEvent.__table__).inline()  # type: ignore[arg-type]


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
    values = {
        "action": action,
        "caller": caller.subject,
        "role": caller.role,
        "hospital_id": hospital_id,
        "person_id": person_id,
        "detail": detail,
    }
    try:
        session.execute(_INSERT, values)
    except (exc.OperationalError, exc.InterfaceError):  # the database itself is down
        raise
    except exc.DBAPIError as error:
        raise AuditDown(
            "审计记录无法写入,因此不提供任何数据,请通知运维人员",
            "The audit cannot be written, so nothing is disclosed; tell the operators",
        ) from error
