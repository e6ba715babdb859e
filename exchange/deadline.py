"""Work with a deadline: a caller at the ordering screen is answered in time whatever the stores do."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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

    async def run(self, work: Callable[[StillWanted], T]) -> T:
        """Return the result of `work`. Raises DatabaseDown when the time is up."""
        expires = time.monotonic() + self._seconds
        doing = asyncio.get_running_loop().run_in_executor(
            self._pool, work, lambda: time.monotonic() < expires
        )
        try:
            async with asyncio.timeout(self._seconds):
                return await doing
        except TimeoutError as error:
            raise database_down() from error

    def close(self) -> None:
        """Take no more work and forget what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)
