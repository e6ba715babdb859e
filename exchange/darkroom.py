"""Where pictures are made: a few limited processes (exchange.picture_child), each kept while it behaves.

A child that ends, or does not answer in time, costs the one picture it was making; another takes its place. Asking is
for threads: whoever waits here waits in one.
"""

import asyncio
import contextlib
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, Any, Final, cast

import orjson

from catalog.errors import Unavailable
from exchange.pictures import Shades, View
from exchange.pixels import Stored
from exchange.problems import NoPicture

WALL_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 60.0
FRAME_LIMIT_BYTES: Final = 64 << 20
_START_SECONDS: Final = 30.0
_ANSWER_LIMIT_BYTES: Final = 64 << 20
_READ_BYTES: Final = 1 << 20
_WAITING: Final = 256


@dataclass(frozen=True, slots=True)
class Negative:
    """What a picture is made of: the stored frame, how it is stored, its shades, and bytes of their tables by name."""

    frame: bytes = field(repr=False)
    stored: Stored
    shades: Shades
    tables: Mapping[str, bytes] = field(repr=False)


class Darkroom:
    """Makes pictures, so many at once; the rest wait in a queue of their own."""

    def __init__(
        self, children: int = 2, wall_seconds: float = WALL_SECONDS, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._wall_seconds = wall_seconds
        self._idle_seconds = idle_seconds
        self._timer: threading.Timer | None = None
        self._idle: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(children):
            self._idle.put(None)
        self._lock = threading.Lock()
        self._children: set[_Child] = set()
        self._is_closed = False
        self._room = threading.BoundedSemaphore(_WAITING)
        self._threads = ThreadPoolExecutor(children, thread_name_prefix="darkroom")
        self.children_started = 0
        self.faults = 0

    async def develop(self, negative: Negative, view: View) -> bytes:
        """Return the picture. Raises NoPicture, and Unavailable where too many wait."""
        if not self._room.acquire(blocking=False):
            raise Unavailable(
                "图像处理繁忙,请稍后再试", "Too many pictures are being made", code="pictures_busy"
            )
        future = self._threads.submit(self.make, negative, view)
        future.add_done_callback(lambda _: self._room.release())
        return await asyncio.wrap_future(future)

    def make(self, negative: Negative, view: View) -> bytes:
        """Return the picture, in this thread. Raises NoPicture, and Unavailable where no child can be started."""
        if len(negative.frame) > FRAME_LIMIT_BYTES:
            raise _no_picture("too_large")
        child = self._idle.get()
        try:
            child = child or self._started()
            return child.make(negative, view, self._wall_seconds)
        except _Dead:
            self.faults += 1
            self._ended(child)
            child = None
            raise _no_picture("stopped") from None
        except NoPicture:
            self.faults += 1
            raise
        finally:
            self._put_back(child)

    def warm_up(self) -> None:
        """Have a child ready soon, without waiting for it."""
        if not self._children:
            self._threads.submit(self._warm)

    def _warm(self) -> None:
        child = self._idle.get()
        try:
            child = child or self._started()
        finally:
            self._put_back(child)

    def _put_back(self, child: "_Child | None") -> None:
        if child is not None:
            child.used_at = time.monotonic()
        self._idle.put(child)
        with self._lock:
            if self._timer is None and self._children and not self._is_closed:
                self._timer = threading.Timer(self._idle_seconds, self._end_idle)
                self._timer.daemon = True
                self._timer.start()

    def _end_idle(self) -> None:
        """End children that have had nothing to do for a while: each takes memory."""
        with self._lock:
            self._timer = None
        found: list[_Child | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._idle.get_nowait())
        for child in reversed(found):
            if child is not None and time.monotonic() - child.used_at >= self._idle_seconds:
                self._ended(child)
                self._idle.put(None)
            else:
                self._put_back(child)

    def close(self) -> None:
        """End every child, what it is making, and what waits."""
        with self._lock:
            self._is_closed = True
            if self._timer is not None:
                self._timer.cancel()
            for child in self._children:
                child.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for child in list(self._children):
            self._ended(child)

    def _started(self) -> "_Child":
        with self._lock:
            if self._is_closed:
                raise _not_started()
            child = _Child()
            self._children.add(child)
        self.children_started += 1
        try:
            child.be_ready()
        except _Dead:
            self._ended(child)
            raise _not_started() from None
        return child

    def _ended(self, child: "_Child | None") -> None:
        if child is not None:
            with self._lock:
                self._children.discard(child)
            child.end()


class _Dead(Exception):
    """The child has ended or does not answer in time."""


class _Child:
    """A running child; nothing of this process's environment goes with it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-m", "exchange.picture_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            bufsize=0,
        )
        self.used_at = time.monotonic()
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)
        os.set_blocking(self._requests.fileno(), False)
        self._pending = bytearray()

    def be_ready(self) -> None:
        """Wait until it can be asked. Raises _Dead."""
        self._line(time.monotonic() + _START_SECONDS)

    def make(self, negative: Negative, view: View, seconds: float) -> bytes:
        """Return the picture. Raises NoPicture, _Dead."""
        deadline = time.monotonic() + seconds
        tables = b"".join(negative.tables.values())
        request = {
            "stored": negative.stored,
            "shades": negative.shades,
            "view": view,
            "tables": [(name, len(content)) for name, content in negative.tables.items()],
            "size_bytes": len(tables) + len(negative.frame),
        }
        self._send(orjson.dumps(request) + b"\n" + tables, deadline)
        self._send(negative.frame, deadline)
        head: dict[str, Any] = orjson.loads(self._line(deadline))
        content = self._bytes(head["size_bytes"], deadline)
        if "fault" in head:
            raise _no_picture(head["fault"])
        return content

    def _send(self, content: bytes, deadline: float) -> None:
        poll, rest = select.poll(), memoryview(content)
        poll.register(self._requests, select.POLLOUT)
        while rest:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise _Dead
            try:
                rest = rest[os.write(self._requests.fileno(), rest) :]
            except BlockingIOError:
                continue
            except OSError:
                raise _Dead from None

    def _line(self, deadline: float) -> bytes:
        while (end := self._pending.find(b"\n")) < 0:
            self._receive(deadline)
        line = bytes(self._pending[:end])
        del self._pending[: end + 1]
        return line

    def _bytes(self, size: int, deadline: float) -> bytes:
        if size > _ANSWER_LIMIT_BYTES:
            raise _Dead
        while len(self._pending) < size:
            self._receive(deadline)
        content = bytes(self._pending[:size])
        del self._pending[:size]
        return content

    def _receive(self, deadline: float) -> None:
        poll = select.poll()  # select() fails from the 1024th file descriptor on
        poll.register(self._answers, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise _Dead
        piece = os.read(self._answers.fileno(), _READ_BYTES)
        if not piece:
            raise _Dead
        self._pending += piece

    def kill(self) -> None:
        """Kill the process: it holds nothing worth a farewell. Whoever waits for it hears of it."""
        self._process.kill()

    def end(self) -> None:
        """Kill the process and forget it."""
        self.kill()
        self._process.wait()
        self._requests.close()
        self._answers.close()


def _not_started() -> Unavailable:
    return Unavailable(
        "图像处理进程无法启动", "The process that makes pictures does not start", code="darkroom"
    )


def _no_picture(reason: str) -> NoPicture:
    return NoPicture(
        "该图像无法显示为图片,可下载原始数据",
        "This frame cannot be shown as a picture; its stored bytes can be fetched",
        code=f"no_picture_{reason}",
    )
