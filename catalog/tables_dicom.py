"""Tables about those who send DICOM: their application entities, and the storage commitment they ask for."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from catalog.tables_base import NOW, Base, identity


class Peer(Base):
    """An application entity of a hospital: from where it may send, and where it listens itself.

    No addresses means from anywhere; `certificates` are SHA-256 fingerprints (hex) of client certificates,
    and where there are any, only TLS with one of them is that peer. `certificate_ends` has their last moments.
    """

    __tablename__ = "peer"
    ae_title: Mapped[str] = mapped_column(primary_key=True)
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    addresses: Mapped[list[str]] = mapped_column(server_default="{}")
    certificates: Mapped[list[str]] = mapped_column(server_default="{}")
    certificate_ends: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    host: Mapped[str | None]
    port: Mapped[int | None] = mapped_column(Integer)
    tls: Mapped[bool] = mapped_column(server_default="false")  # how it listens
    active: Mapped[bool] = mapped_column(server_default="true")


class Commitment(Base):
    """A storage commitment asked for by N-ACTION, until its N-EVENT-REPORT was taken (PS3.4 Annex J).

    `referenced` lists SOP class and instance UIDs as asked; `failed` those that cannot be committed to.
    """

    __tablename__ = "commitment"
    __table_args__ = (
        CheckConstraint("state in ('queued', 'answered', 'reported', 'given_up')", name="state"),
        UniqueConstraint("hospital_id", "TransactionUID"),
        Index("ix_commitment_due", "state", "next_attempt_at"),
    )
    id: Mapped[int] = identity()
    TransactionUID: Mapped[str]
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    calling_ae: Mapped[str]
    referenced: Mapped[list[Any]] = mapped_column(JSONB)
    failed: Mapped[list[Any] | None] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(server_default="queued")
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    requested_at: Mapped[datetime] = mapped_column(server_default=NOW)
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=NOW)
    reported_at: Mapped[datetime | None]
