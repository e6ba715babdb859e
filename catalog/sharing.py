"""A person's own wish about sharing: opted out, nothing of him is shown to anybody, that wish included."""

from collections.abc import Collection

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from catalog import audit, groups, people
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict
from catalog.identity import Demographics, Document, conflicts
from catalog.registry import hospital_by_code
from catalog.tables import Person
from catalog.tables_people import IdentityEvent


def is_shared(session: Session, people: Collection[int]) -> bool:
    """Say whether all of these people, a person and those merged with him, let results be shown to doctors."""
    query = select(exists().where(Person.id.in_(people), Person.opted_out))
    return not session.scalar(query)


def set_sharing(
    catalogue: Catalogue, caller: Caller, document: Document, given: Demographics, *, shared: bool
) -> None:
    """Keep the wish of the person with this document; it holds at once, also for what is still to come.

    The answer is the same whether the person is known or not. Raises Conflict (`identity_unconfirmed`) where
    sharing is to be allowed again and name, sex or birth date contradict what is known.
    """
    with transaction(catalogue.engine) as session:
        hospital_id = hospital_by_code(session, caller.hospital_code).id if caller.hospital_code else None
        person = people.find(session, catalogue, document)
        clash = conflicts(people.demographics(person), given, document) if person else ()
        if clash and shared:
            raise Conflict(
                "姓名、性别或出生日期与证件登记不符,不能恢复共享",
                "Name, sex or birth date do not fit the document; sharing stays off",
                code="identity_unconfirmed",
            )
        if person is None:
            person, _ = people.register(session, catalogue, document, Demographics())
        locked = groups.lock(session, {person.id})
        wish = "opt_in" if shared else "opt_out"
        session.execute(update(Person).where(Person.id.in_(locked)).values(opted_out=not shared))
        session.add(
            IdentityEvent(
                kind=wish,
                person_id=person.id,
                reason="",
                caller=caller.subject,
                created_at=catalogue.clock(),
            )
        )
        audit.record(session, caller, f"sharing.{wish}", hospital_id=hospital_id, person_id=person.id)
