"""Reports on their own, as they are shown to whom a check has shown them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, case, exists, or_, select, text
from sqlalchemy.orm import Session

from catalog import audit, documents, grants, groups, registry, reports, scope, visibility
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import NotFound
from catalog.records import ReportStatus
from catalog.report_records import LABEL_EN, LABEL_ZH, WITHDRAWN
from catalog.report_versions import in_order
from catalog.result_reports import STATUS_TEXTS, Attachment, attachments_of, described_value, iso, links
from catalog.tables import Hospital, Study
from catalog.tables_reports import Observation, Report, ReportAttachment, ReportShown
from catalog.tables_reports import ReportVersion as VersionRow

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class NamedDocument:
    """A document as the rows of reports name it; `sha256` is hex."""

    key: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class AttachedDocument(NamedDocument):
    """A document on its way to a reader, under a file name that says nothing of whom it is about."""

    content_type: str
    file_name: str


def remember_shown(session: Session, hospital_id: int, person_id: int, report_ids: Iterable[int]) -> None:
    """Let a hospital read from now on the reports that a check has shown it."""
    shown = sorted(set(report_ids))
    if shown:
        given = {"hospital_id": hospital_id, "person_id": person_id, "report_ids": shown}
        session.execute(_REMEMBER, given)


_REMEMBER: Final = text("""
    insert into report_shown (hospital_id, person_id, report_id)
    select :hospital_id, :person_id, unnest(cast(:report_ids as bigint[])) on conflict do nothing
""")


def read(catalogue: Catalogue, caller: Caller, report_id: int) -> dict[str, Any]:
    """Return a report with all its versions to a hospital that was shown it, or whose own it is; audited.

    A doctor with a stated purpose or an emergency access reads it too.

    Raises NotFound otherwise: it looks like none.
    """
    with transaction(catalogue.engine) as session:
        report, owner = readable(session, catalogue, caller, report_id)
        audit_read(session, caller, "report.read", report, owner)
        return whole(session, [report])[report.id]


def whole(session: Session, found: Iterable[Report]) -> dict[int, dict[str, Any]]:
    """Return reports with all their versions, by id, as they are read; whoever asks has seen to it that they may be."""
    found = list(found)
    report_ids = [report.id for report in found]
    versions: dict[int, dict[int, VersionRow]] = {report_id: {} for report_id in report_ids}
    for row in session.scalars(select(VersionRow).where(VersionRow.report_id.in_(report_ids))):
        versions[row.report_id][row.id] = row
    attachments = attachments_of(session, [row_id for rows in versions.values() for row_id in rows])
    values = _values_by_version(session, report_ids)
    return {
        report.id: {
            "report_id": str(report.id),
            "number": report.number,
            "category": report.category,
            "hospital": _issuer(session, report),
            "label": LABEL_ZH,
            "label_en": LABEL_EN,
            "standing_version": report.standing_number,
            "versions": [
                _describe_version(versions[report.id][each.id], number, attachments, report.id)
                | {"values": [] if each.status in WITHDRAWN else values.get(each.id, [])}
                for number, each in enumerate(
                    in_order(reports.known(row) for row in versions[report.id].values()), 1
                )
            ],
        }
        for report in found
    }


def find_attachment(
    catalogue: Catalogue, caller: Caller, report_id: int, attachment_id: int
) -> AttachedDocument:
    """Return where an attachment is kept, to be read with `documents.read`; audited before it is.

    Raises NotFound where the report is not the caller's to see or its version was withdrawn.
    """
    with transaction(catalogue.engine) as session:
        report, owner = readable(session, catalogue, caller, report_id)
        query = (
            select(ReportAttachment, VersionRow.status)
            .join(VersionRow, VersionRow.id == ReportAttachment.report_version_id)
            .where(ReportAttachment.id == attachment_id, VersionRow.report_id == report.id)
        )
        row = session.execute(query).tuples().one_or_none()
        if row is None or row[1] in WITHDRAWN:
            raise _no_report()
        attachment = row[0]
        audit_read(session, caller, "report.attachment", report, owner, attachment_id=attachment_id)
    return AttachedDocument(
        key=attachment.key,
        sha256=attachment.sha256,
        size_bytes=attachment.size_bytes,
        content_type=attachment.content_type,
        file_name=f"report-{report_id}-{attachment_id}.{documents.file_ending(attachment.content_type)}",
    )


def waiting(session: Session, *, limit: int) -> list[dict[str, Any]]:
    """Return imaging reports without a study and reports held for a human, newest first, without saying whose."""
    alone = (Report.category == "imaging") & Report.study_id.is_(None)
    query = (
        select(Report, Hospital.code)
        .join(Hospital, Hospital.id == Report.hospital_id)
        .where(or_(alone, Report.identity == "doubtful"), visibility.report_listed())
        .order_by(Report.id.desc())
        .limit(limit)
    )
    return [
        {
            "report_id": str(report.id),
            "hospital": code,
            "number": report.number,
            "category": report.category,
            "identity": report.identity,
            "reasons": report.reasons,
            "AccessionNumber": report.accession_number,
            "StudyInstanceUID": report.study_uid,
            "versions": report.version_count,
        }
        for report, code in session.execute(query).tuples()
    ]


def named_documents(catalogue: Catalogue, *, after: str = "") -> Iterator[NamedDocument]:
    """Yield every document that a report names, once, whose key comes after `after`. Raises DatabaseDown."""
    columns = ReportAttachment.key, ReportAttachment.sha256, ReportAttachment.size_bytes
    while True:
        query = select(*columns).where(ReportAttachment.key > after)
        with transaction(catalogue.engine) as session:
            page = (
                session.execute(query.distinct().order_by(ReportAttachment.key).limit(_PAGE)).tuples().all()
            )
        if not page:
            return
        yield from (NamedDocument(*row) for row in page)
        after = page[-1][0]


def attached_among(catalogue: Catalogue, keys: Iterable[str]) -> set[str]:
    """Return those of the given object keys that a report's attachment names. Raises DatabaseDown."""
    wanted = set(keys)
    if not wanted:
        return set()
    with transaction(catalogue.engine) as session:
        return set(session.scalars(select(ReportAttachment.key).where(ReportAttachment.key.in_(wanted))))


def readable(
    session: Session, catalogue: Catalogue, caller: Caller, report_id: int
) -> tuple[Report, int | None]:
    """Return a report and whose it is, if this caller may read it now.

    For a reason of his own, or because a check of his hospital has shown it and still lets the hospital see. One
    query either way: how long it takes must not tell a report that is not his to see from one there never was.

    Raises NotFound otherwise.
    """
    hospital = registry.hospital_by_code(session, caller.hospital_code)
    groups.members(session, {scope.owner_of(session, "report", report_id)} - {None})  # type: ignore[arg-type]
    owner = case((Report.study_id.is_not(None), Study.person_id), else_=Report.person_id)
    now = catalogue.clock()
    own_reason = grants.seen_by(caller, owner, now, grants.OWN)
    checked = grants.seen_by(caller, owner, now, (grants.CHECK,)) & _was_shown(hospital.id, owner)
    seen = or_(Report.hospital_id == hospital.id, own_reason, checked)
    query = select(Report, owner).outerjoin(Study, Study.id == Report.study_id)
    row = session.execute(query.where(Report.id == report_id, seen)).tuples().one_or_none()
    if row is None:
        raise _no_report()
    return row


def _was_shown(hospital_id: int, owner: ColumnElement[int | None]) -> ColumnElement[bool]:
    """Say whether a check of this hospital has shown the report of this person, who still lets it be shown."""
    shown = exists().where(
        ReportShown.hospital_id == hospital_id,
        ReportShown.report_id == Report.id,
        groups.holds(owner, ReportShown.person_id),
    )
    return shown & ~visibility.opted_out(owner)


def _issuer(session: Session, report: Report) -> dict[str, str]:
    hospital = session.get_one(Hospital, report.hospital_id)
    return {"code": hospital.code, "name": hospital.name}


def _no_report() -> NotFound:
    return NotFound("没有该报告", "No such report", code="unknown_report")


def audit_read(
    session: Session, caller: Caller, action: str, report: Report, owner: int | None, **detail: int
) -> None:
    """Record that a report, or something of it, was read."""
    hospital = registry.hospital_by_code(session, caller.hospital_code)
    audit.record(
        session,
        caller,
        action,
        hospital_id=hospital.id,
        person_id=owner,
        report_id=report.id,
        **detail,
    )


def _describe_version(
    row: VersionRow, number: int, attachments: Mapping[int, list[Attachment]], report_id: int
) -> dict[str, Any]:
    withdrawn = ReportStatus(row.status) in WITHDRAWN
    zh, en = STATUS_TEXTS[row.status]
    return {
        "version": number,
        "status": row.status,
        "status_text": zh,
        "status_text_en": en,
        "reported_at": iso(row.reported_at),
        "received_at": iso(row.received_at),
        "source": row.source,
        "title": row.title,
        "author": row.author,
        "findings": None if withdrawn or not row.findings else row.findings,
        "conclusion": None if withdrawn or not row.conclusion else row.conclusion,
        "attachments": [] if withdrawn else links(report_id, attachments.get(row.id, [])),
    }


def _values_by_version(session: Session, report_ids: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
    query = select(Observation).where(Observation.report_id.in_(report_ids)).order_by(Observation.id)
    found: dict[int, list[dict[str, Any]]] = {}
    for row in session.scalars(query):
        found.setdefault(row.report_version_id, []).append(described_value(row))
    return found
