"""Sign-ins that fail in a row shut a name out, for longer each time; a name nobody has is shut out alike."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog.context import Catalogue
from catalog.errors import TooMany
from catalog.tables_access import SignInFailure

FREE_TRIES: Final = 5
FIRST_WAIT: Final = timedelta(seconds=30)
LONGEST_WAIT: Final = timedelta(hours=1)
_FORGOTTEN_AFTER: Final = timedelta(hours=24)


def refuse_locked(session: Session, catalogue: Catalogue, name: str) -> None:
    """Raise TooMany while a name is shut out."""
    found = session.get(SignInFailure, _digest(catalogue, name))
    now = catalogue.clock()
    if found is not None and found.locked_until > now:
        seconds = int((found.locked_until - now).total_seconds()) + 1
        raise TooMany(
            "登录失败次数过多,请稍后再试", "Too many failed sign-ins; try again later", seconds=seconds
        )


def count_failure(session: Session, catalogue: Catalogue, name: str) -> int:
    """Count a failure, shut the name out beyond the free tries, and return how many there were in a row."""
    now, digest = catalogue.clock(), _digest(catalogue, name)
    session.execute(delete(SignInFailure).where(SignInFailure.failed_at < now - _FORGOTTEN_AFTER))
    fresh = {"name_digest": digest, "count": 0, "failed_at": now, "locked_until": now}
    session.execute(insert(SignInFailure).values(fresh).on_conflict_do_nothing())
    row = session.get_one(SignInFailure, digest, with_for_update=True, populate_existing=True)
    row.count, row.failed_at = row.count + 1, now
    row.locked_until = _until(row.count, now)
    return row.count


def forget(session: Session, catalogue: Catalogue, name: str) -> None:
    """Begin to count anew."""
    session.execute(delete(SignInFailure).where(SignInFailure.name_digest == _digest(catalogue, name)))


def _until(count: int, now: datetime) -> datetime:
    if count < FREE_TRIES:
        return now
    doubled: timedelta = FIRST_WAIT * 2 ** min(count - FREE_TRIES, 10)
    return now + min(LONGEST_WAIT, doubled)


def _digest(catalogue: Catalogue, name: str) -> bytes:
    """A keyed digest: people type passwords into the field for the name."""
    return catalogue.vault.digest("account", name)
