"""Tables of completeness and quality: associations that are still arriving, and what curators look at."""

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Identity, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from catalog.tables_base import NOW, Base


class ArrivalPart(Base):
    """One registered pack of an association that had several; gone once all of them are there.

    `study_ids` are the studies it holds something of; `released` stands in the last part only.
    """

    __tablename__ = "arrival_part"
    association: Mapped[str] = mapped_column(primary_key=True)
    part: Mapped[int] = mapped_column(Integer, primary_key=True)
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    study_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    released: Mapped[bool]
    noted_at: Mapped[datetime]


class QualityTask(Base):
    """A doubt about the images of a study, until a curator has looked.

    `image_quality` is a doctor's, with the `decision` in which he said so; it counts once confirmed. The other
    kinds are found in the archive, one task of each per study; they count until dismissed, and are `resolved`
    when what was missing has come. `evidence` names instances, gaps or counts; `due_at` is when it begins to count.
    """

    __tablename__ = "quality_task"
    __table_args__ = (
        CheckConstraint(
            "kind in ('image_quality', 'flawed', 'unreadable', 'missing_slices', 'count_short')", name="kind"
        ),
        CheckConstraint("state in ('open', 'confirmed', 'dismissed', 'resolved')", name="state"),
        CheckConstraint("(kind = 'image_quality') = (decision_id is not null)", name="decision"),
        Index(
            "uq_quality_task_study_kind",
            "study_id",
            "kind",
            unique=True,
            postgresql_where=text("decision_id is null"),
        ),
        Index("ix_quality_task_state", "state", "id"),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    kind: Mapped[str]
    decision_id: Mapped[int | None] = mapped_column(ForeignKey("decision.id"), unique=True)
    evidence: Mapped[list[str]] = mapped_column(server_default="{}")
    state: Mapped[str] = mapped_column(server_default="open")
    due_at: Mapped[datetime]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    note: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
