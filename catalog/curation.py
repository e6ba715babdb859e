"""What a curator reads about people: what waits for a ruling, and one person with claims and events.

Numbers are masked; who looked at whom is audited.
"""

from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, aliased

from catalog import audit, groups, sealed_numbers, sharing, visibility
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import NotFound
from catalog.identity import DOCUMENT_TYPES, display_name, mask_number
from catalog.linking import DOUBTFUL
from catalog.tables import Alias, Hospital, IdentityHold, Person, Study
from catalog.tables_people import IdentityEvent
from catalog.tables_reports import Report, ReportHold

_WISHES: Final = ("opt_out", "opt_in")


def queue(catalogue: Catalogue, caller: Caller, *, limit: int = 100) -> dict[str, Any]:
    """Return what is held for a human, oldest first: numbers that are in doubt, studies, and reports.

    What concerns only people who opted out of sharing waits: nobody's answer depends on it.
    """
    with transaction(catalogue.engine) as session:
        numbers = _doubtful_numbers(session, catalogue, limit)
        studies = _held_studies(session, catalogue, limit)
        reports = _held_reports(session, catalogue, limit)
        shown = {row["person"]["person_id"] for row in [*numbers, *studies, *reports]}
        audit.record(session, caller, "people.queue", people=sorted(shown))
        return {"numbers": numbers, "studies": studies, "reports": reports}


def history(
    catalogue: Catalogue, caller: Caller, *, before: int = 0, limit: int = 100
) -> list[dict[str, Any]]:
    """Return what humans decided about people, the newest first, and whether it was taken back; audited.

    Nothing about somebody who opted out of sharing.
    """
    undo = aliased(IdentityEvent)
    query = (
        select(IdentityEvent, undo.id)
        .outerjoin(undo, undo.undoes_id == IdentityEvent.id)
        .where(IdentityEvent.kind.not_in((*_WISHES, "undo")), ~visibility.opted_out(IdentityEvent.person_id))
        .order_by(IdentityEvent.id.desc())
        .limit(limit)
    )
    if before:
        query = query.where(IdentityEvent.id < before)
    with transaction(catalogue.engine) as session:
        found = [_event(event) | {"undone": undone is not None} for event, undone in session.execute(query)]
        audit.record(session, caller, "people.list", people=sorted({row["person_id"] for row in found}))
        return found


def show(catalogue: Catalogue, caller: Caller, person_id: int) -> dict[str, Any]:
    """Return one person: number masked, whom he was merged with, claims, and every event. Raises NotFound.

    Of somebody who opted out of sharing no study is shown.
    """
    with transaction(catalogue.engine) as session:
        person = session.get(Person, person_id)
        if person is None:
            raise NotFound("没有该人员", "No such person", code="unknown_person")
        merged = groups.members(session, {person_id})
        audit.record(session, caller, "people.show", person_id=person_id)
        return {
            **_described(catalogue, person),
            "merged_with": [
                _described(catalogue, session.get_one(Person, other))
                for other in sorted(merged - {person_id})
            ],
            "numbers": _numbers_of(session, catalogue, person_id),
            "studies": _studies_of(session, person_id) if sharing.is_shared(session, merged) else [],
            "reports": _reports_of(session, person_id) if sharing.is_shared(session, merged) else [],
            "events": _events_of(session, person_id),
        }


def _described(catalogue: Catalogue, person: Person) -> dict[str, Any]:
    kind = DOCUMENT_TYPES.get(person.id_type)
    number = catalogue.vault.open(person.id_type, person.number_cipher) if person.number_cipher else ""
    return {
        "person_id": person.id,
        "id_type": person.id_type,
        "document": kind.zh if kind else "",
        "number": mask_number(number),
        "name": display_name(person.name),
        "birth_date": person.birth_date,
        "sex": person.sex,
    }


def _shown(session: Session, catalogue: Catalogue, alias: Alias) -> str:
    """Return a hospital's number, masked where the hospital uses a document for it."""
    return (
        sealed_numbers.shown(session, catalogue, alias.number) if alias.kind == "PatientID" else alias.number
    )


def _doubtful_numbers(session: Session, catalogue: Catalogue, limit: int) -> list[dict[str, Any]]:
    query = (
        select(Alias, Person, Hospital.code)
        .join(Person, Person.id == Alias.person_id)
        .join(Hospital, Hospital.id == Alias.hospital_id)
        .where(Alias.state == DOUBTFUL, visibility.claim_needs_ruling())
        .order_by(Alias.id)
        .limit(limit)
    )
    return [
        {
            "alias_id": alias.id,
            "hospital": code,
            "kind": alias.kind,
            "number": _shown(session, catalogue, alias),
            "person": _described(catalogue, person),
            "source": alias.source,
            "reasons": alias.reasons,
        }
        for alias, person, code in session.execute(query)
    ]


def _held_studies(session: Session, catalogue: Catalogue, limit: int) -> list[dict[str, Any]]:
    query = (
        select(IdentityHold, Study, Person, Hospital.code)
        .join(Study, Study.id == IdentityHold.study_id)
        .join(Person, Person.id == IdentityHold.person_id)
        .join(Hospital, Hospital.id == Study.hospital_id)
        .where(visibility.hold_needs_ruling())
        .order_by(Study.id, Person.id)
        .limit(limit)
    )
    return [
        {
            "study_id": study.id,
            "hospital": code,
            "PatientName": display_name(study.patient_name),
            "birth_date": study.birth_date,
            "sex": study.sex,
            "exam_time": study.exam_time,
            "StudyDescription": study.description,
            "person": _described(catalogue, person),
            "reasons": hold.reasons,
        }
        for hold, study, person, code in session.execute(query)
    ]


def _held_reports(session: Session, catalogue: Catalogue, limit: int) -> list[dict[str, Any]]:
    query = (
        select(Report, Person, Hospital.code)
        .join(ReportHold, ReportHold.report_id == Report.id)
        .join(Person, Person.id == ReportHold.person_id)
        .join(Hospital, Hospital.id == Report.hospital_id)
        .where(~visibility.opted_out(ReportHold.person_id))
        .order_by(Report.id, Person.id)
        .limit(limit)
    )
    return [
        {
            "report_id": report.id,
            "hospital": code,
            "number": report.number,
            "category": report.category,
            "PatientName": display_name(report.patient_name),
            "birth_date": report.birth_date,
            "sex": report.sex,
            "person": _described(catalogue, person),
            "reasons": report.reasons,
        }
        for report, person, code in session.execute(query)
    ]


def _numbers_of(session: Session, catalogue: Catalogue, person_id: int) -> list[dict[str, Any]]:
    query = select(Alias, Hospital.code).join(Hospital, Hospital.id == Alias.hospital_id)
    return [
        {
            "alias_id": alias.id,
            "hospital": code,
            "kind": alias.kind,
            "number": _shown(session, catalogue, alias),
            "state": alias.state,
            "reasons": alias.reasons,
            "ruling": alias.ruling,
        }
        for alias, code in session.execute(query.where(Alias.person_id == person_id).order_by(Alias.id))
    ]


def _studies_of(session: Session, person_id: int) -> list[dict[str, Any]]:
    held = select(IdentityHold.study_id).where(IdentityHold.person_id == person_id)
    query = select(Study).where(or_(Study.person_id == person_id, Study.id.in_(held))).order_by(Study.id)
    return [
        {
            "study_id": study.id,
            "identity": study.identity,
            "exam_time": study.exam_time,
            "StudyDescription": study.description,
            "withdrawn": study.withdrawn,
        }
        for study in session.scalars(query)
    ]


def _reports_of(session: Session, person_id: int) -> list[dict[str, Any]]:
    held = select(ReportHold.report_id).where(ReportHold.person_id == person_id)
    query = select(Report).where(or_(Report.person_id == person_id, Report.id.in_(held)))
    return [
        {
            "report_id": report.id,
            "number": report.number,
            "category": report.category,
            "identity": report.identity,
            "reasons": report.reasons,
        }
        for report in session.scalars(query.order_by(Report.id))
    ]


def _events_of(session: Session, person_id: int) -> list[dict[str, Any]]:
    touches = or_(IdentityEvent.person_id == person_id, IdentityEvent.other_person_id == person_id)
    query = select(IdentityEvent).where(touches, IdentityEvent.kind.not_in(_WISHES))
    return [_event(event) for event in session.scalars(query.order_by(IdentityEvent.id))]


def _event(event: IdentityEvent) -> dict[str, Any]:
    return {
        "event_id": event.id,
        "kind": event.kind,
        "person_id": event.person_id,
        "other_person_id": event.other_person_id,
        "alias_id": event.alias_id,
        "study_id": event.study_id,
        "report_id": event.report_id,
        "undoes": event.undoes_id,
        "reason": event.reason,
        "by": event.caller,
        "at": event.created_at,
    }
