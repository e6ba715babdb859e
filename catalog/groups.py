"""People whom a curator found to be one human being: a group, seen as one by every check and by the books."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, exists, or_
from sqlalchemy.orm import Session, aliased

from catalog import db, scope
from catalog.tables import Person


def members(session: Session, person_ids: Iterable[int]) -> frozenset[int]:
    """Return these people and everybody merged with them, and let the transaction see them."""
    asked = frozenset(person_ids)
    return asked | scope.open_people(session, asked) if asked else asked


def holds(person_id: Any, other_id: Any) -> ColumnElement[bool]:
    """Say within a query whether two people are one, or merged; both are columns and may be empty."""
    mine, other = aliased(Person), aliased(Person)
    one = or_(other.id == mine.id, other.group_id == mine.group_id)
    found = exists().where(mine.id == person_id, other.id == other_id, one)
    return found.correlate_except(mine, other)  # of whichever enclosing query the columns are


def lock(session: Session, person_ids: Iterable[int]) -> frozenset[int]:
    """Serialise what changes these people's results, decisions or money until the transaction ends.

    Returns everybody locked: those merged with them are locked too, also by a merge waited for. As for the exchange's
    books, all of them may be seen from then on.
    """
    session.flush()
    ((locked,),) = db.rows(session, "select lock_people(%(asked)s::bigint[])", {"asked": sorted(person_ids)})
    return frozenset(locked)
