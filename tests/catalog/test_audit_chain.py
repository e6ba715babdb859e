"""The audit's chain: nothing that commits late is missed, nobody who writes is held up, the head stands outside."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import event, text

from catalog import audit, db
from catalog.audit_anchor import Anchor, append_anchor, file_anchors, store_anchor, stored_anchors
from catalog.audit_chain import Signer
from catalog.audit_seal import open_signer, seal, settled_id
from catalog.audit_sealer import Sealer
from catalog.audit_verify import verify
from catalog.context import Caller
from catalog.db import transaction
from catalog.embedded import Embedded
from catalog.errors import AuditDown, Conflict, ObjectStoreDown
from catalog.objects import ObjectStore
from tests.city import City

SOMEBODY = Caller("dr.li", "doctor", "A")
CHANGES = (
    "update audit_event set role = ''",
    "delete from audit_event",
    "truncate audit_event",
    "update audit_seal set through_id = 1",
    "delete from audit_seal",
    "truncate audit_seal",
)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return open_signer(tmp_path / "audit.pem")


@pytest.fixture
def anchors(embedded: Embedded, s3_store: ObjectStore) -> Iterator[ObjectStore]:
    """The bucket that the audit's own key opens, empty."""
    access = embedded.services.audit_s3
    assert access is not None
    with ObjectStore(replace(s3_access(embedded), bucket=access.bucket)) as first:
        first.ensure_bucket()
        for found in first.list():
            first.delete(found.key)
    with ObjectStore(access) as store:
        yield store


def s3_access(embedded: Embedded):  # type: ignore[no-untyped-def]
    assert embedded.services.s3 is not None
    return embedded.services.s3


def record(city: City, count: int = 1) -> None:
    for number in range(count):
        with transaction(city.catalogue.engine) as session:
            audit.record(session, SOMEBODY, "test", number=number)


def sealed(city: City, signer: Signer) -> list[int]:
    links = seal(city.catalogue.engine, signer, city.catalogue.clock)
    return [record_id for link in links for record_id in link.record_ids]


def test_every_record_is_sealed_once_in_the_order_of_ids_and_verifies(city: City, signer: Signer) -> None:
    record(city, 5)
    first = sealed(city, signer)
    record(city, 3)
    second = sealed(city, signer)
    assert sealed(city, signer) == []
    assert first + second == sorted({*first, *second})
    verdict = verify(city.catalogue.engine, signer.public)
    assert (verdict.agrees, verdict.records, verdict.seals, verdict.unsealed) == (True, 8, 2, 0)


def test_a_record_that_commits_late_is_waited_for_and_never_missed(city: City, signer: Signer) -> None:
    with transaction(city.catalogue.engine) as slow:
        audit.record(slow, SOMEBODY, "late")
        record(city)  # a higher id, committed before the lower
        assert settled_id(city.catalogue.engine, 0.1) == 0
        assert list(seal(city.catalogue.engine, signer, city.catalogue.clock, wait_seconds=0.1)) == []
    assert len(sealed(city, signer)) == 2
    assert verify(city.catalogue.engine, signer.public).agrees


def test_a_transaction_begun_after_the_question_does_not_delay_the_answer(city: City) -> None:
    asked = threading.Event()
    # After the cursor: the server has read pg_locks, which pg_stat_activity shows before it does.
    event.listen(
        city.catalogue.engine, "after_cursor_execute", lambda *call: "pg_locks" in call[2] and asked.set()
    )
    record(city)
    with ThreadPoolExecutor(1) as pool, transaction(city.catalogue.engine) as early:
        audit.record(early, SOMEBODY, "early")
        waiting = pool.submit(settled_id, city.catalogue.engine, 10.0)
        assert asked.wait(10)
        with transaction(city.catalogue.engine) as later:
            audit.record(later, SOMEBODY, "later")
            early.commit()
            assert waiting.result(10) == 2


def test_a_record_that_is_rolled_back_leaves_a_gap_and_no_fault(city: City, signer: Signer) -> None:
    with transaction(city.catalogue.engine) as session:
        audit.record(session, SOMEBODY, "never")
        session.rollback()
    record(city)
    assert len(sealed(city, signer)) == 1
    assert verify(city.catalogue.engine, signer.public).agrees


def test_sealing_beside_many_writers_misses_none_and_makes_one_chain(city: City, signer: Signer) -> None:
    """Writers of short and long transactions, some rolled back, and two sealers at once."""
    writers, each = 8, 40
    engine = city.catalogue.engine
    ended = threading.Event()

    def write(writer: int) -> None:
        for number in range(each):
            with transaction(engine) as session:
                audit.record(session, Caller(f"w{writer}", "doctor"), "test", number=number)
                if number % 3 == 0:
                    session.execute(text("select pg_sleep(:s)"), {"s": 0.001 * (writer + 1)})
                if number % 7 == 6:
                    session.rollback()

    def keep_sealing() -> list[int]:
        found: list[int] = []
        while not ended.is_set():
            found += sealed(city, signer)
        return found

    with ThreadPoolExecutor(writers + 2) as pool:
        sealing = [pool.submit(keep_sealing) for _ in range(2)]
        for done in [pool.submit(write, writer) for writer in range(writers)]:
            done.result()
        ended.set()
        ids = [record_id for one in sealing for record_id in one.result()] + sealed(city, signer)
    kept = writers * sum(1 for number in range(each) if number % 7 != 6)
    assert len(ids) == len(set(ids)) == kept
    verdict = verify(engine, signer.public)
    assert (verdict.agrees, verdict.records, verdict.unsealed) == (True, kept, 0)
    assert verdict.seals > 2


def test_writing_is_one_insert_and_waits_for_no_sealer(
    city: City, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(city, 2)
    said: list[str] = []
    event.listen(city.catalogue.engine, "before_cursor_execute", lambda *told: said.append(told[2]))
    rows = db.rows
    monkeypatch.setattr(
        db, "rows", lambda session, *told: said.append(told[0].strip()) or rows(session, *told)
    )
    with transaction(city.catalogue.engine) as holder:
        holder.execute(text("select pg_advisory_xact_lock(:key)"), {"key": 0x41_55_44_49_54})
        record(city)
    inserts = [statement for statement in said if "audit_event" in statement]
    assert len(inserts) == 1
    assert inserts[0].startswith("insert")
    assert "returning" not in inserts[0]


def test_the_application_can_only_add_to_the_chain(city: City, signer: Signer) -> None:
    record(city)
    sealed(city, signer)
    for statement in CHANGES:
        with pytest.raises(Exception, match="append-only"), transaction(city.catalogue.engine) as session:
            session.execute(text(statement))


def test_without_the_audit_nothing_is_done(city: City) -> None:
    with transaction(city.catalogue.engine) as session:
        session.execute(text("alter table audit_event rename to gone"))
    with pytest.raises(AuditDown), transaction(city.catalogue.engine) as session:
        audit.record(session, SOMEBODY, "test")


# --- anchors -----------------------------------------------------------------------------------------------------


def test_the_head_is_anchored_in_file_and_store_and_never_overwritten(
    city: City, signer: Signer, anchors: ObjectStore, tmp_path: Path
) -> None:
    file = tmp_path / "outside" / "heads.jsonl"
    sealer = Sealer(city.catalogue, signer, file, anchors)
    for _ in range(2):
        record(city)
        sealer.open()
        assert sealer.seal() == 1
        sealer.anchor()
        sealer.anchor()
    assert list(file_anchors(file)) == list(stored_anchors(anchors))
    assert [anchor.number for anchor in stored_anchors(anchors)] == [1, 2]
    first = next(stored_anchors(anchors))
    with pytest.raises(Conflict):
        store_anchor(anchors, replace(first, head="0" * 64))
    assert next(stored_anchors(anchors)) == first
    assert verify(city.catalogue.engine, signer.public, [*file_anchors(file)]).anchors == 2


def test_the_store_itself_refuses_a_second_object_under_a_number(anchors: ObjectStore) -> None:
    assert anchors.put_new("heads/x", b"1")
    anchors.exists = lambda _: False  # type: ignore[method-assign] # two writers that both saw nothing there
    assert not anchors.put_new("heads/x", b"2")
    assert anchors.read_range("heads/x", 0, 1) == b"1"


def test_the_audits_key_opens_no_other_bucket(embedded: Embedded, anchors: ObjectStore) -> None:
    access = embedded.services.audit_s3
    assert access is not None
    with ObjectStore(replace(access, bucket=s3_access(embedded).bucket)) as store:
        with pytest.raises(ObjectStoreDown, match="AccessDenied"):
            list(store.list())
        with pytest.raises(ObjectStoreDown, match="AccessDenied"):
            store.put_bytes(f"stray/{uuid4().hex}", b"")


def test_a_chain_that_contradicts_its_anchor_is_not_gone_on_with(
    city: City, signer: Signer, anchors: ObjectStore, tmp_path: Path
) -> None:
    record(city)
    [link] = seal(city.catalogue.engine, signer, city.catalogue.clock)
    for altered in (replace(Anchor.of(link), head="0" * 64), replace(Anchor.of(link), number=2)):
        file = tmp_path / f"{altered.number}.jsonl"
        append_anchor(file, altered)
        with pytest.raises(Conflict, match="huren audit verify"):
            Sealer(city.catalogue, signer, file, None).open()
    store_anchor(anchors, replace(Anchor.of(link), head="0" * 64))
    with pytest.raises(Conflict, match="huren audit verify"):
        Sealer(city.catalogue, signer, tmp_path / "none.jsonl", anchors).open()


def test_a_line_cut_short_by_a_crash_is_passed_over_and_written_again(
    city: City, signer: Signer, tmp_path: Path
) -> None:
    file = tmp_path / "heads.jsonl"
    record(city)
    Sealer(city.catalogue, signer, file, None).seal()
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    Sealer(city.catalogue, signer, file, None).open()
    assert [anchor.line() for anchor in file_anchors(file)] == [whole]
