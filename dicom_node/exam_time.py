"""When an examination was made, from the dates and times of one instance, however badly they are written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

LOCAL_ZONE: Final = ZoneInfo("Asia/Shanghai")
_FIRST_YEAR: Final = 1850
_PAIRS: Final = ("Acquisition", "Content", "Series", "Study")
# PS3.5 §6.2: YYYYMMDD; with dots in ACR-NEMA, with dashes or slashes from careless senders.
_DATE: Final = re.compile(r"([0-9]{4})(?:[-./]?([0-9]{2})(?:[-./]?([0-9]{2}))?)?")
_TIME: Final = re.compile(r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:\.([0-9]{1,6})[0-9]*)?)?)?")
_OFFSET: Final = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})")


@dataclass(frozen=True, slots=True)
class ExamTime:
    """A moment in UTC, the attribute it was taken from, and whether that told the time of day."""

    at: datetime
    source: str
    has_time_of_day: bool


def exam_time(values: Mapping[str, str]) -> ExamTime | None:
    """Return the time an instance was made, or None where no date can be read.

    `values` are by keyword: AcquisitionDateTime, then the pairs Acquisition, Content, Series and Study Date and
    Time are tried in this order. Without an offset, in the value or in TimezoneOffsetFromUTC (0008,0201,
    PS3.3 C.12.1.1.8), the time is that of Asia/Shanghai.
    """
    zone = _zone(values.get("TimezoneOffsetFromUTC", "")) or LOCAL_ZONE
    found = _from_datetime(values.get("AcquisitionDateTime", ""), zone)
    if found:
        return found
    for name in _PAIRS:
        day = parse_date(values.get(f"{name}Date", ""))
        if day:
            return _moment(day, values.get(f"{name}Time", ""), zone, f"{name}Date")
    return None


def parse_date(text: str) -> date | None:
    """Return the day of a DA value, the first day of a month or year that is not given; None if it is no date."""
    match = _DATE.fullmatch(text.strip())
    if match is None or int(match[1]) < _FIRST_YEAR:
        return None
    try:
        return date(int(match[1]), int(match[2] or 1), int(match[3] or 1))
    except ValueError:
        return None


def _from_datetime(text: str, zone: tzinfo) -> ExamTime | None:
    """VR DT: YYYYMMDDHHMMSS.FFFFFF&ZZXX, cut off anywhere after the year."""
    text = text.strip()
    offset = _OFFSET.search(text, 4)
    local = text[: offset.start()] if offset else text
    day = parse_date(local[:8])
    own_zone = _zone(offset.group()) if offset else None
    return _moment(day, local[8:], own_zone or zone, "AcquisitionDateTime") if day else None


def _moment(day: date, clock: str, zone: tzinfo, source: str) -> ExamTime:
    of_day = _parse_time(clock)
    at = datetime.combine(day, of_day or time(), zone).astimezone(UTC)
    return ExamTime(at, source, of_day is not None)


def _parse_time(text: str) -> time | None:
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    hour, minute, second = (int(part or 0) for part in match.groups()[:3])
    try:  # a leap second is written 60
        return time(hour, minute, min(second, 59), int((match[4] or "0").ljust(6, "0")))
    except ValueError:
        return None


def _zone(text: str) -> tzinfo | None:
    match = _OFFSET.fullmatch(text.strip())
    if match is None:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    if offset > timedelta(hours=14):
        return None
    return timezone(offset if match[1] == "+" else -offset)
