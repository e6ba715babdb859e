"""Which counts of a column are withheld from outsiders, so that none of them can be computed from what is shown. Pure.

A count from 1 to `least` - 1 is about few people and is SMALL. Taking only those away is not enough: whoever knows the
total and the other rows subtracts. So further counts are withheld as COMPLEMENT, the smallest first, and last of all
the total, until each withheld count could be at least one other number, for a reader who knows this rule and the marks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LEAST_THRESHOLD: Final = 3  # below it "few" is one number, and a mark would tell it


class Mark(StrEnum):
    """Why a count of a row is withheld: it is from 1 to `least` - 1, or at least `least` and beside such a one."""

    SMALL = "small"
    COMPLEMENT = "complement"


@dataclass(frozen=True, slots=True)
class Withheld:
    """The marks of a column's rows by their places, and whether its total is withheld as well."""

    rows: dict[int, Mark]
    total: bool


def withhold(counts: Sequence[int], least: int) -> Withheld:
    """Return which of these counts and whether their total is withheld, where `least` is the least count shown.

    Zeros are shown: they are about nobody. Raises ValueError for a negative count or a threshold below 3.
    """
    if least < LEAST_THRESHOLD or any(count < 0 for count in counts):
        raise ValueError("counts are not negative, and a threshold is at least 3")
    marks = {place: Mark.SMALL for place, count in enumerate(counts) if 0 < count < least}
    if not marks:
        return Withheld({}, total=False)
    others = [place for place, count in enumerate(counts) if count >= least]
    for place in sorted(others, key=lambda place: (counts[place], place)):
        if _is_open(counts, marks, least):
            break
        marks[place] = Mark.COMPLEMENT
    return Withheld(marks, total=sum(counts) < least or not _is_open(counts, marks, least))


def _is_open(counts: Sequence[int], marks: dict[int, Mark], least: int) -> bool:
    """Say whether the withheld rows can change places by one with their sum known: no number is forced."""
    total, few = sum(counts[place] for place in marks), _number_of(marks.values(), Mark.SMALL)
    large = len(marks) - few
    lowest = few + large * least
    if large:
        return total > lowest
    return few > 1 and lowest < total < few * (least - 1)


def _number_of(marks: Iterable[Mark], wanted: Mark) -> int:
    return sum(mark is wanted for mark in marks)
