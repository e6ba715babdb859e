"""The report of each result in the answer to a check: one statement for those with images, one for laboratory values.

They are written out in SQL and read into plain values, like the look-ups of `catalog.lookup`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy.orm import Session

from catalog import db
from catalog.records import ReportStatus, ReportVersion
from catalog.report_records import LABEL_EN, LABEL_ZH, WITHDRAWN
from catalog.report_versions import KnownVersion, of_value, standing
from catalog.rules import HOSPITAL_ZONE
from catalog.tables_reports import Observation

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
_VERSION: Final = """report.id, report.study_id, report.standing_number, report.version_count, version.id,
           version.status, version.reported_at, version.digest, version.received_at, version.title,
           version.conclusion, version.attachment_count"""
# A report whose person is in doubt, or another than the study's, is none of the study's.
_OF_STUDIES: Final = f"""
    select {_VERSION}
    from report
    join report_version version on version.id = report.standing_version_id
    join study on study.id = report.study_id
    left join person mine on mine.id = report.person_id
    left join person theirs on theirs.id = study.person_id
    where report.study_id = any(%(studies)s::bigint[])
      and (report.identity = 'unlinked' or coalesce(mine.group_id, mine.id) = coalesce(theirs.group_id, theirs.id))
"""  # noqa: S608 (of constants)
_OF_VALUES: Final = f"""
    select observation.result_id, observation.name, observation.local_codes, observation.loinc_codes,
           observation.value, observation.unit, observation.reference_range, observation.method, observation.flag,
           observation.status, observation.observed_at, {_VERSION}
    from observation
    join report_version version on version.id = observation.report_version_id
    join report on report.id = observation.report_id
    where observation.result_id = any(%(results)s::bigint[])
"""  # noqa: S608 (of constants)
_WITHDRAWALS: Final = f"""
    select {_VERSION}
    from report join report_version version on version.report_id = report.id
    where report.id = %(report)s and version.status = any(%(statuses)s)
"""  # noqa: S608 (of constants)
_ATTACHMENTS: Final = """
    select id, report_version_id, content_type, size_bytes, title
    from report_attachment where report_version_id = any(%(versions)s::bigint[]) order by id
"""


class HasReport(Protocol):
    """What a result is asked for its report."""

    @property
    def id(self) -> int: ...
    @property
    def study_id(self) -> int | None: ...
    @property
    def status(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ResultReport:
    """The report of one result: the version that counts, as the rules see it and as the answer shows it."""

    report_id: int
    version: ReportVersion
    described: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """One kept version with what is said of its report; `standing_number` is of the version that stands."""

    report_id: int
    study_id: int | None
    standing_number: int
    version_count: int
    version: KnownVersion
    received_at: datetime
    title: str
    conclusion: str = field(repr=False)
    attachment_count: int


@dataclass(frozen=True, slots=True)
class Attachment:
    """A document of a version, as far as it is named."""

    id: int
    report_version_id: int
    content_type: str
    size_bytes: int
    title: str


@dataclass(frozen=True, slots=True)
class _Value:
    """A laboratory value of one version."""

    name: str
    local_codes: list[str]
    loinc_codes: list[str]
    value: str = field(repr=False)
    unit: str
    reference_range: str
    method: str
    flag: str
    status: str
    observed_at: datetime


def reports_of(session: Session, results: Collection[HasReport]) -> dict[int, ResultReport]:
    """Return, by result, the report version that counts; absent where there is no report yet."""
    found = _of_values(session, [r for r in results if r.study_id is None])
    studies = {r.study_id for r in results if r.study_id is not None}
    by_study = _of_studies(session, studies) if studies else {}
    return found | {r.id: by_study[r.study_id] for r in results if r.study_id in by_study}


def standing_versions(session: Session, studies: Iterable[int]) -> list[Kept]:
    """Return the standing version of every report of these studies.

    What counts among all versions of all reports of a study is among these (DESIGN §6.5: newest by time).
    """
    return [_kept(*row) for row in db.rows(session, _OF_STUDIES, {"studies": list(studies)})]


def attachments_of(session: Session, versions: Collection[int]) -> dict[int, list[Attachment]]:
    """Return the documents of these versions, by version, as they were added."""
    found: dict[int, list[Attachment]] = {}
    for row in db.rows(session, _ATTACHMENTS, {"versions": list(versions)}):
        attachment = Attachment(*row)
        found.setdefault(attachment.report_version_id, []).append(attachment)
    return found


def _kept(  # one parameter for each column of _VERSION
    report_id: int,
    study_id: int | None,
    standing_number: int,
    version_count: int,
    version_id: int,
    status: str,
    reported_at: datetime,
    digest: bytes,
    *said: Any,
) -> Kept:
    version = KnownVersion(ReportStatus(status), reported_at, version_id, digest)
    return Kept(report_id, study_id, standing_number, version_count, version, *said)


def _of_studies(session: Session, studies: Iterable[int]) -> dict[int | None, ResultReport]:
    found: dict[int | None, list[Kept]] = {}
    for each in standing_versions(session, studies):
        found.setdefault(each.study_id, []).append(each)
    counting = {study: _counting(versions) for study, versions in found.items()}
    with_documents = [kept.version.id for kept in counting.values() if kept.attachment_count]
    attachments = attachments_of(session, with_documents) if with_documents else {}
    return {
        study: ResultReport(
            kept.report_id,
            ReportVersion(kept.version.status, kept.version.reported_at),
            _described(kept, kept.version.status, attachments.get(kept.version.id, [])),
        )
        for study, kept in counting.items()
    }


def _counting(versions: Sequence[Kept]) -> Kept:
    newest = standing(each.version for each in versions)
    return next(each for each in versions if each.version is newest)


def _of_values(session: Session, results: Sequence[HasReport]) -> dict[int, ResultReport]:
    if not results:
        return {}
    given: dict[int, list[tuple[Kept, _Value]]] = {}
    for result_id, *columns in db.rows(session, _OF_VALUES, {"results": [result.id for result in results]}):
        value = _Value(*columns[:10])
        kept = _kept(*columns[10:])
        kept = replace(kept, version=of_value(kept.version, ReportStatus(value.status)))
        given.setdefault(result_id, []).append((kept, value))
    for result in results:
        if result.status == "withdrawn" and result.id in given:
            given[result.id] += _silent_withdrawals(session, given[result.id][-1])
    return {result_id: _value_report(versions) for result_id, versions in given.items()}


def _silent_withdrawals(session: Session, last: tuple[Kept, _Value]) -> list[tuple[Kept, _Value]]:
    """Return the versions that withdrew a report without repeating the value."""
    kept, value = last
    asked = {"report": kept.report_id, "statuses": [status.value for status in WITHDRAWN]}
    return [(_kept(*row), value) for row in db.rows(session, _WITHDRAWALS, asked)]


def _value_report(versions: Sequence[tuple[Kept, _Value]]) -> ResultReport:
    newest = standing(kept.version for kept, _ in versions)
    kept, value = next(each for each in versions if each[0].version is newest)
    described = _described(kept, kept.version.status, [])
    described["values"] = [] if kept.version.status in WITHDRAWN else [described_value(value)]
    return ResultReport(
        kept.report_id, ReportVersion(kept.version.status, kept.version.reported_at), described
    )


def _described(kept: Kept, status: ReportStatus, attachments: Iterable[Attachment]) -> dict[str, Any]:
    """Describe a version for a check; what was withdrawn is named and not repeated."""
    withdrawn = status in WITHDRAWN
    zh, en = STATUS_TEXTS[status]
    return {
        "report_id": str(kept.report_id),
        "status": status.value,
        "status_text": zh,
        "status_text_en": en,
        "version": kept.standing_number,
        "versions": kept.version_count,
        "reported_at": iso(kept.version.reported_at),
        "received_at": iso(kept.received_at),
        "title": kept.title,
        "conclusion": None if withdrawn or not kept.conclusion else kept.conclusion,
        "label": LABEL_ZH,
        "label_en": LABEL_EN,
        "attachments": [] if withdrawn else links(kept.report_id, attachments),
    }


def links(report_id: int, attachments: Iterable[Attachment]) -> list[dict[str, Any]]:
    """Return where the documents of a report are to be had."""
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


def described_value(value: Observation | _Value) -> dict[str, Any]:
    """Return a laboratory value as answers write it."""
    return {
        "name": value.name,
        "local_codes": value.local_codes,
        "loinc_codes": value.loinc_codes,
        "value": value.value,
        "unit": value.unit,
        "reference_range": value.reference_range,
        "method": value.method,
        "abnormal_flag": value.flag,
        "status": value.status,
        "observed_at": iso(value.observed_at),
    }


def iso(moment: datetime) -> str:
    """Return a time as answers write it, in the hospitals' zone."""
    return moment.astimezone(HOSPITAL_ZONE).isoformat(timespec="seconds")
