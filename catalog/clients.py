"""Systems that call with a key of their own, as operators registered them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import audit
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.registry import hospital_by_code
from catalog.tables import Hospital
from catalog.tables_access import Client, ClientAssertion

_LONGEST_ID: Final = 64
_SWEPT: Final = timedelta(minutes=10)  # an assertion stays known while clocks differ or are set


@dataclass(frozen=True, slots=True)
class Registration:
    """What an operator says of a system; `keys` are public JWKs, checked."""

    client_id: str
    role: str
    hospital_code: str
    scopes: tuple[str, ...]
    keys: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class KnownClient:
    """An active system as the token endpoint needs it."""

    client_id: str
    role: str
    hospital_code: str
    scopes: frozenset[str]
    keys: list[dict[str, Any]]


def add(catalogue: Catalogue, caller: Caller, given: Registration) -> dict[str, Any]:
    """Register a system; audited. Raises InvalidInput, NotFound for the hospital, Conflict where the id is taken."""
    if not 0 < len(given.client_id) <= _LONGEST_ID or not given.client_id.isprintable():
        raise InvalidInput("客户端标识限 64 字符", "A client id has up to 64 characters", field="client_id")
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, given.hospital_code) if given.hospital_code else None
        if session.get(Client, given.client_id) is not None:
            raise Conflict("该客户端已登记", "This client is registered already", code="client_exists")
        row = Client(
            client_id=given.client_id,
            hospital_id=hospital.id if hospital else None,
            role=given.role,
            scopes=sorted(given.scopes),
            keys=given.keys,
            active=True,
            created_by=caller.subject,
            created_at=catalogue.clock(),
        )
        session.add(row)
        session.flush()
        _record(session, caller, "client.add", row)
        return _described(row, given.hospital_code)


def rotate(
    catalogue: Catalogue, caller: Caller, client_id: str, keys: list[dict[str, Any]]
) -> dict[str, Any]:
    """Let other keys speak for a system from now on; audited. Raises NotFound."""
    with transaction(catalogue.engine) as session:
        row = _locked(session, client_id)
        row.keys = keys
        _record(session, caller, "client.rotate", row)
        return _described(row, _code_of(session, row))


def set_active(catalogue: Catalogue, caller: Caller, client_id: str, *, active: bool) -> dict[str, Any]:
    """Shut a system out, or let it in again: its tokens too, within seconds; audited. Raises NotFound."""
    with transaction(catalogue.engine) as session:
        row = _locked(session, client_id)
        row.active = active
        _record(session, caller, "client.enable" if active else "client.disable", row)
        return _described(row, _code_of(session, row))


def listed(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return every system, with the names of its keys."""
    with transaction(catalogue.engine) as session:
        query = select(Client, Hospital.code).outerjoin(Hospital, Hospital.id == Client.hospital_id)
        rows = session.execute(query.order_by(Client.client_id)).tuples()
        return [_described(row, code or "") for row, code in rows]


def known(session: Session, client_id: str) -> KnownClient | None:
    """Return a system that may ask for tokens, or None: disabled, of a closed hospital and unknown look alike."""
    query = (
        select(Client, Hospital.code, Hospital.active)
        .outerjoin(Hospital, Hospital.id == Client.hospital_id)
        .where(Client.client_id == client_id, Client.active)
    )
    found = session.execute(query).tuples().one_or_none()
    if found is None or found[2] is False:
        return None
    row, code, _ = found
    return KnownClient(row.client_id, row.role, code or "", frozenset(row.scopes), row.keys)


def use_assertion(session: Session, client_id: str, jti: str, expires_at: datetime, now: datetime) -> bool:
    """Say whether this assertion is used for the first time, and remember it until it expires (RFC 7523 §3)."""
    session.execute(delete(ClientAssertion).where(ClientAssertion.expires_at < now - _SWEPT))
    kept = {"client_id": client_id, "jti": jti, "expires_at": expires_at}
    query = insert(ClientAssertion).values(kept).on_conflict_do_nothing().returning(ClientAssertion.jti)
    return session.scalars(query).one_or_none() is not None


def token_issued(session: Session, client: KnownClient, scopes: Collection[str], jti: str) -> None:
    """Record that a system was given a token."""
    caller = Caller(client.client_id, client.role, client.hospital_code, client_id=client.client_id)
    hospital = hospital_by_code(session, client.hospital_code) if client.hospital_code else None
    audit.record(
        session,
        caller,
        "token.issue",
        hospital_id=hospital.id if hospital else None,
        scopes=sorted(scopes),
        jti=jti,
    )


def _locked(session: Session, client_id: str) -> Client:
    row = session.get(Client, client_id, with_for_update=True)
    if row is None:
        raise NotFound("没有该客户端", "No such client", code="unknown_client")
    return row


def _code_of(session: Session, row: Client) -> str:
    return session.get_one(Hospital, row.hospital_id).code if row.hospital_id is not None else ""


def _record(session: Session, caller: Caller, action: str, row: Client) -> None:
    names = [key["kid"] for key in row.keys]
    audit.record(session, caller, action, hospital_id=row.hospital_id, client_id=row.client_id, keys=names)


def _described(row: Client, hospital_code: str) -> dict[str, Any]:
    return {
        "client_id": row.client_id,
        "hospital": hospital_code or None,
        "role": row.role,
        "scopes": row.scopes,
        "keys": [{"kid": key["kid"], "kty": key["kty"]} for key in row.keys],
        "active": row.active,
        "created_by": row.created_by,
        "created_at": row.created_at,
    }
