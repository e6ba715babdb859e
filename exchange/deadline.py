"""Work with a deadline: a caller at the ordering screen is answered in time whatever the stores do."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from typing import TypeVar

from catalog.db import database_down

T = TypeVar("T")
StillWanted = Callable[[], bool]


class Deadline:
    """Runs work in a bounded pool and stops waiting for it after `seconds`.

    The work itself goes on until its own time-outs; it is told whether anybody still waits, and must
    not commit when nobody does.
    """

    def __init__(self, seconds: float, threads: int) -> None:
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="deadline")

    def run(self, work: Callable[[StillWanted], T]) -> T:
        """Return the result of `work`. Raises DatabaseDown when the time is up."""
        expires = time.monotonic() + self._seconds
        future: Future[T] = self._pool.submit(work, lambda: time.monotonic() < expires)
        try:
            return future.result(self._seconds)
        except TimeoutError as error:
            future.cancel()
            raise database_down() from error

    def close(self) -> None:
        """Take no more work and forget what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)
