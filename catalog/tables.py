"""Every table, once. Hot tables carry `person_id`, so that a look-up can touch one shard."""

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from catalog.identity import Sex
from catalog.tables_base import IN_ORDER, NOW, Base, identity


class Region(Base):
    """An administrative region, an alliance of regions or a consortium of hospitals."""

    __tablename__ = "region"
    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    name_en: Mapped[str]
    kind: Mapped[str]
    mark_name: Mapped[str]
    parent_code: Mapped[str | None] = mapped_column(ForeignKey("region.code"))
    members: Mapped[list[str]] = mapped_column(server_default="{}")


class Hospital(Base):
    """A medical institution of the exchange; `tier` is 3, 2 or 1 (primary care)."""

    __tablename__ = "hospital"
    __table_args__ = (CheckConstraint("tier between 1 and 3", name="tier"),)
    id: Mapped[int] = identity()
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    tier: Mapped[int] = mapped_column(SmallInteger)
    region_code: Mapped[str] = mapped_column(ForeignKey("region.code"))
    consortia: Mapped[list[str]] = mapped_column(server_default="{}")
    active: Mapped[bool] = mapped_column(server_default="true")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class RegistryStamp(Base):
    """One row: a value that is new with every change to regions, hospitals, evaluations, prices or lists.

    Triggers write it when the change is committed; whoever kept something read under another stamp reads again.
    """

    __tablename__ = "registry_stamp"
    __table_args__ = (CheckConstraint("only_row", name="only_row"),)
    only_row: Mapped[bool] = mapped_column(primary_key=True, server_default="true")
    stamp: Mapped[uuid.UUID]


class LocalCode(Base):
    """A hospital's own code for an item on the list; no item: the hospital says that none fits."""

    __tablename__ = "local_code"
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"), primary_key=True)
    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    item_code: Mapped[str]
    laterality: Mapped[str | None]
    body_part: Mapped[str | None]


class QcEvaluation(Base):
    """A quality evaluation of a hospital for one item or a group of items; days inclusive."""

    __tablename__ = "qc_evaluation"
    __table_args__ = (
        CheckConstraint("(item_code is null) <> (item_group is null)", name="item_or_group"),
        CheckConstraint("valid_from <= valid_to", name="days"),
        Index("ix_qc_evaluation_hospital_id", "hospital_id"),
    )
    id: Mapped[int] = identity()
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    item_code: Mapped[str | None]
    item_group: Mapped[str | None]
    scope_code: Mapped[str] = mapped_column(ForeignKey("region.code"))
    passed: Mapped[bool]
    valid_from: Mapped[date]
    valid_to: Mapped[date]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Price(Base):
    """A price in fen for an item in a hospital, a region or a tier; days inclusive, rows are never changed."""

    __tablename__ = "price"
    __table_args__ = (
        CheckConstraint("scope_kind in ('hospital', 'region', 'tier')", name="scope_kind"),
        CheckConstraint("price_fen >= 0", name="price_fen"),
        UniqueConstraint("item_code", "scope_kind", "scope", "valid_from"),
    )
    id: Mapped[int] = identity()
    item_code: Mapped[str]
    scope_kind: Mapped[str]
    scope: Mapped[str]
    price_fen: Mapped[int]
    valid_from: Mapped[date]
    valid_to: Mapped[date | None]
    source: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Person(Base):
    """A person: a document type and the keyed hash of its number; the number itself is encrypted.

    `group_id` is shared by people whom a curator merged (catalog.groups); empty for everybody else.
    """

    __tablename__ = "person"
    __table_args__ = (UniqueConstraint("id_type", "number_hash"),)
    id: Mapped[int] = identity()
    id_type: Mapped[str]
    number_hash: Mapped[bytes]
    number_cipher: Mapped[bytes]
    name: Mapped[str]
    birth_date: Mapped[date | None]
    sex: Mapped[Sex] = mapped_column(Text)
    opted_out: Mapped[bool] = mapped_column(server_default="false")
    group_id: Mapped[int | None] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Alias(Base):
    """A claim: a number of one hospital's own, PatientID or AccessionNumber, stands for this person.

    Two hospitals' numbers are never joined. `reasons` say what speaks against the claim, `ruling` what a curator
    said of it; `state` follows from all claims on the number (catalog.linking).
    """

    __tablename__ = "alias"
    __table_args__ = (
        CheckConstraint("kind in ('PatientID', 'AccessionNumber')", name="kind"),
        CheckConstraint("state in ('linked', 'doubtful', 'unlinked')", name="state"),
        CheckConstraint("ruling in ('accepted', 'rejected')", name="ruling"),
        Index("ix_alias_person_id", "person_id"),
        Index("ix_alias_doubtful", "id", postgresql_where=text("state = 'doubtful'")),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    state: Mapped[str]
    source: Mapped[str]
    reasons: Mapped[list[str]] = mapped_column(server_default="{}")
    ruling: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Study(Base):
    """A study as one hospital sent it; `facts` are what the mapping to items reads, `fingerprint` their digest.

    How `images_complete`, `settles_at`, `quality_flagged` and `count_short` stand at a moment is for
    `catalog.completeness.stands` to say.
    """

    __tablename__ = "study"
    __table_args__ = (
        CheckConstraint("identity in ('linked', 'doubtful', 'unlinked')", name="identity"),
        Index("ix_study_hospital_patient", "hospital_id", "patient_id"),
        Index("ix_study_hospital_accession", "hospital_id", "accession_number"),
        Index("ix_study_person_id", "person_id"),
        Index("ix_study_hospital_fingerprint", "hospital_id", "fingerprint"),
        Index("ix_study_exam_time", "exam_time", **IN_ORDER),
        Index("ix_study_unmapped", "id", postgresql_where=text("unmapped_reason is not null")),
        Index("ix_study_withdrawn", "id", postgresql_where=text("withdrawn")),
    )
    id: Mapped[int] = identity()
    uid: Mapped[str] = mapped_column(unique=True)
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    identity: Mapped[str]
    patient_id: Mapped[str]
    patient_name: Mapped[str]
    name_rule: Mapped[str]
    birth_date: Mapped[date | None]
    sex: Mapped[Sex] = mapped_column(Text)
    accession_number: Mapped[str]
    exam_time: Mapped[datetime]
    exam_time_source: Mapped[str]
    modalities: Mapped[list[str]]
    description: Mapped[str]
    facts: Mapped[dict[str, Any]]
    fingerprint: Mapped[str | None]
    unmapped_reason: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    series_count: Mapped[int] = mapped_column(Integer)
    instance_count: Mapped[int] = mapped_column(Integer)
    size_bytes: Mapped[int]
    revision: Mapped[int] = mapped_column(Integer)
    images_complete: Mapped[bool] = mapped_column(server_default="true")
    settles_at: Mapped[datetime | None]
    count_short: Mapped[bool] = mapped_column(server_default="false")
    quality_flagged: Mapped[bool] = mapped_column(server_default="false")
    uid_conflict: Mapped[bool] = mapped_column(server_default="false")
    withdrawn: Mapped[bool] = mapped_column(server_default="false")
    withdrawn_at: Mapped[datetime | None]
    withdrawn_reason: Mapped[str | None]
    first_received_at: Mapped[datetime]
    last_received_at: Mapped[datetime]


class Pack(Base):
    """A pack in the object store; `series` counts the instances of each series in it.

    `hospital_id` sent it; `instance_hashes` are those of catalog.instance_index, `completeness` is what
    catalog.arrivals reads; both are missing in packs from before.
    """

    __tablename__ = "pack"
    __table_args__ = (
        CheckConstraint("role in ('archive', 'conflict')", name="role"),
        Index("ix_pack_study_id", "study_id"),
        Index("ix_pack_hospital_id", "hospital_id", "id"),
    )
    id: Mapped[int] = identity()
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    role: Mapped[str]
    key: Mapped[str] = mapped_column(unique=True)
    sidecar_key: Mapped[str]
    sha256: Mapped[str]
    size_bytes: Mapped[int]
    instance_count: Mapped[int] = mapped_column(Integer)
    series: Mapped[dict[str, Any]]
    instance_hashes: Mapped[bytes | None]
    completeness: Mapped[dict[str, Any] | None]
    received_at: Mapped[datetime]
    registered_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Conflict(Base):
    """An instance that contradicts one already kept; both are kept, the first one counts."""

    __tablename__ = "conflict"
    __table_args__ = (
        UniqueConstraint("study_id", "SOPInstanceUID", "sha256"),
        Index("ix_conflict_state", "state", "id"),
    )
    id: Mapped[int] = identity()
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    pack_id: Mapped[int] = mapped_column(ForeignKey("pack.id"))
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    kind: Mapped[str]
    SOPInstanceUID: Mapped[str]
    sha256: Mapped[str]
    first_sha256: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default="open")
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    note: Mapped[str | None]
    seen_at: Mapped[datetime] = mapped_column(server_default=NOW)


class IdentityHold(Base):
    """A study that may be this person's and is held for a human; while it is, answers are incomplete."""

    __tablename__ = "identity_hold"
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), primary_key=True)
    reasons: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Result(Base):
    """An examination done, as an item of the list; the hot table of every check."""

    __tablename__ = "result"
    __table_args__ = (
        CheckConstraint("status in ('active', 'superseded', 'withdrawn', 'erased')", name="status"),
        Index("ix_result_person_item_time", "person_id", "item_code", text("exam_time desc")),
        Index("ix_result_study_id", "study_id", postgresql_where=text("study_id is not null")),
        Index("ix_result_exam_time", "exam_time", **IN_ORDER),
    )
    id: Mapped[int] = identity()
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    study_id: Mapped[int | None] = mapped_column(ForeignKey("study.id"))
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    item_code: Mapped[str]
    laterality: Mapped[str | None]
    body_part: Mapped[str | None]
    exam_time: Mapped[datetime]
    status: Mapped[str] = mapped_column(server_default="active")
    confidence: Mapped[str]
    rule: Mapped[str]
    explanation: Mapped[str]
    explanation_en: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class OrderCheck(Base):
    """A question at order time and its answer exactly as given, numbered as they came; never changed.

    What a check writes names hospital and person without a foreign key: that would lock their rows each time, and
    neither are ever removed.
    """

    __tablename__ = "order_check"
    __table_args__ = (
        CheckConstraint("answer in ('complete', 'incomplete')", name="answer"),
        Index("ix_order_check_person_id", "person_id", "expires_at"),
        Index("ix_order_check_caller", "hospital_id", "caller", "asked_at", "number"),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    hospital_id: Mapped[int]
    person_id: Mapped[int | None]
    department: Mapped[str]
    urgency: Mapped[str]
    answer: Mapped[str]
    caller: Mapped[str]
    disclosed: Mapped[bool]  # the hospital may see the person until it expires
    given: Mapped[dict[str, Any]]
    asked_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class OrderedItem(Base):
    """One order of a hospital, by its number: what it asked first and which decision stands.

    `department` is that of its first check, `reminded_at` when a recognisable prior was first shown for it.
    """

    __tablename__ = "ordered_item"
    __table_args__ = (
        Index(
            "ix_ordered_item_business_date",
            "business_date",
            **IN_ORDER,
        ),
        Index(
            "ix_ordered_item_late",
            "business_date",
            "reminded_at",
            postgresql_where=text("(reminded_at at time zone 'Asia/Shanghai')::date > business_date"),
        ),
    )
    hospital_id: Mapped[int] = mapped_column(primary_key=True)
    order_number: Mapped[str] = mapped_column(primary_key=True)
    person_id: Mapped[int]
    item_code: Mapped[str]
    first_check_id: Mapped[uuid.UUID]
    business_date: Mapped[date]
    emergency: Mapped[bool]
    own_hospital: Mapped[bool]
    reminder: Mapped[bool]
    department: Mapped[str]
    reminded_at: Mapped[datetime | None]
    standing_decision_id: Mapped[int | None] = mapped_column(ForeignKey("decision.id"))


class Decision(Base):
    """A decision event: recognise, override, undo or cite; appended, never changed. A citation never stands.

    `price_fen` is the asking hospital's price at that moment; `price_id` is empty where none applied.
    """

    __tablename__ = "decision"
    __table_args__ = (
        CheckConstraint("action in ('recognise', 'override', 'undo', 'cite')", name="action"),
        Index("ix_decision_person_id", "person_id"),
        Index("ix_decision_hospital_order", "hospital_id", "order_number"),
        Index("ix_decision_business_date", "business_date"),
        # An undo keeps the time of the check it goes back to: what it undoes was decided on that day or later.
        Index(
            "ix_decision_undone_late",
            "checked_at",
            postgresql_where=text(
                "action = 'undo' and (checked_at at time zone 'Asia/Shanghai')::date < business_date"
            ),
        ),
    )
    id: Mapped[int] = identity()
    check_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("order_check.id"))
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    order_number: Mapped[str]
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    item_code: Mapped[str]
    laterality: Mapped[str | None]
    body_part: Mapped[str | None]
    action: Mapped[str]
    result_id: Mapped[int | None] = mapped_column(ForeignKey("result.id"))
    issuing_hospital_id: Mapped[int | None] = mapped_column(ForeignKey("hospital.id"))
    reason_code: Mapped[str | None]
    reason_text: Mapped[str | None]
    explained_to_patient: Mapped[bool | None]
    counts_as_refusal: Mapped[bool] = mapped_column(server_default="false")
    beyond_duty: Mapped[bool] = mapped_column(server_default="false")
    own_hospital: Mapped[bool] = mapped_column(server_default="false")
    emergency: Mapped[bool] = mapped_column(server_default="false")
    price_fen: Mapped[int] = mapped_column(server_default="0")
    price_id: Mapped[int | None] = mapped_column(ForeignKey("price.id"))
    undoes_id: Mapped[int | None] = mapped_column(ForeignKey("decision.id"), unique=True)
    checked_at: Mapped[datetime]
    decided_at: Mapped[datetime]
    business_date: Mapped[date]
    caller: Mapped[str]


class LedgerEntry(Base):
    """Money: a saving, its reversal or its reinstatement, in signed fen; appended, never changed.

    `business_date` is the decision's day for all three; `posted_at` is when the books learnt of it.
    """

    __tablename__ = "ledger"
    __table_args__ = (
        CheckConstraint("kind in ('saving', 'reversal', 'reinstatement')", name="kind"),
        CheckConstraint(
            "case kind when 'reversal' then amount_fen <= 0 else amount_fen >= 0 end", name="sign"
        ),
        Index("ix_ledger_decision_id", "decision_id"),
        Index("ix_ledger_business_date", "business_date"),
        Index(
            "ix_ledger_late",
            "business_date",
            "posted_at",
            postgresql_where=text("(posted_at at time zone 'Asia/Shanghai')::date > business_date"),
        ),
    )
    id: Mapped[int] = identity()
    kind: Mapped[str]
    decision_id: Mapped[int] = mapped_column(ForeignKey("decision.id"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    item_code: Mapped[str]
    amount_fen: Mapped[int]
    cause: Mapped[str]
    cause_id: Mapped[int | None]
    business_date: Mapped[date]
    posted_at: Mapped[datetime]


class Monthly(Base):
    """The rollup the regulator reads: sums of events by asking hospital, item and month."""

    __tablename__ = "monthly"
    __table_args__ = (
        Index("ix_monthly_month", "month"),
        Index("ix_monthly_unpriced", "month", postgresql_where=text("unpriced <> 0")),
    )
    hospital_id: Mapped[int] = mapped_column(primary_key=True)
    item_code: Mapped[str] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    own_hospital: Mapped[bool] = mapped_column(primary_key=True)
    emergency: Mapped[bool] = mapped_column(primary_key=True)
    reminders: Mapped[int] = mapped_column(server_default="0")
    recognised: Mapped[int] = mapped_column(server_default="0")
    beyond_duty: Mapped[int] = mapped_column(server_default="0")
    refused: Mapped[int] = mapped_column(server_default="0")
    excused: Mapped[int] = mapped_column(server_default="0")
    cited: Mapped[int] = mapped_column(server_default="0")
    undone: Mapped[int] = mapped_column(server_default="0")
    unpriced: Mapped[int] = mapped_column(server_default="0")
    saved_fen: Mapped[int] = mapped_column(server_default="0")
    reversed_fen: Mapped[int] = mapped_column(server_default="0")


class AuditEvent(Base):
    """One disclosure or act: who, in which role, from which hospital, about whom; appended, never changed."""

    __tablename__ = "audit_event"
    __table_args__ = (
        Index("ix_audit_event_person_id", "person_id"),
        Index("ix_audit_event_caller_id", "caller", "id"),
        Index("ix_audit_event_refused", "id", postgresql_where=text("action = 'association_refused'")),
        Index("ix_audit_event_recorded_at", "recorded_at", **IN_ORDER),
    )
    id: Mapped[int] = identity()
    recorded_at: Mapped[datetime] = mapped_column(server_default=NOW)
    action: Mapped[str]
    caller: Mapped[str]
    role: Mapped[str]
    hospital_id: Mapped[int | None]
    person_id: Mapped[int | None]
    detail: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
