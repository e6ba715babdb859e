"""What a worker counts, written as JSON for whoever renders metrics."""

import json
import os
import threading
import time
from pathlib import Path


class Counters:
    """Counters of one process: name → label → number. Thread-safe.

    associations  accepted, released, rejected:<reason>, aborted:<reason>, refused:<reason>
    instances     the status of each C-STORE-RSP as four hex digits
    bytes         stored (Part 10 files)
    echoes        answered
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[str, int]] = {}
        self._started = time.time()
        self._written: dict[str, dict[str, int]] | None = None

    def add(self, name: str, label: str, amount: int = 1) -> None:
        """Count."""
        with self._lock:
            labels = self._values.setdefault(name, {})
            labels[label] = labels.get(label, 0) + amount

    def snapshot(self) -> dict[str, dict[str, int]]:
        """Give a copy of all counters."""
        with self._lock:
            return {name: dict(labels) for name, labels in self._values.items()}

    def write(self, directory: Path) -> None:
        """Replace `<pid>.json` in the directory if anything has changed since the last time.

        Raises:
            OSError: it cannot be written.
        """
        values = self.snapshot()
        if values == self._written:
            return
        directory.mkdir(parents=True, exist_ok=True)
        target = directory / f"{os.getpid()}.json"
        partial = target.with_suffix(".part")
        partial.write_text(json.dumps({"pid": os.getpid(), "started": self._started, "counters": values}))
        partial.replace(target)
        self._written = values
