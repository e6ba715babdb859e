"""The table of examinations that repeated what was there already."""

import uuid
from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from catalog.repetition import KINDS
from catalog.tables_base import Base, identity

_STANDS = text("superseded_at is null")


class Repeat(Base):
    """An examination done although another result was, or would have been, recognisable for that hospital.

    `kind` tells how it came. A row is never changed: where something else is learnt it is superseded, perhaps by
    another. `price_fen` is the hospital's price of what was done, on its day; `price_id` is empty where none applied.
    """

    __tablename__ = "repeat"
    __table_args__ = (
        CheckConstraint(f"kind in ({', '.join(repr(kind) for kind in KINDS)})", name="kind"),
        Index("uq_repeat_result_id", "result_id", unique=True, postgresql_where=_STANDS),
        Index("ix_repeat_person_id", "person_id", postgresql_where=_STANDS),
        Index("ix_repeat_business_date", "business_date"),
    )
    id: Mapped[int] = identity()
    result_id: Mapped[int] = mapped_column(ForeignKey("result.id"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    item_code: Mapped[str]
    exam_time: Mapped[datetime]
    business_date: Mapped[date]
    kind: Mapped[str]
    prior_result_id: Mapped[int] = mapped_column(ForeignKey("result.id"))
    prior_hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    own_hospital: Mapped[bool]
    emergency: Mapped[bool]
    check_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("order_check.id"))
    order_number: Mapped[str | None]
    decision_id: Mapped[int | None] = mapped_column(ForeignKey("decision.id"))
    price_fen: Mapped[int]
    price_id: Mapped[int | None] = mapped_column(ForeignKey("price.id"))
    posted_at: Mapped[datetime]
    superseded_at: Mapped[datetime | None]
