"""A report as any channel brings it: the same value from DICOM, FHIR and HL7 v2, checked in one place."""

import hashlib
import re
from dataclasses import astuple, dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

import orjson

from catalog.errors import InvalidInput
from catalog.identity import Demographics, Document
from catalog.records import ReportStatus
from catalog.uids import is_uid

Category = Literal["imaging", "laboratory"]
Source = Literal["sr", "pdf", "cda", "fhir", "hl7"]

# 《医疗机构检查检验结果互认管理办法》第二条: a result does not include the doctor's diagnosis.
LABEL_ZH: Final = "原诊断意见,仅供参考"
LABEL_EN: Final = "The issuing hospital's opinion, for reference only"

SETTLED: Final = frozenset(
    {ReportStatus.FINAL, ReportStatus.AMENDED, ReportStatus.CORRECTED, ReportStatus.APPENDED}
)
WITHDRAWN: Final = frozenset({ReportStatus.CANCELLED, ReportStatus.ENTERED_IN_ERROR})

TEXT_LIMIT: Final = 64 << 10
SHORT_LIMIT: Final = 1024
NUMBER_LIMIT: Final = 128
IDENTIFIER_LIMIT: Final = 64
VALUES_LIMIT: Final = 500
CLOCK_TOLERANCE: Final = timedelta(days=1)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Coding:
    """A code of a coding system; `system` is LOINC's or empty for one of the hospital's own."""

    system: str
    code: str
    name: str = ""


LOINC: Final = "http://loinc.org"


@dataclass(frozen=True, slots=True)
class LabValue:
    """One measured value; `key` tells it from its neighbours in one report, whatever its version."""

    key: str
    codings: tuple[Coding, ...]
    value: str
    status: ReportStatus
    observed_at: datetime
    unit: str = ""
    reference_range: str = ""
    method: str = ""
    flag: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A document already in the object store; `sha256` is hex, `content_type` one of `documents.TYPES`."""

    key: str
    sha256: str
    size_bytes: int
    content_type: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class ReportMessage:
    """One version of one report. `number` names the report within its hospital, for all its versions.

    `document_uid` is the SOPInstanceUID of a DICOM document; `subject_required` is lifted for DICOM, whose
    study says whose it is.
    """

    number: str
    category: Category
    status: ReportStatus
    reported_at: datetime
    source: Source
    title: str = ""
    findings: str = ""
    conclusion: str = ""
    author: str = ""
    StudyInstanceUID: str = ""
    AccessionNumber: str = ""
    PatientID: str = ""
    document: Document | None = field(default=None, repr=False)
    demographics: Demographics = field(default_factory=Demographics, repr=False)
    values: tuple[LabValue, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    document_uid: str = ""


def content_digest(message: ReportMessage) -> bytes:
    """Return the SHA-256 of what a version says; who it is about and how it came do not change it."""
    said = [
        message.status,
        message.reported_at.timestamp(),
        message.title,
        message.findings,
        message.conclusion,
        message.author,
        [_plain(value) for value in message.values],
        sorted(attachment.sha256 for attachment in message.attachments),
    ]
    return hashlib.sha256(orjson.dumps(said)).digest()


def check_message(message: ReportMessage, now: datetime) -> None:
    """Refuse what cannot be kept. Raises InvalidInput, its `field` the name of the part in `ReportMessage`."""
    _check_identifiers(message)
    for name in ("findings", "conclusion"):
        _check_text(name, getattr(message, name), TEXT_LIMIT)
    for name in ("title", "author"):
        _check_text(name, getattr(message, name), SHORT_LIMIT)
    _check_text("demographics", message.demographics.name or "", SHORT_LIMIT)
    if message.reported_at > now + CLOCK_TOLERANCE:
        raise InvalidInput(
            "报告时间在未来",
            "The report time lies in the future",
            field="reported_at",
            code="report_time_in_future",
        )
    _check_values(message, now)


def _check_identifiers(message: ReportMessage) -> None:
    if not message.number.strip():
        raise InvalidInput("缺少报告编号", "The report has no number", field="number", code="number_required")
    _check_text("number", message.number, NUMBER_LIMIT)
    _check_text("AccessionNumber", message.AccessionNumber, IDENTIFIER_LIMIT)
    _check_text("PatientID", message.PatientID, IDENTIFIER_LIMIT)
    if message.StudyInstanceUID and not is_uid(message.StudyInstanceUID):
        raise InvalidInput(
            "StudyInstanceUID 无效",
            "StudyInstanceUID is not a UID",
            field="StudyInstanceUID",
            code="study_uid_invalid",
        )


def _check_values(message: ReportMessage, now: datetime) -> None:
    if len(message.values) > VALUES_LIMIT:
        raise InvalidInput("检验结果过多", "Too many values in one report", field="values", code="too_long")
    keys = set()
    for value in message.values:
        for text in (value.key, value.value, value.unit, value.reference_range, value.method, value.flag):
            _check_text("values", text, SHORT_LIMIT)
        for coding in value.codings:
            _check_text("values", coding.code + coding.name, SHORT_LIMIT)
        if value.observed_at > now + CLOCK_TOLERANCE:
            raise InvalidInput(
                "检验时间在未来", "A value's time lies in the future", field="values", code="time_in_future"
            )
        if value.key in keys:
            raise InvalidInput(
                "同一报告内检验项目重复",
                "A value stands twice in one report",
                field="values",
                code="value_twice",
            )
        keys.add(value.key)


def _check_text(name: str, text: str, limit: int) -> None:
    if len(text) > limit:
        raise InvalidInput(
            f"内容超过 {limit} 个字符", f"The text is longer than {limit}", field=name, code="too_long"
        )
    if _UNPRINTABLE.search(text):
        raise InvalidInput(
            "含有控制字符", "The text holds control characters", field=name, code="control_characters"
        )


def _plain(value: LabValue) -> list[object]:
    plain = astuple(value)
    return [part.timestamp() if isinstance(part, datetime) else part for part in plain]
