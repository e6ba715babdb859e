"""Whom one caller asks about: many different people within an hour is an alarm, very many are refused.

A doctor sees dozens of patients in an hour; a program that walks through numbers, thousands. The numbers are kept as
keyed digests in this process only, for an hour at most; an alarm is an audit record and a counter.
"""

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from catalog import audit
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import HurenError, TooMany

log = logging.getLogger("huren.harvest")
_HALF_SECONDS: Final = 1800.0


class Bounds(Protocol):
    """How many different people within the hour are an alarm, and how many a refusal: of a person, of a system."""

    @property
    def harvest_alarm_people(self) -> int:
        """Of a person: an alarm."""

    @property
    def harvest_limit_people(self) -> int:
        """Of a person: a refusal."""

    @property
    def harvest_system_alarm_people(self) -> int:
        """Of a hospital's system: an alarm."""

    @property
    def harvest_system_limit_people(self) -> int:
        """Of a hospital's system: a refusal."""


@dataclass(slots=True)
class _Seen:
    """Digests of the half hour that runs and of the one before it."""

    half: int
    now: set[bytes] = field(default_factory=set)
    before: set[bytes] = field(default_factory=set)
    is_alarmed: bool = False

    def turn(self, half: int) -> None:
        if half != self.half:
            self.before = self.now if half == self.half + 1 else set()
            self.now, self.half, self.is_alarmed = set(), half, False

    def count(self) -> int:
        return len(self.now | self.before)


@dataclass(frozen=True, slots=True)
class Counted:
    """What is due: an alarm of so many people (0: none), a refusal."""

    alarm_people: int
    is_too_many: bool


class Harvest:
    """Counts the different people each caller asks about; safe for threads."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float] = time.monotonic) -> None:
        self._people = bounds.harvest_alarm_people, bounds.harvest_limit_people
        self._systems = bounds.harvest_system_alarm_people, bounds.harvest_system_limit_people
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str, str], _Seen] = {}
        self.alarms = 0

    def take(self, catalogue: Catalogue, caller: Caller, *number: str) -> None:
        """Count that `caller` asks about whoever has this number.

        Raises:
            TooMany: he has asked about too many within the hour (`harvesting`); nothing is disclosed.
        """
        self.act(catalogue, caller, self.count(caller, *number))

    def count(self, caller: Caller, *number: str) -> Counted:
        """Count it, and return whether something must be done about it, for `act`."""
        alarm, limit = self._systems if caller.role == "hospital_system" else self._people
        digest = hashlib.blake2b("\0".join(number).encode(), key=self._key, digest_size=12).digest()
        with self._lock:
            seen = self._turned(caller)
            is_known = digest in seen.now or digest in seen.before
            count = seen.count() + (not is_known) if len(seen.now) + len(seen.before) >= alarm else 0
            if count <= limit:
                seen.now.add(digest)
            is_alarm = count >= alarm and not seen.is_alarmed
            seen.is_alarmed = seen.is_alarmed or is_alarm
        return Counted(alarm if is_alarm else 0, count > limit)

    def act(self, catalogue: Catalogue, caller: Caller, counted: Counted) -> None:
        """Raise the alarm, and TooMany, where it is due; the alarm waits for the database."""
        if counted.alarm_people:
            self._alarm(catalogue, caller, counted.alarm_people)
        if counted.is_too_many:
            raise TooMany(
                "查询的患者过多,请稍后再试",
                "Too many patients asked for; try again later",
                seconds=self._seconds_left(),
                code="harvesting",
            )

    def _turned(self, caller: Caller) -> _Seen:
        half = int(self._clock() // _HALF_SECONDS)
        key = (caller.role, caller.hospital_code, caller.subject)
        if key not in self._seen:
            self._seen = {known: seen for known, seen in self._seen.items() if seen.half >= half - 1}
        seen = self._seen.setdefault(key, _Seen(half))
        seen.turn(half)
        return seen

    def _seconds_left(self) -> int:
        return int(_HALF_SECONDS - self._clock() % _HALF_SECONDS) + 1

    def _alarm(self, catalogue: Catalogue, caller: Caller, people: int) -> None:
        self.alarms += 1
        log.warning(
            "harvesting alarm: %s of %s asks about very many people", caller.role, caller.hospital_code
        )
        try:
            with transaction(catalogue.engine) as session:
                audit.record(session, caller, "harvest.alarm", people_within_an_hour=people)
        except HurenError as error:
            log.error("harvesting alarm is not in the audit: %s", error.code)
