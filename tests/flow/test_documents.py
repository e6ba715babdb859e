"""Reports that arrive by C-STORE: structured reports as text, PDF and CDA as attachments, versions as one report."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from sqlalchemy import select

from catalog import documents, report_views
from catalog.context import Caller
from catalog.db import transaction
from catalog.embedded import Embedded
from catalog.tables import AuditEvent, Hospital
from catalog.tables_reports import Report, ReportAttachment, ReportVersion
from dicom_node.orphans import find_orphans
from dicom_node.rebuild import Rebuild
from tests.flow.archived import Archived, open_archived
from tests.packs import EXPLICIT, Sent, ct, encode, from_file

pytestmark = pytest.mark.flow

BASIC, ENHANCED, COMPREHENSIVE = (f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (11, 22, 33))
PDF, CDA = "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.104.2"
PDF_BYTES = b"%PDF-1.4 report of nobody %%EOF"  # of odd length
CDA_BYTES = b"<?xml version='1.0'?><ClinicalDocument xmlns='urn:hl7-org:v3'/>"


@pytest.fixture(scope="module")
def archived(
    embedded: Embedded, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archived]:
    with open_archived(embedded, database_url, tmp_path_factory.mktemp("documents")) as opened:
        yield opened


def code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
    return made


def item(kind: str, name: Dataset | None = None, relationship: str = "CONTAINS", **values: Any) -> Dataset:
    made = Dataset()
    made.RelationshipType, made.ValueType = relationship, kind
    if name is not None:
        made.ConceptNameCodeSequence = [name]
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def document(SOPClassUID: str, study: str, number: int, **more: Any) -> Dataset:
    """What every document says of itself."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = SOPClassUID
    made.SOPInstanceUID = f"{study}.9.{number}"
    made.StudyInstanceUID = study
    made.SeriesInstanceUID = f"{study}.9"
    made.PatientID = "TEST-0001"
    made.PatientName = "测试^甲"
    made.PatientBirthDate = "19700101"
    made.PatientSex = "F"
    made.Modality = "SR"
    made.ContentDate, made.ContentTime = "20250102", "120000"
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


def report(study: str, number: int = 1, SOPClassUID: str = ENHANCED, **more: Any) -> Dataset:
    """A structured report with findings, a measurement and an impression."""
    measured = Dataset()
    measured.NumericValue = "8.0"
    measured.MeasurementUnitsCodeSequence = [code("mm", "millimeter", "UCUM")]
    findings = item("CONTAINER", code("121070", "Findings"))
    findings.ContentSequence = [
        item("TEXT", code("121071", "Finding"), TextValue="右肺下叶见结节。"),
        item("NUM", code("81827009", "直径", "SCT"), MeasuredValueSequence=[measured]),
        item("CODE", code("G-C0E3", "部位", "SRT"), ConceptCodeSequence=[code("T-28000", "肺", "SRT")]),
    ]
    impressions = item("CONTAINER", code("121072", "Impressions"))
    impressions.ContentSequence = [item("TEXT", code("121073", "Impression"), TextValue="建议三个月后复查。")]
    observer = Dataset()
    observer.VerifyingObserverName = "王^医生"
    observer.VerificationDateTime = "20250102130000"
    made = document(SOPClassUID, study, number, ValueType="CONTAINER", CompletionFlag="COMPLETE")
    made.VerificationFlag = "VERIFIED"
    made.VerifyingObserverSequence = [observer]
    made.ConceptNameCodeSequence = [code("18748-4", "影像诊断报告", "LN")]
    made.ContentSequence = [findings, impressions]
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


def encapsulated(SOPClassUID: str, study: str, content: bytes, number: int = 1, **more: Any) -> Dataset:
    made = document(SOPClassUID, study, number, Modality="DOC", DocumentTitle="检查报告", **more)
    made.MIMETypeOfEncapsulatedDocument = "application/pdf" if SOPClassUID == PDF else "text/XML"
    made.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    return made


def sent(dataset: Dataset) -> Sent:
    return Sent(dataset.SOPClassUID, dataset.SOPInstanceUID, EXPLICIT, encode(dataset))


def kept(archived: Archived, study: str) -> list[tuple[Report, ReportVersion]]:
    with transaction(archived.catalogue.engine) as session:
        query = select(Report, ReportVersion).join(ReportVersion, ReportVersion.report_id == Report.id)
        return list(
            session.execute(query.where(Report.study_uid == study).order_by(ReportVersion.id)).tuples()
        )


@pytest.mark.parametrize("SOPClassUID", [BASIC, ENHANCED, COMPREHENSIVE])
def test_a_structured_report_becomes_readable_text_beside_the_images_of_its_study(
    archived: Archived, SOPClassUID: str
) -> None:
    study = f"2.25.7{SOPClassUID.rpartition('.')[2]}"
    archived.ship(ct(study, 1), sent(report(study, SOPClassUID=SOPClassUID)))
    (found,) = kept(archived, study)
    row, version = found
    assert row.study_id is not None
    assert (version.status, version.source, version.title) == ("final", "sr", "影像诊断报告")
    assert "Finding: 右肺下叶见结节。" in version.findings
    assert "直径: 8 mm" in version.findings
    assert "部位: 肺" in version.findings
    assert version.conclusion.splitlines() == ["Impressions", "  Impression: 建议三个月后复查。"]
    assert (version.author, version.reported_at.isoformat()) == ("王医生", "2025-01-02T05:00:00+00:00")


@pytest.mark.parametrize("charset", ["GB18030", "", "ISO_IR 100"])
def test_chinese_in_a_structured_report_is_read_as_it_was_sent(archived: Archived, charset: str) -> None:
    study = f"2.25.80{len(charset)}"
    dataset = report(study)
    dataset.SpecificCharacterSet = "GB18030"
    data = encode(dataset)
    if charset != "GB18030":
        data = data.replace(
            b"CS\x08\x00GB18030 ",
            b"CS" + len(charset.ljust(8)).to_bytes(2, "little") + charset.ljust(8).encode(),
        )
    archived.ship(Sent(ENHANCED, dataset.SOPInstanceUID, EXPLICIT, data))
    (found,) = kept(archived, study)
    assert "右肺下叶见结节。" in found[1].findings


@pytest.mark.parametrize("name", ["test-SR.dcm", "reportsi.dcm"])
def test_structured_reports_of_other_makers_are_rendered(archived: Archived, name: str) -> None:
    path = str(get_testdata_file(name))
    study = dcmread(path).StudyInstanceUID
    archived.ship(from_file(Path(path)))
    (found,) = kept(archived, study)
    version = found[1]
    if name == "test-SR.dcm":
        assert (version.status, version.title) == ("amended", "Diagnosis")
        assert version.author == "Jörg Riesmeier、Verifying Observer" or "Riesmeier" in version.author
        assert len((version.findings + version.conclusion).splitlines()) > 5
    else:
        assert version.status == "partial"


def test_an_amended_document_is_the_next_version_of_the_same_report(archived: Archived) -> None:
    study = "2.25.7100"
    first = report(study)
    reference, series, evidence = Dataset(), Dataset(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = ENHANCED, first.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = f"{study}.9", [reference]
    evidence.StudyInstanceUID, evidence.ReferencedSeriesSequence = study, [series]
    second = report(study, 2, PredecessorDocumentsSequence=[evidence])
    second.VerifyingObserverSequence[0].VerificationDateTime = "20250102150000"
    archived.ship(sent(second))
    archived.ship(sent(first))
    found = kept(archived, study)
    assert {row.id for row, _ in found} == {found[0][0].id}
    assert [version.status for _, version in found] == ["amended", "final"]
    assert (found[0][0].standing_version_id, found[0][0].version_count) == (found[0][1].id, 2)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"VerificationFlag": "UNVERIFIED"}, "preliminary"),
        ({"PreliminaryFlag": "PRELIMINARY"}, "preliminary"),
        ({"CompletionFlag": "PARTIAL"}, "partial"),
    ],
)
def test_a_document_nobody_answers_for_is_not_final(
    archived: Archived, more: dict[str, str], status: str
) -> None:
    study = f"2.25.72{len(str(more))}"
    archived.ship(sent(report(study, **more)))
    assert kept(archived, study)[0][1].status == status


@pytest.mark.parametrize(
    ("SOPClassUID", "content", "content_type"),
    [(PDF, PDF_BYTES, "application/pdf"), (CDA, CDA_BYTES, "application/xml")],
)
def test_a_pdf_or_cda_becomes_an_attachment_byte_for_byte(
    archived: Archived, SOPClassUID: str, content: bytes, content_type: str
) -> None:
    study = f"2.25.73{len(content)}"
    archived.ship(sent(encapsulated(SOPClassUID, study, content)))
    (found,) = kept(archived, study)
    row, version = found
    assert (version.title, version.attachment_count) == ("检查报告", 1)
    with transaction(archived.catalogue.engine) as session:
        attachment = session.scalars(
            select(ReportAttachment).where(ReportAttachment.report_version_id == version.id)
        ).one()
        code = session.get_one(Hospital, row.hospital_id).code
    found = report_views.find_attachment(
        archived.catalogue, Caller("a", "doctor", code), row.id, attachment.id
    )
    assert found.content_type == content_type
    assert documents.read(archived.store, found.key, found.sha256, found.size_bytes) == content


def test_a_large_pdf_is_read_where_it_lies_in_the_pack(archived: Archived) -> None:
    study, content = "2.25.7400", PDF_BYTES + b"x" * (1 << 20)
    archived.ship(ct(study, 1), sent(encapsulated(PDF, study, content)), ct(study, 2))
    with transaction(archived.catalogue.engine) as session:
        size = session.scalars(
            select(ReportAttachment.size_bytes).where(ReportAttachment.size_bytes > (1 << 20))
        ).one()
    assert size == len(content)


def test_what_is_no_pdf_is_archived_all_the_same_and_makes_no_report(archived: Archived) -> None:
    study = "2.25.7500"
    before = archived.shipper.counters().get("documents_refused", 0)
    archived.ship(ct(study, 1), sent(encapsulated(PDF, study, b"<html><script>alert(1)</script></html>")))
    assert kept(archived, study) == []
    assert archived.shipper.counters()["documents_refused"] == before + 1


def test_a_report_that_cannot_be_kept_is_audited_and_holds_up_nothing(archived: Archived) -> None:
    study = "2.25.7600"
    dataset = report(study)
    dataset.VerifyingObserverSequence[0].VerificationDateTime = "20990101000000"
    archived.ship(ct(study, 1), sent(dataset))
    assert kept(archived, study) == []
    with transaction(archived.catalogue.engine) as session:
        refused = session.scalars(select(AuditEvent).where(AuditEvent.action == "report.refused")).one()
    assert refused.detail == {"document_uid": dataset.SOPInstanceUID, "code": "report_time_in_future"}


def test_documents_come_back_with_a_rebuild_and_are_no_orphans(archived: Archived) -> None:
    archived.ship(sent(encapsulated(PDF, "2.25.7700", PDF_BYTES)), sent(report("2.25.7701")))
    assert not [
        found for found in find_orphans(archived.store, archived.catalogue) if "reports/" in found.key
    ]

    def told() -> list[tuple[str, str, str, str]]:
        with transaction(archived.catalogue.engine) as session:
            query = select(
                Report.number, ReportVersion.status, ReportVersion.findings, ReportVersion.digest
            ).join(ReportVersion, ReportVersion.report_id == Report.id)
            return sorted((a, b, c, d.hex()) for a, b, c, d in session.execute(query).tuples())

    before = told()
    archived.empty_catalogue()
    assert told() == []
    Rebuild(archived.store, archived.catalogue).run(threading.Event())
    assert told() == before


def test_a_report_of_one_hospital_never_joins_a_study_of_another(archived: Archived) -> None:
    study = "2.25.7800"
    archived.ship(ct(study, 1))
    archived.ship(sent(report(study)), hospital="H-B")
    assert kept(archived, study) == []
