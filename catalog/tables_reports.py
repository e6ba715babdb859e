"""The tables of reports: versions, laboratory values, attachments, what is held, who was shown what; HL7 senders."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from catalog.identity import Sex
from catalog.tables_base import NOW, Base, identity


class Report(Base):
    """A report of one hospital; it waits until the study it names is there.

    `claimed_person_id` is whose it says it is, `claim_reasons` what speaks against that; `reasons` say why it
    is held, or has no study. `standing_version_id` counts, as version `standing_number` of `version_count`.
    """

    __tablename__ = "report"
    __table_args__ = (
        CheckConstraint("category in ('imaging', 'laboratory')", name="category"),
        CheckConstraint("identity in ('linked', 'doubtful', 'unlinked')", name="identity"),
        UniqueConstraint("hospital_id", "number"),
        Index("ix_report_study_id", "study_id"),
        Index("ix_report_study_uid", "study_uid"),
        Index("ix_report_hospital_accession", "hospital_id", "accession_number"),
        Index("ix_report_hospital_patient", "hospital_id", "patient_id"),
        Index("ix_report_person_id", "person_id"),
        Index("ix_report_claimed_person_id", "claimed_person_id"),
    )
    id: Mapped[int] = identity()
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    number: Mapped[str]
    category: Mapped[str]
    study_id: Mapped[int | None] = mapped_column(ForeignKey("study.id"))
    study_uid: Mapped[str]
    accession_number: Mapped[str]
    patient_id: Mapped[str]
    patient_name: Mapped[str]
    birth_date: Mapped[date | None]
    sex: Mapped[Sex] = mapped_column(Text)
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    claimed_person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    claim_reasons: Mapped[list[str]] = mapped_column(server_default="{}")
    identity: Mapped[str] = mapped_column(server_default="unlinked")
    reasons: Mapped[list[str]] = mapped_column(server_default="{}")
    standing_version_id: Mapped[int | None] = mapped_column(
        ForeignKey("report_version.id", use_alter=True, name="fk_report_standing_version_id_report_version")
    )
    standing_number: Mapped[int] = mapped_column(Integer, server_default="0")
    version_count: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class ReportVersion(Base):
    """One version of a report as it came; appended, never changed. `digest` is of what it says."""

    __tablename__ = "report_version"
    __table_args__ = (
        CheckConstraint("source in ('sr', 'pdf', 'cda', 'fhir', 'hl7')", name="source"),
        UniqueConstraint("report_id", "digest"),
        Index("ix_report_version_document_uid", "document_uid"),
    )
    id: Mapped[int] = identity()
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"))
    status: Mapped[str]
    reported_at: Mapped[datetime]
    received_at: Mapped[datetime]
    source: Mapped[str]
    digest: Mapped[bytes]
    title: Mapped[str]
    findings: Mapped[str]
    conclusion: Mapped[str]
    author: Mapped[str]
    document_uid: Mapped[str | None]
    attachment_count: Mapped[int] = mapped_column(Integer, server_default="0")
    caller: Mapped[str]


class Observation(Base):
    """A laboratory value of one version; `result_id` is the examination it is a value of, if it is listed."""

    __tablename__ = "observation"
    __table_args__ = (
        UniqueConstraint("report_version_id", "key"),
        Index("ix_observation_result_id", "result_id"),
        Index("ix_observation_report_id", "report_id"),
    )
    id: Mapped[int] = identity()
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"))
    report_version_id: Mapped[int] = mapped_column(ForeignKey("report_version.id"))
    result_id: Mapped[int | None] = mapped_column(ForeignKey("result.id"))
    key: Mapped[str]
    local_codes: Mapped[list[str]]
    loinc_codes: Mapped[list[str]]
    name: Mapped[str]
    value: Mapped[str]
    unit: Mapped[str]
    reference_range: Mapped[str]
    method: Mapped[str]
    flag: Mapped[str]
    status: Mapped[str]
    observed_at: Mapped[datetime]
    unmapped_reason: Mapped[str | None]


class ReportAttachment(Base):
    """A document of a version, as an object of its own in the object store."""

    __tablename__ = "report_attachment"
    __table_args__ = (
        Index("ix_report_attachment_report_version_id", "report_version_id"),
        Index("ix_report_attachment_key", "key"),
    )
    id: Mapped[int] = identity()
    report_version_id: Mapped[int] = mapped_column(ForeignKey("report_version.id"))
    key: Mapped[str]
    sha256: Mapped[str]
    size_bytes: Mapped[int]
    content_type: Mapped[str]
    title: Mapped[str]


class ReportShown(Base):
    """A check of this hospital has shown this report of this person: from then on it may be read."""

    __tablename__ = "report_shown"
    hospital_id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(primary_key=True)
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"), primary_key=True)
    first_shown_at: Mapped[datetime] = mapped_column(server_default=NOW)


class ReportHold(Base):
    """A report that may be this person's and is held for a human; while it is, answers are incomplete."""

    __tablename__ = "report_hold"
    __table_args__ = (Index("ix_report_hold_report_id", "report_id"),)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class ReportRuling(Base):
    """A curator's word that a report is, or is not, of this person."""

    __tablename__ = "report_ruling"
    __table_args__ = (
        CheckConstraint("ruling in ('accepted', 'rejected')", name="ruling"),
        Index("ix_report_ruling_person_id", "person_id"),
    )
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id"), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    ruling: Mapped[str]


class Hl7Peer(Base):
    """A sender of HL7 v2 (MSH-3, MSH-4) and the hospital it sends for; no addresses means from anywhere."""

    __tablename__ = "hl7_peer"
    application: Mapped[str] = mapped_column(primary_key=True)
    facility: Mapped[str] = mapped_column(primary_key=True)
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    addresses: Mapped[list[str]] = mapped_column(server_default="{}")
    active: Mapped[bool] = mapped_column(server_default="true")
