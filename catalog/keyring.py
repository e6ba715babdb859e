"""Rotation of the keys for ID numbers: a new key writes at once, old rows follow, then the old key can go.

Rows are people, by their documents, and hospitals' numbers that are documents (catalog.sealed_numbers).

Until the rows have followed, a number is looked up under every key. Each row says by the first bytes of its cipher
which key it has, so the work can stop anywhere and go on later, and is done when no row has another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, LargeBinary, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from catalog import audit
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, NotFound
from catalog.tables import Person
from catalog.tables_access import Account
from catalog.tables_people import SealedNumber
from catalog.totp import SEALED_AS
from catalog.vault import KEY_ID_BYTES, KeyPair, KeyRing, new_key_name

_LOCK: Final = 0x4B_45_59_53
_BATCH: Final = 500
Keyed = type[Person] | type[SealedNumber]


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key by its name, whether it writes, and how many people and hospitals' numbers still have it."""

    name: str
    current: bool
    people: int
    numbers: int


def share(session: Session) -> None:
    """Keep the current key current until this transaction ends: no rotation between hashing and writing."""
    session.execute(text("select pg_advisory_xact_lock_shared(:key)"), {"key": _LOCK})


def state(catalogue: Catalogue) -> list[KeyState]:
    """Return every key; one the file lacks stands there too, and what has it cannot be read."""
    ring = catalogue.vault.ring
    with transaction(catalogue.engine) as session:
        people, numbers = (_rows_by_key(session, table) for table in _TABLES)
    names = dict.fromkeys([*ring.keys, *people, *numbers])
    return [KeyState(name, name == ring.current, people.get(name, 0), numbers.get(name, 0)) for name in names]


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
    """Give every row the current key; `on_progress` is told how many are done and how many there are.

    Returns the people left as they are because the same number exists under the current key too: a curator
    must look at them. Raises IntegrityFault where a key is missing.
    """
    current = bytes.fromhex(catalogue.vault.ring.current)
    _rehash_accounts(catalogue, current)
    with transaction(catalogue.engine) as session:
        counts = [select(func.count()).select_from(table).where(_behind(table, current)) for table in _TABLES]
        total = sum(session.scalar(count) or 0 for count in counts)
    done, left = 0, []
    for table in _TABLES:
        after = 0
        while batch := _rows_behind(catalogue, table, current, after):
            kept = [row_id for row_id in batch if not _rehash_one(catalogue, table, row_id)]
            left += kept if table is Person else []
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
        if name == ring.current or _in_use(session, name):
            raise Conflict(
                "该密钥仍在使用,请先运行 huren keys rehash",
                "The key is still in use; run `huren keys rehash` first",
                code="key_in_use",
            )
        audit.record(session, caller, "keys.retire", key=name)
        session.flush()
        kept = {each: key for each, key in ring.keys.items() if each != name}
        catalogue.vault.replace(KeyRing(ring.current, kept))


_TABLES: Final[tuple[Keyed, ...]] = (Person, SealedNumber)
_ACCOUNT_KEY: Final[ColumnElement[bytes]] = func.substring(
    Account.totp_cipher, 1, KEY_ID_BYTES, type_=LargeBinary
)


def _key(table: Keyed) -> ColumnElement[bytes]:
    return func.substring(table.number_cipher, 1, KEY_ID_BYTES, type_=LargeBinary)


def _rows_by_key(session: Session, table: Keyed) -> dict[str, int]:
    key = _key(table)
    return {
        name.hex(): count for name, count in session.execute(select(key, func.count()).group_by(key)) if name
    }


def _in_use(session: Session, name: str) -> bool:
    """Say whether a person's or a hospital's number or an account's second factor still has a key."""
    key = bytes.fromhex(name)
    rows = [select(table.id).where(_key(table).is_not_distinct_from(key)) for table in _TABLES]
    rows.append(select(Account.id).where(_ACCOUNT_KEY.is_not_distinct_from(key)))
    return any(session.scalars(query.limit(1)).first() is not None for query in rows)


def _rehash_accounts(catalogue: Catalogue, current: bytes) -> None:
    """Seal the second factors of accounts, which are few, under the current key."""
    with transaction(catalogue.engine) as session:
        share(session)
        behind = Account.totp_cipher.is_not(None) & _ACCOUNT_KEY.is_distinct_from(current)
        for account in session.scalars(select(Account).where(behind).with_for_update()):
            secret = catalogue.vault.open(SEALED_AS, account.totp_cipher or b"")
            account.totp_cipher = catalogue.vault.seal(SEALED_AS, secret)


def _behind(table: Keyed, current: bytes) -> ColumnElement[bool]:
    """Rows with another key; nothing is left of who was erased."""
    return _key(table).is_distinct_from(current) & (func.length(table.number_cipher) > 0)


def _rows_behind(catalogue: Catalogue, table: Keyed, current: bytes, after: int) -> list[int]:
    with transaction(catalogue.engine) as session:
        query = select(table.id).where(_behind(table, current), table.id > after)
        return list(session.scalars(query.order_by(table.id).limit(_BATCH)))


def _rehash_one(catalogue: Catalogue, table: Keyed, row_id: int) -> bool:
    """One row, one transaction: two numbers that meet stop nobody else."""
    try:
        with transaction(catalogue.engine) as session:
            share(session)
            row: Any = session.get(table, row_id, with_for_update={"key_share": True})
            if row is None:  # erased meanwhile
                return True
            number = catalogue.vault.open(row.id_type, row.number_cipher)
            row.number_hash = catalogue.vault.digest(row.id_type, number)
            row.number_cipher = catalogue.vault.seal(row.id_type, number)
    except IntegrityError:
        return False
    return True
