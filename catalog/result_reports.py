"""The report of each result in the answer to a check: of its study, or the one that gives its laboratory value.

What is read is written out in SQL and taken into plain values, as a part of the look-up of `catalog.lookup`.
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
from catalog.steps import Statement, Steps
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
_VERSION: Final = """report.id, report.standing_number, report.version_count, version.id,
           version.status, version.reported_at, version.digest, version.received_at, version.title,
           version.conclusion, version.attachment_count"""
_OF_VERSION: Final = 11  # columns
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


@dataclass(frozen=True, slots=True)
class Said:
    """What one version says of a result: of its study, or its laboratory value."""

    kept: Kept
    value: _Value | None

    @classmethod
    def of(cls, *columns: Any) -> "Said":
        """Return it from the columns of `opened_result`; a value's version counts by the value's own status."""
        kept = _kept(*columns[:_OF_VERSION])
        if columns[_OF_VERSION] is None:
            return cls(kept, None)
        value = _Value(*columns[_OF_VERSION:])
        return cls(replace(kept, version=of_value(kept.version, ReportStatus(value.status))), value)


def reports_of(found: Iterable[tuple[HasReport, Sequence[Said]]]) -> Steps[dict[int, ResultReport]]:
    """Return, by result, the report version that counts among what is said; absent where there is no report yet."""
    counting: dict[int, Said] = {}
    for result, said in found:
        if said and said[-1].value and result.status == "withdrawn":
            said = [*said, *(yield from _silent_withdrawals(said[-1]))]
        if said:
            newest = standing(each.kept.version for each in said)
            counting[result.id] = next(each for each in said if each.kept.version is newest)
    documented = {s.kept.version.id for s in counting.values() if s.value is None and s.kept.attachment_count}
    documents = (yield from _attachments(documented)) if documented else {}
    return {result_id: _report(said, documents) for result_id, said in counting.items()}


def _report(said: Said, documents: Mapping[int, Sequence[Attachment]]) -> ResultReport:
    version = said.kept.version
    described = _described(said.kept, version.status, documents.get(version.id, ()))
    if said.value is not None:
        described["values"] = [] if version.status in WITHDRAWN else [described_value(said.value)]
    return ResultReport(said.kept.report_id, ReportVersion(version.status, version.reported_at), described)


def attachments_of(session: Session, versions: Collection[int]) -> dict[int, list[Attachment]]:
    """Return the documents of these versions, by version, as they were added."""
    return db.run(session, _attachments(versions))


def _attachments(versions: Collection[int]) -> Steps[dict[int, list[Attachment]]]:
    found: dict[int, list[Attachment]] = {}
    for row in (yield Statement(_ATTACHMENTS, {"versions": list(versions)})):
        attachment = Attachment(*row)
        found.setdefault(attachment.report_version_id, []).append(attachment)
    return found


def _kept(  # one parameter for each column of _VERSION
    report_id: int,
    standing_number: int,
    version_count: int,
    version_id: int,
    status: str,
    reported_at: datetime,
    digest: bytes,
    *said: Any,
) -> Kept:
    version = KnownVersion(ReportStatus(status), reported_at, version_id, digest)
    return Kept(report_id, standing_number, version_count, version, *said)


def _silent_withdrawals(last: Said) -> Steps[list[Said]]:
    """Return the versions that withdrew a report without repeating the value."""
    asked = {"report": last.kept.report_id, "statuses": [status.value for status in WITHDRAWN]}
    return [Said(_kept(*row), last.value) for row in (yield Statement(_WITHDRAWALS, asked))]


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
