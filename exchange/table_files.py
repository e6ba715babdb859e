"""Tables as files that a spreadsheet opens: CSV and XLSX, in which a text can never become a formula.

What a cell is follows from its type: a `str` is text, whatever it looks like; money is a Decimal in yuan.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal

from catalog.errors import InvalidInput

FileForm = Literal["csv", "xlsx"]
Cell = str | bool | int | float | Decimal | None
MEDIA_TYPES: Final[dict[FileForm, str]] = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
# What begins a formula (OWASP, CSV Injection); spreadsheets in Chinese take the full-width forms as well.
_BEGINS_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_NOT_IN_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
MOST_XLSX_ROWS: Final = 20_000  # each takes half a millisecond of the process that answers doctors as well
_WIDEST: Final = 40
_LINE_PT: Final = 15
_LEAST_WIDE: Final = 14  # of a column whose heading is wrapped
_MARK: Final = "\ufeff"  # of UTF-8: without it Excel takes the file for GB18030


@dataclass(frozen=True, slots=True)
class Column:
    """A column, named and explained in Chinese and English; `number_format` is that of a spreadsheet.

    `above` stands over it and over the neighbours that share it.
    """

    zh: str
    en: str
    meaning_zh: str
    meaning_en: str
    number_format: str = "@"
    above: str = ""

    @property
    def heading(self) -> str:
        """Return what the column is called."""
        return f"{self.zh} {self.en}"

    @property
    def full_heading(self) -> str:
        """Return what the column is called where nothing can stand above it."""
        return f"{self.above} {self.heading}" if self.above else self.heading


@dataclass(frozen=True, slots=True)
class Table:
    """A table to be written: its columns, rows and perhaps a total, then lines of name and value.

    `facts` say what the whole of it is; `banner` stands across its top in a workbook, which has a sheet for each of
    `more` as well.
    """

    title: str
    facts: Sequence[tuple[str, Cell]]
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    total: Sequence[Cell] | None = None
    footer: Sequence[tuple[str, str]] = ()
    banner: str = ""
    more: Sequence["Table"] = ()


def form_of(path: Path) -> FileForm:
    """Return the form that a file's name asks for. Raises InvalidInput for any other suffix."""
    for form in MEDIA_TYPES:
        if path.suffix.lower() == f".{form}":
            return form
    raise InvalidInput("文件名须以 .csv 或 .xlsx 结尾", "The file's name ends in .csv or .xlsx", field="out")


def write(table: Table, form: FileForm) -> bytes:
    """Return a table as a file. Raises InvalidInput where it is too long for XLSX."""
    return csv_of(table) if form == "csv" else xlsx_of(table)


def csv_of(table: Table) -> bytes:
    """Return a table as CSV (RFC 4180) in UTF-8: every text below the heading is quoted, no number is."""
    out = io.StringIO(newline="")
    heading, *rows = _lines(table)
    csv.writer(out).writerow(heading)  # a quote right behind the mark is taken for a part of the text by some
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC)
    for row in rows:
        writer.writerow([_guarded(cell) for cell in row])
    return (_MARK + out.getvalue()).encode()


def xlsx_of(table: Table) -> bytes:
    """Return a table as XLSX: a sheet of the rows, those of further tables, then one that says what they are.

    Raises InvalidInput where it is too long for XLSX.
    """
    if len(table.rows) > MOST_XLSX_ROWS:
        raise InvalidInput(
            f"XLSX 至多 {MOST_XLSX_ROWS} 行,请用 CSV 或缩小范围",
            f"XLSX is written up to {MOST_XLSX_ROWS} rows: take CSV, or ask for less",
            field="format",
        )
    import openpyxl  # a third of a second that most commands do not need

    workbook = openpyxl.Workbook(write_only=True)
    workbook.properties.creator = "互认 Huren"
    for each in (table, *table.more):
        _fill(workbook.create_sheet(each.title), _sheet_of(each))
    notes = list(_notes(table))
    _fill(workbook.create_sheet("说明 notes"), _Sheet(notes, ["@"] * 3, headings=1))
    out = io.BytesIO()
    workbook.save(out)
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class _Merge:
    """Cells that are one, by the place of the first, from 0, and how many lines and columns they take."""

    line: int
    column: int
    lines: int
    columns: int


@dataclass(frozen=True, slots=True)
class _Sheet:
    """The lines of a sheet: the first `headings` of them are bold, and the `total`, by its place."""

    lines: Sequence[Sequence[Cell]]
    formats: Sequence[str]
    headings: int
    total: int | None = None
    merged: Sequence[_Merge] = ()


def _lines(table: Table) -> Iterable[Sequence[Cell]]:
    yield [column.full_heading for column in table.columns]
    yield from table.rows
    if table.total is not None:
        yield table.total
    yield from _footer(table)


def _footer(table: Table) -> Iterable[Sequence[Cell]]:
    for line in table.footer:
        yield [*line, *[None] * (len(table.columns) - len(line))]


def _sheet_of(table: Table) -> _Sheet:
    headings, merged = _headings(table)
    totals = [] if table.total is None else [table.total]
    formats = [column.number_format for column in table.columns]
    lines = [*headings, *table.rows, *totals, *_footer(table)]
    return _Sheet(lines, formats, len(headings), len(headings) + len(table.rows) if totals else None, merged)


def _headings(table: Table) -> tuple[list[Sequence[Cell]], list[_Merge]]:
    """Return the lines above the rows and which of their cells are one: the banner, groups, columns without a group."""
    width = len(table.columns)
    lines: list[Sequence[Cell]] = [[table.banner, *[None] * (width - 1)]] if table.banner else []
    merged = [_Merge(0, 0, 1, width)] if table.banner else []
    if not any(column.above for column in table.columns):
        return [*lines, [column.heading for column in table.columns]], merged
    top = [column.above or column.heading for column in table.columns]
    below = [column.heading if column.above else None for column in table.columns]
    for above, group in groupby(range(width), key=lambda place: table.columns[place].above):
        first, *others = group
        if above:
            top[first + 1 : first + 1 + len(others)] = [""] * len(others)
            merged.append(_Merge(len(lines), first, 1, 1 + len(others)))
        else:
            merged += [_Merge(len(lines), place, 2, 1) for place in (first, *others)]
    return [*lines, [name or None for name in top], below], merged


def _notes(table: Table) -> Iterable[Sequence[Cell]]:
    yield (table.title, "", "")
    for name, value in table.facts:
        yield (name, value, "")
    for column in table.columns:
        yield (column.full_heading, column.meaning_zh, column.meaning_en)


def _guarded(cell: Cell) -> Cell:
    """Return a cell for CSV, where only an apostrophe keeps a text from being read as a formula."""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, str) and cell.startswith(_BEGINS_FORMULA):
        return f"'{cell}"
    return cell


def _fill(sheet: Any, content: _Sheet) -> None:
    """Write the lines of a sheet; widths and the frozen heading must come before them."""
    from openpyxl.utils import get_column_letter

    sheet.freeze_panes = f"A{content.headings + 1}"
    for number, cells in enumerate(zip(*content.lines, strict=True), 1):
        measured = cells[content.headings :] if content.merged else cells
        widths = [_LEAST_WIDE if content.merged else 0, *map(_width, measured)]
        sheet.column_dimensions[get_column_letter(number)].width = min(max(widths), _WIDEST) + 2
    if content.merged:
        _lay_out(sheet, content)
    for number, line in enumerate(content.lines):
        is_heading = number < content.headings
        strong = is_heading or number == content.total
        wrapped = is_heading and bool(content.merged)
        pairs = zip(line, content.formats, strict=True)
        sheet.append([_cell(sheet, *each, strong=strong, wrapped=wrapped) for each in pairs])


def _lay_out(sheet: Any, content: _Sheet) -> None:
    """Merge what is one, give wrapped headings their height, and have a page take the whole width."""
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.properties import PageSetupProperties

    for each in content.merged:
        begin = f"{get_column_letter(each.column + 1)}{each.line + 1}"
        end = f"{get_column_letter(each.column + each.columns)}{each.line + each.lines}"
        sheet.merged_cells.add(f"{begin}:{end}")
    below = [-(-_width(cell) // _LEAST_WIDE) for cell in content.lines[content.headings - 1]]
    through = [content.lines[each.line][each.column] for each in content.merged if each.lines > 1]
    below += [-(-_width(cell) // _LEAST_WIDE) - 2 for cell in through]
    for number in range(1, content.headings + 1):
        lines = 2 if number < content.headings else max(2, *below)
        sheet.row_dimensions[number].height = _LINE_PT * lines
    sheet.print_title_rows = f"1:{content.headings}"
    sheet.page_setup.orientation = "landscape"
    sheet.page_setup.fitToHeight = 0
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)


def _cell(sheet: Any, cell: Cell, number_format: str, *, strong: bool, wrapped: bool) -> Any:
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Alignment, Font

    if isinstance(cell, str):
        written = WriteOnlyCell(sheet, _NOT_IN_XML.sub("\ufffd", cell))
        written.data_type = "s"  # or "=1+1" were a formula, and "#N/A" an error
        written.number_format = "@"  # so that it stays text when somebody edits it
    else:
        written = WriteOnlyCell(sheet, cell)
        written.number_format = number_format
    if strong:
        written.font = Font(bold=True)
    if wrapped:
        written.alignment = Alignment(horizontal="center", vertical="center", wrap_text=True)
    return written


def _width(cell: Cell) -> int:
    """Return the columns of a terminal that a cell takes: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in str(cell or ""))
