"""What follows for the books when something is learnt of a person: what was repeated, then money."""

from collections.abc import Callable, Collection
from types import MappingProxyType
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from catalog import groups, ledger, repeats
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.ledger import Sums
from catalog.scope import books
from catalog.tables import Result

_PAGE: Final = 1_000


@books
def settle(
    session: Session,
    catalogue: Catalogue,
    person_id: int,
    *,
    people: Collection[int] = (),
    counted: Sums = MappingProxyType({}),
) -> dict[int, int]:
    """Bring everything kept of a person's examinations and decisions in line with them; returns as `ledger.settle`.

    The caller holds the person's lock (`people.lock`).
    """
    repeats.settle(session, catalogue, person_id)
    return ledger.settle(session, catalogue, person_id, people=people, counted=counted)


def settle_everybody(catalogue: Catalogue, *, on_progress: Callable[[str, int, int], None]) -> int:
    """Settle everybody who has a result, one by one, and return how many; what is settled stays as it is.

    For what was catalogued before the books knew of repeats, or after quality, marks or sharing were ruled anew.
    """
    with transaction(catalogue.engine) as session:
        last = session.scalar(select(func.max(Result.person_id))) or 0
    settled = after = 0
    while people := _after(catalogue, after):
        for after in people:
            with transaction(catalogue.engine) as session:
                groups.lock(session, {after})
                settle(session, catalogue, after)
        settled += len(people)
        on_progress(f"{settled:,}", after, last)
    return settled


def _after(catalogue: Catalogue, person_id: int) -> list[int]:
    query = select(Result.person_id).where(Result.person_id > person_id).distinct()
    with transaction(catalogue.engine) as session:
        found = session.scalars(query.order_by(Result.person_id).limit(_PAGE))
        return [each for each in found if each is not None]
