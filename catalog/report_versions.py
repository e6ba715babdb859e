"""Which version of a report stands: independent of the order in which the versions arrived."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from catalog.records import ReportStatus, ReportVersion
from catalog.report_records import SETTLED, WITHDRAWN
from catalog.rules import newest_report

Change = Literal["report_corrected", "report_withdrawn"]

# Some systems leave the report time as it was: at one time, what takes back beats what corrects, and so on.
_RANK: Final = {
    status: rank
    for rank, status in enumerate(
        (
            ReportStatus.REGISTERED,
            ReportStatus.PARTIAL,
            ReportStatus.PRELIMINARY,
            ReportStatus.FINAL,
            ReportStatus.APPENDED,
            ReportStatus.AMENDED,
            ReportStatus.CORRECTED,
            ReportStatus.CANCELLED,
            ReportStatus.ENTERED_IN_ERROR,
        )
    )
}


@dataclass(frozen=True, slots=True)
class KnownVersion(ReportVersion):
    """A kept version; `digest` of its content orders what neither time nor status does."""

    id: int
    digest: bytes


def of_value(version: KnownVersion, status: ReportStatus) -> KnownVersion:
    """Return one version of a value: by its own status, unless its whole report was withdrawn."""
    return version if version.status in WITHDRAWN else replace(version, status=status)


def in_order(versions: Iterable[KnownVersion]) -> list[KnownVersion]:
    """Return versions from the first to the last: by report time, then status, then content."""
    return sorted(versions, key=lambda v: (v.reported_at, _RANK[v.status], v.digest))


def standing(versions: Iterable[KnownVersion]) -> KnownVersion | None:
    """Return the version that counts, by the rule of `rules.newest_report`; None of none."""
    found = newest_report(in_order(versions))
    return found if isinstance(found, KnownVersion) else None


def number_of(version: KnownVersion, versions: Sequence[KnownVersion]) -> int:
    """Return which version it is, counted from 1."""
    return in_order(versions).index(version) + 1


def change(before: ReportStatus | None, after: ReportStatus | None) -> Change | None:
    """Return what whoever relied on `before` must be told now that `after` stands in its place.

    Only a settled report can be relied on; what follows it and is not a withdrawal is a correction.
    """
    if before not in SETTLED or after is None:
        return None
    return "report_withdrawn" if after in WITHDRAWN else "report_corrected"
