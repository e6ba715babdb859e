"""Rotation of the keys for ID numbers: a new key writes at once, old rows follow, then the old key can go.

Until the rows have followed, a number is looked up under every key. Each row says by the first bytes of its cipher
which key it has, so the work can stop anywhere and go on later, and is done when no row has another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, LargeBinary, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from catalog import audit
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, NotFound
from catalog.tables import Person
from catalog.tables_access import Account
from catalog.totp import SEALED_AS
from catalog.vault import KEY_ID_BYTES, KeyPair, KeyRing, new_key_name

_LOCK: Final = 0x4B_45_59_53
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key by its name, whether it writes, and how many people still have it."""

    name: str
    current: bool
    people: int


def share(session: Session) -> None:
    """Keep the current key current until this transaction ends: no rotation between hashing and writing."""
    session.execute(text("select pg_advisory_xact_lock_shared(:key)"), {"key": _LOCK})


def state(catalogue: Catalogue) -> list[KeyState]:
    """Return every key; one the file lacks stands there too, and its people cannot be read."""
    ring = catalogue.vault.ring
    with transaction(catalogue.engine) as session:
        counts = {name.hex(): count for name, count in session.execute(_PEOPLE_BY_KEY) if name}
    names = [*ring.keys, *(name for name in counts if name not in ring.keys)]
    return [KeyState(name, name == ring.current, counts.get(name, 0)) for name in names]


def rotate(catalogue: Catalogue, caller: Caller, *, prepare: bool = False) -> str:
    """Add a key and let it write from now on; with `prepare` it can only be looked up under. Returns its name.

    Where several machines have copies of the file, prepare, copy the file to each, then rotate: a key that was
    prepared is taken before a new one is made.
    """
    with transaction(catalogue.engine) as session:
        session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        ring = catalogue.vault.ring
        newest = list(ring.keys)[-1]
        name = newest if newest != ring.current and not prepare else new_key_name()
        keys = ring.keys if name in ring.keys else {**ring.keys, name: KeyPair.fresh()}
        ordered = {**{each: key for each, key in keys.items() if each != name}, name: keys[name]}
        audit.record(session, caller, "keys.prepare" if prepare else "keys.rotate", key=name)
        session.flush()
        catalogue.vault.replace(KeyRing(ring.current if prepare else name, ordered))
        return name


def rehash(catalogue: Catalogue, on_progress: Callable[[int, int], None] = lambda *_: None) -> list[int]:
    """Give every person the current key; `on_progress` is told how many are done and how many there are.

    Returns the people left as they are because the same number exists under the current key too: a curator
    must look at them. Raises IntegrityFault where a key is missing.
    """
    current = bytes.fromhex(catalogue.vault.ring.current)
    _rehash_accounts(catalogue, current)
    with transaction(catalogue.engine) as session:
        total = session.scalar(select(func.count()).select_from(Person).where(_behind(current))) or 0
    done, after, left = 0, 0, []
    while batch := _people_behind(catalogue, current, after):
        for person_id in batch:
            if not _rehash_one(catalogue, person_id):
                left.append(person_id)
        done, after = done + len(batch), batch[-1]
        on_progress(done, total)
    return left


def retire(catalogue: Catalogue, caller: Caller, name: str) -> None:
    """Take a key out of the file. Raises NotFound, or Conflict while it writes or anybody still has it."""
    with transaction(catalogue.engine) as session:
        session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        ring = catalogue.vault.ring
        if name not in ring.keys:
            raise NotFound("没有该密钥", "No such key", code="unknown_key")
        if name == ring.current or _in_use(session, bytes.fromhex(name)):
            raise Conflict(
                "该密钥仍在使用,请先运行 huren keys rehash",
                "The key is still in use; run `huren keys rehash` first",
                code="key_in_use",
            )
        audit.record(session, caller, "keys.retire", key=name)
        session.flush()
        kept = {each: key for each, key in ring.keys.items() if each != name}
        catalogue.vault.replace(KeyRing(ring.current, kept))


_KEY: Final[ColumnElement[bytes]] = func.substring(Person.number_cipher, 1, KEY_ID_BYTES, type_=LargeBinary)
_ACCOUNT_KEY: Final[ColumnElement[bytes]] = func.substring(
    Account.totp_cipher, 1, KEY_ID_BYTES, type_=LargeBinary
)
_PEOPLE_BY_KEY: Final = select(_KEY, func.count()).group_by(_KEY)


def _in_use(session: Session, key: bytes) -> bool:
    """Say whether a person's number or an account's second factor still has a key."""
    person = select(Person.id).where(_KEY.is_not_distinct_from(key)).limit(1)
    account = select(Account.id).where(_ACCOUNT_KEY.is_not_distinct_from(key)).limit(1)
    return session.scalars(person).first() is not None or session.scalars(account).first() is not None


def _rehash_accounts(catalogue: Catalogue, current: bytes) -> None:
    """Seal the second factors of accounts, which are few, under the current key."""
    with transaction(catalogue.engine) as session:
        share(session)
        behind = Account.totp_cipher.is_not(None) & _ACCOUNT_KEY.is_distinct_from(current)
        for account in session.scalars(select(Account).where(behind).with_for_update()):
            secret = catalogue.vault.open(SEALED_AS, account.totp_cipher or b"")
            account.totp_cipher = catalogue.vault.seal(SEALED_AS, secret)


def _behind(current: bytes) -> ColumnElement[bool]:
    """Rows with another key; nothing is left of who was erased."""
    return _KEY.is_distinct_from(current) & (func.length(Person.number_cipher) > 0)


def _people_behind(catalogue: Catalogue, current: bytes, after: int) -> list[int]:
    with transaction(catalogue.engine) as session:
        query = select(Person.id).where(_behind(current), Person.id > after)
        return list(session.scalars(query.order_by(Person.id).limit(_BATCH)))


def _rehash_one(catalogue: Catalogue, person_id: int) -> bool:
    """One row, one transaction: two numbers that meet stop nobody else."""
    try:
        with transaction(catalogue.engine) as session:
            share(session)
            person = session.get_one(Person, person_id, with_for_update={"key_share": True})
            number = catalogue.vault.open(person.id_type, person.number_cipher)
            person.number_hash = catalogue.vault.digest(person.id_type, number)
            person.number_cipher = catalogue.vault.seal(person.id_type, number)
    except IntegrityError:
        return False
    return True
