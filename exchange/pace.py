"""How fast one caller may ask: a bucket of tokens for each, in this process.

Several processes allow that many times as much; one connection always meets the same process.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from catalog.context import Caller
from catalog.errors import TooMany
from exchange.settings import ExchangeSettings

_MOST_CALLERS: Final = (
    20_000  # the one that has been away longest is forgotten, and so begins with a full bucket
)


@dataclass(frozen=True, slots=True)
class Allowance:
    """So many requests at once, then so many a second; 0 a second means no limit."""

    per_second: float
    burst: int


class Pace:
    """The buckets of every caller; safe for threads."""

    def __init__(self, settings: ExchangeSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._people = Allowance(settings.pace_per_second, settings.pace_burst)
        self._systems = Allowance(settings.pace_system_per_second, settings.pace_system_burst)
        self._images = Allowance(settings.pace_images_per_second, settings.pace_images_burst)
        self._clock = clock
        self._lock = threading.Lock()
        self.refused = 0
        self._buckets: OrderedDict[tuple[str, str, str, bool], tuple[float, float]] = OrderedDict()

    def take(self, caller: Caller, *, images: bool = False) -> None:
        """Count one request; what fetches images has a bucket of its own: one look at a study is a thousand requests.

        Raises TooMany, with the seconds to wait, when the bucket is empty.
        """
        allowed = self._systems if caller.role == "hospital_system" else self._people
        allowed = self._images if images else allowed
        if not allowed.per_second:
            return
        wait = self._wait((caller.role, caller.hospital_code, caller.subject, images), allowed)
        if wait > 0:
            self.refused += 1
            raise TooMany(
                "请求过于频繁,请稍后再试", "Too many requests; try again later", seconds=math.ceil(wait)
            )

    def _wait(self, key: tuple[str, str, str, bool], allowed: Allowance) -> float:
        now = self._clock()
        with self._lock:
            tokens, then = self._buckets.pop(key, (float(allowed.burst), now))
            tokens = min(float(allowed.burst), tokens + (now - then) * allowed.per_second)
            wait = max(0.0, (1.0 - tokens) / allowed.per_second)
            self._buckets[key] = (tokens if wait else tokens - 1.0, now)
            if len(self._buckets) > _MOST_CALLERS:
                self._buckets.popitem(last=False)
        return wait
