"""Up to which number a hospital's notices are settled, so that who goes on `after` a number misses none.

Numbers are given out in order and committed in any. A transaction that is about to write notices says so first, by a
shared lock that names the newest number then: its own will be greater. So: read the newest number, then who says so;
what is not above any of them is there for good, or never will be. Nobody is held up.
"""

from collections.abc import Collection
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from catalog.tables_people import Notice

_CLASS: Final = 0x4E_4F_00_00  # beside a hospital's id: two keys of 32 bits are all a lock can carry
_ANNOUNCE: Final = text("select pg_advisory_xact_lock_shared(:class, :newest)")
_ANNOUNCED: Final = text(
    "select min(objid::bigint) from pg_locks where locktype = 'advisory' and objsubid = 2 and granted"
    " and database = (select oid from pg_database where datname = current_database()) and classid::bigint = :class"
)


def announce(session: Session, hospital_ids: Collection[int]) -> None:
    """Say that this transaction is about to write notices of these hospitals."""
    for hospital_id in sorted(hospital_ids):
        newest = _newest(session, hospital_id)
        session.execute(_ANNOUNCE, {"class": _CLASS + hospital_id, "newest": newest})


def settled(session: Session, hospital_id: int) -> int:
    """Return the number up to which no notice of a hospital can appear any more."""
    newest = _newest(session, hospital_id)
    announced = session.scalar(_ANNOUNCED, {"class": _CLASS + hospital_id})
    return newest if announced is None else min(newest, announced)


def _newest(session: Session, hospital_id: int) -> int:
    return session.scalar(select(func.max(Notice.id)).where(Notice.hospital_id == hospital_id)) or 0
