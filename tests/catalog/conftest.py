"""A catalogue on a fresh database, and a city that acts on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.city import City, open_catalogue


@pytest.fixture
def city(fresh_database_url: str, tmp_path: Path) -> Iterator[City]:
    """A city without hospitals, at noon of 30 June 2026; its clock is `city.now`."""
    made: list[City] = []
    catalogue = open_catalogue(fresh_database_url, tmp_path, lambda: made[0].now)
    made.append(City(catalogue))
    yield made[0]
    catalogue.engine.dispose()
