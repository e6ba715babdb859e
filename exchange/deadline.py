"""Work with a deadline: a caller at the ordering screen is answered in time whatever the stores do."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from catalog.db import database_down

T = TypeVar("T")
StillWanted = Callable[[], bool]


class Deadline:
    """Has work done within `seconds`, in a bounded pool of threads or by whoever waits.

    Work in a thread goes on until its own time-outs; it is told whether anybody still waits, and must
    not commit when nobody does.
    """

    def __init__(self, seconds: float, threads: int) -> None:
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="deadline")

    @asynccontextmanager
    async def begun(self) -> AsyncIterator["Begun"]:
        """Yield the time that runs from now. Raises DatabaseDown when it is up."""
        try:
            async with asyncio.timeout(self._seconds):
                yield Begun(self._pool, time.monotonic() + self._seconds)
        except TimeoutError as error:
            raise database_down() from error

    async def run(self, work: Callable[[StillWanted], T]) -> T:
        """Return the result of `work`, done in a thread. Raises DatabaseDown when the time is up."""
        async with self.begun() as time_left:
            return await time_left.run(work)

    def close(self) -> None:
        """Take no more work and forget what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Begun:
    """Time that runs."""

    _pool: ThreadPoolExecutor
    _until: float

    def lasts(self) -> bool:
        """Say whether there is time left: that somebody waits."""
        return time.monotonic() < self._until

    async def run(self, work: Callable[[StillWanted], T]) -> T:
        """Return the result of `work`, done in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, self.lasts)
