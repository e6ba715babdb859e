"""Migrations: run by `huren migrate`, never at the start of a service."""

from pathlib import Path
from typing import Final

from sqlalchemy import Engine, inspect, text

NEWEST: Final = "0021"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LOCK_KEY: Final = 0x48_55_52_45_4E


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision; two callers at once do it once."""
    from alembic import command  # a command that only asks for the revision need not load it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        connection.execute(
            text("set local statement_timeout = 0")
        )  # an index of years of results takes its time
        config.attributes["connection"] = connection
        command.upgrade(config, NEWEST)


def current(engine: Engine) -> str | None:
    """Return the revision the database is at, or None for an empty database."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(text("select version_num from alembic_version"))
        return found
