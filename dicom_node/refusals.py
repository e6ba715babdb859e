"""Who was refused and why, handed from the workers to the process that writes the audit, in files.

A worker holds no catalogue, and must refuse while there is none. Equal refusals are one entry with a count.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

_ENTRIES: Final = 1024  # what comes beyond is counted without names: a flood must not fill memory or disk
_FILES: Final = 64
_WRITTEN: Final = "[0-9]*.json"


@dataclass(slots=True)
class Refusal:
    """Refusals of one calling AE title at one address for one reason; times are Unix seconds."""

    address: str
    calling_ae: str
    reason: str
    count: int
    first_at: float
    last_at: float


class Refusals:
    """What one worker refused since it last wrote. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._noted: dict[tuple[str, str, str], Refusal] = {}

    def note(self, address: str, calling_ae: str, outcome: str) -> None:
        """Note a refusal; the reason is the outcome's label."""
        key, now = (address, calling_ae, outcome.partition(":")[2]), time.time()
        with self._lock:
            if key not in self._noted and len(self._noted) >= _ENTRIES:
                key = ("", "", key[2])
            entry = self._noted.setdefault(key, Refusal(*key, 0, now, now))
            entry.count += 1
            entry.last_at = now

    def write(self) -> None:
        """Write what was noted, unless nobody has taken the last files: then it waits and adds up.

        Raises:
            OSError: it cannot be written; nothing is forgotten.
        """
        with self._lock:
            if not self._noted:
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            if sum(1 for _ in self._folder.glob(_WRITTEN)) >= _FILES:
                return
            # One name for all attempts: what a full volume or a kill cut short is written over, never added to.
            partial = self._folder / f".{os.getpid()}.part"
            try:
                partial.write_text(json.dumps([asdict(entry) for entry in self._noted.values()]))
                partial.replace(self._folder / f"{time.time_ns()}-{os.getpid()}.json")
            except OSError:
                partial.unlink(missing_ok=True)
                raise
            self._noted.clear()


def waiting_refusals(folder: Path) -> Iterator[tuple[Path, list[Refusal]]]:
    """Give the files that were written, oldest first; one that cannot be read comes empty."""
    for path in sorted(folder.glob(_WRITTEN)):
        try:
            yield path, [Refusal(**entry) for entry in json.loads(path.read_text())]
        except (OSError, ValueError, TypeError):
            yield path, []
