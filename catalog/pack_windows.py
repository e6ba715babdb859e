"""How ranges of packs are read together: neighbours in one window, what is long in several. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

WINDOW_BYTES: Final = 4 << 20
_GAP_BYTES: Final = 64 << 10

Range = tuple[str, int, int]  # the key of a pack, position, size in bytes
Step = bytes | Range  # what is sent as it is, or read first


@dataclass(slots=True)
class Window:
    """A stretch of a pack that is read at once, and what is sent of it, in order, with what comes between."""

    key: str
    start: int
    end: int
    most_bytes: int = WINDOW_BYTES
    sent: list[bytes | tuple[int, int]] = field(default_factory=list)

    def takes(self, key: str, at: int, size: int) -> bool:
        """Say whether a range may be read with the rest."""
        near = self.end <= at <= self.end + _GAP_BYTES
        return key == self.key and near and at + size - self.start <= self.most_bytes


def windows(steps: Iterable[Step], most_bytes: int = WINDOW_BYTES) -> Iterator[Window]:
    """Yield the windows in which steps are read; what is sent as it is goes with the range before it."""
    window = Window("", 0, 0, most_bytes)
    for step in _short(steps, most_bytes):
        if isinstance(step, bytes):
            window.sent.append(step)
            continue
        key, at, size = step
        if not window.takes(key, at, size):
            if window.sent:
                yield window
            window = Window(key, at, at, most_bytes)
        window.sent.append((at, size))
        window.end = at + size
    if window.sent:
        yield window


def _short(steps: Iterable[Step], most_bytes: int) -> Iterator[Step]:
    """Cut ranges that are longer than a window."""
    for step in steps:
        if isinstance(step, bytes):
            yield step
            continue
        key, at, size = step
        for start in range(at, at + size, most_bytes):
            yield key, start, min(most_bytes, at + size - start)
