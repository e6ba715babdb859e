"""What an erasure by law takes of reports: every word, value and document; that there was one stays counted."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Select, delete, or_, select, update
from sqlalchemy.orm import Session

from catalog import report_identity
from catalog.tables_reports import (
    Observation,
    Report,
    ReportAttachment,
    ReportHold,
    ReportRuling,
    ReportShown,
    ReportVersion,
)


def document_keys(session: Session, people: Collection[int], studies: Collection[int]) -> tuple[str, ...]:
    """Return the objects of documents that no other report names."""
    mine = _versions(people, studies)
    others = select(ReportAttachment.key).where(ReportAttachment.report_version_id.not_in(mine))
    query = select(ReportAttachment.key).where(
        ReportAttachment.report_version_id.in_(mine), ReportAttachment.key.not_in(others)
    )
    return tuple(session.scalars(query.distinct().order_by(ReportAttachment.key)))


def held(session: Session, people: Collection[int]) -> int:
    """Return how many reports may be of these people and wait for a human."""
    query = select(ReportHold.report_id).where(ReportHold.person_id.in_(people)).distinct()
    return len(session.scalars(query).all())


def lock(session: Session, people: Collection[int], studies: Collection[int]) -> None:
    """Let no version be added to these reports until the end of the transaction."""
    session.execute(select(Report.id).where(_mine(people, studies)).order_by(Report.id).with_for_update())


def names_of(session: Session, people: Collection[int], studies: Collection[int]) -> list[tuple[int, str]]:
    """Return the hospital and the number of each report that goes."""
    query = select(Report.hospital_id, Report.number).where(_mine(people, studies))
    return list(session.execute(query).tuples())


def erase(session: Session, people: Collection[int], studies: Collection[int]) -> None:
    """Empty the reports of these people and of these studies."""
    reports = list(session.scalars(select(Report.id).where(_mine(people, studies))))
    versions = _versions(people, studies)
    session.execute(delete(ReportAttachment).where(ReportAttachment.report_version_id.in_(versions)))
    blank = {"title": "", "findings": "", "conclusion": "", "author": "", "document_uid": None}
    session.execute(update(ReportVersion).where(ReportVersion.report_id.in_(reports)).values(**blank))
    session.execute(
        update(Observation)
        .where(Observation.report_id.in_(reports))
        .values(value="", unit="", reference_range="", method="", flag="")
    )
    for table in (ReportHold, ReportRuling, ReportShown):
        session.execute(delete(table).where(or_(table.report_id.in_(reports), table.person_id.in_(people))))
    for report in session.scalars(select(Report).where(Report.id.in_(reports))):
        report.number = f"erased-{report.id}"
        report.study_uid = report.accession_number = report.patient_id = report.patient_name = ""
        report.birth_date, report.sex = None, "unknown"
        report.person_id = report.claimed_person_id = None
        report.identity, report.reasons, report.claim_reasons = "unlinked", [], []
    others = update(Report).where(Report.claimed_person_id.in_(people), Report.id.not_in(reports))
    session.execute(others.values(claimed_person_id=None, claim_reasons=[]))
    session.flush()


def _versions(people: Collection[int], studies: Collection[int]) -> Select[int]:
    return (
        select(ReportVersion.id)
        .join(Report, Report.id == ReportVersion.report_id)
        .where(_mine(people, studies))
    )


def _mine(people: Collection[int], studies: Collection[int]) -> ColumnElement[bool]:
    """What is theirs; a claim counts where the report has nobody and no curator has said that it is not theirs."""
    rejected = report_identity.rejected_for(Report.id, people)
    claimed = Report.claimed_person_id.in_(people) & Report.person_id.is_(None) & ~rejected
    return or_(Report.person_id.in_(people), claimed, Report.study_id.in_(studies))
