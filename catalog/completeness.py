"""Whether the images of a study are all there, from what its packs say; and how it stands at a moment. Pure.

What a study is waiting for, and for how long:

* An association that was released, in which nothing was refused, is believed: the study is complete at once,
  unless the instances themselves declare more than have come. A study never waits just to see whether more may
  come; when more does come it is looked at again, and reopens only while that arrival lasts.
* An association that broke off, or is still sending, or whose parts are not all registered yet: the study waits
  for a quiet time after the last arrival.
* NumberOfStudyRelatedInstances (0020,1208) or NumberOfSeriesRelatedInstances (0020,1209) above what has come: the
  study waits for them up to an outer limit, and is then complete but flagged, because the number may be wrong and
  a study must not wait for ever. A curator who dismisses the flag makes it complete without one.
* ImagesInAcquisition (0020,1002) above what has come: vendors count it per series or over all reconstructions of
  an acquisition, so it proves little: the study waits for the quiet time only, and is not flagged.

All of it stands in the rows of the study and its packs. Time passes without anyone writing anything: `stands`
is asked at every check.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from catalog.records import Placed
from catalog.slices import Run, missing_numbers, points_of, runs_of

LARGEST_COUNT: Final = 1_000_000
_LARGEST_NUMBER_OF_RUNS: Final = 2_000
_SAME_NORMAL: Final = 20  # thousandths: a stack whose headers were rounded

Normal = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is not there: declared counts not reached and gaps, as texts that name them; sorted."""

    short: tuple[str, ...] = ()
    missing_slices: tuple[str, ...] = ()
    acquisition_open: bool = False


@dataclass(slots=True)
class _Series:
    """One series over any number of packs."""

    declared: int = 0
    acquisitions: dict[str, tuple[int, int]] = field(default_factory=dict)
    normal: Normal | None = None
    mixed: bool = False
    runs: list[Run] = field(default_factory=list)

    def join(self, normal: Normal | None) -> None:
        """Note the orientation of further slices; one stack has one."""
        if normal is None:
            return
        self.normal = self.normal or normal
        far = max(abs(a - b) for a, b in zip(self.normal, normal, strict=True))
        self.mixed = self.mixed or far > _SAME_NORMAL

    def count(self, acquisition: str, images: int, declared: int) -> None:
        """Add images of one acquisition."""
        known, most = self.acquisitions.get(acquisition, (0, 0))
        self.acquisitions[acquisition] = (known + images, max(most, declared))


def summarise(placed: Iterable[Placed]) -> dict[str, Any]:
    """Return what a pack's instances say about completeness, as JSON: small, whatever their number.

    study     the largest NumberOfStudyRelatedInstances
    series    UID → declared, acquisitions (number → [images, declared]), normal in thousandths, mixed, runs
    """
    study = 0
    found: dict[str, _Series] = {}
    points: dict[str, set[tuple[int, int]]] = {}
    for one in placed:
        study = max(study, one.study_instances)
        series = found.setdefault(one.SeriesInstanceUID, _Series())
        series.declared = max(series.declared, one.series_instances)
        if one.acquisition_images:
            series.count(str(one.acquisition), 1, one.acquisition_images)
        if one.position_um is not None and one.number is not None:
            series.join(one.normal)
            points.setdefault(one.SeriesInstanceUID, set()).add((one.number, one.position_um))
    for uid, slices in points.items():
        found[uid].runs = runs_of(slices)
    told = {uid: _told(series) for uid, series in found.items()}
    return {"study": study, "series": {uid: series for uid, series in told.items() if series}}


def judge(counts: Mapping[str, int], summaries: Iterable[Mapping[str, Any]]) -> Judgement:
    """Judge a study: `counts` are its instances by series, `summaries` those of all its packs, in any order."""
    study, found = _merged(summaries)
    short = [f"study:{study}"] if study > sum(counts.values()) else []
    short += [f"{uid}:{s.declared}" for uid, s in found.items() if s.declared > counts.get(uid, 0)]
    gaps = [f"{uid}:{first}-{last}" for uid, s in found.items() for first, last in _gaps(s)]
    return Judgement(tuple(sorted(short)), tuple(sorted(gaps)), _is_open(found.values()))


def stands(
    now: datetime, *, images_complete: bool, settles_at: datetime | None, flagged: bool, count_short: bool
) -> tuple[bool, bool]:
    """Return whether a study counts as complete at `now`, and whether its quality is in doubt.

    `settles_at` is when an incomplete study counts as complete all the same; `count_short` says that it then
    still has fewer instances than were declared.
    """
    complete = images_complete or (settles_at is not None and settles_at <= now)
    return complete, flagged or (complete and count_short)


def _told(series: _Series) -> dict[str, Any]:
    mixed = series.mixed or len(series.runs) > _LARGEST_NUMBER_OF_RUNS
    told = {
        "declared": series.declared,
        "acquisitions": {key: list(pair) for key, pair in series.acquisitions.items()},
        "normal": list(series.normal) if series.normal else None,
        "mixed": mixed,
        "runs": [] if mixed else [list(run) for run in series.runs],
    }
    return {key: value for key, value in told.items() if value}


def _merged(summaries: Iterable[Mapping[str, Any]]) -> tuple[int, dict[str, _Series]]:
    study = 0
    found: dict[str, _Series] = {}
    for summary in summaries:
        study = max(study, summary.get("study", 0))
        for uid, told in summary.get("series", {}).items():
            series = found.setdefault(uid, _Series())
            series.declared = max(series.declared, told.get("declared", 0))
            series.mixed = series.mixed or told.get("mixed", False)
            if told.get("normal"):
                series.join(tuple(told["normal"]))
            for key, (images, declared) in told.get("acquisitions", {}).items():
                series.count(key, images, declared)
            series.runs += [tuple(run) for run in told.get("runs", ())]
    return study, found


def _gaps(series: _Series) -> list[tuple[int, int]]:
    return [] if series.mixed else missing_numbers(points_of(series.runs))


def _is_open(found: Iterable[_Series]) -> bool:
    """Say whether an acquisition lacks images whichever way its vendor counts them."""
    series = list(found)
    together: Counter[str] = Counter()
    for each in series:
        together.update({key: images for key, (images, _) in each.acquisitions.items()})
    return any(
        images < declared and together[key] < declared
        for each in series
        for key, (images, declared) in each.acquisitions.items()
    )
