"""The one clock the product asks, so that boundaries can be tried from outside."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

Clock = Callable[[], datetime]

log = logging.getLogger("huren.clock")


def system_clock() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


def open_clock(env: str, test_clock_file: Path | None) -> Clock:
    """Return the clock of this environment: in `test` the time written in a file, if one is named.

    The file is read at each question, holds one ISO 8601 time with an offset, and is honoured in no
    other environment.
    """
    if env != "test" or test_clock_file is None:
        return system_clock
    log.warning("TEST CLOCK: times are read from a file; not for production")
    return lambda: read_clock_file(test_clock_file)


def read_clock_file(path: Path) -> datetime:
    """Return the aware time written in `path`, or the present moment while the file is absent or empty.

    Raises ValueError where the text is no ISO 8601 time.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return system_clock()
    if not text:
        return system_clock()
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
