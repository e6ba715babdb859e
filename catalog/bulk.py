"""Loading tables in bulk: indexes, foreign keys and notes of changes off, and put back exactly as they were, checked anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

OnProgress = Callable[[int, int], None]

_FOREIGN_KEYS: Final = text("""
    select conname as name, conrelid::regclass::text as on_table, pg_get_constraintdef(oid) as definition
    from pg_constraint
    where contype = 'f' and (conrelid = any(cast(:tables as regclass[])) or confrelid = any(cast(:tables as regclass[])))
    order by conrelid::regclass::text, conname
""")
_KEYS: Final = text("""
    select conname as name, conrelid::regclass::text as on_table, pg_get_constraintdef(oid) as definition
    from pg_constraint
    where contype in ('p', 'u') and conrelid = any(cast(:tables as regclass[]))
    order by conrelid::regclass::text, conname
""")
_INDEXES: Final = text("""
    select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition
    from pg_index
    where indrelid = any(cast(:tables as regclass[]))
      and not exists (select from pg_constraint where conindid = indexrelid and contype in ('p', 'u', 'x'))
    order by indrelid::regclass::text, 1
""")

# What notes changed months would keep a copy of every row until the statement ends.
_NOTES: Final = text("""
    select tgname as name, tgrelid::regclass::text as on_table from pg_trigger
    where starts_with(tgname, 'note_supply') and tgrelid = any(cast(:tables as regclass[])) order by 2, 1
""")


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken off: the statements that make each key and index again, in order."""

    statements: tuple[str, ...]


def take_off(connection: Connection, tables: Sequence[str]) -> Taken:
    """Drop the keys and indexes of these tables, and the foreign keys from and to them, until `put_back`.

    Changes are not noted meanwhile (catalog.supply_refresh). All of it belongs to the caller's transaction: undone as a whole, it leaves everything as it was.
    """
    asked = {"tables": list(tables)}
    foreign = connection.execute(_FOREIGN_KEYS, asked).all()
    keys = connection.execute(_KEYS, asked).all()
    indexes = connection.execute(_INDEXES, asked).all()
    notes = connection.execute(_NOTES, asked).all()
    for row in (*foreign, *keys):
        connection.exec_driver_sql(f'alter table {row.on_table} drop constraint "{row.name}"')
    for row in indexes:
        connection.exec_driver_sql(f"drop index {row.name}")
    for row in notes:
        connection.exec_driver_sql(f"alter table {row.on_table} disable trigger {row.name}")
    constraints = [
        f'alter table {row.on_table} add constraint "{row.name}" {row.definition}'
        for row in (*keys, *foreign)
    ]
    indexed = [row.definition for row in indexes]
    noting = [f"alter table {row.on_table} enable trigger {row.name}" for row in notes]
    return Taken((*constraints[: len(keys)], *indexed, *constraints[len(keys) :], *noting))


def put_back(connection: Connection, taken: Taken, on_progress: OnProgress) -> None:
    """Build what was taken off, keys before the foreign keys that lean on them; each is checked against the rows."""
    connection.exec_driver_sql("set local maintenance_work_mem = '1GB'")
    for done, statement in enumerate(taken.statements, 1):
        connection.exec_driver_sql(statement)
        on_progress(done, len(taken.statements))
