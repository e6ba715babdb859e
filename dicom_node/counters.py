"""What a worker counts, written as JSON for whoever renders metrics."""

import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Final

_EVERY_SECONDS: Final = 2.0
_LOG: Final = logging.getLogger("huren.dicom_node")


class Counters:
    """Counters of one process: name → label → number. Thread-safe.

    associations  accepted, released, rejected:<reason>, aborted:<reason>, refused:<reason>
    instances     the status of each C-STORE-RSP as four hex digits
    bytes         stored (Part 10 files)
    echoes        answered
    lockouts      begun
    queries       find:<status>, move:<status>, get:<status>, of the last response
    commitments   asked, refused:<status>, answered, answered_with_failures, reported, not_taken, given_up
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

    def write(self, directory: Path, prefix: str = "") -> None:
        """Replace `<prefix><pid>.json` in the directory if anything has changed since the last time.

        Raises:
            OSError: it cannot be written.
        """
        values = self.snapshot()
        if values == self._written:
            return
        directory.mkdir(parents=True, exist_ok=True)
        target = directory / f"{prefix}{os.getpid()}.json"
        partial = target.with_suffix(".part")
        partial.write_text(json.dumps({"pid": os.getpid(), "started": self._started, "counters": values}))
        partial.replace(target)
        self._written = values


def keep_writing(counters: Counters, directory: Path, prefix: str, stop: threading.Event) -> None:
    """Start a thread that writes the counters until `stop` is set; files of earlier processes of that prefix go."""
    for path in directory.glob(f"{prefix}*.json"):
        path.unlink(missing_ok=True)
    threading.Thread(target=_write_often, args=(counters, directory, prefix, stop), daemon=True).start()


def _write_often(counters: Counters, directory: Path, prefix: str, stop: threading.Event) -> None:
    while not stop.wait(_EVERY_SECONDS):
        try:
            counters.write(directory, prefix)
        except OSError as error:
            _LOG.error("the counters cannot be written: %s", error.strerror)
