"""People whom a curator found to be one human being: a group, seen as one by every check and by the books."""

from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from catalog.tables import Person


def members(session: Session, person_ids: Iterable[int]) -> frozenset[int]:
    """Return these people and everybody merged with them."""
    asked = set(person_ids)
    mine = aliased(Person)
    shared = select(mine.group_id).where(mine.id.in_(asked), mine.group_id.is_not(None))
    return frozenset(asked.union(session.scalars(select(Person.id).where(Person.group_id.in_(shared)))))


def group_of_each(session: Session, person_ids: Iterable[int]) -> dict[int, int]:
    """Return the group of each person: that of the merged, or a group of one's own."""
    query = select(Person.id, func.coalesce(Person.group_id, Person.id)).where(Person.id.in_(set(person_ids)))
    return dict(session.execute(query).tuples().all())


def lock(session: Session, person_ids: Iterable[int]) -> frozenset[int]:
    """Serialise what changes these people's results, decisions or money until the transaction ends.

    Returns everybody locked: those merged with them are locked too, also by a merge waited for.
    """
    locked: frozenset[int] = frozenset()
    while (wanted := members(session, set(person_ids) | locked)) != locked:
        query = select(Person.id).where(Person.id.in_(wanted)).order_by(Person.id)
        session.execute(query.with_for_update(key_share=True))
        locked = wanted
    return locked
