"""What follows for the books when something is learnt of a person: what was repeated, then money."""

from collections.abc import Collection
from types import MappingProxyType

from sqlalchemy.orm import Session

from catalog import ledger, repeats
from catalog.context import Catalogue
from catalog.ledger import Sums
from catalog.scope import books


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
