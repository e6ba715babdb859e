"""ORU^R01 → reports: one for every OBR group, laboratory or imaging (HL7 v2.5.1 chapter 7). Pure."""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from catalog.errors import InvalidInput
from catalog.identity import Demographics, Document, Sex, normalise_document, sex_from_dicom, sex_from_gbt2261
from catalog.records import ReportStatus
from catalog.report_records import LOINC, Category, Coding, LabValue, ReportMessage
from catalog.report_sections import Section, section_of
from exchange.hl7 import Message, Segment, moment
from exchange.hl7_faults import Fault, missing, not_in_table, not_of_type

# OBR-25, table 0123, and OBX-11, table 0085.
_REPORT_STATUS: Final = {
    "O": ReportStatus.REGISTERED,
    "I": ReportStatus.REGISTERED,
    "S": ReportStatus.REGISTERED,
    "A": ReportStatus.PARTIAL,
    "P": ReportStatus.PRELIMINARY,
    "R": ReportStatus.PRELIMINARY,
    "F": ReportStatus.FINAL,
    "C": ReportStatus.CORRECTED,
    "M": ReportStatus.AMENDED,
    "X": ReportStatus.CANCELLED,
    "D": ReportStatus.ENTERED_IN_ERROR,
    "W": ReportStatus.ENTERED_IN_ERROR,
}
_VALUE_STATUS: Final = {
    "O": ReportStatus.REGISTERED,
    "I": ReportStatus.REGISTERED,
    "S": ReportStatus.REGISTERED,
    "B": ReportStatus.PARTIAL,
    "P": ReportStatus.PRELIMINARY,
    "R": ReportStatus.PRELIMINARY,
    "F": ReportStatus.FINAL,
    "U": ReportStatus.FINAL,
    "A": ReportStatus.AMENDED,
    "C": ReportStatus.CORRECTED,
    "X": ReportStatus.CANCELLED,
    "D": ReportStatus.ENTERED_IN_ERROR,
    "W": ReportStatus.ENTERED_IN_ERROR,
}
_TEXT_TYPES: Final = frozenset(
    {"ST", "TX", "FT", "CE", "CWE", "CF", "SN", "NM", "DT", "TM", "TS", "DTM", "NA"}
)
# OBR-24, table 0074.
_IMAGING: Final = frozenset(
    ("RAD", "RX", "CT", "NMR", "MR", "RUS", "OUS", "VUS", "CUS", "XRC", "NMS", "MG", "DX")
)
_LABORATORY: Final = frozenset(("LAB", "CH", "HM", "MB", "IMM", "BLB", "SR", "TX", "URN", "TOX", "BG", "CG"))
_DOCUMENT_TYPES: Final = {
    "NI": "01",
    "NNCHN": "01",
    "SFZ": "01",
    "PPN": "03",
    "BCT": "93",
    "MI": "04",
    "DL": "05",
}
_HOSPITAL_TYPES: Final = frozenset({"", "MR", "PI", "PT", "VN", "AN"})
_NUMBER: Final = re.compile(r"[<>]?=?\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_PDF: Final = {"PDF": "application/pdf", "XML": "application/xml", "X-HL7-CDA-LEVEL-ONE": "application/xml"}


@dataclass(frozen=True, slots=True)
class DocumentBytes:
    """A document as it came in a message; described by `catalog.documents`, kept before the commit."""

    content: bytes
    content_type: str
    title: str
    place: str


@dataclass(frozen=True, slots=True)
class Received:
    """One report of a message, its documents still to be kept, and where its parts stood."""

    report: ReportMessage
    documents: tuple[DocumentBytes, ...]
    places: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Patient:
    patient_id: str
    document: Document | None
    demographics: Demographics


def read_oru(message: Message, hospital_code: str, today: date) -> list[Received]:
    """Return the reports of an ORU^R01. Raises Fault, saying where and why."""
    patient = _patient(message, hospital_code, today)
    groups = list(message.groups("OBR"))
    if not groups:
        raise Fault("AE", "100", "OBR^1", "没有 OBR 段", "There is no OBR segment")
    study_uid = _study_uid(message)
    return [_report(message, group, patient, study_uid) for group in groups]


def _report(message: Message, group: list[Segment], patient: _Patient, study_uid: str) -> Received:
    order = group[0]
    values = [segment for segment in group if segment.name == "OBX"]
    category = _category(order, values)
    filler = order.text(3) or _filler_of_orc(message, order)
    if not filler:
        raise missing(_at(order, 3), "缺少报告编号(OBR-3)", "The filler order number (OBR-3) is missing")
    status = _code(order, 25, _REPORT_STATUS, "报告状态", "result status")
    reported_at = _time(order, 22) or _time(message.header, 7)
    if reported_at is None:
        raise missing(_at(order, 22), "缺少报告时间", "The report time (OBR-22) is missing")
    texts, documents = _texts(order, values) if category == "imaging" else ({}, ())
    findings, conclusion = texts.get("findings", ""), texts.get("conclusion", "")
    service = order.text(4) or order.text(4, 2)
    report = ReportMessage(
        number=f"{filler}|{service}" if category == "laboratory" else filler,
        category=category,
        status=status,
        reported_at=reported_at,
        source="hl7",
        title=order.text(4, 2) or order.text(4, 5) or order.text(4),
        findings=findings,
        conclusion=conclusion,
        author=_author(order, values),
        StudyInstanceUID=study_uid or _uid_in(values),
        AccessionNumber=_accession(message, order) if category == "imaging" else "",
        PatientID=patient.patient_id,
        document=patient.document,
        demographics=patient.demographics,
        values=_lab_values(order, values, reported_at) if category == "laboratory" else (),
    )
    return Received(report, documents, _places(order))


def _places(order: Segment) -> dict[str, str]:
    return {
        "number": _at(order, 3),
        "reported_at": _at(order, 22),
        "title": _at(order, 4),
        "author": _at(order, 32),
        "findings": "OBX^1^5",
        "conclusion": "OBX^1^5",
        "values": "OBX^1^5",
        "attachments": "OBX^1^5",
        "PatientID": "PID^1^3",
        "demographics": "PID^1^5",
        "AccessionNumber": _at(order, 18),
        "StudyInstanceUID": "ZDS^1^1",
    }


# --- the patient ----------------------------------------------------------------------------------------


def _patient(message: Message, hospital_code: str, today: date) -> _Patient:
    pid = message.first("PID")
    if pid is None:
        raise Fault("AE", "100", "PID^1", "没有 PID 段", "There is no PID segment")
    patient_id, document = "", None
    for number, identifier in enumerate(pid.repetitions(3), 1):
        value, kind = pid.component(identifier, 1), pid.component(identifier, 5).upper()
        id_type = _DOCUMENT_TYPES.get(kind, kind if re.fullmatch(r"\d\d", kind) else "")
        if value and id_type:
            document = _document(id_type, value, today, hospital_code, f"PID^1^3^{number}^1")
        elif value and kind in _HOSPITAL_TYPES and not patient_id:
            patient_id = value
    if document is None and pid.text(19):
        document = _document("01", pid.text(19), today, hospital_code, "PID^1^19")
    if not patient_id and document is None:
        raise missing("PID^1^3", "缺少患者编号", "The patient identifier (PID-3) is missing")
    return _Patient(patient_id, document, _demographics(pid))


def _document(id_type: str, value: str, today: date, hospital_code: str, place: str) -> Document:
    try:
        return normalise_document(id_type, value, today, issuer=hospital_code)
    except InvalidInput as error:
        raise not_of_type(place, error.zh, error.en) from None


def _demographics(pid: Segment) -> Demographics:
    names = [_name(pid, repetition) for repetition in pid.repetitions(5)]
    born_text = pid.text(7)
    born = moment(born_text)
    if born_text and born is None:
        raise not_of_type("PID^1^7", "出生日期无法识别", "The birth date cannot be read")
    birth_date = None
    if born is not None and len(born_text) >= 8:
        birth_date = date(int(born_text[:4]), int(born_text[4:6]), int(born_text[6:8]))
    return Demographics(
        name="=".join(filter(None, names)) or None, birth_date=birth_date, sex=_sex(pid.text(8))
    )


def _name(pid: Segment, repetition: str) -> str:
    family, given = pid.component(repetition, 1), pid.component(repetition, 2)
    return f"{family}^{given}" if given else family


def _sex(code: str) -> Sex:
    found = sex_from_dicom(code)
    words: dict[str, Sex] = {"男": "male", "女": "female"}
    return words.get(code, sex_from_gbt2261(code)) if found == "unknown" else found


# --- the order ------------------------------------------------------------------------------------------


def _category(order: Segment, values: Iterable[Segment]) -> Category:
    section = order.text(24).upper()
    if section in _LABORATORY:
        return "laboratory"
    if section in _IMAGING:
        return "imaging"
    return "laboratory" if any(segment.field(2) in ("NM", "SN") for segment in values) else "imaging"


def _filler_of_orc(message: Message, order: Segment) -> str:
    """ORC-3 of the ORC right before this OBR: they are one order."""
    before = None
    for segment in message.segments:
        if segment is order:
            return before.text(3) if before is not None else ""
        before = segment if segment.name == "ORC" else None if segment.name == "OBR" else before
    return ""


def _accession(message: Message, order: Segment) -> str:
    imaging = message.first("IPC")
    return (imaging.text(1) if imaging else "") or order.text(18) or order.text(20) or order.text(3)


def _study_uid(message: Message) -> str:
    """ZDS-1 (IHE RAD TF-2 §4.4.4.1.2.6) or IPC-3."""
    study, imaging = message.first("ZDS"), message.first("IPC")
    return (study.text(1) if study else "") or (imaging.text(3) if imaging else "")


def _uid_in(values: Iterable[Segment]) -> str:
    for segment in values:
        if segment.text(3) in ("113014", "110180", "STUDYUID") or segment.text(3, 2) == "Study Instance UID":
            return segment.text(5)
    return ""


def _author(order: Segment, values: Iterable[Segment]) -> str:
    by_order = order.text(32, 1, 2) + order.text(32, 1, 3) or order.text(32)
    observers = (s.text(16, 2) + s.text(16, 3) or s.text(16) for s in values)
    return by_order or next((name for name in observers if name), "")


# --- the values -----------------------------------------------------------------------------------------


def _texts(order: Segment, values: Iterable[Segment]) -> tuple[dict[Section, str], tuple[DocumentBytes, ...]]:
    texts: dict[Section, list[str]] = {}
    documents = []
    for segment in values:
        if segment.field(2) == "ED":
            documents.append(_encapsulated(segment))
        elif not segment.text(3).startswith(("113014", "110180", "STUDYUID")):
            _check_type(segment)
            suffix = segment.text(3, 1, 2) or segment.text(3).rpartition("&")[2]
            section = section_of([segment.text(3), suffix], [segment.text(3, 2), segment.text(3, 5)])
            texts.setdefault(section, []).append(segment.whole(5))
    return {section: "\n".join(lines).strip() for section, lines in texts.items()}, tuple(documents)


def _encapsulated(segment: Segment) -> DocumentBytes:
    """ED: source^type^subtype^encoding^data (§2.A.24)."""
    place = _at(segment, 5)
    first = segment.field(5)
    kind, encoding = segment.component(first, 3).upper(), segment.component(first, 4).upper()
    content_type = _PDF.get(kind)
    if content_type is None or encoding != "BASE64":
        raise not_in_table(place, "附件只接受 Base64 的 PDF 或 CDA", "A document is PDF or CDA in Base64")
    try:
        content = base64.b64decode(re.sub(r"\s", "", segment.component(first, 5)), validate=True)
    except (binascii.Error, ValueError):
        raise not_of_type(
            place, "附件的 Base64 无法解码", "The document's Base64 cannot be decoded"
        ) from None
    return DocumentBytes(content, content_type, segment.text(3, 2), place)


def _lab_values(order: Segment, values: Iterable[Segment], reported_at: datetime) -> tuple[LabValue, ...]:
    return tuple(_lab_value(order, segment, reported_at) for segment in values if segment.field(11) != "N")


def _lab_value(order: Segment, segment: Segment, reported_at: datetime) -> LabValue:
    _check_type(segment)
    codings = _codings(segment)
    if not codings:
        raise missing(_at(segment, 3), "缺少检验项目代码", "The observation identifier (OBX-3) is missing")
    status = _code(segment, 11, _VALUE_STATUS, "结果状态", "observation result status")
    value = segment.whole(5) if segment.field(2) not in ("CE", "CWE", "CF") else _coded(segment)
    if status in (ReportStatus.FINAL, ReportStatus.CORRECTED, ReportStatus.AMENDED) and not value:
        raise missing(_at(segment, 5), "最终结果没有值", "A final observation has no value")
    sub_id = segment.text(4)
    return LabValue(
        key=f"{codings[0].code}#{sub_id}" if sub_id and sub_id != "1" else codings[0].code,
        codings=codings,
        value=_structured(value) if segment.field(2) == "SN" else value,
        status=status,
        observed_at=_time(segment, 14) or _time(order, 7) or _time(order, 14) or reported_at,
        unit=segment.text(6) or segment.text(6, 2),
        reference_range=segment.whole(7),
        method=segment.text(17, 2) or segment.text(17),
        flag=segment.text(8),
    )


def _check_type(segment: Segment) -> None:
    kind = segment.field(2)
    if not kind and not segment.field(5):
        return
    if kind not in _TEXT_TYPES:
        raise not_in_table(_at(segment, 2), "不支持的结果值类型", "The value type is not supported")
    if kind == "NM" and segment.text(5) and not _NUMBER.fullmatch(segment.text(5)):
        raise not_of_type(_at(segment, 5), "数值型结果不是数字", "A numeric value is not a number")


def _structured(value: str) -> str:
    """SN: comparator^number^separator^number."""
    return value.replace("^", "")


def _coded(segment: Segment) -> str:
    return segment.text(5, 2) or segment.text(5)


def _codings(segment: Segment) -> tuple[Coding, ...]:
    """OBX-3: code, name and system, and the alternate ones (CE, CWE)."""
    found = []
    for start in (1, 4):
        code, name, system = (segment.text(3, start + offset) for offset in range(3))
        if code:
            found.append(Coding(LOINC if system.upper() in ("LN", "LOINC") else "", code, name))
    return tuple(found)


def _code(segment: Segment, number: int, table: dict[str, ReportStatus], zh: str, en: str) -> ReportStatus:
    code = segment.text(number).upper()
    if not code:
        raise missing(_at(segment, number), f"缺少{zh}", f"The {en} is missing")
    if code not in table:
        raise not_in_table(_at(segment, number), f"{zh}代码未知", f"The {en} is not a known code")
    return table[code]


def _time(segment: Segment, number: int) -> datetime | None:
    text = segment.text(number)
    if not text:
        return None
    found = moment(text)
    if found is None:
        raise not_of_type(_at(segment, number), "时间无法识别", "The time cannot be read")
    return found


def _at(segment: Segment, number: int) -> str:
    return f"{segment.name}^{segment.sequence}^{number}"
