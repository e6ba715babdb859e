"""FAULTS A12: who owns the database tampers with the audit, and each time the first bad record is named.

Edits, deletions, insertions, reorderings, altered seals, a cut end, an old dump gone on with, a chain made anew without
the key and with it: each on a copy of the same chain, as a superuser with the triggers off.
"""

# ruff: noqa: S608 - what is tampered with is SQL made up here

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from catalog import audit
from catalog.audit_anchor import Anchor
from catalog.audit_chain import Entry, Seal, Signer
from catalog.audit_seal import ENTRY_COLUMNS, open_signer, seal
from catalog.audit_verify import verify
from catalog.context import Caller
from catalog.db import transaction
from catalog.tables import AuditEvent
from catalog.tables_audit import AuditSeal
from tests.catalog.conftest import city
from tests.city import City
from tests.faults.run_record import RunRecord

__all__ = ["city"]
SEALS, RECORDS_IN_ONE = 6, 8
COLUMNS = {
    "recorded_at": [
        "recorded_at + interval '1 microsecond'",
        "'infinity'",
        "recorded_at - interval '1 year'",
    ],
    "action": ["'check.read'", "action || ' '"],
    "caller": ["'dr.wang'", "upper(caller)"],
    "role": ["'operator'"],
    "hospital_id": ["null", "2"],
    "person_id": ["1", "null"],
    "detail": ["'{}'", "detail || '{\"shown\": []}'", "jsonb_set(detail, '{number}', '1e400')"],
}
SEAL_COLUMNS_ALTERED = {
    "sealed_at": "'infinity'",
    "through_id": "through_id - 1",
    "record_ids": "record_ids[2:]",
    "digests": "substring(digests from 2)",
    "previous": "sha256(previous)",
    "head": "sha256(head)",
    "signature": "substring(signature from 2)",
}


@dataclass(frozen=True)
class Chain:
    """A sealed chain, its anchors, and the means to begin with it again."""

    engine: Engine
    signer: Signer
    seals: list[Seal]
    anchors: list[Anchor]
    gaps: list[int]

    def restore(self) -> None:
        """Put the chain back as it was sealed."""
        with forging(self.engine) as session:
            for table in ("audit_event", "audit_seal"):
                session.execute(text(f"truncate {table}"))
                session.execute(
                    text(f"insert into {table} overriding system value select * from true_{table}")
                )

    def seal_of(self, record_id: int) -> int:
        """Return the number of the seal that covers a record."""
        return next(each.number for each in self.seals if record_id <= each.through_id)


@contextmanager
def forging(engine: Engine) -> Iterator[Session]:
    """A superuser's transaction with every trigger off."""
    with transaction(engine) as session:
        session.execute(text("set local session_replication_role = replica"))
        yield session


@pytest.fixture
def chain(city: City, tmp_path: Path) -> Chain:
    city.hospital("A")
    city.hospital("B")
    engine, signer = city.catalogue.engine, open_signer(tmp_path / "audit.pem")
    gaps, seals = [], []
    for number in range(SEALS):
        for each in range(RECORDS_IN_ONE):
            with transaction(engine) as session:
                detail = {"number": each, "shown": [1, 2.5, "甲"]}
                audit.record(session, Caller(f"dr.{number}", "doctor", "A"), "check", hospital_id=1, **detail)
        with transaction(engine) as session:
            audit.record(session, Caller("nobody", "doctor"), "check")
            gaps.append(session.scalar(text("select currval('audit_event_id_seq')")) or 0)
            session.rollback()
        seals += seal(engine, signer, city.catalogue.clock)
    with forging(engine) as session:
        for table in ("audit_event", "audit_seal"):
            session.execute(text(f"create table true_{table} as table {table}"))
    return Chain(engine, signer, seals, [Anchor.of(each) for each in seals], gaps)


Expected = tuple[set[str], int, int | None]
Tampering = Callable[[Session, Chain, Random], Expected]


def edit(session: Session, chain: Chain, random: Random) -> Expected:
    column = random.choice(list(COLUMNS))
    wanted = random.choice(COLUMNS[column])
    record_id = random.choice([i for each in chain.seals for i in each.record_ids])
    before = session.scalar(text(f"select {column}::text from audit_event where id = {record_id}"))
    session.execute(text(f"update audit_event set {column} = {wanted} where id = {record_id}"))
    if session.scalar(text(f"select {column}::text from audit_event where id = {record_id}")) == before:
        session.execute(text(f"update audit_event set caller = 'x' where id = {record_id}"))
    return {"edited"}, chain.seal_of(record_id), record_id


def delete(session: Session, chain: Chain, random: Random) -> Expected:
    ids = [i for each in chain.seals for i in each.record_ids]
    first = random.randrange(len(ids))
    gone = ids[first : first + random.choice([1, 1, 2, 12])]
    session.execute(text("delete from audit_event where id = any(:ids)"), {"ids": gone})
    return {"deleted"}, chain.seal_of(gone[0]), gone[0]


def insert(session: Session, chain: Chain, random: Random) -> Expected:
    record_id = random.choice([*chain.gaps, 0, -7])
    session.execute(
        text(
            "insert into audit_event (id, action, caller, role) overriding system value"
            f" values ({record_id}, 'check', 'dr.1', 'doctor')"
        )
    )
    return {"inserted"}, chain.seal_of(record_id), record_id


def reorder(session: Session, chain: Chain, random: Random) -> Expected:
    one, other = sorted(random.sample([i for each in chain.seals for i in each.record_ids], 2))
    if random.random() < 0.3:  # equal but for their time, which now() gave: make sure of it
        session.execute(text(f"update audit_event set detail = '{{}}' where id = {other}"))
    for old, new in ((one, -1), (other, one), (-1, other)):
        session.execute(
            text(
                "insert into audit_event (id, recorded_at, action, caller, role, hospital_id, person_id, detail)"
                f" overriding system value select {new}, recorded_at, action, caller, role, hospital_id, person_id,"
                f" detail from audit_event where id = {old}"
            )
        )
        session.execute(text(f"delete from audit_event where id = {old}"))
    return {"edited"}, chain.seal_of(one), one


def alter_seal(session: Session, chain: Chain, random: Random) -> Expected:
    column, number = random.choice(list(SEAL_COLUMNS_ALTERED)), random.choice(chain.seals).number
    wanted = SEAL_COLUMNS_ALTERED[column]
    session.execute(text(f"update audit_seal set {column} = {wanted} where number = {number}"))
    return {"seal_edited", "seal_forged", "edited", "inserted", "deleted"}, number, None


def take_seal_out(session: Session, chain: Chain, random: Random) -> Expected:
    number = random.choice(chain.seals[:-1]).number
    session.execute(text(f"delete from audit_seal where number = {number}"))
    return {"seal_missing"}, number, None


def cut_tail(session: Session, chain: Chain, random: Random) -> Expected:
    """The last links with their records, or an old dump put back."""
    kept = random.randrange(len(chain.seals))
    through = chain.seals[kept - 1].through_id if kept else 0
    session.execute(text(f"delete from audit_seal where number > {kept}"))
    if random.random() < 0.7:
        session.execute(text(f"delete from audit_event where id > {through}"))
    return {"cut"}, kept + 1, None


def go_on_from_an_old_dump(session: Session, chain: Chain, random: Random) -> Expected:
    kept = random.randrange(1, len(chain.seals) - 1)
    through = chain.seals[kept - 1].through_id
    session.execute(text(f"delete from audit_seal where number > {kept}"))
    session.execute(text(f"delete from audit_event where id > {through}"))
    session.execute(
        text(
            "insert into audit_event (id, action, caller, role) overriding system value"
            f" values ({through + 1}, 'check', 'dr.1', 'doctor')"
        )
    )
    make_anew(session, chain.signer, chain.seals[:kept], [chain.seals[kept]])
    return {"not_anchored"}, kept + 1, None


def rehash(session: Session, chain: Chain, random: Random) -> Expected:
    """An edit, and every link from it on made anew: without the key, or with it."""
    record_id = random.choice([i for each in chain.seals for i in each.record_ids])
    number = chain.seal_of(record_id)
    session.execute(text(f"update audit_event set caller = 'dr.wang' where id = {record_id}"))
    stolen = random.random() < 0.5
    signer = chain.signer if stolen else Signer(Ed25519PrivateKey.generate())
    session.execute(text(f"delete from audit_seal where number >= {number}"))
    make_anew(session, signer, chain.seals[: number - 1], chain.seals[number - 1 :])
    return ({"not_anchored"} if stolen else {"seal_forged"}), number, None


def make_anew(session: Session, signer: Signer, kept: list[Seal], links: list[Seal]) -> None:
    last = kept[-1] if kept else None
    for old in links:
        after = last.through_id if last else 0
        query = (
            AuditEvent.__table__.select()
            .with_only_columns(*ENTRY_COLUMNS)
            .where(AuditEvent.id > after, AuditEvent.id <= old.through_id)
        )
        entries = [Entry(*row) for row in session.execute(query.order_by(AuditEvent.id))]
        sealed_at = datetime(2026, 6, 30, tzinfo=UTC)
        link = signer.seal(last, sealed_at, old.through_id, entries)
        session.add(AuditSeal(**{**as_columns(link), "sealed_at": sealed_at}))
        session.flush()
        last = link


def as_columns(link: Seal) -> dict[str, object]:
    names = [column.key for column in AuditSeal.__table__.columns]
    return {name: getattr(link, name) for name in names} | {"record_ids": list(link.record_ids)}


KINDS: dict[Tampering, int] = {
    edit: 50,
    delete: 30,
    insert: 20,
    reorder: 20,
    alter_seal: 20,
    take_seal_out: 10,
    cut_tail: 20,
    go_on_from_an_old_dump: 10,
    rehash: 20,
}


def test_each_of_two_hundred_tamperings_is_found_and_the_first_bad_record_named(
    chain: Chain, record: RunRecord
) -> None:
    """A12."""
    assert sum(KINDS.values()) == 200
    assert verify(chain.engine, chain.signer.public, chain.anchors).agrees
    found, missed = 0, []
    for tampering, times in KINDS.items():
        for number in range(times):
            with forging(chain.engine) as session:
                kinds, seal_number, record_id = tampering(session, chain, record.chance)
            first = next(iter(verify(chain.engine, chain.signer.public, chain.anchors).findings), None)
            if (
                first
                and first.kind in kinds
                and (first.seal, record_id)
                in (
                    (seal_number, first.record_id),
                    (seal_number, None),
                )
            ):
                found += 1
            else:
                missed.append((tampering.__name__, number, kinds, seal_number, record_id, first))
            chain.restore()
    record.note(tamperings=sum(KINDS.values()), found=found)
    assert missed == []
    assert found == 200
    assert verify(chain.engine, chain.signer.public, chain.anchors).agrees


def test_a_cut_end_and_a_chain_made_anew_with_the_key_are_found_by_the_anchor_alone(chain: Chain) -> None:
    for tampering in (cut_tail, go_on_from_an_old_dump):
        with forging(chain.engine) as session:
            tampering(session, chain, Random(1))
        assert verify(chain.engine, chain.signer.public).agrees
        assert not verify(chain.engine, chain.signer.public, chain.anchors).agrees
        chain.restore()
