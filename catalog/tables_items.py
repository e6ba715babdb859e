"""Versions of the recognised list, what curators answered about headers, and re-mapping jobs."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from catalog.tables_base import NOW, Base


class ItemListVersion(Base):
    """One version of the list, of the whole exchange (no region) or of one region over it; never changed.

    It is in force from `effective_from` for whoever asks after `known_from`: what was asked before the
    version was known is judged by the list of that time, for ever. `digest` is the SHA-256 of its items.
    """

    __tablename__ = "item_list"
    __table_args__ = (
        UniqueConstraint(
            "region_code", "version", name="uq_item_list_version", postgresql_nulls_not_distinct=True
        ),
        UniqueConstraint(
            "region_code", "effective_from", name="uq_item_list_start", postgresql_nulls_not_distinct=True
        ),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    region_code: Mapped[str | None] = mapped_column(ForeignKey("region.code"))
    version: Mapped[str]
    title_zh: Mapped[str]
    title_en: Mapped[str]
    effective_from: Mapped[date]
    status: Mapped[str]
    source: Mapped[str]
    digest: Mapped[str]
    known_from: Mapped[datetime]
    imported_by: Mapped[str]


class ListedItem(Base):
    """One item of one version, with every field of `catalog.items.Item` but its code."""

    __tablename__ = "item"
    list_id: Mapped[int] = mapped_column(ForeignKey("item_list.id"), primary_key=True)
    code: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    fields: Mapped[dict[str, Any]]


class MappingAnswer(Base):
    """What a curator said the studies of a hospital with these header facts hold; an empty list: nothing listed."""

    __tablename__ = "mapping_answer"
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    items: Mapped[list[Any]] = mapped_column(JSONB)
    answered_by: Mapped[str]
    answered_at: Mapped[datetime]


class RemapJob(Base):
    """One pass over the studies after a change of rules, lists or tables; `cursor` is the last study done."""

    __tablename__ = "remap_job"
    __table_args__ = (
        CheckConstraint("state in ('running', 'done')", name="state"),
        Index("uq_remap_job_running", "state", unique=True, postgresql_where=text("state = 'running'")),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    state: Mapped[str] = mapped_column(server_default="running")
    cursor: Mapped[int] = mapped_column(server_default="0")
    last_study_id: Mapped[int]
    total: Mapped[int] = mapped_column(Integer)
    studies: Mapped[int] = mapped_column(Integer, server_default="0")
    changed: Mapped[int] = mapped_column(Integer, server_default="0")
    started_at: Mapped[datetime] = mapped_column(server_default=NOW)
    finished_at: Mapped[datetime | None]
