"""Tables about people and their rights: claims, curators' events, notices, erasures."""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

import catalog.tables_access  # noqa: F401 - a notice may refer to a grant
from catalog.tables_base import NOW, Base, identity


class StudyClaim(Base):
    """A claim that one study is of this person: by the number in its header, or by a curator's ruling."""

    __tablename__ = "study_claim"
    __table_args__ = (
        CheckConstraint("ruling in ('accepted', 'rejected')", name="ruling"),
        Index("ix_study_claim_person_id", "person_id"),
    )
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    source: Mapped[str]
    reasons: Mapped[list[str]] = mapped_column(server_default="{}")
    ruling: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class IdentityEvent(Base):
    """What a human decided about people; appended, never changed.

    merge: `person_id` is the same human being as `other_person_id`. accept, reject: the claim of `alias_id`,
    `study_id` or `report_id` for `person_id`. undo: takes back `undoes_id`. opt_out, opt_in: the person's own wish.
    """

    __tablename__ = "identity_event"
    __table_args__ = (
        CheckConstraint("kind in ('merge', 'accept', 'reject', 'undo', 'opt_out', 'opt_in')", name="kind"),
        Index("ix_identity_event_person_id", "person_id"),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str]
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    other_person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    alias_id: Mapped[int | None]
    study_id: Mapped[int | None] = mapped_column(ForeignKey("study.id"))
    report_id: Mapped[int | None] = mapped_column(ForeignKey("report.id"))
    undoes_id: Mapped[int | None] = mapped_column(ForeignKey("identity_event.id"), unique=True)
    reason: Mapped[str]
    caller: Mapped[str]
    created_at: Mapped[datetime]


class Notice(Base):
    """News for a hospital about a result on which one of its decisions relies, or which a check has shown it.

    In the second case nothing is decided yet on the order `order_number` of the check `check_id`. News about an
    emergency access (`grant_id`) is for the hospital's privacy reviewer.
    """

    __tablename__ = "notice"
    __table_args__ = (
        CheckConstraint("num_nonnulls(decision_id, check_id, grant_id) = 1", name="cause"),
        CheckConstraint("(check_id is null) = (order_number is null)", name="order"),
        CheckConstraint("(result_id is null) = (grant_id is not null)", name="result"),
        Index("ix_notice_hospital_id", "hospital_id", "id"),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    decision_id: Mapped[int | None] = mapped_column(ForeignKey("decision.id"))
    check_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("order_check.id"))
    order_number: Mapped[str | None]
    result_id: Mapped[int | None] = mapped_column(ForeignKey("result.id"))
    grant_id: Mapped[int | None] = mapped_column(ForeignKey("access_grant.id"))
    kind: Mapped[str]
    created_at: Mapped[datetime]
    read_at: Mapped[datetime | None]
    read_by: Mapped[str | None]


class Erasure(Base):
    """An erasure by law: what was removed, without saying of whom; `object_keys` still have to go."""

    __tablename__ = "erasure"
    __table_args__ = (CheckConstraint("state in ('open', 'done')", name="state"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    scope: Mapped[str]
    basis: Mapped[str]
    caller: Mapped[str]
    studies: Mapped[int]
    objects: Mapped[int]
    size_bytes: Mapped[int]
    object_keys: Mapped[list[str]]
    state: Mapped[str] = mapped_column(server_default="open")
    created_at: Mapped[datetime]
    done_at: Mapped[datetime | None]


class ErasedStudy(Base):
    """A study that must not come back: SHA-256 of its StudyInstanceUID."""

    __tablename__ = "erased_study"
    uid_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    erasure_id: Mapped[int] = mapped_column(ForeignKey("erasure.id"))


class ErasedReport(Base):
    """A report that must not come back: SHA-256 of its hospital and number."""

    __tablename__ = "erased_report"
    number_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    erasure_id: Mapped[int] = mapped_column(ForeignKey("erasure.id"))


class SealedNumber(Base):
    """A hospital's patient number that is an identity document: its keyed hash, and itself encrypted.

    `sealed:<id>` stands wherever the number would (catalog.sealed_numbers).
    """

    __tablename__ = "sealed_number"
    __table_args__ = (UniqueConstraint("hospital_id", "number_hash"),)
    id: Mapped[int] = identity()
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    number_hash: Mapped[bytes]
    number_cipher: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)

    @property
    def id_type(self) -> str:
        """Return what the number is bound to in the vault, as a person's is to the type of document."""
        return self.kind_of(self.hospital_id)

    @staticmethod
    def kind_of(hospital_id: int) -> str:
        """Return the kind under which the vault keeps numbers of a hospital: no two hospitals' share a hash."""
        return f"PatientID:{hospital_id}"
