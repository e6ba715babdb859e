"""Rows of a CSV or XLSX file with their line numbers, read within limits: such files come from outside."""

import csv
import io
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any, Final

from catalog.datafile import InvalidList, Lines, Problem, refuse

LONGEST_FILE_BYTES: Final = 8 << 20
MOST_ROWS: Final = 50_000
MOST_COLUMNS: Final = 64
_LONGEST_INFLATED_BYTES: Final = 96 << 20
_ZIP: Final = b"PK\x03\x04"
_HEADER_SHEETS: Final = ("header", "版本")


def read_sheet(name: str, content: bytes) -> Lines:
    """Return the rows of a file, CSV (UTF-8 or GB18030) or XLSX (its first sheet).

    Raises InvalidList where it is neither, or larger than such a file ever is.
    """
    if len(content) > LONGEST_FILE_BYTES:
        refuse(name, "文件过大", "is too large")
    return _xlsx_lines(name, content) if content.startswith(_ZIP) else csv_lines(name, content)


def read_header_sheet(name: str, content: bytes) -> dict[str, str]:
    """Return the pairs of an XLSX's sheet `header` (or 版本): what a list says of itself; {} without one."""
    if not content.startswith(_ZIP):
        return {}
    workbook = _opened(name, content)
    try:
        sheet = next((workbook[each] for each in _HEADER_SHEETS if each in workbook.sheetnames), None)
        rows = [] if sheet is None else _capped(name, sheet, 100)
        return {row[0]: row[1] for row in rows if len(row) > 1 and row[0]}
    finally:
        workbook.close()


def csv_lines(name: str, content: bytes, encodings: Sequence[str] = ("utf-8-sig", "gb18030")) -> Lines:
    """Return the rows of a CSV file; spreadsheets in Chinese save it as GB18030. Raises InvalidList."""
    text = _decoded(content, encodings)
    if text is None or "\x00" in text:
        refuse(name, "无法按 UTF-8 或 GB18030 读取", "cannot be read as UTF-8 or GB18030")
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error:
        refuse(name, "不是有效的 CSV", "is not valid CSV", line=reader.line_num)
    return _lines(name, rows)


def _decoded(content: bytes, encodings: Sequence[str]) -> str | None:
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def _xlsx_lines(name: str, content: bytes) -> Lines:
    workbook = _opened(name, content)
    try:
        sheets = [each for each in workbook.sheetnames if each not in _HEADER_SHEETS]
        if not sheets:
            refuse(name, "没有工作表", "has no sheet")
        rows = _capped(name, workbook[sheets[0]], MOST_ROWS)
        return _lines(name, list(enumerate(rows, 1)))
    finally:
        workbook.close()


def _opened(name: str, content: bytes) -> Any:
    """Return an XLSX workbook opened for reading: never inflated beyond a limit, and without entities."""
    import openpyxl  # a third of a second that most commands do not need

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(each.file_size for each in archive.infolist()) > _LONGEST_INFLATED_BYTES:
                refuse(name, "文件过大", "is too large")
            if any(b"<!DOCTYPE" in archive.read(each) for each in archive.infolist()):
                refuse(name, "含有文档类型声明", "holds a document type declaration")
        return openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except InvalidList:
        raise
    except Exception:  # openpyxl raises whatever its parts raise
        refuse(name, "不是有效的 XLSX", "is not a valid XLSX file")


def _capped(name: str, sheet: Any, most_rows: int) -> list[list[str]]:
    rows = []
    for number, row in enumerate(sheet.iter_rows(values_only=True, max_col=MOST_COLUMNS), 1):
        if number > most_rows:
            refuse(name, f"超过 {most_rows} 行", f"has more than {most_rows} rows", line=number)
        rows.append([_text(value) for value in row])
    return rows


def _text(value: object) -> str:
    """Return a cell as the CSV would have it: 30 for 30.0, true for TRUE, a day for a date."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime) and (value.hour, value.minute, value.second) == (0, 0, 0):
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, date) else str(value)


def _lines(name: str, rows: Sequence[tuple[int, list[str]]]) -> Lines:
    if len(rows) > MOST_ROWS:
        refuse(name, f"超过 {MOST_ROWS} 行", f"has more than {MOST_ROWS} rows")
    filled = [(line, row) for line, row in rows if any(cell.strip() for cell in row)]
    if not filled:
        refuse(name, "文件为空", "is empty")
    heading = [cell.strip() for cell in filled[0][1]]
    while heading and not heading[-1]:
        heading.pop()
    repeated = sorted({each for each in heading if heading.count(each) > 1})
    if repeated:
        raise InvalidList(name, [Problem(filled[0][0], each, "列重复", "stands twice") for each in repeated])
    return Lines(tuple(heading), tuple(_named(heading, filled[1:])))


def _named(
    heading: Sequence[str], rows: Sequence[tuple[int, list[str]]]
) -> Iterator[tuple[int, dict[str, str] | None]]:
    for line, row in rows:
        cells = [cell.strip() for cell in row]
        spare = any(cells[len(heading) :])
        yield line, None if spare else dict(zip(heading, cells, strict=False))
