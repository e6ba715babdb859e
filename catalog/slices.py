"""The slices of a series: numbers and places kept short, and which slices are surely missing. Pure.

InstanceNumber alone proves nothing: exposures are rejected, echoes are split over series, phases are numbered
anew. ImagePositionPatient alone proves nothing either: stacks are planned with spaces between them. Where both
skip together by the same whole number of steps, the slices between are missing; nothing else is reported.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median_low
from typing import Final

Point = tuple[int, int]
"""InstanceNumber, and the position along the normal of the slice in micrometres."""

Run = tuple[int, int, int, int, int]
"""Slices evenly apart: first and last InstanceNumber, how many, first and last position."""

SMALLEST_STACK: Final = 6
_ROUNDING_UM: Final = 150  # positions are met that were rounded to a tenth of a millimetre
_SMALLEST_STEP_UM: Final = 2 * _ROUNDING_UM
_SHARE_OF_STEP: Final = 0.25


def runs_of(points: Iterable[Point]) -> list[Run]:
    """Return points as runs, in the order of their numbers; positions inside a run lose 0.15 mm at most."""
    runs: list[Run] = []
    ordered = sorted(set(points))
    start = 0
    for at in range(1, len(ordered) + 1):
        if at == len(ordered) or not _continues(ordered, start, at):
            (first, first_um), (last, last_um) = ordered[start], ordered[at - 1]
            runs.append((first, last, at - start, first_um, last_um))
            start = at
    return runs


def points_of(runs: Iterable[Run]) -> list[Point]:
    """Return the points of runs, those inside a run at even distances; sorted, each once."""
    found: set[Point] = set()
    for first, last, count, first_um, last_um in runs:
        gaps = max(count - 1, 1)
        for each in range(count):
            found.add(
                (first + (last - first) * each // gaps, first_um + round((last_um - first_um) * each / gaps))
            )
    return sorted(found)


def missing_numbers(points: Sequence[Point]) -> list[tuple[int, int]]:
    """Return the first and last InstanceNumber of every gap in which slices are surely missing.

    `points` are those of one series with one orientation. Numbers that repeat, few slices, or slices that are
    mostly not evenly apart (cine, interleaved echoes, localizers) give no verdict: an empty list.
    """
    ordered = sorted(points)
    if len(ordered) < SMALLEST_STACK or len({number for number, _ in ordered}) < len(ordered):
        return []
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(ordered)]
    stride = _commonest(numbers for numbers, _ in steps)
    step_um = median_low(um for numbers, um in steps if numbers == stride)
    even = sum(numbers == stride and _is_near(um, step_um, step_um) for numbers, um in steps)
    if abs(step_um) < _SMALLEST_STEP_UM or even < SMALLEST_STACK - 2 or 2 * even < len(steps):
        return []
    gaps = []
    for (number, _), (numbers, um) in zip(ordered, steps, strict=False):
        times, rest = divmod(numbers, stride)
        if times > 1 and rest == 0 and _is_near(um, times * step_um, step_um):
            gaps.append((number + stride, number + numbers - stride))
    return gaps


def _continues(ordered: Sequence[Point], start: int, at: int) -> bool:
    if at - start < 2:
        return True
    (first, first_um), (second, second_um) = ordered[start], ordered[start + 1]
    (before, before_um), (number, um) = ordered[at - 1], ordered[at]
    same_stride = number - before == second - first
    return same_stride and abs(um - before_um - (second_um - first_um)) <= _ROUNDING_UM


def _commonest(numbers: Iterable[int]) -> int:
    counted = Counter(numbers)
    return min(counted, key=lambda number: (-counted[number], number))


def _is_near(um: int, expected_um: int, step_um: int) -> bool:
    return abs(um - expected_um) <= max(_ROUNDING_UM, _SHARE_OF_STEP * abs(step_um))
