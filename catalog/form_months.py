"""The months that a form is filled in for. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final

from catalog.rules import HOSPITAL_ZONE

MOST_MONTHS: Final = 120


@dataclass(frozen=True, slots=True)
class FormMonths:
    """The months from `first` to `last`, both first days and inclusive; `hospital_code` is empty for every hospital."""

    first: date
    last: date
    hospital_code: str = ""

    @property
    def count(self) -> int:
        """Return how many months these are."""
        return (self.last.year - self.first.year) * 12 + self.last.month - self.first.month + 1

    @property
    def end(self) -> date:
        """Return the first day after them, or the last day there is."""
        return _month_after(self.last, 1)

    @property
    def times(self) -> tuple[datetime, datetime]:
        """Return their first moment and the first moment after them, in the hospitals' zone."""
        begin, end = (datetime.combine(day, time(), HOSPITAL_ZONE) for day in (self.first, self.end))
        return begin, end

    def __iter__(self) -> Iterator[date]:
        return (_month_after(self.first, number) for number in range(self.count))


def _month_after(month: date, number: int) -> date:
    years, months = divmod(month.month - 1 + number, 12)
    return date.max if month.year + years > date.max.year else date(month.year + years, months + 1, 1)
