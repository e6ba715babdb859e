"""Erasure by law: what names a patient goes, what explains the books and the audit stays, and nothing comes back.

One transaction empties the rows and writes down which objects have to go; the objects follow (dicom_node.erase) and
may be interrupted. A tombstone, the SHA-256 of the StudyInstanceUID, or of a
report's hospital and number, keeps what was erased from being registered again.
"""

import hashlib
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import audit, groups, notices, people, report_erasure, sealed_numbers, settling, tables
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.identity import Document
from catalog.tables import Alias, Decision, IdentityHold, OrderCheck, Pack, Person, Result, Study
from catalog.tables_access import AccessGrant, BreakGlassReview
from catalog.tables_asking import StatedPurpose
from catalog.tables_investigation import Investigation
from catalog.tables_people import ErasedReport, ErasedStudy, Erasure, StudyClaim
from catalog.tables_quality import QualityTask

_KEPT_OF_A_CANDIDATE: Final = frozenset(
    {
        "result_id",
        "verdict",
        "reasons",
        "item_code",
        "laterality",
        "body_part",
        "hospital",
        "own_hospital",
        "hr_marks",
        "exam_time",
        "saving_fen",
        "price_id",
        "valid_until",
    }
)


@dataclass(frozen=True, slots=True)
class Scope:
    """What an erasure takes away: database ids, and the objects behind them; `held` studies are in nobody's name."""

    people: frozenset[int] = frozenset()
    studies: tuple[int, ...] = ()
    results: tuple[int, ...] = ()
    object_keys: tuple[str, ...] = field(default=(), repr=False)
    size_bytes: int = 0
    held: int = 0


def scope_of_person(session: Session, catalogue: Catalogue, document: Document) -> Scope:
    """Return everything of a person and those merged with him. Raises NotFound."""
    person = people.find(session, catalogue, document)
    if person is None:
        raise NotFound("没有该人员", "No such person", code="unknown_person")
    everybody = groups.lock(session, {person.id})
    studies = session.scalars(select(Study.id).where(Study.person_id.in_(everybody)).order_by(Study.id)).all()
    own = or_(Result.person_id.in_(everybody), Result.study_id.in_(studies))
    query = select(func.count(func.distinct(IdentityHold.study_id)))
    held = session.scalar(query.where(IdentityHold.person_id.in_(everybody))) or 0
    held += report_erasure.held(session, everybody)
    return _with_objects(session, Scope(everybody, tuple(studies), _results(session, own), held=held))


def scope_of_study(session: Session, StudyInstanceUID: str) -> Scope:
    """Return everything of one study. Raises NotFound."""
    study = session.scalars(select(Study).where(Study.uid == StudyInstanceUID)).one_or_none()
    if study is None:
        raise NotFound("没有该检查", "No such study", code="unknown_study")
    results = _results(session, Result.study_id == study.id)
    return _with_objects(session, Scope(frozenset(), (study.id,), results))


def erase(
    catalogue: Catalogue, caller: Caller, find_scope: Callable[[Session], Scope], basis: str
) -> tuple[int, Scope]:
    """Empty the rows of a scope and write down its objects; returns the erasure's number.

    `basis` is the legal ground, in words that name nobody. Raises InvalidInput without it, Conflict
    (`held_for_review`) where a study may be this person's and a curator has not ruled yet.
    """
    if not basis.strip():
        raise InvalidInput("须注明法律依据", "The legal ground is needed", field="basis")
    with transaction(catalogue.engine) as session:
        session.execute(text("set local huren.erasure = 'on'"))
        scope = find_scope(session)
        if scope.held:
            raise Conflict(
                f"尚有 {scope.held} 份检查或报告待确认归属,请先处理",
                f"{scope.held} studies or reports wait for a ruling whose they are; settle that first",
                code="held_for_review",
            )
        erasure = _write_down(session, catalogue, caller, scope, basis)
        touched = _people_touched(session, scope)
        notices.notify(session, catalogue, scope.results, "study_erased")
        _erase_results(session, scope)
        _erase_studies(session, scope)
        report_erasure.erase(session, scope.people, scope.studies)
        _erase_people(session, scope)
        _redact_checks(session, scope, touched)
        for person_id in sorted(touched):
            settling.settle(session, catalogue, person_id)
        audit.record(
            session,
            caller,
            "erasure",
            erasure_id=erasure.id,
            people=sorted(scope.people),
            studies=list(scope.studies),
            objects=len(scope.object_keys),
        )
    sealed_numbers.forget_unused(catalogue)
    return erasure.id, scope


def unfinished(catalogue: Catalogue) -> dict[int, list[str]]:
    """Return the erasures whose objects are not all gone, with the keys of these objects. Raises DatabaseDown."""
    with transaction(catalogue.engine) as session:
        query = select(Erasure.id, Erasure.object_keys).where(Erasure.state == "open").order_by(Erasure.id)
        return dict(session.execute(query).tuples().all())


def erased_keys(catalogue: Catalogue) -> frozenset[str]:
    """Return the keys of every object that an erasure took away. Raises DatabaseDown."""
    with transaction(catalogue.engine) as session:
        return frozenset(key for keys in session.scalars(select(Erasure.object_keys)) for key in keys)


def finish(catalogue: Catalogue, erasure_id: int) -> None:
    """Note that the objects of an erasure are gone."""
    with transaction(catalogue.engine) as session:
        erasure = session.get_one(Erasure, erasure_id)
        erasure.state, erasure.done_at = "done", catalogue.clock()
    sealed_numbers.forget_unused(catalogue)  # where the erasure itself was broken off before it could


def listed(session: Session, *, limit: int) -> list[dict[str, Any]]:
    """Return erasures, newest first, without saying of whom."""
    return [
        _described(row) for row in session.scalars(select(Erasure).order_by(Erasure.id.desc()).limit(limit))
    ]


def described(session: Session, erasure_id: int) -> dict[str, Any]:
    """Return one erasure as `listed` does."""
    return _described(session.get_one(Erasure, erasure_id))


def erased_among(catalogue: Catalogue, StudyInstanceUIDs: Iterable[str]) -> set[str]:
    """Return those of the given studies that were erased. Raises DatabaseDown."""
    with transaction(catalogue.engine) as session:
        return _erased(session, StudyInstanceUIDs)


def refuse_erased(session: Session, StudyInstanceUID: str) -> None:
    """Raise Conflict (`study_erased`) for a study that was erased: it does not come back by being sent again."""
    if _erased(session, [StudyInstanceUID]):
        raise Conflict("该检查已依法删除", "The study was erased by law", code="study_erased")


def refuse_erased_report(session: Session, hospital_id: int, number: str) -> None:
    """Raise Conflict (`report_erased`) for a hospital's report that was erased: a resend does not bring it back."""
    if session.get(ErasedReport, _report_tombstone(hospital_id, number)) is not None:
        raise Conflict("该报告已依法删除", "The report was erased by law", code="report_erased")


def _erased(session: Session, uids: Iterable[str]) -> set[str]:
    by_hash = {_tombstone(uid): uid for uid in uids}
    query = select(ErasedStudy.uid_sha256).where(ErasedStudy.uid_sha256.in_(by_hash))
    return {by_hash[found] for found in session.scalars(query)}


def _tombstone(StudyInstanceUID: str) -> bytes:
    return hashlib.sha256(StudyInstanceUID.encode()).digest()


def _report_tombstone(hospital_id: int, number: str) -> bytes:
    return hashlib.sha256(f"{hospital_id}:{number}".encode()).digest()


def _results(session: Session, which: Any) -> tuple[int, ...]:
    return tuple(session.scalars(select(Result.id).where(which).order_by(Result.id)))


def _with_objects(session: Session, scope: Scope) -> Scope:
    """Lock studies and reports, so that nothing is added to them meanwhile, and list their objects."""
    session.scalars(select(Study).where(Study.id.in_(scope.studies)).with_for_update()).all()
    report_erasure.lock(session, scope.people, scope.studies)
    packs = session.scalars(select(Pack).where(Pack.study_id.in_(scope.studies)).order_by(Pack.id)).all()
    return Scope(
        people=scope.people,
        studies=scope.studies,
        results=scope.results,
        object_keys=(
            *(key for pack in packs for key in (pack.key, pack.sidecar_key)),
            *report_erasure.document_keys(session, scope.people, scope.studies),
        ),
        size_bytes=sum(pack.size_bytes for pack in packs),
        held=scope.held,
    )


def _write_down(session: Session, catalogue: Catalogue, caller: Caller, scope: Scope, basis: str) -> Erasure:
    erasure = Erasure(
        scope="person" if scope.people else "study",
        basis=basis.strip(),
        caller=caller.subject,
        studies=len(scope.studies),
        objects=len(scope.object_keys),
        size_bytes=scope.size_bytes,
        object_keys=list(scope.object_keys),
        created_at=catalogue.clock(),
    )
    session.add(erasure)
    session.flush()
    for uid in session.scalars(select(Study.uid).where(Study.id.in_(scope.studies))):
        session.add(ErasedStudy(uid_sha256=_tombstone(uid), erasure_id=erasure.id))
    for hospital_id, number in report_erasure.names_of(session, scope.people, scope.studies):
        tombstone = _report_tombstone(hospital_id, number)
        row = {"number_sha256": tombstone, "erasure_id": erasure.id}
        session.execute(insert(ErasedReport).values(row).on_conflict_do_nothing())
    return erasure


def _described(erasure: Erasure) -> dict[str, Any]:
    return {
        "erasure_id": erasure.id,
        "scope": erasure.scope,
        "basis": erasure.basis,
        "by": erasure.caller,
        "studies": erasure.studies,
        "objects": erasure.objects,
        "size_bytes": erasure.size_bytes,
        "state": erasure.state,
        "created_at": erasure.created_at,
        "done_at": erasure.done_at,
    }


def _people_touched(session: Session, scope: Scope) -> frozenset[int]:
    query = select(Result.person_id).where(Result.id.in_(scope.results), Result.person_id.is_not(None))
    return groups.lock(session, {*scope.people, *(each for each in session.scalars(query) if each)})


def _erase_results(session: Session, scope: Scope) -> None:
    """What was done stays counted, so that no sum changes: the examination did take place. It is never shown."""
    mine = update(Result).where(Result.id.in_(scope.results))
    session.execute(mine.where(Result.status == "active").values(status="erased"))
    session.execute(mine.where(Result.status == "withdrawn").values(status="superseded"))
    session.execute(mine.values(explanation="", confidence="", rule=""))


def _erase_studies(session: Session, scope: Scope) -> None:
    for table in (tables.Conflict, Pack, StudyClaim, IdentityHold, QualityTask):
        session.execute(delete(table).where(table.study_id.in_(scope.studies)))
    for study in session.scalars(select(Study).where(Study.id.in_(scope.studies))):
        study.uid = f"erased-{study.id}"
        study.patient_id = study.patient_name = study.name_rule = study.accession_number = ""
        study.description, study.birth_date, study.sex = "", None, "unknown"
        study.facts, study.unmapped_reason, study.modalities = {}, None, []
        study.series_count = study.instance_count = study.size_bytes = 0
        study.withdrawn = True
    session.flush()


def _erase_people(session: Session, scope: Scope) -> None:
    for table in (Alias, StudyClaim, IdentityHold):
        session.execute(delete(table).where(table.person_id.in_(scope.people)))
    for person in session.scalars(select(Person).where(Person.id.in_(scope.people))):
        person.number_hash, person.number_cipher = secrets.token_bytes(32), b""
        person.name, person.birth_date, person.sex = "", None, "unknown"
        person.opted_out = True
    session.flush()


def _redact_checks(session: Session, scope: Scope, touched: Collection[int]) -> None:
    """Of an answer stays what the figures are recounted from: orders, verdicts, reasons, prices."""
    erased = {str(result_id) for result_id in scope.results}
    for check in session.scalars(select(OrderCheck).where(OrderCheck.person_id.in_(touched))):
        whole = check.person_id in scope.people
        given = {**check.given, "orders": list(_redacted(check.given["orders"], erased, whole=whole))}
        if whole:
            given["patient"] = None
        if given != check.given:
            check.given = given
    gone = update(Decision).where(Decision.person_id.in_(scope.people), Decision.reason_text.is_not(None))
    session.execute(gone.values(reason_text=None))
    session.execute(update(StatedPurpose).where(StatedPurpose.person_id.in_(scope.people)).values(reason=""))
    granted = AccessGrant.person_id.in_(scope.people)
    session.execute(update(AccessGrant).where(granted).values(reason=""))
    seen = BreakGlassReview.grant_id.in_(select(AccessGrant.id).where(granted))
    session.execute(update(BreakGlassReview).where(seen).values(note=""))
    theirs = Investigation.decision_id.in_(select(Decision.id).where(Decision.person_id.in_(scope.people)))
    session.execute(update(Investigation).where(theirs).values(reason="", note=None))
    session.flush()


def _redacted(orders: Iterable[dict[str, Any]], erased: set[str], *, whole: bool) -> Iterator[dict[str, Any]]:
    for order in orders:
        candidates = [
            {name: value if name in _KEPT_OF_A_CANDIDATE else None for name, value in candidate.items()}
            if whole or candidate["result_id"] in erased
            else candidate
            for candidate in order["candidates"]
        ]
        yield {**order, "candidates": candidates}
