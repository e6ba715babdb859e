"""What waits for a person to decide, whatever it is about."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from catalog.tables_base import NOW, Base


class ReviewTask(Base):
    """A question for a curator: its `kind`, what it is about (`subject`), and what he answered.

    One question stands open at a time for the same kind, hospital and subject.
    """

    __tablename__ = "review_task"
    __table_args__ = (
        CheckConstraint("state in ('open', 'decided', 'dropped')", name="state"),
        CheckConstraint("(state = 'open') = (decided_at is null)", name="decided"),
        Index(
            "uq_review_task_open",
            "kind",
            "hospital_id",
            "subject",
            unique=True,
            postgresql_where=text("state = 'open'"),
        ),
        Index("ix_review_task_study_id", "study_id"),
        Index("ix_review_task_state", "state", "kind", "id"),
        Index("ix_review_task_description", text("(details #>> '{facts,study_description}')")),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str]
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    study_id: Mapped[int | None] = mapped_column(ForeignKey("study.id"))
    subject: Mapped[str]
    details: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(server_default="open")
    answer: Mapped[dict[str, Any] | None]
    opened_at: Mapped[datetime] = mapped_column(server_default=NOW)
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
