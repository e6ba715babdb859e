"""Seals the audit into a hash chain, after the fact: who writes a record never waits for the chain.

Ids are given out in order and committed in any. A transaction that has taken an id holds a lock on the table, of the
kind every INSERT takes, from before that until its end. So: read the last id given out, then note who holds such a
lock; once all of those have ended, every record up to that id is there for good or will never be. Nobody is held up.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import ColumnElement, Engine, Text, cast, func, select, text
from sqlalchemy.orm import Session

from catalog.audit_chain import Entry, Seal, Signer
from catalog.clock import Clock
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.tables import AuditEvent
from catalog.tables_audit import AuditSeal
from catalog.vault import write_secret

BATCH: Final = 1000
_LOCK: Final = 0x41_55_44_49_54
_POLL_SECONDS: Final = 0.02
_WRITERS: Final = text(
    "select virtualtransaction from pg_locks where locktype = 'relation' and mode = 'RowExclusiveLock' and granted"
    " and database = (select oid from pg_database where datname = current_database())"
    " and relation = 'audit_event'::regclass"
)


def _moment(column: ColumnElement[datetime]) -> ColumnElement[str]:
    """Write a time in the database: one that no datetime can hold is a finding, no crash."""
    written = func.to_char(func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    return func.coalesce(written, "", type_=Text)


ENTRY_COLUMNS: Final = (
    AuditEvent.id,
    _moment(AuditEvent.recorded_at.expression),
    AuditEvent.action,
    AuditEvent.caller,
    AuditEvent.role,
    AuditEvent.hospital_id,
    AuditEvent.person_id,
    cast(AuditEvent.detail, Text),
)
SEAL_COLUMNS: Final = (
    AuditSeal.number,
    _moment(AuditSeal.sealed_at.expression),
    AuditSeal.through_id,
    AuditSeal.record_ids,
    AuditSeal.digests,
    AuditSeal.previous,
    AuditSeal.head,
    AuditSeal.signature,
    AuditSeal.key,
)


def open_signer(path: Path) -> Signer:
    """Return the key kept as PEM in `path`, made with mode 0600 if absent. Raises InvalidInput for another kind."""
    if not path.exists():
        write_secret(
            path,
            Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise _other_key()
    return Signer(key)


def read_public(path: Path) -> Ed25519PublicKey:
    """Return the public half of a key in PEM, or of the private key there. Raises InvalidInput."""
    try:
        content = path.read_bytes()
        if b"PRIVATE" in content:
            key = serialization.load_pem_private_key(content, password=None).public_key()
        else:
            key = serialization.load_pem_public_key(content)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            "审计封存密钥无法读取", "The key that seals the audit cannot be read", field="key"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _other_key()
    return key


def _other_key() -> InvalidInput:
    return InvalidInput("审计封存密钥须为 Ed25519", "The key that seals the audit is Ed25519", field="key")


def settled_id(engine: Engine, wait_seconds: float) -> int:
    """Return an id up to which every record stands or will never be; 0 if somebody kept writing for so long."""
    with transaction(engine) as session:
        newest = session.scalar(text("select last_value from audit_event_id_seq where is_called")) or 0
        writing = set(session.scalars(_WRITERS))
    deadline = time.monotonic() + wait_seconds
    while writing:
        if time.monotonic() > deadline:
            return 0
        time.sleep(_POLL_SECONDS)
        with transaction(engine) as session:
            writing &= set(session.scalars(_WRITERS))
    return int(newest)


def seal(engine: Engine, signer: Signer, clock: Clock, *, wait_seconds: float = 5.0) -> Iterator[Seal]:
    """Seal every settled record and yield each link once it is committed; two callers at once make one chain."""
    through_id = settled_id(engine, wait_seconds)
    while link := _seal_batch(engine, signer, clock, through_id):
        yield link


def tip(session: Session) -> Seal | None:
    """Return the newest link, or None before the first."""
    row = session.execute(select(*SEAL_COLUMNS).order_by(AuditSeal.number.desc()).limit(1)).first()
    return as_seal(row) if row else None


def as_seal(row: Sequence[Any]) -> Seal:
    """Return what SEAL_COLUMNS gave as a link of the chain."""
    number, sealed_at, through_id, record_ids, digests, previous, head, signature, key = row
    return Seal(number, sealed_at, through_id, tuple(record_ids), digests, previous, head, signature, key)


def _seal_batch(engine: Engine, signer: Signer, clock: Clock, settled: int) -> Seal | None:
    with transaction(engine) as session:
        session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        last = tip(session)
        after = last.through_id if last else 0
        query = select(*ENTRY_COLUMNS).where(AuditEvent.id > after, AuditEvent.id <= settled)
        entries = [Entry(*row) for row in session.execute(query.order_by(AuditEvent.id).limit(BATCH))]
        if not entries:
            return None
        through_id = settled if len(entries) < BATCH else entries[-1].id
        sealed_at = clock()
        link = signer.seal(last, sealed_at, through_id, entries)
        session.add(
            AuditSeal(
                number=link.number,
                sealed_at=sealed_at,
                through_id=link.through_id,
                record_ids=list(link.record_ids),
                digests=link.digests,
                previous=link.previous,
                head=link.head,
                signature=link.signature,
                key=link.key,
            )
        )
    return link
