"""Threads of their own for passwords: anybody may send some, and no other route is to wait for that."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from catalog.errors import TooMany

AT_ONCE: Final = 4  # each hash takes 64 MiB and a core for a tenth of a second
MOST_WAITING: Final = 16
_RETRY_SECONDS: Final = 2

T = TypeVar("T")


class PasswordWork:
    """Does a little at once, lets a little wait, and turns away the rest."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")
        self._places = threading.BoundedSemaphore(AT_ONCE + MOST_WAITING)

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns. Raises TooMany at once where enough wait already."""
        if not self._places.acquire(blocking=False):
            raise TooMany(
                "登录请求过多,请稍后再试",
                "Too many sign-ins at once; try again later",
                seconds=_RETRY_SECONDS,
            )
        doing = self._pool.submit(work)
        doing.add_done_callback(self._leave)
        return await asyncio.wrap_future(doing)

    def close(self) -> None:
        """Take no more work and forget what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _: Future[T]) -> None:
        self._places.release()
