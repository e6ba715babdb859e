"""What waits for the object store waits in threads of its own: a slow one takes none from the ordering screens."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from catalog.errors import ObjectStoreDown

T = TypeVar("T")
_THREADS: Final = 16  # as many as the store's client keeps connections
_AT_ONCE: Final = 256  # half of the requests the service takes at once


class StoreThreads:
    """A bounded pool; what is beyond `at_once`, waiting or under way, is refused at once."""

    def __init__(self, threads: int = _THREADS, at_once: int = _AT_ONCE) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="store")
        self._room = threading.BoundedSemaphore(at_once)

    async def run(self, work: Callable[[], T]) -> T:
        """Return the result of `work`. Raises ObjectStoreDown where too much waits already."""
        if not self._room.acquire(blocking=False):
            raise store_busy()
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: self._room.release())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Take no more work and forget what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def store_busy() -> ObjectStoreDown:
    """Return the error that says that too much is asked of the object store."""
    return ObjectStoreDown(
        "正在读取的文件过多,请稍后再试",
        "Too many documents are being read; try again soon",
        code="store_busy",
    )
