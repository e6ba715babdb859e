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
_MARK: Final = "\ufeff"  # of UTF-8: without it Excel takes the file for GB18030


@dataclass(frozen=True, slots=True)
class Column:
    """A column, named and explained in Chinese and English; `number_format` is that of a spreadsheet."""

    zh: str
    en: str
    meaning_zh: str
    meaning_en: str
    number_format: str = "@"

    @property
    def heading(self) -> str:
        """Return what stands above the column."""
        return f"{self.zh} {self.en}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table to be written: its columns, rows and perhaps a total, then lines of name and value.

    `facts` say what the whole of it is.
    """

    title: str
    facts: Sequence[tuple[str, Cell]]
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    total: Sequence[Cell] | None = None
    footer: Sequence[tuple[str, str]] = ()


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
    """Return a table as XLSX: a sheet of the rows, then one that says what they are.

    Raises InvalidInput where it is too long for XLSX.
    """
    if len(table.rows) > MOST_XLSX_ROWS:
        raise InvalidInput(
            f"XLSX 至多 {MOST_XLSX_ROWS} 行,请用 CSV 或缩小范围",
            f"XLSX is written up to {MOST_XLSX_ROWS} rows: take CSV, or ask for less",
            field="format",
        )
    import openpyxl  # a third of a second that most commands do not need

    lines = list(_lines(table))
    workbook = openpyxl.Workbook(write_only=True)
    workbook.properties.creator = "互认 Huren"
    formats = [column.number_format for column in table.columns]
    _fill(workbook.create_sheet(table.title), lines, formats, {0} | _last_of(table))
    notes = list(_notes(table))
    _fill(workbook.create_sheet("说明 notes"), notes, ["@"] * 3, {0})
    out = io.BytesIO()
    workbook.save(out)
    return out.getvalue()


def _lines(table: Table) -> Iterable[Sequence[Cell]]:
    yield [column.heading for column in table.columns]
    yield from table.rows
    if table.total is not None:
        yield table.total
    for line in table.footer:
        yield [*line, *[None] * (len(table.columns) - len(line))]


def _last_of(table: Table) -> set[int]:
    return set() if table.total is None else {len(table.rows) + 1}


def _notes(table: Table) -> Iterable[Sequence[Cell]]:
    yield (table.title, "", "")
    for name, value in table.facts:
        yield (name, value, "")
    for column in table.columns:
        yield (column.heading, column.meaning_zh, column.meaning_en)


def _guarded(cell: Cell) -> Cell:
    """Return a cell for CSV, where only an apostrophe keeps a text from being read as a formula."""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, str) and cell.startswith(_BEGINS_FORMULA):
        return f"'{cell}"
    return cell


def _fill(sheet: Any, lines: Sequence[Sequence[Cell]], formats: Sequence[str], bold: set[int]) -> None:
    """Write the lines of a sheet; widths and the frozen heading must come before them."""
    from openpyxl.utils import get_column_letter

    for number, cells in enumerate(zip(*lines, strict=True), 1):
        sheet.column_dimensions[get_column_letter(number)].width = min(max(map(_width, cells)), _WIDEST) + 2
    sheet.freeze_panes = "A2"
    for number, line in enumerate(lines):
        strong = number in bold
        sheet.append([_cell(sheet, *each, strong=strong) for each in zip(line, formats, strict=True)])


def _cell(sheet: Any, cell: Cell, number_format: str, *, strong: bool) -> Any:
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font

    if isinstance(cell, str):
        written = WriteOnlyCell(sheet, _NOT_IN_XML.sub("\ufffd", cell))
        written.data_type = "s"  # or "=1+1" were a formula, and "#N/A" an error
        written.number_format = "@"  # so that it stays text when somebody edits it
    else:
        written = WriteOnlyCell(sheet, cell)
        written.number_format = number_format
    if strong:
        written.font = Font(bold=True)
    return written


def _width(cell: Cell) -> int:
    """Return the columns of a terminal that a cell takes: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in str(cell or ""))
