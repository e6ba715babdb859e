"""How far a figure may lie from its peers and from its own past before somebody asks about it. Pure.

Median and median absolute deviation (MAD): neither moves while fewer than half of the figures do, so who is far away
does not make himself usual. What rests on few orders, or has few to be compared with, is never asked about.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from statistics import median
from typing import Final, Literal

from catalog.errors import InvalidInput

_MAD_TO_DEVIATION: Final = 1.4826  # of a normal distribution
Compared = Literal["tier", "city", "history", "setting"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on a figure is asked about; every one can be set (HUREN_QUESTION_THRESHOLDS).

    `least_orders` of a hospital, item and month make a figure, `least_peers` figures a comparison; own history needs
    `least_months` of the `history_months` before. Far is more than `deviations` robust standard deviations above the
    median; for shares also more than `share_gap` above it, for money per order more than `money_gap_fen` above it and
    more than `money_ratio` times it. A look at a patient's reports, images or history counts for `viewed_within_days`.
    A decision is fast within `fast_seconds` of its check; above `fast_share` of a month's somebody asks, whatever peers
    do. A burst is `burst_decisions` of one doctor within `burst_minutes`.

    Raises InvalidInput for what is not above 0.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - pydantic reads it as a class attribute

    least_orders: int = 20
    least_peers: int = 5
    least_months: int = 3
    history_months: int = 6
    deviations: float = 3.5
    share_gap: float = 0.2
    money_gap_fen: int = 1_000
    money_ratio: float = 1.5
    viewed_within_days: int = 7
    fast_seconds: float = 5.0
    fast_share: float = 0.5
    burst_decisions: int = 20
    burst_minutes: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what would ask about everything, or nothing."""
        for each in fields(self):
            if not getattr(self, each.name) > 0:
                raise InvalidInput(
                    f"阈值 {each.name} 须大于 0",
                    f"The threshold {each.name} must be above 0",
                    field=each.name,
                )

    @property
    def viewed_within(self) -> timedelta:
        """Return how long a viewing counts."""
        return timedelta(days=self.viewed_within_days)

    @property
    def burst_within(self) -> timedelta:
        """Return the window in which a doctor's decisions are counted together."""
        return timedelta(minutes=self.burst_minutes)


@dataclass(frozen=True, slots=True)
class Figure:
    """A hospital's figure for one item in one month, out of how many orders; `of` is what it is a part of."""

    hospital: str
    tier: int
    item: str
    month: date
    value: float
    of: int


@dataclass(frozen=True, slots=True)
class Expected:
    """What is usual and how much is still not asked about, out of how many figures of whom."""

    usual: float
    at_most: float
    compared_with: Compared
    compared: int


def bound(values: Sequence[float], deviations: float, *, gap: float = 0.0, ratio: float = 1.0) -> float:
    """Return the greatest value that is not far from these: their median and so many deviations, gap and ratio."""
    usual = median(values)
    spread = _MAD_TO_DEVIATION * median(abs(value - usual) for value in values)
    return max(usual + deviations * spread, usual + gap, usual * ratio)


def above_peers(
    figures: Iterable[Figure],
    thresholds: Thresholds,
    *,
    gap: float = 0.0,
    ratio: float = 1.0,
    ceiling: float | None = None,
) -> Iterator[tuple[Figure, Expected]]:
    """Yield the figures far above those of the same item and month in the tier, or in the city where those are few.

    The figure itself is among those it is compared with: as one of `least_peers` it hardly moves them. What is above
    `ceiling` is yielded whatever others do.
    """
    kept = [each for each in figures if each.of >= thresholds.least_orders]
    tiers, city = _values(kept, _tier), _values(kept, _city)
    usual: dict[Hashable, Expected | None] = {
        **{key: _expected(values, "tier", thresholds, gap, ratio) for key, values in tiers.items()},
        **{key: _expected(values, "city", thresholds, gap, ratio) for key, values in city.items()},
    }
    for figure in kept:
        expected = _below(ceiling, usual[_tier(figure)] or usual[_city(figure)])
        if expected is not None and figure.value > expected.at_most:
            yield figure, expected


def above_history(
    figures: Iterable[Figure], thresholds: Thresholds, since: date, *, gap: float = 0.0, ratio: float = 1.0
) -> Iterator[tuple[Figure, Expected]]:
    """Yield the figures from the month `since` on that are far above the same hospital's for the item before."""
    series: dict[Hashable, dict[date, Figure]] = defaultdict(dict)
    for figure in figures:
        if figure.of >= thresholds.least_orders:
            series[figure.hospital, figure.item][figure.month] = figure
    for months in series.values():
        for month, figure in months.items():
            if month < since:
                continue
            first = months_before(month, thresholds.history_months)
            before = [each.value for day, each in months.items() if first <= day < month]
            expected = _expected(before, "history", thresholds, gap, ratio)
            if expected is not None and figure.value > expected.at_most:
                yield figure, expected


def months_before(month: date, count: int) -> date:
    """Return the first day of the month so many months before."""
    months = month.year * 12 + month.month - 1 - count
    return date(months // 12, months % 12 + 1, 1)


def _expected(
    values: Sequence[float], compared_with: Compared, thresholds: Thresholds, gap: float, ratio: float
) -> Expected | None:
    least = thresholds.least_months if compared_with == "history" else thresholds.least_peers
    if len(values) < least:
        return None
    at_most = bound(values, thresholds.deviations, gap=gap, ratio=ratio)
    return Expected(median(values), at_most, compared_with, len(values))


def _below(ceiling: float | None, expected: Expected | None) -> Expected | None:
    """Return what is expected, at most the ceiling; alone it is all that is expected."""
    if ceiling is None:
        return expected
    if expected is None:
        return Expected(ceiling, ceiling, "setting", 0)
    return replace(expected, at_most=min(expected.at_most, ceiling))


def _values(
    figures: Iterable[Figure], key: Callable[[Figure], Hashable]
) -> Mapping[Hashable, Sequence[float]]:
    found: dict[Hashable, list[float]] = defaultdict(list)
    for figure in figures:
        found[key(figure)].append(figure.value)
    return found


def _tier(figure: Figure) -> Hashable:
    return figure.item, figure.month, figure.tier


def _city(figure: Figure) -> Hashable:
    return figure.item, figure.month
