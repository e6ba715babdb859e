"""Shipping: sealed packs to the archive, beside each other, through outages, past those that never work.

An outage stops everything for a while and costs nothing; any other failure is the pack's own: it is tried
again a few times, later each time, and then put into quarantine while the others go on.
"""

import errno
import fcntl
import logging
import os
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from catalog.context import Catalogue
from catalog.errors import Conflict, HurenError, NotFound, Unavailable
from catalog.objects import ObjectStore
from dicom_node.archive import Archive
from dicom_node.erase import remove_erased
from dicom_node.header import HeaderReader
from dicom_node.release import release, release_for_room
from dicom_node.spool import PackFile, Spool

_LOG = logging.getLogger("huren.dicom_node")
_OUT_OF_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_LISTING_LIMIT: Final = 1000
_ROOM_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class ShipSettings:
    """How packs are shipped; times in seconds.

    `tries` counts the failures of one pack that are not an outage; `grace_seconds` is how long the spool keeps
    a pack the archive has.
    """

    workers: int = 2
    tries: int = 5
    grace_seconds: float = 86_400.0
    release_every_seconds: float = 60.0
    poll_seconds: float = 0.1
    first_delay_seconds: float = 0.2
    longest_delay_seconds: float = 30.0
    drain_seconds: float = 8.0


@dataclass(slots=True)
class _Delay:
    """An exponential delay with jitter."""

    failures: int = 0
    until: float = 0.0

    def extend(self, settings: ShipSettings) -> None:
        longest = settings.first_delay_seconds * 2.0 ** min(self.failures, 16)
        delay = min(longest, settings.longest_delay_seconds)
        self.failures += 1
        self.until = time.monotonic() + delay * random.uniform(0.5, 1.0)


class Shipper:
    """Ships what is sealed in one spool; one at a time per spool, in whatever process."""

    def __init__(
        self, spool: Spool, store: ObjectStore, catalogue: Catalogue, settings: ShipSettings | None = None
    ) -> None:
        self._spool = spool
        self._store = store
        self._catalogue = catalogue
        self._settings = settings or ShipSettings()
        self._archive = Archive(spool, store, catalogue, self._count)
        self._lock = threading.Lock()
        self._waiting: deque[PackFile] = deque()
        self._listed_at = 0.0
        self._in_flight: set[str] = set()
        self._failed: dict[str, _Delay] = {}
        self._unlucky: set[str] = set()
        self._outage = _Delay()
        self._outage_code = ""
        self._counters: Counter[str] = Counter()

    def run(self, stop: threading.Event) -> None:
        """Ship until `stop` is set; then finish what is in flight, at most `drain_seconds`."""
        while not stop.is_set():
            try:
                with self._claimed():
                    self._run_claimed(stop)
            except Conflict:  # another process ships this spool; take over when it ends
                stop.wait(1.0)

    def ship_once(self, kept: HeaderReader | None = None) -> int:
        """Try every sealed pack once, oldest first; gives how many left sealed/.

        `kept` is a reader whose child outlives the call, for who ships again and again. Stops at an outage, which
        `status` then names. Raises Conflict (`already_shipping`).
        """
        before = {pack.pack_id for pack in self._spool.sealed()}
        with self._claimed(), nullcontext(kept) if kept else HeaderReader() as reader:
            for pack in self._spool.sealed():
                if not self._attempt(pack, reader):
                    break
        return len(before - {pack.pack_id for pack in self._spool.sealed()})

    def release_due(self) -> int:
        """Release the packs whose grace time has passed, and remove what was erased by law; gives how many packs went.

        Raises ObjectStoreDown, DatabaseDown.
        """
        grace = self._settings.grace_seconds
        released, kept = release(self._spool, self._archive.receipts, self._store, older_than_seconds=grace)
        self._count("released", released)
        self._count("release_refused", kept)
        # last: an object that cannot be removed must not keep the spool from its room
        forgotten = remove_erased(self._catalogue, self._store, self._spool).copies
        self._count("erased", forgotten)
        return released + forgotten

    def make_room(self) -> int:
        """Release packs before their time where the spool runs short.

        Gives how many had to be kept, because an object is missing or altered. Raises ObjectStoreDown.
        """
        if not self._spool.is_below_marks(times=2):
            return 0
        released, kept = release_for_room(self._spool, self._archive.receipts, self._store)
        self._count("released_early", released)
        self._count("release_refused", kept)
        return kept

    def backlog(self) -> tuple[int, int, float]:
        """Give the number, the bytes and the oldest age in seconds of what waits to be shipped."""
        return self._spool.backlog()

    def status(self) -> dict[str, Any]:
        """Say how shipping stands: the backlog, and the code of the outage it waits for, if any."""
        packs, size_bytes, oldest_seconds = self.backlog()
        return {
            "backlog_packs": packs,
            "backlog_bytes": size_bytes,
            "oldest_seconds": round(oldest_seconds, 3),
            "quarantined_packs": len(self._spool.quarantined()),
            "outage": self._outage_code or None,
        }

    def counters(self) -> dict[str, int]:
        """Return what was done since the start, by name.

        shipped (packs of the spool), packs, instances and bytes (registered), reports and documents_refused (no PDF,
        no CDA), duplicates, contradictions,
        quarantined (instances), quarantined_packs, retries, compared_again, read_back_failures, released,
        released_early (before their time, for room), erased (copies of what was erased), release_refused.
        """
        with self._lock:
            return dict(self._counters)

    def _count(self, name: str, number: int) -> None:
        with self._lock:
            self._counters[name] += number

    @contextmanager
    def _claimed(self) -> Iterator[None]:
        lock = os.open(self._spool.root / "ship.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(
                    "另一进程正在传送该暂存区",
                    "Another process is shipping this spool",
                    code="already_shipping",
                ) from None
            self._archive.sweep()
            yield
        finally:
            os.close(lock)

    def _run_claimed(self, stop: threading.Event) -> None:
        threads = [
            threading.Thread(target=self._work, args=(stop,), name=f"ship-{number}", daemon=True)
            for number in range(self._settings.workers)
        ]
        for thread in threads:
            thread.start()
        self._release_until(stop)
        deadline = time.monotonic() + self._settings.drain_seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _release_until(self, stop: threading.Event) -> None:
        """Release what is due now and then, and more at once where room is short and that helps."""
        every = self._settings.release_every_seconds
        due_at, room_at = time.monotonic() + every, 0.0
        while not stop.wait(min(every, _ROOM_SECONDS)):
            now = time.monotonic()
            if now >= due_at:
                self._quietly(self.release_due)
                due_at = now + every
            if now >= room_at and self._quietly(self.make_room) != 0:
                room_at = now + every  # what had to be kept is not read again every second

    def _quietly(self, release_some: Callable[[], int]) -> int | None:
        try:
            return release_some()
        except Unavailable:
            _LOG.info("nothing is released while a store is down")
        except OSError as error:
            _LOG.error("a pack cannot be released: %s", error.strerror)
        return None

    def _work(self, stop: threading.Event) -> None:
        with HeaderReader() as reader:
            self._warm_up(reader)
            while not stop.is_set():
                pack = self._take()
                if pack is None:
                    stop.wait(self._settings.poll_seconds)
                    continue
                try:
                    self._attempt(pack, reader)
                finally:
                    self._give_back(pack)

    def _warm_up(self, reader: HeaderReader) -> None:
        try:
            reader.warm_up()
        except (Unavailable, OSError):
            _LOG.error("the process that reads headers does not start")

    def _take(self) -> PackFile | None:
        with self._lock:
            now = time.monotonic()
            if now < self._outage.until:
                return None
            if not self._waiting and now >= self._listed_at + self._settings.poll_seconds:
                self._listed_at = now
                self._waiting.extend(self._due(now))
            if not self._waiting:
                return None
            pack = self._waiting.popleft()
            self._in_flight.add(pack.pack_id)
            return pack

    def _due(self, now: float) -> list[PackFile]:
        """What may be tried now, oldest first, but last what met an outage: the outage may be its own."""
        try:
            packs = [pack for pack in self._spool.sealed() if pack.pack_id not in self._in_flight]
        except OSError as error:
            _LOG.error("the spool cannot be listed: %s", error.strerror)
            return []
        due = [pack for pack in packs if self._failed.get(pack.pack_id, _Delay()).until <= now]
        return sorted(due, key=lambda pack: pack.pack_id in self._unlucky)[:_LISTING_LIMIT]

    def _give_back(self, pack: PackFile) -> None:
        with self._lock:
            self._in_flight.discard(pack.pack_id)

    def _attempt(self, pack: PackFile, reader: HeaderReader) -> bool:
        """Ship one pack; False where an outage says that the next one would fare no better."""
        try:
            self._archive.keep(pack, reader)
        except Unavailable as error:
            self._wait_out(pack, error.code)
            return False
        except OSError as error:
            if error.errno in _OUT_OF_ROOM:
                self._wait_out(pack, "spool_out_of_room")
                return False
            if pack.path.exists():
                self._fail(pack, error)
        except Exception as error:
            self._fail(pack, error)
        else:
            self._succeed(pack)
        return True

    def _succeed(self, pack: PackFile) -> None:
        with self._lock:
            self._failed.pop(pack.pack_id, None)
            self._unlucky.discard(pack.pack_id)
            self._outage, self._outage_code = _Delay(), ""
            self._counters["shipped"] += 1

    def _wait_out(self, pack: PackFile, code: str) -> None:
        with self._lock:
            self._unlucky.add(pack.pack_id)
            self._counters["retries"] += 1
            if time.monotonic() < self._outage.until:  # another worker has met the same outage
                return
            if not self._outage_code:
                _LOG.warning("shipping waits: %s", code)
            self._outage_code = code
            self._outage.extend(self._settings)

    def _fail(self, pack: PackFile, error: Exception) -> None:
        """Note a failure that is the pack's own; its text may quote a data set and stays out of the log."""
        code = error.code if isinstance(error, HurenError) else "internal_error"
        _LOG.error("pack %s: %s (%s)", pack.pack_id, code, _place(error))
        with self._lock:
            delay = self._failed.setdefault(pack.pack_id, _Delay())
            delay.extend(self._settings)
            self._counters["retries"] += 1
            hopeless = delay.failures >= self._settings.tries
        if hopeless or (isinstance(error, NotFound) and code == "unknown_hospital"):
            self._put_aside(pack, code)

    def _put_aside(self, pack: PackFile, code: str) -> None:
        try:
            self._spool.quarantine(pack, code)
        except OSError as error:
            _LOG.error("pack %s cannot be put into quarantine: %s", pack.pack_id, error.strerror)
            return
        with self._lock:
            self._failed.pop(pack.pack_id, None)
            self._counters["quarantined_packs"] += 1


def _place(error: Exception) -> str:
    """Say what kind of error it is and where it was raised, without its words."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else ""
    return type(error).__name__ + where
