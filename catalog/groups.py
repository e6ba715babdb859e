"""People whom a curator found to be one human being: a group, seen as one by every check and by the books."""

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session, aliased

from catalog import scope
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


@scope.books
def lock(session: Session, person_ids: Iterable[int]) -> frozenset[int]:
    """Serialise what changes these people's results, decisions or money until the transaction ends.

    Returns everybody locked: those merged with them are locked too, also by a merge waited for.
    """
    locked: dict[int, int | None] = {}
    wanted: Collection[int] = members(session, person_ids)
    while wanted - locked.keys():
        query = select(Person.id, Person.group_id).where(_together(wanted)).order_by(Person.id)
        found = dict(session.execute(query.with_for_update(key_share=True)).tuples().all())
        news = {group for each, group in found.items() if group is not None and locked.get(each) != group}
        locked = {**dict.fromkeys(wanted), **found}
        if news:  # somebody may have joined the group while this waited
            wanted = set(members(session, found))
    return frozenset(locked)


def _together(asked: Collection[int]) -> ColumnElement[bool]:
    mine = aliased(Person)
    shared = select(mine.group_id).where(mine.id.in_(asked), mine.group_id.is_not(None))
    return or_(Person.id.in_(asked), Person.group_id.in_(shared))
