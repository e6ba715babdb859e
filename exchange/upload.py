"""A body that is taken in as it comes: read no faster than it is written, never held, and never waited for too long.

A place among the uploads is taken with its first byte and held to its last; what is slower than a lease that bytes
renew, or takes longer than it may in all, or is too large, is read no further. What was stored before that stays.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final, TypeVar

from starlette.types import Receive

from catalog.errors import InvalidInput, Unavailable
from catalog.records import DepositedInstance
from exchange.deposit import Deposit
from exchange.part_reader import MalformedBody, MediaType, PartBegin, PartEnd, PartReader, media_type

T = TypeVar("T")
DICOM: Final = "application/dicom"
CANNOT_UNDERSTAND: Final = 0xC000
OUT_OF_RESOURCES: Final = 0xA700
PROCESSING_FAILURE: Final = 0x0110
_AS_IT_IS: Final = frozenset({"", "binary", "8bit", "7bit"})


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What one upload may take; times in seconds.

    The lease is `grace_seconds` at its fullest, and bytes renew it at `least_bytes_per_second`.
    """

    body_bytes: int = 16 << 30
    parts: int = 10_000
    seconds: float = 3600.0
    grace_seconds: float = 10.0
    least_bytes_per_second: int = 16 << 10


class Cut(Exception):
    """An upload that is read no further, and why: as an HTTP status, a problem, and a reason of failure in DICOM."""

    def __init__(self, status: int, failure: int, code: str, zh: str, en: str) -> None:
        super().__init__(code)
        self.status, self.failure = status, failure
        self.code, self.zh, self.en = code, zh, en


class Gone(Exception):
    """The peer has gone: nobody waits for an answer."""


class Uploads:
    """The places for uploads, so many in all and of one hospital, and the threads that write them."""

    def __init__(self, at_once: int, per_hospital: int) -> None:
        self._at_once = at_once
        self._per_hospital = per_hospital
        self._of: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="upload")

    @contextmanager
    def place(self, hospital_code: str) -> Iterator[None]:
        """Hold a place. Raises Unavailable (`overloaded`) where all are taken; called in the event loop."""
        if self._of.total() >= self._at_once or self._of[hospital_code] >= self._per_hospital:
            raise Unavailable(
                "正在接收的上传过多,请稍后再试", "Too many uploads; try again", code="overloaded"
            )
        self._of[hospital_code] += 1
        try:
            yield
        finally:
            self._of[hospital_code] -= 1

    async def run(self, work: Callable[[], T]) -> T:
        """Return the result of work that may block on the disk."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Take no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def pieces(receive: Receive, limits: UploadLimits) -> AsyncIterator[bytes]:
    """Yield a body as it comes. Raises Cut where it is too large or too slow, Gone where it breaks off.

    Only waiting uses up the lease: how long the disk takes is not the sender's fault.
    """
    lease, until, size_bytes, more = limits.grace_seconds, monotonic() + limits.seconds, 0, True
    while more:
        began = monotonic()
        try:
            async with asyncio.timeout(min(lease, until - began)):
                message = await receive()
        except TimeoutError:
            raise Cut(
                408, PROCESSING_FAILURE, "too_slow", "请求内容未能及时收齐", "The body did not come in time"
            ) from None
        if message["type"] != "http.request":
            raise Gone
        piece: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        earned = len(piece) / limits.least_bytes_per_second
        lease = min(limits.grace_seconds, lease - (monotonic() - began) + earned)
        size_bytes += len(piece)
        if size_bytes > limits.body_bytes:
            raise Cut(413, OUT_OF_RESOURCES, "too_large", "请求内容过大", "The request body is too large")
        yield piece


class Storing:
    """A multipart body on its way into a deposit; everything but `outcomes` may block, and goes one after the other."""

    def __init__(self, deposit: Deposit, reader: PartReader, most_parts: int) -> None:
        self.outcomes: list[DepositedInstance] = []
        self._deposit = deposit
        self._reader = reader
        self._most_parts = most_parts
        self._is_open = self._is_refused = False
        self._lock = threading.Lock()  # whoever gives up may do so while the last piece is being written

    def take(self, piece: bytes) -> Cut | None:
        """Take the next bytes of the body; returns what is wrong where it is malformed, or has too many parts."""
        with self._lock:
            try:
                for event in self._reader.feed(piece):
                    self._take(event)
            except MalformedBody as error:
                return _malformed(error)
            except Cut as cut:
                return cut
        return None

    def end(self) -> Cut | None:
        """Say that the body has ended; returns what is wrong where its end has not come, or no part before it."""
        if not self._reader.is_whole:
            return _malformed(
                MalformedBody("multipart 未以结束分隔符结尾", "The closing boundary is missing")
            )
        if not self.outcomes:
            return _malformed(MalformedBody("multipart 中没有影像", "There is no instance in the multipart"))
        return None

    def close(self) -> None:
        """Keep what was finished and take back what was not."""
        with self._lock:
            if self._is_open and not self._is_refused:
                self.outcomes.append(self._deposit.abandon())
            self._is_open = False
            self._deposit.close(whole=self._reader.is_whole)

    def _take(self, event: PartBegin | memoryview | PartEnd) -> None:
        if isinstance(event, PartBegin):
            if len(self.outcomes) >= self._most_parts:
                raise Cut(413, OUT_OF_RESOURCES, "too_many_parts", "分部过多", "There are too many parts")
            self._is_open, self._is_refused = True, not _is_dicom(event)
            if not self._is_refused:
                self._deposit.begin()
        elif isinstance(event, PartEnd):
            self._is_open = False
            refused = DepositedInstance(failure=CANNOT_UNDERSTAND)
            self.outcomes.append(refused if self._is_refused else self._deposit.finish())
        elif not self._is_refused:
            self._deposit.write(event)


async def take_in(uploads: Uploads, storing: Storing, receive: Receive, limits: UploadLimits) -> Cut | None:
    """Take a whole body in; returns what was wrong with it, if anything was. Raises Gone.

    What follows a fault is read and dropped: a peer that is still sending would not hear the answer.
    """
    cut: Cut | None = None
    try:
        async for piece in pieces(receive, limits):
            if piece and cut is None:
                cut = await uploads.run(partial(storing.take, piece))
        return cut or storing.end()
    except Cut as too_much:
        return cut or too_much
    finally:
        await uploads.run(storing.close)


def is_dicom_multipart(given: MediaType) -> bool:
    """Say whether a body of this type is one of DICOM files (PS3.18 §10.5.1); who names no inner type lets parts tell."""
    return given.name == "multipart/related" and given.parameters.get("type", DICOM).lower() == DICOM


def _is_dicom(part: PartBegin) -> bool:
    name = media_type(part.headers.get("content-type", DICOM)).name
    encoding = part.headers.get("content-transfer-encoding", "").lower()
    return name == DICOM and encoding in _AS_IT_IS and "content-encoding" not in part.headers


def _malformed(error: InvalidInput) -> Cut:
    return Cut(400, CANNOT_UNDERSTAND, error.code, error.zh, error.en)
