"""Tables about the audit: the seals of its chain, and how far it was handed on."""

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from catalog.tables_base import NOW, Base


class AuditSeal(Base):
    """One link of the chain: the records up to `through_id`, with their digests; appended, never changed."""

    __tablename__ = "audit_seal"
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    sealed_at: Mapped[datetime]
    through_id: Mapped[int]
    record_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    digests: Mapped[bytes]
    previous: Mapped[bytes]
    head: Mapped[bytes]
    signature: Mapped[bytes]
    key: Mapped[str]


class AuditForward(Base):
    """Up to which record a syslog receiver has been sent the audit."""

    __tablename__ = "audit_forward"
    destination: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[int]
    sent_at: Mapped[datetime] = mapped_column(server_default=NOW)
