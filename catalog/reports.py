"""Reports: taken once per version from whatever channel, in one transaction with all that follows from them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import (
    audit,
    erasures,
    groups,
    lab_results,
    links,
    notices,
    people,
    report_identity,
    report_links,
    scope,
    sealed_numbers,
    settling,
)
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput
from catalog.identity import conflicts
from catalog.records import ReportStatus
from catalog.registry import hospital_by_code
from catalog.report_records import ReportMessage, check_message, content_digest
from catalog.report_versions import Change, KnownVersion, change, number_of, standing
from catalog.tables import Hospital, Result, Study
from catalog.tables_reports import Report, ReportAttachment, ReportVersion


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a message: its report and version, and whether it was new and now stands."""

    report_id: int
    version_id: int
    made: bool
    stands: bool


def take(
    session: Session, catalogue: Catalogue, caller: Caller, hospital: Hospital, message: ReportMessage
) -> Taken:
    """Keep one version of a report; the same content again changes nothing.

    Raises InvalidInput for what cannot be kept, Conflict (`report_of_another_patient`,
    `report_of_another_kind`) where the number belongs to another report, (`study_erased`, `report_erased`)
    where it was erased by law.
    """
    check_message(message, catalogue.clock())
    report_links.lock_meeting(session, hospital.id, message.StudyInstanceUID, message.number)
    _refuse_erased(session, hospital.id, message)
    kept = sealed_numbers.keep(session, catalogue, hospital.id, message.PatientID, message.document)
    message = replace(message, PatientID=kept)
    people.hold_still(
        session,
        catalogue,
        hospital.id,
        message.document,
        PatientID=message.PatientID,
        AccessionNumber=message.AccessionNumber,
    )
    report = _claim(session, hospital, message)
    _refuse_erased(session, hospital.id, message)  # an erasure may have been what the locks waited for
    versions = _versions(session, report)
    _check_patient(session, catalogue, report, message)
    digest = content_digest(message)
    same = next((each for each in versions if each.digest == digest), None)
    if same is not None:
        return Taken(report.id, same.id, made=False, stands=report.standing_version_id == same.id)
    version = _add_version(session, catalogue, caller, report, message)
    certain = _is_certain(session, report, message)
    _learn(report, message)
    if not certain:
        report_links.identify(session, catalogue, report, message)
    report_links.find_study(session, catalogue, report)
    person_id = _lock_people(session, report)
    _restand(session, catalogue, report, versions, (version, message))
    if person_id is not None:
        settling.settle(session, catalogue, person_id)
    audit.record(
        session,
        caller,
        "report.receive",
        hospital_id=hospital.id,
        person_id=report.person_id,
        report_id=report.id,
        version_id=version.id,
        status=version.status,
        source=version.source,
    )
    return Taken(report.id, version.id, made=True, stands=report.standing_version_id == version.id)


def refuse_erased(catalogue: Catalogue, caller: Caller, message: ReportMessage) -> None:
    """Refuse a report that was erased by law, on record, before a document of it is kept again. Raises Conflict."""
    refused = None
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, caller.hospital_code)
        try:
            _refuse_erased(session, hospital.id, message)
        except Conflict as error:
            refused = error
            audit.record(session, caller, "report.refused", hospital_id=hospital.id, code=error.code)
    if refused is not None:
        raise refused


def take_documents(
    session: Session, catalogue: Catalogue, caller: Caller, study: Study, messages: Iterable[ReportMessage]
) -> None:
    """Keep the reports found among the DICOM instances of a study, each under its first document's UID.

    One that cannot be kept is noted in the audit and holds up nothing: its instance is in the archive.
    """
    hospital = session.get_one(Hospital, study.hospital_id)
    for message in messages:
        try:
            with session.begin_nested():
                take(session, catalogue, caller, hospital, message)
        except (InvalidInput, Conflict) as error:
            audit.record(
                session,
                caller,
                "report.refused",
                hospital_id=hospital.id,
                document_uid=message.document_uid,
                code=error.code,
            )


def known(row: ReportVersion) -> KnownVersion:
    """Return a row as the rules see it."""
    return KnownVersion(ReportStatus(row.status), row.reported_at, row.id, row.digest)


def _refuse_erased(session: Session, hospital_id: int, message: ReportMessage) -> None:
    if message.StudyInstanceUID:
        erasures.refuse_erased(session, message.StudyInstanceUID)
    erasures.refuse_erased_report(session, hospital_id, message.number)


def _claim(session: Session, hospital: Hospital, message: ReportMessage) -> Report:
    row = {
        "hospital_id": hospital.id,
        "number": message.number,
        "category": message.category,
        "study_uid": message.StudyInstanceUID,
        "accession_number": message.AccessionNumber,
        "patient_id": message.PatientID,
        "patient_name": message.demographics.name or "",
        "birth_date": message.demographics.birth_date,
        "sex": message.demographics.sex or "unknown",
    }
    session.execute(insert(Report).values(row).on_conflict_do_nothing())
    query = select(Report).where(Report.hospital_id == hospital.id, Report.number == message.number)
    report = session.scalars(query.with_for_update().execution_options(populate_existing=True)).one()
    if report.category != message.category:
        raise Conflict(
            "该报告编号已用于另一类报告",
            "This report number belongs to a report of another kind",
            code="report_of_another_kind",
        )
    return report


def _versions(session: Session, report: Report) -> list[KnownVersion]:
    query = select(
        ReportVersion.status, ReportVersion.reported_at, ReportVersion.id, ReportVersion.digest
    ).where(ReportVersion.report_id == report.id)
    return [
        KnownVersion(ReportStatus(status), reported_at, version_id, digest)
        for status, reported_at, version_id, digest in session.execute(query).tuples()
    ]


def _check_patient(session: Session, catalogue: Catalogue, report: Report, message: ReportMessage) -> None:
    """One number is one report of one patient: a version about somebody else is a mistake of its sender."""
    other_id = report.patient_id and message.PatientID and report.patient_id != message.PatientID
    other_person = False
    claimed = {
        each
        for each in (report.person_id, report.claimed_person_id)
        if each is not None and not report_identity.is_rejected(session, report, {each})
    }
    if message.document is not None and claimed:
        person = people.find(session, catalogue, message.document)
        other_person = person is None or person.id not in groups.members(session, claimed)
    if other_id or other_person:
        raise Conflict(
            "该报告编号已用于另一患者的报告",
            "This report number belongs to another patient's report",
            code="report_of_another_patient",
        )
    named = message.PatientID or message.document or message.StudyInstanceUID or message.AccessionNumber
    if not (named or report.patient_id or claimed or report.study_uid or report.accession_number):
        raise InvalidInput(
            "报告未说明患者或检查",
            "The report names neither a patient nor a study",
            field="PatientID",
            code="subject_required",
        )


def _add_version(
    session: Session, catalogue: Catalogue, caller: Caller, report: Report, message: ReportMessage
) -> ReportVersion:
    version = ReportVersion(
        report_id=report.id,
        status=message.status.value,
        reported_at=message.reported_at,
        received_at=catalogue.clock(),
        source=message.source,
        digest=content_digest(message),
        title=message.title,
        findings=message.findings,
        conclusion=message.conclusion,
        author=message.author,
        document_uid=message.document_uid or None,
        attachment_count=len(message.attachments),
        caller=caller.subject,
    )
    session.add(version)
    session.flush()
    for attachment in message.attachments:
        session.add(
            ReportAttachment(
                report_version_id=version.id,
                key=attachment.key,
                sha256=attachment.sha256,
                size_bytes=attachment.size_bytes,
                content_type=attachment.content_type,
                title=attachment.title,
            )
        )
    return version


@scope.books
def _is_certain(session: Session, report: Report, message: ReportMessage) -> bool:
    """Say whether a version says nothing of its patient that could change whose the report is."""
    if report.identity != people.LINKED or message.PatientID not in ("", report.patient_id):
        return False
    (person,) = links.people(session, [report.person_id or 0])
    return not conflicts(links.demographics(person), message.demographics, None)


def _learn(report: Report, message: ReportMessage) -> None:
    """Fill what earlier versions of the report left open; of the patient, what is said last counts."""
    report.study_uid = report.study_uid or message.StudyInstanceUID
    report.accession_number = report.accession_number or message.AccessionNumber
    report.patient_id = report.patient_id or message.PatientID
    report.patient_name = message.demographics.name or report.patient_name
    report.birth_date = message.demographics.birth_date or report.birth_date
    if message.demographics.sex not in (None, "unknown"):
        report.sex = message.demographics.sex


def _lock_people(session: Session, report: Report) -> int | None:
    """Lock and return whose results the report is about, if that is known.

    Whoever decides on these results holds the same lock: a decision is before the news, or sees it.
    """
    person_id = report.person_id
    if person_id is None and report.study_id is not None:
        person_id = session.get_one(Study, report.study_id).person_id
    if person_id is not None:
        people.lock(session, {person_id})
    return person_id


def _restand(
    session: Session,
    catalogue: Catalogue,
    report: Report,
    earlier: list[KnownVersion],
    new: tuple[ReportVersion, ReportMessage],
) -> None:
    """Let the version that counts stand, with the results in it, and tell who relied on what stood before."""
    version, message = new
    versions = [*earlier, known(version)]
    before = next((each for each in earlier if each.id == report.standing_version_id), None)
    after = standing(versions)
    if after is not None:
        report.standing_version_id = after.id
        report.standing_number = number_of(after, versions)
    report.version_count = len(versions)
    if report.category == "laboratory":
        lab_results.keep_values(session, catalogue, report, versions, message.values)
    elif after is not None and after != before:
        _tell(session, catalogue, report, change(before.status if before else None, after.status))


def _tell(session: Session, catalogue: Catalogue, report: Report, kind: Change | None) -> None:
    if kind is None or report.study_id is None:
        return
    query = select(Result.id).where(Result.study_id == report.study_id)
    notices.notify(session, catalogue, session.scalars(query).all(), kind)
