"""Times in steps, so that medians of any grouping can be had from sums: minutes, each step up to and with its own. Pure."""

from collections.abc import Sequence
from typing import Final

_UP_TO_A_DAY: Final = (
    *(1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240),
    *(300, 360, 480, 600, 720, 900, 1080, 1440),
)
_DAYS: Final = (2160, 2880, 4320, 7200, 10_080, 20_160, 43_200)
# The last takes whatever is longer as well.
ARRIVAL: Final = (*_UP_TO_A_DAY, *_DAYS, 525_600)
VIEWING: Final = _UP_TO_A_DAY
LIMITS_HOURS: Final = tuple(step // 60 for step in ARRIVAL if step % 60 == 0 and step <= 10_080)


def rank(counts: Sequence[int], steps: Sequence[int], percent: int) -> int | None:
    """Return within how many minutes so many per cent of what is counted lie; None of nothing."""
    whole, reached = sum(counts), 0
    for count, step in zip(counts, steps, strict=True):
        reached += count
        if whole and reached * 100 >= whole * percent:
            return step
    return None


def within(counts: Sequence[int], minutes: int) -> int:
    """Return how many took so many minutes at most: exact where that is one of the steps."""
    return sum(count for count, step in zip(counts, ARRIVAL, strict=True) if step <= minutes)
