"""What every test may ask for: real stores, a fresh database, and tools that must be there in CI."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from catalog.embedded import Embedded, Services
from catalog.objects import ObjectStore


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """Own one PostgreSQL and one S3 server for the whole session."""
    with Embedded(tmp_path_factory.mktemp("services"), own=True) as servers:
        yield servers


@pytest.fixture(scope="session")
def services(embedded: Embedded) -> Services:
    """Return the addresses of the session's servers; S3 may still be coming up."""
    return embedded.services


@pytest.fixture(scope="session")
def s3_store(embedded: Embedded) -> Iterator[ObjectStore]:
    """Return a client of the session's object store, once it answers and the bucket is there."""
    embedded.wait_s3()
    assert embedded.services.s3 is not None
    with ObjectStore(embedded.services.s3) as store:
        store.ensure_bucket()
        yield store


@pytest.fixture(scope="module")
def database_url(services: Services) -> Iterator[str]:
    """Return the address of an empty database of this test module's own."""
    yield from _fresh_database(services)


@pytest.fixture
def fresh_database_url(services: Services) -> Iterator[str]:
    """Return the address of an empty database of this test's own."""
    yield from _fresh_database(services)


def _fresh_database(services: Services) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    _execute(services, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield f"{services.database_url.rpartition('/')[0]}/{name}"
    _execute(services, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(services: Services, statement: sql.Composed) -> None:
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """Return a function that finds a program: absent, the test is skipped on a laptop and fails in CI."""
    return _require_tool


def _require_tool(name: str) -> str:
    found = shutil.which(
        name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    )
    if found is None:
        missing = f"{name} 未安装 / {name} is not installed"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(missing)
        pytest.skip(missing)
    return str(Path(found))
