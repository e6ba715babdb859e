"""The migrations make exactly the tables, up and down, once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

import catalog
import catalog.tables_access
import catalog.tables_asking
import catalog.tables_audit
import catalog.tables_cds
import catalog.tables_dicom
import catalog.tables_reports  # these tables join Base.metadata
from catalog.db import open_engine, transaction
from catalog.reference import load_reference_data
from catalog.schema import NEWEST, current, migrate
from catalog.tables import Price, Region
from catalog.tables_base import Base

MIGRATIONS = Path(catalog.__file__).parent / "migrations"


def configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def test_migrating_an_empty_database_gives_the_tables_and_nothing_else(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    assert current(engine) is None
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: migrate(engine), range(4)))
    assert current(engine) == NEWEST
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_the_revision_this_release_needs_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(configuration()).get_current_head() == NEWEST


def test_a_migration_may_take_as_long_as_it_needs_and_waits_for_no_lock(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[Any] = []

    def read_limits(config: Config, _revision: str) -> None:
        for name in ("statement_timeout", "lock_timeout"):
            limits.append(config.attributes["connection"].scalar(text(f"show {name}")))

    monkeypatch.setattr(command, "upgrade", read_limits)
    engine = open_engine(empty_database_url)
    migrate(engine)
    engine.dispose()
    assert limits == ["0", "5s"]


def test_migrations_can_be_taken_back(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    migrate(engine)
    config = configuration()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_reference_data_is_loaded_once_and_stays(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    migrate(engine)
    for _ in range(2):
        with transaction(engine) as session:
            load_reference_data(session)
            assert session.query(Price).count() == 336
            assert session.get_one(Region, "500107").parent_code == "50"
            assert session.get_one(Region, "CY").members == ["50", "51"]
    engine.dispose()
