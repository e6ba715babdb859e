"""What benchmarks share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the volume that is to be measured; nothing is left in it."""
    place = Path(os.environ.get("HUREN_BENCH_DIR") or tmp_path_factory.mktemp("bench")) / uuid4().hex
    place.mkdir(parents=True)
    yield place
    shutil.rmtree(place)
