"""Charts drawn into a page as lines and rectangles: legible without colour, each value beside what stands for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from exchange.pdf_pages import Pages

_LETTERS_PT: Final = 7.0
_BAR_GREY: Final = 205
_ROW_MM: Final = 5.2
_MOST_LABELS: Final = 12


@dataclass(frozen=True, slots=True)
class Bar:
    """What a bar stands for; `value` is None where it is withheld, `share` None where it is undefined or withheld."""

    label: str
    value: float | None
    told: str
    share: float | None = None


def bars_and_shares(pages: Pages, bars: Sequence[Bar], height_mm: float = 62.0) -> None:
    """Draw upright bars, and over them shares as dots joined by a line, on a scale of their own from 0 to 100 %."""
    left, width, top = pages.l_margin + 4, pages.epw - 8, pages.get_y() + 8
    inner = height_mm - 18
    base = top + inner
    low, high = _ends(bars)
    step = width / max(len(bars), 1)
    zero = base - inner * _part(0.0, low, high)
    every = -(-len(bars) // _MOST_LABELS)
    _begin(pages)
    for number, bar in enumerate(bars):
        middle = left + step * (number + 0.5)
        _upright(
            pages, bar, middle, min(step * 0.6, 16), zero, base - inner * _part(bar.value or 0.0, low, high)
        )
        if number % every == 0:
            _centred(pages, bar.label, middle, base + 4)
            _centred(pages, bar.told, middle, base + 8)
    pages.line(left, zero, left + width, zero)
    places = [
        (left + step * (n + 0.5), base - inner * bar.share, bar.share)
        for n, bar in enumerate(bars)
        if bar.share is not None
    ]
    _joined(pages, places, every)
    pages.set_y(top + height_mm - 8)


def lying_bars(pages: Pages, bars: Sequence[Bar]) -> None:
    """Draw bars one beneath the other, the label before and the value behind each."""
    label_mm, value_mm = 55.0, 28.0
    room = pages.epw - label_mm - value_mm
    low, high = _ends(bars)
    zero = pages.l_margin + label_mm + room * _part(0.0, low, high)
    _begin(pages)
    for bar in bars:
        if pages.left_mm < _ROW_MM:
            pages.turn("portrait")
            _begin(pages)
        top = pages.get_y()
        pages.text(pages.l_margin, top + 3.4, pages.shortened(pages.legible(bar.label), label_mm - 2))
        end = pages.l_margin + label_mm + room * _part(bar.value or 0.0, low, high)
        pages.rect(min(zero, end), top + 0.8, abs(end - zero), _ROW_MM - 1.6, style="DF")
        pages.text(max(zero, end) + 1.5, top + 3.4, bar.told)
        pages.line(zero, top, zero, top + _ROW_MM)
        pages.set_y(top + _ROW_MM)
    pages.ln(4)


def _begin(pages: Pages) -> None:
    pages.set_font(size=_LETTERS_PT)
    pages.set_line_width(0.2)
    pages.set_fill_color(_BAR_GREY)


def _ends(bars: Sequence[Bar]) -> tuple[float, float]:
    values = [0.0, *(bar.value for bar in bars if bar.value is not None)]
    return min(values), max(values)


def _part(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.0


def _upright(pages: Pages, bar: Bar, middle: float, width: float, zero: float, end: float) -> None:
    if bar.value is not None:
        pages.rect(middle - width / 2, min(zero, end), width, abs(end - zero), style="DF")


def _joined(pages: Pages, places: Sequence[tuple[float, float, float]], every: int) -> None:
    """Draw the shares: a line from dot to dot, every so many with its number above."""
    pages.set_line_width(0.4)
    for (x, y, _), (next_x, next_y, _) in pairwise(places):
        pages.line(x, y, next_x, next_y)
    pages.set_fill_color(0)
    for number, (x, y, share) in enumerate(places):
        pages.circle(x, y, 0.9, style="F")
        if number % every == 0:
            _labelled(pages, f"{share:.1%}", x, y - 2)
    pages.set_line_width(0.2)


def _labelled(pages: Pages, text: str, x: float, y: float) -> None:
    """Write on white, whatever lies beneath."""
    width = pages.width_of(text) + 1
    pages.set_fill_color(255)
    pages.rect(x - width / 2, y - 2.4, width, 3, style="F")
    pages.set_fill_color(0)
    _centred(pages, text, x, y)


def _centred(pages: Pages, text: str, x: float, y: float) -> None:
    shown = pages.legible(text)
    pages.text(x - pages.width_of(shown) / 2, y, shown)
