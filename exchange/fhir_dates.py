"""Dates of a FHIR search (R4 §3.1.1.4.7): a prefix and a time as precise as it was written. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from catalog.rules import HOSPITAL_ZONE
from exchange.fhir_types import moment

PREFIXES: Final = (
    "eq",
    "ge",
    "gt",
    "le",
    "lt",
    "sa",
    "eb",
)  # what is searched is an instant: sa is gt, eb is lt
_DATE: Final = re.compile(
    rf"({'|'.join(PREFIXES)})?"
    r"(\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d))?)?)?)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Span:
    """From `since` on, and before `until`; what is None has no end."""

    since: datetime | None = None
    until: datetime | None = None

    def narrowed(self, other: "Span") -> "Span":
        """Return what lies in both."""
        since = max(filter(None, (self.since, other.since)), default=None)
        until = min(filter(None, (self.until, other.until)), default=None)
        return Span(since, until)

    def holds(self, at: datetime) -> bool:
        """Say whether a moment lies in it."""
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


def span_of(value: str) -> Span:
    """Return the moments that a value of a date parameter allows. Raises ValueError."""
    found = _DATE.fullmatch(value)
    if not found:
        raise ValueError("no date as a search writes it")
    try:
        first, end = _bounds(found[2])
    except OverflowError as error:
        raise ValueError("no such time") from error
    prefix = found[1] or "eq"
    since = {"eq": first, "ge": first, "gt": end, "sa": end}.get(prefix)
    until = {"eq": end, "le": end, "lt": first, "eb": first}.get(prefix)
    return Span(since, until)


def _bounds(text: str) -> tuple[datetime, datetime]:
    """Return the first moment a date or instant means, and the first after it."""
    first = moment(text)
    if "T" in text:
        return first, first + (timedelta(microseconds=1) if "." in text else timedelta(seconds=1))
    if len(text) == 10:
        return first, first + timedelta(days=1)
    local = first.astimezone(HOSPITAL_ZONE)
    if len(text) == 7:
        return first, local.replace(year=local.year + local.month // 12, month=local.month % 12 + 1)
    return first, local.replace(year=local.year + 1)
