"""What every test may ask for: real stores, a fresh database, and tools that must be there in CI."""

import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql

from catalog import embedded_postgres
from catalog.db import open_engine
from catalog.embedded import Embedded, Services
from catalog.objects import ObjectStore
from tests.canaries import leaks, leaks_below
from tests.city import prepare
from tests.needs import find_tool, mount_volume

settings.register_profile("huren", deadline=2000)  # ms an example; what else runs here is no property of ours
settings.load_profile("huren")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test whose processes wrote of a patient to their log or terminal (FAULTS A15)."""
    report = yield
    if found := leaks("\n".join(content for _, content in report.sections)):
        report.outcome, report.longrepr = (
            "failed",
            "what was written tells of a patient:\n" + "\n".join(found),
        )
    return report


@pytest.fixture(scope="session", autouse=True)
def nothing_told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail at the end where the log or the run folder of any process tells of a patient (FAULTS A15)."""
    yield
    assert leaks_below(tmp_path_factory.getbasetemp()) == []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with long tests first: begun last, one would keep one worker busy while the others have nothing."""
    long = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """Own one PostgreSQL and one S3 server for the whole session.

    This PostgreSQL does not wait for the disk: tests kill processes, never the machine, and what a killed process
    wrote the kernel has. Waiting would be a third of the whole run's time.
    """
    with ExitStack() as stack:
        with patch.dict(embedded_postgres.CONFIGURATION, fsync="off", full_page_writes="off"):
            servers = stack.enter_context(Embedded(tmp_path_factory.mktemp("services"), own=True))
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


@pytest.fixture(scope="session")
def template(services: Services) -> str:
    """Return the name of a database with the newest schema and the reference data, made once and only copied."""
    name = "template_of_tests"
    _execute(services, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    engine = open_engine(_address(services, name))
    prepare(engine)
    engine.dispose()  # what somebody is connected to cannot be copied
    return name


@pytest.fixture(scope="module")
def database_url(services: Services, template: str) -> Iterator[str]:
    """Return the address of a catalogue of this test module's own: newest schema, reference data, no rows."""
    yield from _own_database(services, template)


@pytest.fixture
def fresh_database_url(services: Services, template: str) -> Iterator[str]:
    """Return the address of a catalogue of this test's own: newest schema, reference data, no rows."""
    yield from _own_database(services, template)


@pytest.fixture
def empty_database_url(services: Services) -> Iterator[str]:
    """Return the address of a database of this test's own that has not even a table."""
    yield from _own_database(services, "template1")


def _own_database(services: Services, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    own = sql.Identifier(name)
    _execute(services, sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(own, sql.Identifier(template)))
    yield _address(services, name)
    _execute(services, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(own))


def _address(services: Services, database: str) -> str:
    return f"{services.owner_url.rpartition('/')[0]}/{database}"


def _execute(services: Services, statement: sql.Composed) -> None:
    with psycopg.connect(services.owner_url, autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """Return a function that finds a program: absent, the test is skipped on a laptop and fails in CI."""
    return find_tool


@pytest.fixture
def small_volume() -> Iterator[Callable[[Path, int], Path]]:
    """Return a function that mounts a volume of so many MiB at a place.

    What holds files open in it must be set up later than this fixture: then it ends before the volume does.
    """
    mounted: list[Path] = []

    def mount(place: Path, size_mib: int) -> Path:
        mount_volume(place, size_mib)
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)
