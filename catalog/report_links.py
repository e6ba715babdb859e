"""What a report belongs to: its person and its study, whichever of the three arrives last."""

from typing import Final

from sqlalchemy import or_, select, text
from sqlalchemy.orm import Session

from catalog import people, report_identity
from catalog.context import Catalogue
from catalog.identity import conflicts
from catalog.report_records import ReportMessage
from catalog.tables import Alias, Person, Study
from catalog.tables_reports import Report

_LOCK: Final = text("select pg_advisory_xact_lock(hashtextextended(:key, 0))")


def lock_meeting(
    session: Session, hospital_id: int, *, StudyInstanceUID: str, AccessionNumber: str, number: str = ""
) -> None:
    """Let a study and its report, arriving at once, see each other: the second waits until the first is there."""
    keys = {
        f"study:{StudyInstanceUID}" if StudyInstanceUID else "",
        f"accession:{hospital_id}:{AccessionNumber}" if AccessionNumber else "",
        f"report:{hospital_id}:{number}" if number else "",
    }
    for key in sorted(keys - {""}):
        session.execute(_LOCK, {"key": key})


def identify(session: Session, catalogue: Catalogue, report: Report, message: ReportMessage) -> None:
    """Link a report that has no person yet by its document or its PatientID, or hold it."""
    if report.identity == "doubtful" or (report.identity == "linked" and message.document is None):
        return
    if message.document is not None and message.PatientID:
        people.link_patient(
            session,
            catalogue,
            report.hospital_id,
            message.PatientID,
            message.document,
            message.demographics,
        )
    elif message.document is not None:
        person, clash = people.register(session, catalogue, message.document, message.demographics)
        people.lock(session, {person.id})
        if clash:
            report_identity.hold(session, [report], person.id, clash)
        else:
            report_identity.give(session, [report], person.id)
    elif message.PatientID:
        _follow_known_alias(session, report)


def find_study(session: Session, catalogue: Catalogue, report: Report) -> None:
    """Join a report with the study it names: by StudyInstanceUID, else by AccessionNumber in its hospital."""
    if report.study_id is not None or report.category != "imaging":
        return
    named = _by_uid(session, report) or _by_accession(session, report)
    if len(named) == 1:
        _join(session, catalogue, report, named[0])
    elif named:
        report.reasons = ["accession_ambiguous"]


def join_waiting(session: Session, catalogue: Catalogue, study: Study) -> None:
    """Join the reports that named a study before it was there; one that names it by UID leaves any other."""
    by_accession = (
        (Report.hospital_id == study.hospital_id)
        & (Report.accession_number == study.accession_number)
        & Report.study_id.is_(None)
    )
    by_uid = Report.study_uid == study.uid
    query = select(Report).where(
        or_(by_uid, by_accession) if study.accession_number else by_uid, Report.category == "imaging"
    )
    for report in session.scalars(query.order_by(Report.id).with_for_update()):
        if report.study_id == study.id:
            continue
        if report.study_uid == study.uid:
            report.study_id = None
        find_study(session, catalogue, report)


def _follow_known_alias(session: Session, report: Report) -> None:
    alias = session.get(Alias, (report.hospital_id, report.patient_id))
    if alias is None:
        return
    people.lock(session, {alias.person_id})
    if alias.state == people.LINKED:
        person = session.get_one(Person, alias.person_id)
        report_identity.follow_alias(session, alias, people.demographics(person))
    else:
        report_identity.hold(session, [report], alias.person_id, ("alias_doubtful",))


def _by_uid(session: Session, report: Report) -> list[Study]:
    if not report.study_uid:
        return []
    return list(session.scalars(select(Study).where(Study.uid == report.study_uid)))


def _by_accession(session: Session, report: Report) -> list[Study]:
    """An AccessionNumber is one hospital's own, and some hospitals use it again (DOMAIN §5.1)."""
    if not report.accession_number:
        return []
    query = select(Study).where(
        Study.hospital_id == report.hospital_id, Study.accession_number == report.accession_number
    )
    return [study for study in session.scalars(query) if not _contradictions(report, study)]


def _join(session: Session, catalogue: Catalogue, report: Report, study: Study) -> None:
    contradictions = _contradictions(report, study)
    if contradictions:
        _hold(session, report, contradictions)
        return
    report.study_id, report.reasons = study.id, []
    session.flush()
    if report.person_id is not None and study.identity == people.UNLINKED:
        people.lock(session, {report.person_id})
        people.link_study_to(session, catalogue, study, session.get_one(Person, report.person_id))


def _hold(session: Session, report: Report, reasons: list[str]) -> None:
    """Leave a report unjoined; where it has a person, his answers are incomplete until a human has looked."""
    if report.person_id is not None:
        report_identity.hold(session, [report], report.person_id, tuple(reasons))
    else:
        report.reasons = reasons


def _contradictions(report: Report, study: Study) -> list[str]:
    if study.hospital_id != report.hospital_id:
        return ["study_of_another_hospital"]
    found = list(conflicts(people.study_demographics(study), report_identity.demographics(report), None))
    if report.person_id and study.person_id and report.person_id != study.person_id:
        found.append("study_of_another_person")
    same_person = report.person_id is not None and report.person_id == study.person_id
    if report.patient_id and study.patient_id and report.patient_id != study.patient_id and not same_person:
        found.append("study_of_another_patient")
    return found
