"""A test that measures is alone; the others run side by side."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.turns import Turns


class Item:
    """All that is asked of a test."""

    def __init__(self, *marks: str) -> None:
        self.get_closest_marker: Callable[[str], str | None] = lambda name: name if name in marks else None


def begin(folder: Path, *marks: str) -> Any:
    """Begin a test of a worker of its own; returns once it is its turn."""
    turn: Any = Turns(folder).pytest_runtest_protocol(Item(*marks))  # type: ignore[arg-type]
    next(turn)
    return turn


def end(turn: Any) -> None:
    with suppress(StopIteration):
        turn.send(True)


def waits(turn: "Future[Any]") -> bool:
    time.sleep(0.1)  # long enough to have got it
    return not turn.done()


def test_tests_run_side_by_side(tmp_path: Path) -> None:
    turns = [begin(tmp_path) for _ in range(3)]
    for turn in turns:
        end(turn)


def test_a_test_that_measures_waits_for_those_that_run_and_all_others_wait_for_it(tmp_path: Path) -> None:
    running = [begin(tmp_path), begin(tmp_path, "flow")]
    with ThreadPoolExecutor(2) as pool:
        measuring = pool.submit(begin, tmp_path, "alone")
        assert waits(measuring)
        late = pool.submit(begin, tmp_path)
        end(running[0])
        assert waits(measuring)
        end(running[1])
        alone = measuring.result(10)
        assert waits(late)
        end(alone)
        end(late.result(10))
