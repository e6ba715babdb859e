"""What every table stands on: the naming of constraints, the types that annotations mean, a counted key."""

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
NOW = text("now()")


class Base(DeclarativeBase):
    """The declarative base; types follow the annotations below unless a column says otherwise."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a class attribute
        datetime: DateTime(timezone=True),
        date: Date,
        str: Text,
        int: BigInteger,
        bool: Boolean,
        bytes: LargeBinary,
        uuid.UUID: Uuid,
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
    }


def identity() -> Mapped[int]:
    """Return a primary key that the database counts up."""
    return mapped_column(BigInteger, Identity(always=True), primary_key=True)


def ranges(name: str, column: str) -> Index:
    """Return an index of what was written in about this order: small, and next to nothing to keep."""
    return Index(
        name,
        column,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
    )
