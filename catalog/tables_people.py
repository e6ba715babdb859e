"""Tables about people and their rights: claims, curators' events, notices, erasures."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index
from sqlalchemy.orm import Mapped, mapped_column

import catalog.tables_access  # noqa: F401 - a notice may refer to a grant
from catalog.tables_base import NOW, Base


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

    merge: `person_id` is the same human being as `other_person_id`. accept, reject: the claim of `alias_id` or
    `study_id` for `person_id`. undo: takes back `undoes_id`. opt_out, opt_in: the person's own wish.
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
    undoes_id: Mapped[int | None] = mapped_column(ForeignKey("identity_event.id"), unique=True)
    reason: Mapped[str]
    caller: Mapped[str]
    created_at: Mapped[datetime]


class Notice(Base):
    """News for a hospital about a result on which one of its decisions relies, or about an emergency access.

    The latter (`grant_id`) is for its privacy reviewer.
    """

    __tablename__ = "notice"
    __table_args__ = (
        CheckConstraint("(grant_id is null) = (decision_id is not null)", name="cause"),
        Index("ix_notice_hospital_id", "hospital_id", "id"),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    decision_id: Mapped[int | None] = mapped_column(ForeignKey("decision.id"))
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
