"""What a fault run says of itself: seed, commit and counts, so that it can be repeated and compared."""

import os
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_EVERY_SECONDS = 10.0


@dataclass
class RunRecord:
    """One run: HUREN_SEED repeats its choices. `tell` shows a line to whoever waits."""

    name: str
    tell: Callable[[str], None]
    seed: int = field(default_factory=lambda: int(os.environ.get("HUREN_SEED", time.time_ns() % 10**9)))
    counts: dict[str, int | float | str] = field(default_factory=dict)
    _told_at: float = 0.0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def note(self, **counts: int | float | str) -> None:
        """Write counts down."""
        self.counts |= counts

    def progress(self, **counts: int | float | str) -> None:
        """Write counts down, and show them now and then."""
        self.note(**counts)
        if time.monotonic() - self._told_at > _EVERY_SECONDS:
            self._told_at = time.monotonic()
            self.tell(str(self))

    def __str__(self) -> str:
        counted = ", ".join(f"{name} {_shown(value)}" for name, value in self.counts.items())
        return f"{self.name}: seed {self.seed}, commit {commit()}: {counted}"


@cache
def commit() -> str:
    """The commit that is checked out, with a + where files differ from it."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _shown(value: int | float | str) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
