"""Migrations: run by `huren migrate`, never at the start of a service."""

from pathlib import Path
from typing import Final

from sqlalchemy import Engine, inspect, text

from catalog import row_security

NEWEST: Final = "0040"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LOCK_KEY: Final = 0x48_55_52_45_4E


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision, rights and policies with it; two callers at once do it once."""
    from alembic import command  # a command that only asks for the revision need not load it
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        if MigrationContext.configure(connection).get_current_revision() == NEWEST:
            return
        # An index of years of results takes its time.
        connection.execute(text("set local statement_timeout = 0"))
        config.attributes["connection"] = connection
        command.upgrade(config, NEWEST)
        row_security.apply(connection)


def current(engine: Engine) -> str | None:
    """Return the revision the database is at, or None for one that is empty, or older than the roles it is read by."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        if not connection.scalar(text("select has_table_privilege('alembic_version', 'select')")):
            return None
        found: str | None = connection.scalar(text("select version_num from alembic_version"))
        return found
