"""Tables of what hospitals bring and how it is used: which checks showed a result, and the figures by month."""

from datetime import date, datetime

from sqlalchemy import ARRAY, CheckConstraint, Float, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from catalog.tables_base import Base, identity


class ResultShown(Base):
    """A check of this hospital has shown this result, and when the hospital first opened it after that, if it did.

    Read from the audit (catalog.viewings): `audit_id` is the check's record. The times are those of the records.
    """

    __tablename__ = "result_shown"
    __table_args__ = (
        Index("ix_result_shown_viewed_at", "viewed_at", postgresql_where=text("viewed_at is not null")),
    )
    result_id: Mapped[int] = mapped_column(primary_key=True)
    audit_id: Mapped[int] = mapped_column(primary_key=True)
    hospital_id: Mapped[int]
    shown_at: Mapped[datetime]
    viewed_at: Mapped[datetime | None]


class AuditRead(Base):
    """Up to which record a reader of the audit has come; the one there is reads showings and viewings."""

    __tablename__ = "audit_read"
    reader: Mapped[str] = mapped_column(primary_key=True)
    through_id: Mapped[int] = mapped_column(server_default="0")


class SupplyChanged(Base):
    """A month of examinations whose figures must be counted again; written by triggers, any number of times."""

    __tablename__ = "supply_changed"
    __table_args__ = (Index("ix_supply_changed_month", "month"),)
    id: Mapped[int] = identity()
    month: Mapped[date]


class SupplyMonth(Base):
    """How fresh a month's figures are; at `settles_at` a study that still waits for images is judged anew."""

    __tablename__ = "supply_month"
    month: Mapped[date] = mapped_column(primary_key=True)
    as_of: Mapped[datetime]
    settles_at: Mapped[datetime | None]
    seconds: Mapped[float] = mapped_column(Float)


class Supply(Base):
    """Figures of a month by issuing hospital, at three levels: of each item, of each category, of all it brought.

    A study with two items is one study of its hospital: so studies are counted at each level, not added up. No item is
    what is on no list. `arrival` and `viewing` say of how many results each step of `catalog.supply_steps` is the time.
    """

    __tablename__ = "supply"
    __table_args__ = (CheckConstraint("level in ('hospital', 'category', 'item')", name="level"),)
    level: Mapped[str] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    hospital_id: Mapped[int] = mapped_column(primary_key=True)
    category: Mapped[str] = mapped_column(primary_key=True)
    item_code: Mapped[str] = mapped_column(primary_key=True)
    studies: Mapped[int] = mapped_column(Integer)
    images_complete: Mapped[int] = mapped_column(Integer)
    reported: Mapped[int] = mapped_column(Integer)
    reports: Mapped[int] = mapped_column(Integer)
    matched: Mapped[int] = mapped_column(Integer)
    results: Mapped[int] = mapped_column(Integer)
    linked: Mapped[int] = mapped_column(Integer)
    marked: Mapped[int] = mapped_column(Integer)
    shown: Mapped[int] = mapped_column(Integer)
    viewed: Mapped[int] = mapped_column(Integer)
    arrival: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    viewing: Mapped[list[int]] = mapped_column(ARRAY(Integer))
