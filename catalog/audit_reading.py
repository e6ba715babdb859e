"""Reading the audit: for an auditor's search, newest first, and for what is handed on, in the order of ids."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from catalog import groups
from catalog.audit_chain import Entry
from catalog.audit_seal import ENTRY_COLUMNS
from catalog.tables import AuditEvent, Hospital
from catalog.tables_audit import AuditSeal

_STEP: Final = 1000


@dataclass(frozen=True, slots=True)
class Told:
    """An audit record with the code of the hospital that acted."""

    entry: Entry
    hospital_code: str


@dataclass(frozen=True, slots=True)
class Criteria:
    """What an auditor looks for; times are from (inclusive) and to (exclusive), `before_id` is where a page goes on.

    With a `hospital_code`, only what that hospital's people did is found.
    """

    since: datetime | None = None
    until: datetime | None = None
    caller: str | None = None
    caller_begins: str | None = None
    person_id: int | None = None
    before_id: int | None = None
    hospital_code: str = ""


def find(session: Session, criteria: Criteria, limit: int) -> list[Told]:
    """Return the newest records that fit; a person's with those of everybody merged with him."""
    query = _of(criteria.hospital_code).order_by(AuditEvent.id.desc()).limit(limit)
    if criteria.since is not None:
        query = query.where(AuditEvent.recorded_at >= criteria.since)
    if criteria.until is not None:
        query = query.where(AuditEvent.recorded_at < criteria.until)
    if criteria.caller is not None:
        query = query.where(AuditEvent.caller == criteria.caller)
    if criteria.caller_begins is not None:
        beginning = criteria.caller_begins.lower()
        query = query.where(func.lower(AuditEvent.caller).startswith(beginning, autoescape=True))
    if criteria.person_id is not None:
        query = query.where(AuditEvent.person_id.in_(groups.members(session, {criteria.person_id})))
    if criteria.before_id is not None:
        query = query.where(AuditEvent.id < criteria.before_id)
    return [_told(row) for row in session.execute(query)]


def get(session: Session, record_id: int, hospital_code: str = "") -> Told | None:
    """Return one record, with a `hospital_code` only of what that hospital's people did."""
    row = session.execute(_of(hospital_code).where(AuditEvent.id == record_id)).first()
    return _told(row) if row else None


def sealed_after(session: Session, record_id: int, limit: int = _STEP) -> list[Told]:
    """Return the next records that are sealed: below them nothing can appear any more."""
    return _up_to(session, _sealed_through(session), record_id, limit)


def every_sealed(session: Session, after: int = 0) -> Iterator[Told]:
    """Yield every record that is sealed now, in order."""
    through = _sealed_through(session)
    while found := _up_to(session, through, after, _STEP):
        yield from found
        after = found[-1].entry.id


def _sealed_through(session: Session) -> int:
    newest = select(AuditSeal.through_id).order_by(AuditSeal.number.desc()).limit(1)
    return session.scalar(newest) or 0


def _up_to(session: Session, through: int, record_id: int, limit: int) -> list[Told]:
    query = _query().where(AuditEvent.id > record_id, AuditEvent.id <= through)
    return [_told(row) for row in session.execute(query.order_by(AuditEvent.id).limit(limit))]


def _query() -> Select[*tuple[Any, ...]]:
    code = func.coalesce(Hospital.code, "")
    return select(*ENTRY_COLUMNS, code).outerjoin(Hospital, Hospital.id == AuditEvent.hospital_id)


def _of(hospital_code: str) -> Select[*tuple[Any, ...]]:
    return _query().where(Hospital.code == hospital_code) if hospital_code else _query()


def _told(row: Sequence[Any]) -> Told:
    *entry, code = row
    return Told(Entry(*entry), code)
