"""Numbers, money and times as people read them, in Chinese and in English."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal, format_percent

from catalog.rules import HOSPITAL_ZONE
from exchange.web.texts import Language

_LOCALES: Final[Mapping[Language, str]] = {"zh": "zh_CN", "en": "en_GB"}
_DAYS: Final[Mapping[Language, str]] = {"zh": "yyyy-MM-dd", "en": "d MMM yyyy"}
_MONTHS: Final[Mapping[Language, str]] = {"zh": "yyyy年M月", "en": "MMM yyyy"}
_NOTHING: Final = "–"
_BRIEFLY_FROM_FEN: Final = 10**6  # below it the amount itself is as short
# What so many fen are called.
_LARGE: Final[Mapping[Language, tuple[tuple[int, str], ...]]] = {
    "zh": ((10**10, "%s 亿元"), (10**6, "%s 万元")),
    "en": ((10**11, "¥%s billion"), (10**8, "¥%s million"), (10**5, "¥%s thousand")),
}
_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Readings:
    """The filters of one language; each says "–" of nothing."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._locale = _LOCALES[language]

    def when(self, time: str | datetime | None) -> str:
        """Return a moment in the hospital's zone, to the minute."""
        moment = datetime.fromisoformat(time) if isinstance(time, str) and time else time
        if not isinstance(moment, datetime):
            return _NOTHING
        local = moment.astimezone(HOSPITAL_ZONE).replace(tzinfo=None)
        return format_datetime(local, f"{_DAYS[self._language]} HH:mm", locale=self._locale)

    def day(self, value: str | date | None) -> str:
        """Return a day; a moment's is that of the hospital's zone."""
        return self._dated(value, _DAYS[self._language])

    def month(self, value: str | date | None) -> str:
        """Return a month, given as YYYY-MM or as a day of it."""
        if isinstance(value, str) and len(value) == len("2026-01"):
            value = f"{value}-01"
        return self._dated(value, _MONTHS[self._language])

    def yuan(self, fen: int | None) -> str:
        """Return an amount of fen in yuan, to the fen."""
        if fen is None:
            return _NOTHING
        whole, rest = divmod(abs(fen), 100)
        sign = "-" if fen < 0 else ""
        return f"{sign}¥{whole:,}.{rest:02d}"

    def briefly(self, fen: int | None) -> str:
        """Return a large amount as people say it, rounded: 万元 and 亿元, thousands and millions; nothing of a small one."""
        amount = abs(fen or 0)
        for least, word in _LARGE[self._language]:
            if amount >= max(least, _BRIEFLY_FROM_FEN):
                rounded = (Decimal(fen or 0) / least).quantize(Decimal("0.01"), ROUND_HALF_UP)
                return word % f"{rounded:,}"
        return ""

    def month_or_text(self, value: str) -> str:
        """Return a month as it is read, or what was written where that is none."""
        try:
            return self.month(value[:7])
        except ValueError:
            return value

    def number(self, value: float | None) -> str:
        """Return a count with its groups of digits."""
        return _NOTHING if value is None else format_decimal(value, locale=self._locale)

    def percent(self, share: float | None) -> str:
        """Return a share of 1 in hundredths, with one decimal."""
        return _NOTHING if share is None else format_percent(share, "#,##0.0%", locale=self._locale)

    def size(self, size_bytes: float | None) -> str:
        """Return a size in the largest unit of which it has one."""
        if size_bytes is None:
            return _NOTHING
        left, unit = float(size_bytes), 0
        while left >= 1024 and unit < len(_SIZES) - 1:
            left, unit = left / 1024, unit + 1
        return f"{left:,.1f} {_SIZES[unit]}" if unit else f"{int(left)} B"

    def told(self, row: Mapping[str, Any], name: str) -> str:
        """Return what a row says in this language, where it says it in both."""
        english = row.get(f"{name}_en") if self._language == "en" else None
        return str(english or row.get(name) or "")

    def _dated(self, value: str | date | None, pattern: str) -> str:
        day = value
        if isinstance(day, str):
            day = datetime.fromisoformat(day) if "T" in day else date.fromisoformat(day) if day else None
        if isinstance(day, datetime):
            day = day.astimezone(HOSPITAL_ZONE).date()
        return _NOTHING if day is None else format_date(day, pattern, locale=self._locale)
