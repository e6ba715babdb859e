"""Erasure by law: objects, copies and names are gone, the books and the audit explain themselves, nothing comes back."""

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from catalog import decisions, erasures, people, recognition, recount
from catalog.context import Caller
from catalog.db import transaction
from catalog.embedded import Embedded
from catalog.errors import Conflict, InvalidInput, NotFound, ObjectStoreDown
from catalog.identity import Demographics, Document
from catalog.objects import ObjectStore
from catalog.tables import AuditEvent, OrderCheck, Person, Result
from catalog.tables_people import Erasure, Notice
from dicom_node.erase import remove_erased
from dicom_node.orphans import find_orphans
from dicom_node.rebuild import Rebuild
from dicom_node.sidecar import read_sidecar
from tests.city import id_number
from tests.flow.archived import Archived, open_archived, series
from tests.packs import ct

pytestmark = pytest.mark.flow

OPERATOR = Caller("operator.zhao", "operator")
DOCTOR = Caller("dr.B", "doctor", "H-B")
BASIS = "个人信息保护法第四十七条"
WHO = Document("01", id_number(2))
NAME = "林晓渝"
HERS: dict[str, Any] = {
    "PatientID": id_number(2),
    "PatientName": "林^晓渝",
    "PatientBirthDate": "19800517",
    "AccessionNumber": "ACC-77",
}


@pytest.fixture
def archived(embedded: Embedded, fresh_database_url: str, tmp_path: Path) -> Iterator[Archived]:
    with open_archived(embedded, fresh_database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
def relied_on(archived: Archived) -> Archived:
    """One woman's study, and a decision that relies on it."""
    return with_decision(archived)


@pytest.fixture(scope="module")
def after(
    embedded: Embedded, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["After"]:
    """The same archive once she was erased, with what was before."""
    with open_archived(embedded, database_url, tmp_path_factory.mktemp("erased")) as opened:
        with_decision(opened)
        for trace in (NAME, "2.25.100", "ACC-77"):
            assert trace in dump(opened)
        theirs = [pack for pack in opened.packs() if "2.25.200.1" in pack.series]
        books, audited = verify(opened), audit_of(opened)
        scope = erase_person(opened)
        assert (len(scope.studies), len(scope.object_keys)) == (1, 6)
        yield After(opened, {k for pack in theirs for k in (pack.key, pack.sidecar_key)}, books, audited)


@dataclass
class After:
    """An archive after an erasure; `kept` are the objects of others."""

    archived: Archived
    kept: set[str]
    books: dict[str, Any]
    audited: list[str]


def with_decision(archived: Archived) -> Archived:
    """Two packs of hers, one with another patient's study beside it, a contradiction, and B relies on it."""
    archived.ship(*series("2.25.100", 2, **HERS))
    archived.ship(ct("2.25.100", 5, **HERS), *series("2.25.200", 2, PatientID="OTHER"))
    archived.ship(ct("2.25.100", 1, pixels=bytes(128), **HERS))
    check = ask(archived, "1")
    request = decisions.DecisionRequest("1", "recognise", check["orders"][0]["candidates"][0]["result_id"])
    decisions.decide(archived.catalogue, DOCTOR, uuid.UUID(check["check_id"]), request, idempotency_key="key")
    return archived


def verify(archived: Archived) -> dict[str, Any]:
    with transaction(archived.catalogue.engine) as session:
        return recount.verify(session)


def audit_of(archived: Archived) -> list[str]:
    with transaction(archived.catalogue.engine) as session:
        return list(session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)))


def ask(archived: Archived, order: str) -> dict[str, Any]:
    orders = (recognition.OrderRequest(order, item_code="CT07"),)
    request = recognition.CheckRequest(WHO, Demographics(), orders)
    return recognition.check(archived.catalogue, DOCTOR, request)


def erase_person(archived: Archived) -> erasures.Scope:
    def scope_of(session: Any) -> erasures.Scope:
        return erasures.scope_of_person(session, archived.catalogue, WHO)

    return erasures.erase(archived.catalogue, OPERATOR, scope_of, BASIS)[1]


def remove(archived: Archived, store: Any = None) -> Any:
    return remove_erased(archived.catalogue, store or archived.store, archived.spool)


def dump(archived: Archived) -> str:
    with transaction(archived.catalogue.engine) as session:
        names = session.scalars(text("select tablename from pg_tables where schemaname = 'public'")).all()
        rows = (session.scalars(text(f'select t::text from "{name}" t')) for name in names)  # noqa: S608
        return "\n".join(row for table in rows for row in table)


def test_nothing_that_names_the_patient_is_left_in_rows_bucket_or_spool(after: After) -> None:
    removed = remove(after.archived)
    assert (removed.objects, removed.copies, removed.copies_kept) == (6, 3, 0)
    rows = dump(after.archived)
    for trace in (NAME, "晓渝", "2.25.100", "ACC-77", id_number(2), "1980-05-17"):
        assert trace not in rows, trace
    assert set(after.archived.contents()) == after.kept
    files = [path for path in after.archived.spool.root.rglob("*") if path.is_file()]
    spooled = b"".join(path.read_bytes() for path in files)
    assert b"2.25.100" not in spooled
    assert "晓渝".encode() not in spooled


def test_the_books_and_the_audit_stay_and_agree(after: After) -> None:
    books = verify(after.archived)
    assert books == after.books
    assert books["agrees"]
    assert books["net_fen"] > 0
    assert audit_of(after.archived) == [*after.audited, "erasure"]
    with transaction(after.archived.catalogue.engine) as session:
        given = session.scalars(select(OrderCheck)).one().given
        kinds = session.scalars(select(Notice.kind)).all()
    candidate = given["orders"][0]["candidates"][0]
    assert (given["patient"], candidate["images"], candidate["verdict"]) == (None, None, "reference")
    assert list(kinds) == ["study_erased"]


def test_checks_and_decisions_still_cannot_be_changed_otherwise(after: After) -> None:
    statements = (
        "update decision set price_fen = 0",
        "set local huren.erasure = 'on'; update decision set price_fen = 0",
        "set local huren.erasure = 'on'; update order_check set answer = 'incomplete'",
        "set local huren.erasure = 'on'; update ledger set amount_fen = 0",
        "set local huren.erasure = 'on'; delete from order_check",
    )
    for statement in statements:
        with pytest.raises(Exception, match="append-only"):
            _execute(after.archived, statement)


def _execute(archived: Archived, statements: str) -> None:
    with transaction(archived.catalogue.engine) as session:
        for statement in statements.split("; "):
            session.execute(text(statement))


def test_who_was_erased_is_a_stranger_afterwards(after: After) -> None:
    relied_on = after.archived
    answer = ask(relied_on, "2")
    assert (answer["answer"], answer["patient"], answer["orders"][0]["candidates"]) == ("complete", None, [])
    with transaction(relied_on.catalogue.engine) as session:
        assert people.find(session, relied_on.catalogue, WHO) is None
    relied_on.ship(*series("2.25.300", 1, **HERS))
    with transaction(relied_on.catalogue.engine) as session:
        assert len(session.scalars(select(Person)).all()) == 2
    assert len(ask(relied_on, "3")["orders"][0]["candidates"]) == 1


def test_one_study_is_erased_and_the_person_keeps_the_others(relied_on: Archived) -> None:
    relied_on.ship(*series("2.25.300", 1, **HERS))
    uid = "2.25.100"
    erasures.erase(
        relied_on.catalogue, OPERATOR, lambda session: erasures.scope_of_study(session, uid), BASIS
    )
    remove(relied_on)
    shown = ask(relied_on, "2")["orders"][0]["candidates"]
    assert [candidate["images"]["StudyInstanceUID"] for candidate in shown] == ["2.25.300"]
    assert uid not in dump(relied_on)
    with transaction(relied_on.catalogue.engine) as session:
        assert sorted(session.scalars(select(Result.status))) == ["active", "active", "erased"]


def test_what_was_erased_does_not_come_back_by_a_rebuild_a_backup_or_a_sender(relied_on: Archived) -> None:
    saved = relied_on.contents()
    erase_person(relied_on)
    remove(relied_on)
    for key, content in saved.items():  # somebody restores the bucket of yesterday
        relied_on.store.put_bytes(key, content)
    run = Rebuild(relied_on.store, relied_on.catalogue)
    run.run(threading.Event())
    assert (run.report.counts["erased"], run.report.problems, run.report.complete) == (3, [], True)
    assert "2.25.100" not in dump(relied_on)
    from dicom_node import orphans

    late = orphans.datetime.now(orphans.UTC) + 2 * orphans.AGE
    found = list(find_orphans(relied_on.store, relied_on.catalogue, delete=True, clock=lambda: late))
    assert {(orphan.state, orphan.deleted) for orphan in found} == {("leftover", True)}
    assert not any(b"2.25.100" in content for content in relied_on.contents().values())
    relied_on.ship(ct("2.25.100", 7, **HERS), ct("2.25.400", 1, **HERS))
    assert [pack.pack_id.partition("-study_erased")[1] for pack in relied_on.spool.quarantined()] == [
        "-study_erased"
    ]
    rows = dump(relied_on)
    assert ("2.25.100" in rows, "2.25.400" in rows) == (False, True)


def test_an_interrupted_erasure_hides_at_once_and_is_finished_later(relied_on: Archived) -> None:
    class Failing(ObjectStore):
        left = 2

        def delete(self, key: str) -> None:
            self.left -= 1
            if self.left < 0:
                raise ObjectStoreDown("无", "gone")
            super().delete(key)

    erase_person(relied_on)
    assert ask(relied_on, "2")["orders"][0]["candidates"] == []
    with Failing(relied_on.access) as store, pytest.raises(ObjectStoreDown):
        remove(relied_on, store)
    assert len(erasures.unfinished(relied_on.catalogue)) == 1
    done = relied_on.run("erase", "--resume")
    assert done.returncode == 0, done.stderr
    assert erasures.unfinished(relied_on.catalogue) == {}
    assert len(relied_on.contents()) == 2


def test_a_copy_that_another_study_needs_stays_until_that_study_is_safe(relied_on: Archived) -> None:
    theirs = next(pack for pack in relied_on.packs() if "2.25.200.1" in pack.series)
    content = relied_on.content(theirs.key)
    relied_on.store.delete(theirs.key)
    erase_person(relied_on)
    removed = remove(relied_on)
    assert (removed.copies, removed.copies_kept) == (2, 1)
    assert len(erasures.unfinished(relied_on.catalogue)) == 1
    relied_on.store.put_bytes(theirs.key, content)
    assert remove(relied_on).copies_kept == 0
    assert erasures.unfinished(relied_on.catalogue) == {}


def test_another_nodes_shipper_drops_its_copies_by_itself(relied_on: Archived) -> None:
    erase_person(relied_on)
    assert relied_on.shipper.release_due() == 3
    assert relied_on.spool.shipped() == []


def test_the_shipper_removes_the_objects_of_an_erasure_that_was_only_written_down(
    relied_on: Archived,
) -> None:
    scope = erase_person(relied_on)
    assert all(relied_on.store.exists(key) for key in scope.object_keys)
    relied_on.shipper.release_due()
    assert not any(relied_on.store.exists(key) for key in scope.object_keys)
    assert erasures.unfinished(relied_on.catalogue) == {}


def test_what_may_be_somebody_elses_is_not_erased_before_a_curator_has_ruled(archived: Archived) -> None:
    archived.ship(*series("2.25.100", 1, **HERS))
    archived.ship(*series("2.25.500", 1, **HERS | {"PatientName": "王^建国"}))
    with pytest.raises(Conflict) as refused:
        erase_person(archived)
    assert refused.value.code == "held_for_review"
    for uid, basis, kind in (("2.25.999", BASIS, NotFound), ("2.25.100", " ", InvalidInput)):
        with pytest.raises(kind):
            erasures.erase(
                archived.catalogue,
                OPERATOR,
                lambda session, uid=uid: erasures.scope_of_study(session, uid),  # type: ignore[misc]
                basis,
            )


def test_the_command_tries_first_and_erases_only_the_number_of_objects_it_named(archived: Archived) -> None:
    archived.ship(*series("2.25.100", 1, **HERS))
    tried = archived.run("erase", "--study", "2.25.100", "--basis", BASIS)
    assert (tried.returncode, "--confirm 2" in tried.stdout, len(archived.contents())) == (0, True, 2)
    assert archived.run("erase", "--study", "2.25.100", "--basis", BASIS, "--confirm", "3").returncode == 1
    assert archived.run("erase", "--study", "2.25.100", "--confirm", "2").returncode == 1
    assert len(archived.contents()) == 2
    done = archived.run("erase", "--study", "2.25.100", "--basis", BASIS, "--confirm", "2")
    assert (done.returncode, archived.contents()) == (0, {}), done.stderr
    with transaction(archived.catalogue.engine) as session:
        erasure = session.scalars(select(Erasure)).one()
    assert (erasure.state, erasure.basis, erasure.objects) == ("done", BASIS, 2)


def test_no_pack_in_the_archive_ever_holds_two_studies(relied_on: Archived) -> None:
    for pack in relied_on.packs():
        sidecar = read_sidecar(relied_on.content(pack.sidecar_key))
        studies = {one.record.metadata["0020000D"]["Value"][0] for one in sidecar.instances}
        assert studies == {sidecar.pack.header.StudyInstanceUID}
