"""What a report belongs to: its person and its study, whichever of the three arrives last."""

from collections.abc import Collection

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from catalog import groups, links, people, report_identity
from catalog.context import Catalogue
from catalog.identity import conflicts
from catalog.report_records import ReportMessage
from catalog.tables import Study
from catalog.tables_people import StudyClaim
from catalog.tables_reports import Report


def lock_meeting(session: Session, hospital_id: int, StudyInstanceUID: str, number: str = "") -> None:
    """Let a study and its report, arriving at once, see each other: the second waits until the first is there.

    Meetings by a hospital's own numbers are kept by `people.hold_still`, which comes after this lock.
    """
    keys = [f"study:{StudyInstanceUID}"] if StudyInstanceUID else []
    keys += [f"report:{hospital_id}:{number}"] if number else []
    if keys:
        locks = (func.pg_advisory_xact_lock(func.hashtextextended(key, 0)) for key in sorted(keys))
        session.execute(select(*locks))


def identify(session: Session, catalogue: Catalogue, report: Report, message: ReportMessage) -> None:
    """Keep what a report claims of its person, and bring everything under its numbers in line.

    The caller holds the numbers and the person (`people.hold_still`).
    """
    if message.document is None:
        report_identity.relink(session, catalogue, [report])
        return
    person, clash = people.register(session, catalogue, message.document, message.demographics)
    report.claimed_person_id, report.claim_reasons = person.id, list(clash)
    keys: list[links.AliasKey] = []
    if message.PatientID:
        keys.append((report.hospital_id, "PatientID", message.PatientID))
    if message.AccessionNumber and report.category == "imaging":
        keys.append((report.hospital_id, "AccessionNumber", message.AccessionNumber))
    news = [key for key in keys if links.claim_number(session, key, person.id, clash, "report")]
    links.restate_numbers(session, news)
    for key in news:
        links.relink(session, catalogue, links.studies_under(session, key))
    others = [each for key in news for each in report_identity.under(session, key)]
    report_identity.relink(
        session, catalogue, {report.id: report, **{each.id: each for each in others}}.values()
    )


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


def follow(session: Session, catalogue: Catalogue, reports: Collection[Report]) -> None:
    """Bring reports in line with what was decided about people: whose they are, and which study they are of.

    A study that has its person by a report alone loses it with the report.
    """
    report_identity.relink(session, catalogue, reports)
    left = {report.study_id for report in reports if report.study_id is not None}
    for report in reports:
        if report.study_id is not None and _contradictions(
            session, report, session.get_one(Study, report.study_id)
        ):
            report.study_id = None
        find_study(session, catalogue, report)
    session.flush()
    for study_id in sorted(left):
        _unclaim(session, catalogue, session.get_one(Study, study_id))
    for report in reports:
        if report.study_id is not None:
            _give_person(session, catalogue, report, session.get_one(Study, report.study_id))


def _unclaim(session: Session, catalogue: Catalogue, study: Study) -> None:
    still = select(Report.person_id).where(Report.study_id == study.id, Report.person_id.is_not(None))
    gone = delete(StudyClaim).where(
        StudyClaim.study_id == study.id,
        StudyClaim.source == "report",
        StudyClaim.ruling.is_(None),
        StudyClaim.person_id.not_in(still),
    )
    if session.execute(gone.returning(StudyClaim.person_id)).all():
        links.relink(session, catalogue, [study])


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
    return [study for study in session.scalars(query) if not _contradictions(session, report, study)]


def _join(session: Session, catalogue: Catalogue, report: Report, study: Study) -> None:
    contradictions = _contradictions(session, report, study)
    if contradictions:
        _hold(session, report, contradictions)
        return
    report.study_id = study.id
    report.reasons = report.reasons if report.identity == "doubtful" else []
    session.flush()
    _give_person(session, catalogue, report, study)


def _give_person(session: Session, catalogue: Catalogue, report: Report, study: Study) -> None:
    """Let a study that has no person be that of its report's; a PatientID alone is the study's own to carry."""
    own = report.claimed_person_id == report.person_id or report_identity.is_accepted(session, report)
    if report.person_id is not None and own and study.identity == people.UNLINKED:
        people.lock(session, {report.person_id})
        links.claim_study(session, study, report.person_id, (), "report")
        links.relink(session, catalogue, [study])


def _hold(session: Session, report: Report, reasons: list[str]) -> None:
    """Leave a report unjoined; where it has a person, his answers are incomplete until a human has looked."""
    if report.person_id is not None and not report_identity.is_accepted(session, report):
        report_identity.hold(session, report, {report.person_id}, reasons)
    else:
        report.reasons = reasons


def _contradictions(session: Session, report: Report, study: Study) -> list[str]:
    if study.hospital_id != report.hospital_id:
        return ["study_of_another_hospital"]
    both = report.person_id is not None and study.person_id is not None
    whose = groups.members(session, {study.person_id}) if study.person_id is not None else frozenset()
    one = both and report.person_id in whose
    if one and report_identity.is_accepted(session, report):
        return []
    found = list(conflicts(links.study_demographics(study), report_identity.demographics(report), None))
    if (both and not one) or (not one and report_identity.is_rejected(session, report, whose)):
        found.append("study_of_another_person")
    if report.patient_id and study.patient_id and report.patient_id != study.patient_id and not one:
        found.append("study_of_another_patient")
    return found
