"""Sign-ins that fail in a row shut a name out, for longer each time; a name nobody has is shut out alike.

Where they come from one source it waits up to an hour. Everybody else waits two minutes at most, so that who guesses
does not keep the name's owner out.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog.context import Catalogue
from catalog.errors import TooMany
from catalog.tables_access import SignInFailure

FREE_TRIES: Final = 5
FIRST_WAIT: Final = timedelta(seconds=30)
LONGEST_WAIT: Final = timedelta(hours=1)
LONGEST_WAIT_OF_ALL: Final = timedelta(minutes=2)
_EVERY_SOURCE: Final = b""
_FORGOTTEN_AFTER: Final = timedelta(hours=24)


def refuse_locked(session: Session, catalogue: Catalogue, name: str, source: str = "") -> None:
    """Raise TooMany while a name is shut out, for everybody or for this source (an address, where it is known)."""
    query = select(func.max(SignInFailure.locked_until)).where(
        SignInFailure.name_digest == _digest(catalogue, name),
        SignInFailure.source_digest.in_([_EVERY_SOURCE, _source(catalogue, source)]),
    )
    until, now = session.scalar(query), catalogue.clock()
    if until is not None and until > now:
        seconds = int((until - now).total_seconds()) + 1
        raise TooMany(
            "登录失败次数过多,请稍后再试", "Too many failed sign-ins; try again later", seconds=seconds
        )


def count_failure(session: Session, catalogue: Catalogue, name: str, source: str = "") -> int:
    """Count a failure, shut out beyond the free tries, and return how many the name had in a row."""
    stale = SignInFailure.failed_at < catalogue.clock() - _FORGOTTEN_AFTER
    session.execute(delete(SignInFailure).where(stale))
    if source:
        _count(session, catalogue, name, _source(catalogue, source), LONGEST_WAIT)
    return _count(session, catalogue, name, _EVERY_SOURCE, LONGEST_WAIT_OF_ALL)


def forget(session: Session, catalogue: Catalogue, name: str) -> None:
    """Begin to count anew, for every source."""
    session.execute(delete(SignInFailure).where(SignInFailure.name_digest == _digest(catalogue, name)))


def _count(session: Session, catalogue: Catalogue, name: str, source: bytes, longest: timedelta) -> int:
    now, key = catalogue.clock(), (_digest(catalogue, name), source)
    fresh = {
        "name_digest": key[0],
        "source_digest": source,
        "count": 0,
        "failed_at": now,
        "locked_until": now,
    }
    session.execute(insert(SignInFailure).values(fresh).on_conflict_do_nothing())
    row = session.get_one(SignInFailure, key, with_for_update=True, populate_existing=True)
    row.count, row.failed_at = row.count + 1, now
    row.locked_until = _until(row.count, now, longest)
    return row.count


def _until(count: int, now: datetime, longest: timedelta) -> datetime:
    if count < FREE_TRIES:
        return now
    doubled: timedelta = FIRST_WAIT * 2 ** min(count - FREE_TRIES, 10)
    return now + min(longest, doubled)


def _digest(catalogue: Catalogue, name: str) -> bytes:
    """A keyed digest: people type passwords into the field for the name."""
    return catalogue.vault.digest("account", name)


def _source(catalogue: Catalogue, source: str) -> bytes:
    return catalogue.vault.digest("source", source) if source else _EVERY_SOURCE


def locked(session: Session, catalogue: Catalogue, names: Collection[str]) -> dict[str, datetime]:
    """Return until when names are shut out, for those that are, from whatever source."""
    digests = {_digest(catalogue, name): name for name in names}
    query = (
        select(SignInFailure.name_digest, func.max(SignInFailure.locked_until))
        .where(SignInFailure.name_digest.in_(digests), SignInFailure.locked_until > catalogue.clock())
        .group_by(SignInFailure.name_digest)
    )
    return {digests[digest]: until for digest, until in session.execute(query).tuples()}
