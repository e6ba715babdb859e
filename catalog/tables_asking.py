"""Tables about disclosures without an order, answers given once, and telling hospitals news over webhooks."""

import uuid
from datetime import datetime
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
from sqlalchemy.orm import Mapped, mapped_column

from catalog.tables_base import NOW, Base


class StatedPurpose(Base):
    """For what and why somebody looked at a person's results without an order; appended, never changed.

    `purpose` is a code of HL7 PurposeOfUse; `person_id` is empty where nobody is known or nothing may be shown.
    """

    __tablename__ = "stated_purpose"
    __table_args__ = (Index("ix_stated_purpose_person_id", "person_id"),)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    caller: Mapped[str]
    role: Mapped[str]
    purpose: Mapped[str]
    reason: Mapped[str]
    answer: Mapped[str]
    stated_at: Mapped[datetime]


class Webhook(Base):
    """Where a hospital wants to be told that there is news."""

    __tablename__ = "webhook"
    __table_args__ = (Index("ix_webhook_hospital_id", "hospital_id"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    url: Mapped[str]
    active: Mapped[bool] = mapped_column(server_default="true")
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class WebhookDelivery(Base):
    """One notice on its way to one webhook; `error` is a code, never what the other side said."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        CheckConstraint("state in ('queued', 'delivered', 'dead')", name="state"),
        UniqueConstraint("webhook_id", "notice_id"),
        Index(
            "ix_webhook_delivery_queued",
            "webhook_id",
            "notice_id",
            postgresql_where=text("state = 'queued'"),
        ),
        Index("ix_webhook_delivery_dead", "webhook_id", postgresql_where=text("state = 'dead'")),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhook.id"))
    notice_id: Mapped[int] = mapped_column(ForeignKey("notice.id"))
    state: Mapped[str] = mapped_column(server_default="queued")
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    next_attempt_at: Mapped[datetime]
    error: Mapped[str | None]
    delivered_at: Mapped[datetime | None]


class Idempotency(Base):
    """The answer given to an Idempotency-Key, so that a resend gets the same one."""

    __tablename__ = "idempotency"
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_sha256: Mapped[str]
    answer: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
