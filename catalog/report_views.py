"""Reports as they are shown: in the answer to a check, and on their own to whom a check has shown them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import bindparam, or_, select, text
from sqlalchemy.orm import Session

from catalog import audit, documents, grants, groups, lab_results, registry, reports, sharing, visibility
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import NotFound
from catalog.records import ReportStatus, ReportVersion
from catalog.report_records import LABEL_EN, LABEL_ZH, WITHDRAWN
from catalog.report_versions import KnownVersion, in_order, standing
from catalog.rules import HOSPITAL_ZONE
from catalog.tables import Hospital, Study
from catalog.tables_reports import Observation, Report, ReportAttachment, ReportShown
from catalog.tables_reports import ReportVersion as VersionRow

_PAGE: Final = 500
STATUS_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "registered": ("已登记", "registered"),
    "partial": ("部分结果", "partial"),
    "preliminary": ("初步报告", "preliminary"),
    "final": ("已审核", "final"),
    "amended": ("已修改", "amended"),
    "corrected": ("已更正", "corrected"),
    "appended": ("已补充", "appended"),
    "cancelled": ("已取消", "cancelled"),
    "entered-in-error": ("录入错误,已作废", "entered in error"),
}


@dataclass(frozen=True, slots=True)
class ResultReport:
    """The report of one result: the version that counts, as the rules see it and as the answer shows it."""

    report_id: int
    version: ReportVersion
    described: dict[str, Any]


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


class HasReport(Protocol):
    """What a result is asked for its report."""

    @property
    def id(self) -> int: ...
    @property
    def study_id(self) -> int | None: ...
    @property
    def status(self) -> str: ...


def reports_of(session: Session, results: Iterable[HasReport]) -> dict[int, ResultReport]:
    """Return, by result, the report version that counts; absent where there is no report yet."""
    results = list(results)
    found = _laboratory(session, [r for r in results if r.study_id is None])
    studies = {r.study_id for r in results if r.study_id is not None}
    by_study = _imaging(session, studies) if studies else {}
    return found | {r.id: by_study[r.study_id] for r in results if r.study_id in by_study}


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
        report, owner = _readable(session, catalogue, caller, report_id)
        versions = _all_versions(session, report)
        attachments = _attachments(session, [row.id for row in versions.values()])
        values = _values_by_version(session, report)
        ordered = in_order(reports.known(row) for row in versions.values())
        _audit_read(session, caller, "report.read", report, owner)
        return {
            "report_id": str(report.id),
            "number": report.number,
            "category": report.category,
            "hospital": _issuer(session, report),
            "label": LABEL_ZH,
            "label_en": LABEL_EN,
            "standing_version": report.standing_number,
            "versions": [
                _describe_version(versions[each.id], number, attachments, report.id)
                | {"values": [] if each.status in WITHDRAWN else values.get(each.id, [])}
                for number, each in enumerate(ordered, 1)
            ],
        }


def find_attachment(
    catalogue: Catalogue, caller: Caller, report_id: int, attachment_id: int
) -> AttachedDocument:
    """Return where an attachment is kept, to be read with `documents.read`; audited before it is.

    Raises NotFound where the report is not the caller's to see or its version was withdrawn.
    """
    with transaction(catalogue.engine) as session:
        report, owner = _readable(session, catalogue, caller, report_id)
        query = (
            select(ReportAttachment, VersionRow.status)
            .join(VersionRow, VersionRow.id == ReportAttachment.report_version_id)
            .where(ReportAttachment.id == attachment_id, VersionRow.report_id == report.id)
        )
        row = session.execute(query).tuples().one_or_none()
        if row is None or row[1] in WITHDRAWN:
            raise _no_report()
        attachment = row[0]
        _audit_read(session, caller, "report.attachment", report, owner, attachment_id=attachment_id)
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


def _readable(
    session: Session, catalogue: Catalogue, caller: Caller, report_id: int
) -> tuple[Report, int | None]:
    """Return a report and whose it is, if this caller may read it now.

    For a reason of his own, or because a check of his hospital has shown it and still lets the hospital see.
    """
    hospital = registry.hospital_by_code(session, caller.hospital_code)
    report = session.get(Report, report_id)
    if report is None:
        raise _no_report()
    owner = report.person_id
    if report.study_id is not None:
        owner = session.get_one(Study, report.study_id).person_id
    if report.hospital_id == hospital.id:
        return report, owner
    if owner is None:
        raise _no_report()
    now = catalogue.clock()
    if grants.may_see(session, caller, owner, now, grants.OWN):
        return report, owner
    checked = grants.may_see(session, caller, owner, now, (grants.CHECK,))
    if not checked or not _was_shown(session, hospital.id, owner, report.id):
        raise _no_report()
    return report, owner


def _was_shown(session: Session, hospital_id: int, owner: int, report_id: int) -> bool:
    """Say whether a check of this hospital has shown a report of this person, who still lets it be shown."""
    everybody = groups.members(session, {owner})
    query = select(ReportShown.report_id).where(
        ReportShown.hospital_id == hospital_id,
        ReportShown.person_id.in_(everybody),
        ReportShown.report_id == report_id,
    )
    return bool(session.scalars(query.limit(1)).first()) and sharing.is_shared(session, everybody)


def _issuer(session: Session, report: Report) -> dict[str, str]:
    hospital = session.get_one(Hospital, report.hospital_id)
    return {"code": hospital.code, "name": hospital.name}


def _no_report() -> NotFound:
    return NotFound("没有该报告", "No such report", code="unknown_report")


def _audit_read(
    session: Session, caller: Caller, action: str, report: Report, owner: int | None, **detail: int
) -> None:
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


def _imaging(session: Session, study_ids: Iterable[int]) -> dict[int | None, ResultReport]:
    found: dict[int | None, list[tuple[KnownVersion, VersionRow, Report]]] = {}
    for each in reports.standing_versions(session, study_ids):
        found.setdefault(each[2].study_id, []).append(each)
    counting = {}
    for study_id, versions in found.items():
        newest = standing(version for version, _, _ in versions)
        counting[study_id] = next(each for each in versions if each[0] is newest)
    with_documents = [row.id for _, row, _ in counting.values() if row.attachment_count]
    attachments = _attachments(session, with_documents) if with_documents else {}
    return {
        study_id: ResultReport(
            report.id,
            ReportVersion(version.status, version.reported_at),
            _described(report, row, row.status, attachments),
        )
        for study_id, (version, row, report) in counting.items()
    }


def _laboratory(session: Session, results: list[HasReport]) -> dict[int, ResultReport]:
    if not results:
        return {}
    withdrawn = {result.id for result in results if result.status == "withdrawn"}
    rows: dict[int, list[tuple[lab_results.Given, VersionRow, Report]]] = {}
    asked = {"result_ids": [result.id for result in results]}
    for observation, row, report in session.execute(_VALUES, asked).tuples():
        given = lab_results.value_version(observation, reports.known(row))
        rows.setdefault(observation.result_id or 0, []).append((given, row, report))
    for result_id in withdrawn & rows.keys():
        rows[result_id] += _silent_withdrawals(session, rows[result_id][-1])
    found = {}
    for result_id, versions in rows.items():
        newest = standing(given.version for given, _, _ in versions)
        given, row, report = next(each for each in versions if each[0].version is newest)
        status = given.version.status
        described = _described(report, row, status.value, {})
        described["values"] = [] if status in WITHDRAWN else [_value(given.observation)]
        found[result_id] = ResultReport(report.id, ReportVersion(status, row.reported_at), described)
    return found


# Put together once: every check with laboratory results asks it.
_VALUES: Final = (
    select(Observation, VersionRow, Report)
    .join(VersionRow, VersionRow.id == Observation.report_version_id)
    .join(Report, Report.id == Observation.report_id)
    .where(Observation.result_id.in_(bindparam("result_ids", expanding=True)))
)


def _silent_withdrawals(
    session: Session, last: tuple[lab_results.Given, VersionRow, Report]
) -> list[tuple[lab_results.Given, VersionRow, Report]]:
    """Return the versions that withdrew a report without repeating the value."""
    given, _, report = last
    query = select(VersionRow).where(VersionRow.report_id == report.id, VersionRow.status.in_([*WITHDRAWN]))
    return [
        (lab_results.Given(reports.known(row), given.observation), row, report)
        for row in session.scalars(query)
    ]


def _described(
    report: Report, row: VersionRow, status: str, attachments: Mapping[int, list[ReportAttachment]]
) -> dict[str, Any]:
    """Describe a version for a check; what was withdrawn is named and not repeated."""
    withdrawn = status in WITHDRAWN
    zh, en = STATUS_TEXTS[status]
    return {
        "report_id": str(report.id),
        "status": status,
        "status_text": zh,
        "status_text_en": en,
        "version": report.standing_number,
        "versions": report.version_count,
        "reported_at": iso(row.reported_at),
        "received_at": iso(row.received_at),
        "title": row.title,
        "conclusion": None if withdrawn or not row.conclusion else row.conclusion,
        "label": LABEL_ZH,
        "label_en": LABEL_EN,
        "attachments": [] if withdrawn else _links(report.id, attachments.get(row.id, [])),
    }


def _describe_version(
    row: VersionRow, number: int, attachments: Mapping[int, list[ReportAttachment]], report_id: int
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
        "attachments": [] if withdrawn else _links(report_id, attachments.get(row.id, [])),
    }


def _links(report_id: int, attachments: Iterable[ReportAttachment]) -> list[dict[str, Any]]:
    return [
        {
            "id": str(each.id),
            "content_type": each.content_type,
            "size_bytes": each.size_bytes,
            "title": each.title,
            "href": f"/v1/reports/{report_id}/attachments/{each.id}",
        }
        for each in attachments
    ]


def _value(observation: Observation) -> dict[str, Any]:
    return {
        "name": observation.name,
        "local_codes": observation.local_codes,
        "loinc_codes": observation.loinc_codes,
        "value": observation.value,
        "unit": observation.unit,
        "reference_range": observation.reference_range,
        "method": observation.method,
        "abnormal_flag": observation.flag,
        "status": observation.status,
        "observed_at": iso(observation.observed_at),
    }


def _all_versions(session: Session, report: Report) -> dict[int, VersionRow]:
    query = select(VersionRow).where(VersionRow.report_id == report.id)
    return {row.id: row for row in session.scalars(query)}


def _attachments(session: Session, version_ids: list[int]) -> dict[int, list[ReportAttachment]]:
    query = select(ReportAttachment).where(ReportAttachment.report_version_id.in_(version_ids))
    found: dict[int, list[ReportAttachment]] = {}
    for row in session.scalars(query.order_by(ReportAttachment.id)):
        found.setdefault(row.report_version_id, []).append(row)
    return found


def _values_by_version(session: Session, report: Report) -> dict[int, list[dict[str, Any]]]:
    query = select(Observation).where(Observation.report_id == report.id).order_by(Observation.id)
    found: dict[int, list[dict[str, Any]]] = {}
    for row in session.scalars(query):
        found.setdefault(row.report_version_id, []).append(_value(row))
    return found


def iso(moment: datetime) -> str:
    """Return a time as answers write it, in the hospitals' zone."""
    return moment.astimezone(HOSPITAL_ZONE).isoformat(timespec="seconds")
