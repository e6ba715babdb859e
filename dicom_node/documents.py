"""Reports among the instances of a study: structured reports, and PDF and CDA documents (PS3.3 A.35, A.45).

What a header says of them stands in its DICOM JSON; the bytes of a document are read where they lie.
"""

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from catalog import documents
from catalog.errors import InvalidInput
from catalog.identity import Demographics, sex_from_dicom
from catalog.objects import ObjectStore
from catalog.records import ReportStatus
from catalog.report_records import IDENTIFIER_LIMIT, Attachment, ReportMessage, Source
from dicom_node.exam_time import exam_time, parse_date
from dicom_node.header import ReadInstance
from dicom_node.sr_text import items, render, text

_SR: Final = frozenset(
    f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (11, 22, 33, 34)
)  # Basic Text, Enhanced, Comprehensive, Comprehensive 3D
_ENCAPSULATED: Final[Mapping[str, tuple[Source, str]]] = {
    "1.2.840.10008.5.1.4.1.1.104.1": ("pdf", "application/pdf"),
    "1.2.840.10008.5.1.4.1.1.104.2": ("cda", "application/xml"),
}
DOCUMENT: Final = "00420011"
_TITLE_LIMIT: Final = 256
_NAME_LIMIT: Final = 1024

Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class DocumentInstance:
    """An instance that is a report; `content_at` is where its document lies, (position, size), if it is one."""

    SOPClassUID: str
    SOPInstanceUID: str
    metadata: Mapping[str, Any]
    content_at: tuple[int, int] | None = None


def is_document(SOPClassUID: str) -> bool:
    """Say whether instances of this class are reports."""
    return SOPClassUID in _SR or SOPClassUID in _ENCAPSULATED


def from_read(instances: Iterable[ReadInstance]) -> list[DocumentInstance]:
    """Return the reports among instances just read; positions count in their pack."""
    found = []
    for one in instances:
        if is_document(one.facts.SOPClassUID):
            place = one.bulk.get(DOCUMENT)
            at = (one.member.dataset_offset + place[0], place[1]) if place else None
            uid = one.member.SOPInstanceUID
            found.append(DocumentInstance(one.facts.SOPClassUID, uid, orjson.loads(one.metadata), at))
    return found


def take_out(
    found: Iterable[DocumentInstance], read: Read, store: ObjectStore, received_at: datetime
) -> tuple[tuple[ReportMessage, ...], int]:
    """Return the reports as the catalogue takes them, their documents kept, and how many cannot be reports.

    Raises ObjectStoreDown.
    """
    messages, refused = [], 0
    for one in found:
        try:
            attachments = _kept(one, read, store)
        except (
            InvalidInput
        ):  # no PDF, no CDA, or too large: the instance itself is in the archive all the same
            refused += 1
            continue
        messages.append(_message(one, attachments, received_at))
    return tuple(messages), refused


def _kept(one: DocumentInstance, read: Read, store: ObjectStore) -> tuple[Attachment, ...]:
    if one.SOPClassUID in _SR:
        return ()
    content = _content(one, read)
    attachment = documents.describe(
        content, _ENCAPSULATED[one.SOPClassUID][1], text(one.metadata, "00420010")[:_TITLE_LIMIT]
    )
    documents.keep(store, content, attachment)
    return (attachment,)


def _content(one: DocumentInstance, read: Read) -> bytes:
    """EncapsulatedDocument without the byte that makes its length even (PS3.5 §7.1.1, (0042,0015))."""
    inline = one.metadata.get(DOCUMENT, {}).get("InlineBinary")
    if one.content_at is not None and one.content_at[1] <= documents.LIMIT_BYTES + 1:
        content = read(*one.content_at)
    else:
        content = base64.b64decode(inline or "")
    return content[: _declared_length(one.metadata, content)]


def _declared_length(metadata: Mapping[str, Any], content: bytes) -> int:
    declared = text(metadata, "00420015")
    if declared.isdigit() and len(content) - int(declared) in (0, 1):
        return int(declared)
    return len(content) - content.endswith(b"\0")


def _message(
    one: DocumentInstance, attachments: tuple[Attachment, ...], received_at: datetime
) -> ReportMessage:
    metadata = one.metadata
    said = render(metadata) if one.SOPClassUID in _SR else None
    patient_id, accession = text(metadata, "00100020"), text(metadata, "00080050")
    predecessor = _predecessor(metadata)
    return ReportMessage(
        number=f"dicom:{predecessor or one.SOPInstanceUID}",
        category="imaging",
        status=_status(metadata, amended=bool(predecessor)),
        reported_at=_reported_at(metadata) or received_at,
        source="sr" if said else _ENCAPSULATED[one.SOPClassUID][0],
        title=(said.title if said else text(metadata, "00420010"))[:_TITLE_LIMIT],
        findings=said.findings if said else "",
        conclusion=said.conclusion if said else "",
        author=_author(metadata)[:_TITLE_LIMIT],
        StudyInstanceUID=text(metadata, "0020000D"),
        AccessionNumber=accession if len(accession) <= IDENTIFIER_LIMIT else "",
        PatientID=patient_id if len(patient_id) <= IDENTIFIER_LIMIT else "",
        demographics=_demographics(metadata),
        attachments=attachments,
        document_uid=one.SOPInstanceUID,
    )


def _demographics(metadata: Mapping[str, Any]) -> Demographics:
    return Demographics(
        name=text(metadata, "00100010")[:_NAME_LIMIT] or None,
        birth_date=parse_date(text(metadata, "00100030")),
        sex=sex_from_dicom(text(metadata, "00100040")),
    )


def _status(metadata: Mapping[str, Any], *, amended: bool) -> ReportStatus:
    """CompletionFlag, VerificationFlag, PreliminaryFlag (PS3.3 C.17.2): nobody answers for what is unverified."""
    if text(metadata, "0040A491") == "PARTIAL":
        return ReportStatus.PARTIAL
    unverified = text(metadata, "0040A493") == "UNVERIFIED" and text(metadata, "0040A496") != "FINAL"
    if unverified or text(metadata, "0040A496") == "PRELIMINARY":
        return ReportStatus.PRELIMINARY
    return ReportStatus.AMENDED if amended else ReportStatus.FINAL


def _reported_at(metadata: Mapping[str, Any]) -> datetime | None:
    verified = [text(observer, "0040A030") for observer in items(metadata, "0040A073")]
    found = exam_time(
        {
            "AcquisitionDateTime": max(verified, default=""),
            "ContentDate": text(metadata, "00080023"),
            "ContentTime": text(metadata, "00080033"),
            "TimezoneOffsetFromUTC": text(metadata, "00080201"),
        }
    )
    return found.at if found else None


def _author(metadata: Mapping[str, Any]) -> str:
    verified = [text(observer, "0040A075") for observer in items(metadata, "0040A073")]
    wrote = [text(author, "0040A123") for author in items(metadata, "0040A078")]
    return "、".join(filter(None, verified)) or "、".join(filter(None, wrote))


def _predecessor(metadata: Mapping[str, Any]) -> str:
    """Return the first document this one was made from: a chain of versions is one report."""
    for study in items(metadata, "0040A360"):
        for series in items(study, "00081115"):
            for instance in items(series, "00081199"):
                if uid := text(instance, "00081155"):
                    return uid
    return ""
