"""The accounts as an operator sees them: who may sign in, who is signed in, who is shut out."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Executable, func, or_, select
from sqlalchemy.orm import Session

from catalog import lockouts
from catalog.accounts import unknown_account
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.sessions import IDLE
from catalog.tables import Hospital
from catalog.tables_access import Account, AccountLink, AccountSession

MOST: Final = 200


def accounts(
    catalogue: Catalogue, *, containing: str = "", offset: int = 0, limit: int = 50
) -> dict[str, Any]:
    """Return accounts by name, those whose name or hospital's code contains a text, and how many there are."""
    wanted = select(Account, Hospital).outerjoin(Hospital, Hospital.id == Account.hospital_id)
    if containing:
        part = containing.lower()
        wanted = wanted.where(
            or_(Account.name.contains(part, autoescape=True), func.lower(Hospital.code) == part)
        )
    with transaction(catalogue.engine) as session:
        total = session.scalar(select(func.count()).select_from(wanted.subquery()))
        shown = _shown(session, catalogue, wanted.order_by(Account.name).offset(offset).limit(limit))
    return {"accounts": shown, "total": total, "offset": offset, "limit": limit}


def account(catalogue: Catalogue, name: str) -> dict[str, Any]:
    """Return one account as the list shows it. Raises NotFound."""
    wanted = select(Account, Hospital).outerjoin(Hospital, Hospital.id == Account.hospital_id)
    with transaction(catalogue.engine) as session:
        shown = _shown(session, catalogue, wanted.where(Account.name == name))
    if not shown:
        raise unknown_account()
    return shown[0]


def _shown(session: Session, catalogue: Catalogue, wanted: Executable) -> list[dict[str, Any]]:
    found: Sequence[Any] = session.execute(wanted).all()
    now, ids = catalogue.clock(), [row.id for row, _ in found]
    open_sessions, links = _sessions(session, ids, now), _links(session, ids, now)
    locked = lockouts.locked(session, catalogue, [row.name for row, _ in found])
    return [
        {
            **_described(row, hospital),
            "sessions": open_sessions.get(row.id, (0, None))[0],
            "seen_at": open_sessions.get(row.id, (0, None))[1],
            "link_expires_at": links.get(row.id),
            "locked_until": locked.get(row.name),
            "state": _state(row, locked.get(row.name)),
        }
        for row, hospital in found
    ]


def _described(row: Account, hospital: Hospital | None) -> dict[str, Any]:
    return {
        "name": row.name,
        "role": row.role,
        "hospital": hospital.code if hospital else None,
        "hospital_name": hospital.name if hospital else None,
        "totp": row.totp_confirmed,
        "created_at": row.created_at,
    }


def _state(row: Account, locked_until: datetime | None) -> str:
    """Return `disabled`, `locked`, `invited` (no password was set yet) or `active`."""
    if not row.active:
        return "disabled"
    if locked_until is not None:
        return "locked"
    return "active" if row.password_hash is not None else "invited"


def _sessions(session: Session, ids: list[int], now: datetime) -> dict[int, tuple[int, datetime | None]]:
    query = (
        select(AccountSession.account_id, func.count(), func.max(AccountSession.seen_at))
        .where(
            AccountSession.account_id.in_(ids),
            AccountSession.expires_at > now,
            AccountSession.seen_at > now - IDLE,
        )
        .group_by(AccountSession.account_id)
    )
    return {
        account_id: (count, seen) for account_id, count, seen in session.execute(query).tuples() if account_id
    }


def _links(session: Session, ids: list[int], now: datetime) -> dict[int, datetime]:
    query = select(AccountLink.account_id, AccountLink.expires_at)
    query = query.where(AccountLink.account_id.in_(ids), AccountLink.expires_at > now)
    return dict(session.execute(query).tuples().all())
