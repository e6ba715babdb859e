"""Pages of a PDF in A4: titles, lines and tables in Chinese and English, with the glyphs they need embedded.

What the font has no glyph for is written as its code point, 〔U+24B62〕: seen as such, and never dropped.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, Literal

from fpdf import FPDF
from noto_cjk_sans_otc import FONT_PATH

from exchange.table_files import Cell, Column, Table

MARGIN_MM: Final = 14.0
_FAMILY: Final = "NotoSansCJKsc"
_SIMPLIFIED: Final = 2  # its place in the collection: Japanese, Korean, simplified Chinese, …
_BODY_PT: Final = 9.0
_TABLE_PT: Final = 6.5
_LINE: Final = 1.45  # of the size of the letters
_MM_OF_PT: Final = 25.4 / 72
_PAD_MM: Final = 0.8
_SLACK_MM: Final = 0.1  # for what is lost in adding up
_WIDEST_MM: Final = 60.0  # of a column; longer texts take several lines
_GREY: Final = 235
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
Line = tuple[str, str]  # Chinese, English


class Pages(FPDF):
    """A document that is written from its top to its end; lengths are in millimetres."""

    def __init__(self, title: str, made_at: datetime) -> None:
        super().__init__(orientation="portrait", unit="mm", format="A4")
        self.add_font(_FAMILY, fname=str(FONT_PATH), collection_font_number=_SIMPLIFIED)
        self.set_margin(MARGIN_MM)
        self.set_auto_page_break(auto=True, margin=MARGIN_MM + 4)
        self.c_margin = 0.0  # what stands in a cell begins where a table does
        self.set_title(title)
        self.set_creator("互认 Huren")
        self.set_lang("zh-CN")
        self.set_creation_date(made_at)
        self._title = title
        self.turn("portrait")

    def turn(self, orientation: Literal["portrait", "landscape"]) -> None:
        """Begin a page."""
        self.add_page(orientation=orientation)
        self.set_font(_FAMILY, size=_BODY_PT)

    def footer(self) -> None:
        """Write the title and the number of the page and of all pages beneath each; the library calls it."""
        self.set_y(-MARGIN_MM)
        self.set_font(_FAMILY, size=7)
        self.cell(w=self.epw / 2, text=self._title)
        self.cell(
            w=self.epw / 2,
            text=f"第 {self.page_no()} 页,共 {{nb}} 页  page {self.page_no()} of {{nb}}",
            align="R",
        )

    @property
    def left_mm(self) -> float:
        """Return how much of the page is left beneath."""
        return float(self.h - self.b_margin - self.get_y())

    def write_heading(self, line: Line, size_pt: float = 12.0) -> None:
        """Write what the following is about, on the page of its first lines."""
        if self.left_mm < 30:
            self.turn("landscape" if self.w > self.h else "portrait")
        self._write_wrapped(line, size_pt)
        self.ln(1)

    def write_lines(self, lines: Iterable[Line], size_pt: float = _BODY_PT) -> None:
        """Write texts, each in Chinese and then in English."""
        for line in lines:
            self._write_wrapped(line, size_pt)
        self.ln(2)

    def _write_wrapped(self, line: Line, size_pt: float) -> None:
        self.set_font(_FAMILY, size=size_pt)
        for text in self.fit(self.legible("  ".join(filter(None, line))), self.epw):
            self.cell(w=0, h=size_pt * _MM_OF_PT * _LINE, text=text, new_x="LMARGIN", new_y="NEXT")

    def finished(self) -> bytes:
        """Return the document; nothing can be written after it."""
        content = bytes(self.output())
        self._font.close()
        return content

    def write_table(self, table: Table) -> None:
        """Write a table, its headings again on every page, its total last."""
        _TableWriter(self, table).write()

    def fit(self, text: str, width_mm: float) -> list[str]:
        """Return the lines of a text that are no wider than that, and break no word of Latin letters that fits in one."""
        lines, line, taken = [], "", 0.0
        for character in text:
            wide = self._width(character)
            if line and taken + wide > width_mm:
                head, blank, tail = line.rpartition(" ")
                kept, line = (head, tail) if blank and head and tail.isascii() else (line, "")
                lines.append(kept)
                taken = self.width_of(line)
            line, taken = line + character, taken + wide
        return [*lines, line]

    def shortened(self, text: str, width_mm: float) -> str:
        """Return a text that is no wider than that, its end an ellipsis where some was left out."""
        first, *more = self.fit(text, width_mm)
        return self.fit(text, width_mm - self._width("…"))[0] + "…" if more else first

    def legible(self, text: str) -> str:
        """Return a text in which everything can be seen: what has no glyph stands as its code point."""
        return "".join(c if self._has_glyph(c) else f"〔U+{ord(c):04X}〕" for c in text)

    def _has_glyph(self, character: str) -> bool:
        return ord(character) in self._font.cmap and unicodedata.category(character) not in _UNSEEN

    @property
    def _font(self) -> Any:
        return self.fonts[_FAMILY.lower()]

    def width_of(self, text: str) -> float:
        """Return how wide a text is, in the letters in use."""
        return sum(map(self._width, text))

    def _width(self, character: str) -> float:
        key = (character, self.font_size_pt)
        if key not in self._widths:
            self._widths[key] = float(self.get_string_width(character))
        return self._widths[key]

    @cached_property
    def _widths(self) -> dict[tuple[str, float], float]:
        return {}


class _TableWriter:
    """Writes one table: as wide as the page, its columns by what they hold."""

    def __init__(self, pages: Pages, table: Table) -> None:
        self._pages = pages
        self._columns = table.columns
        pages.set_font(_FAMILY, size=_TABLE_PT)
        self._headings = [[pages.legible(c.zh), pages.legible(c.en)] for c in table.columns]
        self._rows = [self._shown(row) for row in table.rows]
        self._total = None if table.total is None else self._shown(table.total)
        self._widths = self._wide()
        self._line_mm = _TABLE_PT * _MM_OF_PT * _LINE

    def write(self) -> None:
        self._write_headings()
        for row in self._rows:
            self._write(row)
        if self._total is not None:
            self._write(self._total, grey=True)
        self._pages.ln(3)

    def _shown(self, row: Sequence[Cell]) -> list[str]:
        return [self._pages.legible(_text(*each)) for each in zip(row, self._columns, strict=True)]

    def _wide(self) -> list[float]:
        """Return the widths of the columns: what each would like, scaled to the page where that is too much."""
        pages, total = self._pages, [self._total] if self._total else []
        wished = []
        for place, heading in enumerate(self._headings):
            words = [word for text in heading for word in text.split()]
            texts = {*words, *(row[place] for row in (*self._rows, *total))}
            wished.append(min(max(map(pages.width_of, texts)) + 2 * _PAD_MM + _SLACK_MM, _WIDEST_MM))
        scale = pages.epw / sum(wished)
        return [width * scale for width in wished] if scale < 1 else wished

    def _write_headings(self) -> None:
        self._write([" ".join(heading) for heading in self._headings], grey=True, is_heading=True)

    def _write(self, texts: Sequence[str], *, grey: bool = False, is_heading: bool = False) -> None:
        pages = self._pages
        pages.set_font(_FAMILY, size=_TABLE_PT)
        cells = [
            pages.fit(text, width - 2 * _PAD_MM) for text, width in zip(texts, self._widths, strict=True)
        ]
        height = max(map(len, cells)) * self._line_mm + 2 * _PAD_MM
        if height > pages.left_mm:
            pages.turn("landscape" if pages.w > pages.h else "portrait")
            if not is_heading:
                self._write_headings()
            pages.set_font(_FAMILY, size=_TABLE_PT)
        self._draw(cells, height, grey=grey)
        pages.set_xy(pages.l_margin, pages.get_y() + height)

    def _draw(self, cells: Sequence[Sequence[str]], height: float, *, grey: bool) -> None:
        pages, left, top = self._pages, self._pages.l_margin, self._pages.get_y()
        pages.set_line_width(0.1)
        pages.set_fill_color(_GREY)
        for lines, width, column in zip(cells, self._widths, self._columns, strict=True):
            pages.rect(left, top, width, height, style="DF" if grey else "D")
            for number, line in enumerate(lines):
                space = width - 2 * _PAD_MM - pages.width_of(line) if _is_number(column) else 0
                baseline = top + _PAD_MM + (number + 0.75) * self._line_mm
                pages.text(left + _PAD_MM + space, baseline, line)
            left += width


def _is_number(column: Column) -> bool:
    return column.number_format != "@"


def _text(cell: Cell, column: Column) -> str:
    """Return a cell as its column's format has it."""
    if cell is None:
        return "—"
    if isinstance(cell, str):
        return cell
    if column.number_format.endswith("%"):
        return f"{cell:.2%}"
    return f"{cell:,.2f}" if isinstance(cell, Decimal) else f"{cell:,}"
