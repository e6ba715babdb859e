"""Tables of who calls: hospital systems, tokens taken back, accounts and their sessions, rights to see a person."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Integer
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from catalog.tables_base import NOW, Base


class Client(Base):
    """A system that gets tokens with a key of its own (RFC 7523); `keys` are its public JWKs, given at registration."""

    __tablename__ = "client"
    client_id: Mapped[str] = mapped_column(primary_key=True)
    hospital_id: Mapped[int | None] = mapped_column(ForeignKey("hospital.id"))
    role: Mapped[str]
    scopes: Mapped[list[str]]
    keys: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    active: Mapped[bool] = mapped_column(server_default="true")
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class ClientAssertion(Base):
    """An assertion that a client has used; kept until it expires, so that nobody uses it again (RFC 7523 §3)."""

    __tablename__ = "client_assertion"
    __table_args__ = (Index("ix_client_assertion_expires_at", "expires_at"),)
    client_id: Mapped[str] = mapped_column(ForeignKey("client.client_id"), primary_key=True)
    jti: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]


class RevokedToken(Base):
    """A token taken back before its time, by its `jti`; kept until it would have expired."""

    __tablename__ = "revoked_token"
    jti: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]
    revoked_by: Mapped[str]
    revoked_at: Mapped[datetime]


class BlockedSubject(Base):
    """Somebody who is let in no more, by the name the audit has for him, whatever token he brings."""

    __tablename__ = "blocked_subject"
    subject: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    blocked_by: Mapped[str]
    blocked_at: Mapped[datetime]


class AccessGrant(Base):
    """Why somebody may see what other hospitals know of a person, and until when; nobody else of his hospital may.

    What a check showed, order_check says itself: no row has the basis `check` any more.
    """

    __tablename__ = "access_grant"
    __table_args__ = (
        CheckConstraint("basis in ('check', 'purpose', 'break_glass')", name="basis"),
        Index("ix_access_grant_person", "person_id", "hospital_id", "expires_at"),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    subject: Mapped[str]
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    basis: Mapped[str]
    reason: Mapped[str]
    granted_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class BreakGlassReview(Base):
    """What a reviewer found about an emergency access; there is none until one has looked."""

    __tablename__ = "break_glass_review"
    __table_args__ = (CheckConstraint("verdict in ('justified', 'unjustified')", name="verdict"),)
    grant_id: Mapped[int] = mapped_column(ForeignKey("access_grant.id"), primary_key=True)
    verdict: Mapped[str]
    note: Mapped[str]
    reviewed_by: Mapped[str]
    reviewed_at: Mapped[datetime]


class Account(Base):
    """A person who signs in here. The password is argon2id, the TOTP secret sealed; without either it is not set yet.

    `totp_step` is the last time step whose code was used: none is taken twice (RFC 6238 §5.2).
    """

    __tablename__ = "account"
    __table_args__ = (CheckConstraint("name = lower(name)", name="name"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    hospital_id: Mapped[int | None] = mapped_column(ForeignKey("hospital.id"))
    password_hash: Mapped[str | None]
    totp_cipher: Mapped[bytes | None]
    totp_confirmed: Mapped[bool] = mapped_column(server_default="false")
    totp_step: Mapped[int] = mapped_column(server_default="0")
    active: Mapped[bool] = mapped_column(server_default="true")
    created_at: Mapped[datetime]


class AccountLink(Base):
    """A link that sets a password once; only its digest is kept."""

    __tablename__ = "account_link"
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    expires_at: Mapped[datetime]


class AccountSession(Base):
    """A browser that is signed in; only the digest of its cookie is kept.

    Without an account it was begun by a hospital's system, and LaunchedSession says for whom.
    """

    __tablename__ = "account_session"
    __table_args__ = (Index("ix_account_session_expires_at", "expires_at"),)
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class Launch(Base):
    """An address by which a hospital's system opens our pages for its user, once, within minutes; kept by its digest.

    `sealed` is whom and what he is about to order. It is gone as soon as the address is used, or has expired.
    """

    __tablename__ = "launch"
    __table_args__ = (Index("ix_launch_expires_at", "expires_at"),)
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(unique=True)
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    client_id: Mapped[str]
    token_id: Mapped[str]
    launched_by: Mapped[str]
    subject: Mapped[str]
    name: Mapped[str]
    scopes: Mapped[list[str]]
    lang: Mapped[str]
    sealed: Mapped[bytes]
    expires_at: Mapped[datetime]


class LaunchedSession(Base):
    """For whom a session speaks that a hospital's system began, and by what right: it ends with that right.

    `sealed` is what the launch carried, until it was asked about.
    """

    __tablename__ = "launched_session"
    digest: Mapped[bytes] = mapped_column(
        ForeignKey("account_session.digest", ondelete="CASCADE"), primary_key=True
    )
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    client_id: Mapped[str]
    token_id: Mapped[str]
    launched_by: Mapped[str]
    subject: Mapped[str]
    name: Mapped[str]
    scopes: Mapped[list[str]]
    sealed: Mapped[bytes | None]


class SignInFailure(Base):
    """Sign-ins that failed in a row under one name, known or not, and under it from one source.

    Both are kept as keyed digests; the name as a whole has an empty source.
    """

    __tablename__ = "sign_in_failure"
    __table_args__ = (Index("ix_sign_in_failure_failed_at", "failed_at"),)
    name_digest: Mapped[bytes] = mapped_column(primary_key=True)
    source_digest: Mapped[bytes] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(Integer)
    failed_at: Mapped[datetime]
    locked_until: Mapped[datetime]


class StudyViewing(Base):
    """Since when somebody looks at a study: so a viewing has one audit record, whatever it fetches.

    Nothing refers to it and it refers to nothing: it says no more than that record, and goes with no erasure.
    """

    __tablename__ = "study_viewing"
    hospital_id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(primary_key=True)
    begun_at: Mapped[datetime]


class ImageGrant(Base):
    """A link by which a browser fetches the images of one person for somebody, for a short time; kept by its digest.

    It ends with the session that asked for it, if one did. It refers to nobody by key: it goes within a day.
    """

    __tablename__ = "image_grant"
    __table_args__ = (Index("ix_image_grant_expires_at", "expires_at"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    digest: Mapped[bytes] = mapped_column(unique=True)
    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"))
    subject: Mapped[str]
    role: Mapped[str]
    client_id: Mapped[str]
    account_id: Mapped[int | None]
    session_digest: Mapped[bytes | None]
    patient_id: Mapped[int]
    granted_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
