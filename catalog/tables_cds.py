"""The tables of CDS Hooks: who may call, tokens already used, cards that were given and what became of them."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from catalog.tables_base import NOW, Base, identity


class CdsClient(Base):
    """A CDS client of one hospital, by the `iss` and `tenant` of its tokens; `jwks` as pinned at registration."""

    __tablename__ = "cds_client"
    __table_args__ = (UniqueConstraint("iss", "tenant"),)
    id: Mapped[int] = identity()
    iss: Mapped[str]
    tenant: Mapped[str] = mapped_column(server_default="")
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    jwks: Mapped[dict[str, Any]]
    jku: Mapped[str] = mapped_column(server_default="")
    code_systems: Mapped[list[str]] = mapped_column(server_default="{}")
    active: Mapped[bool] = mapped_column(server_default="true")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class CdsNonce(Base):
    """A `jti` that a client has used; kept until its token has expired."""

    __tablename__ = "cds_nonce"
    __table_args__ = (Index("ix_cds_nonce_expires_at", "expires_at"),)
    client_id: Mapped[int] = mapped_column(ForeignKey("cds_client.id"), primary_key=True)
    jti: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]


class CdsCard(Base):
    """A card about one order of a check; `suggestions` are the results that can be accepted, by their uuid."""

    __tablename__ = "cds_card"
    __table_args__ = (Index("ix_cds_card_check_id", "check_id"),)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    client_id: Mapped[int] = mapped_column(ForeignKey("cds_client.id"))
    service: Mapped[str]
    check_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("order_check.id"))
    order_number: Mapped[str]
    caller: Mapped[str]
    suggestions: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class CdsFeedback(Base):
    """What a client reported of a card, once; without a decision `code` says why there is none."""

    __tablename__ = "cds_feedback"
    __table_args__ = (CheckConstraint("outcome in ('accepted', 'overridden')", name="outcome"),)
    card_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("cds_card.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)
    outcome: Mapped[str]
    reason_code: Mapped[str | None]
    decision_id: Mapped[int | None] = mapped_column(ForeignKey("decision.id"))
    code: Mapped[str | None]
    outcome_at: Mapped[datetime]
    received_at: Mapped[datetime] = mapped_column(server_default=NOW)
