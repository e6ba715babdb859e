"""What is remembered between two looks at the running exchange: how fast images come, and what soon ends."""

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

_MINUTE: Final = 60.0
_LONGEST: Final = 3600.0  # between two looks; a rate over longer says nothing of now
_COUNTER: Final = re.compile(r'dicom_(associations|instances|bytes)_total\{label="([^"]*)"\}')
_STORED: Final = frozenset({"0000", "B000", "B006", "B007"})  # success and warnings (PS3.4 B.2.3)


class Pulse:
    """Reads the node's counters, and how many images came a minute since a look of about a minute ago."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looks: deque[tuple[float, int]] = deque(maxlen=600)

    def receiving(self, counted: Mapping[str, int | float]) -> dict[str, Any]:
        """Return what has been received since the node started; without an earlier look there is no rate."""
        named: dict[str, dict[str, int]] = {"associations": {}, "instances": {}, "bytes": {}}
        for key, count in counted.items():
            if found := _COUNTER.fullmatch(key):
                named[found[1]][found[2]] = int(count)
        associations, instances = named["associations"], named["instances"]
        ended = associations.get("released", 0) + _of(associations, "aborted")
        stored = sum(count for status, count in instances.items() if status.upper() in _STORED)
        return {
            "associations_open": max(0, associations.get("accepted", 0) - ended),
            "associations_accepted": associations.get("accepted", 0),
            "associations_refused": _of(associations, "rejected") + _of(associations, "refused"),
            "associations_aborted": _of(associations, "aborted"),
            "instances_stored": stored,
            "instances_refused": sum(instances.values()) - stored,
            "bytes_stored": named["bytes"].get("stored", 0),
            "per_minute": self._rate(stored),
        }

    def _rate(self, stored: int) -> float | None:
        now = time.monotonic()
        with self._lock:
            looks = self._looks
            if looks and stored < looks[-1][1]:  # the node was started anew
                looks.clear()
            if not looks or now - looks[-1][0] >= 1.0:
                looks.append((now, stored))
            while len(looks) > 2 and now - looks[1][0] >= _MINUTE:
                looks.popleft()
            seconds = now - looks[0][0]
            if not 1.0 <= seconds <= _LONGEST:
                return None
            return round((stored - looks[0][1]) / seconds * _MINUTE, 1)


def _of(labels: Mapping[str, int], kind: str) -> int:
    return sum(count for label, count in labels.items() if label == kind or label.startswith(f"{kind}:"))


class Outlook:
    """Keeps for a minute what changes by the day and takes longer to count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._kept: dict[str, int] = {}

    def of(self, count: Callable[[], dict[str, int]]) -> dict[str, int]:
        """Return what was counted within the last minute, counted again where nothing was."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._kept = count()
                self._until = time.monotonic() + _MINUTE
            return self._kept
