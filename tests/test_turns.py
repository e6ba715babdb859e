"""A test that measures is alone; the others run side by side."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.turns import Turns


class Item:
    """All that is asked of a test."""

    def __init__(self, *marks: str) -> None:
        self.get_closest_marker = lambda name: name if name in marks else None


PLAIN, ALONE = Item("flow"), Item("alone")


def begin(worker: Turns, item: Item, following: Item | None = None) -> Any:
    """Begin a test; returns once it is its turn."""
    turn: Any = worker.pytest_runtest_protocol(item, following)  # type: ignore[arg-type]
    next(turn)
    return turn


def end(turn: Any) -> None:
    with suppress(StopIteration):
        turn.send(True)


class Beginning(threading.Thread):
    """Begins a test of another worker, in a thread that holds nothing up if its turn never comes."""

    def __init__(self, folder: Path, item: Item) -> None:
        super().__init__(daemon=True)
        self.turn: Any = None
        self._worker, self._item = Turns(folder), item
        self.start()

    def run(self) -> None:
        self.turn = begin(self._worker, self._item)

    def waits(self) -> bool:
        self.join(0.1)  # long enough to have got it
        return self.is_alive()

    def end(self) -> None:
        self.join(10)
        assert self.turn is not None, "its turn never came"
        end(self.turn)


def test_tests_run_side_by_side(tmp_path: Path) -> None:
    for turn in [begin(Turns(tmp_path), PLAIN) for _ in range(3)]:
        end(turn)


def test_a_test_that_measures_waits_for_those_that_run_and_all_others_wait_for_it(tmp_path: Path) -> None:
    running = [begin(Turns(tmp_path), PLAIN) for _ in range(2)]
    measuring = Beginning(tmp_path, ALONE)
    assert measuring.waits()
    late = Beginning(tmp_path, PLAIN)
    assert late.waits()
    end(running[0])
    assert measuring.waits()
    end(running[1])
    measuring.join(10)
    assert late.waits()
    measuring.end()
    late.end()


def test_tests_that_measure_and_follow_one_another_let_nobody_in_between(tmp_path: Path) -> None:
    worker = Turns(tmp_path)
    first = begin(worker, ALONE, ALONE)
    late = Beginning(tmp_path, PLAIN)
    end(first)
    assert late.waits()
    end(begin(worker, ALONE, PLAIN))
    late.end()


def test_those_that_measure_come_last_and_all_keep_their_order(tmp_path: Path) -> None:
    first, second, third, fourth = items = [Item("alone"), Item(), Item("alone"), Item("flow")]
    given: list[Any] = [*items]
    Turns(tmp_path).pytest_collection_modifyitems(given)
    assert given == [second, fourth, first, third]
