"""Table of the regulator's investigations: the only way to a name behind a figure."""

from datetime import date, datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity
from sqlalchemy.orm import Mapped, mapped_column

from catalog.tables_base import Base


class Investigation(Base):
    """Why a regulator may see who stands behind a hospital's entries for an item in some months, and until when.

    With `decision_id` it reaches no further than that decision. A verdict is an auditor's, given afterwards.
    """

    __tablename__ = "investigation"
    __table_args__ = (
        CheckConstraint("first_month <= last_month", name="months"),
        CheckConstraint("opened_at < expires_at", name="time"),
        CheckConstraint("verdict in ('justified', 'unjustified')", name="verdict"),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    opened_by: Mapped[str]
    reason: Mapped[str]
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    item_code: Mapped[str]
    first_month: Mapped[date]
    last_month: Mapped[date]
    decision_id: Mapped[int | None] = mapped_column(ForeignKey("decision.id"), index=True)
    opened_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    verdict: Mapped[str | None]
    note: Mapped[str | None]
    reviewed_by: Mapped[str | None]
    reviewed_at: Mapped[datetime | None]
