"""Rows of a data file with their line numbers, and everything that is wrong with them at once.

A data set is a CSV file (UTF-8) and, where it is versioned, a TOML header of the same name beside it.
"""

import csv
import io
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, NoReturn

from catalog.errors import InvalidInput

MOST_FAULTS: Final = 100  # told at once; a file of the wrong kind has one for each line


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, at a line of the file (1 is the heading)."""

    line: int
    field: str
    zh: str
    en: str


class InvalidList(InvalidInput):
    """A data file cannot be accepted; `problems` holds every fault found, by line."""

    code = "invalid_list"

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        shown, more = problems[:MOST_FAULTS], "…" if len(problems) > MOST_FAULTS else ""
        zh = ";".join(f"第{p.line}行 {p.field}:{p.zh}" for p in shown) + more
        en = "; ".join(f"line {p.line} {p.field}: {p.en}" for p in shown) + more
        super().__init__(f"{name} 有{len(problems)}处错误:{zh}", f"{name} has {len(problems)} faults: {en}")
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Header:
    """What a versioned data set says of itself."""

    version: str
    title_zh: str
    title_en: str
    effective_from: date
    status: str
    source: str


class Row:
    """One line of a data file; each reader notes what is wrong and returns a harmless value."""

    def __init__(self, line: int, values: Mapping[str, str], problems: list[Problem]) -> None:
        self.line = line
        self._values = values
        self._problems = problems

    def fail(self, field: str, zh: str, en: str) -> None:
        self._problems.append(Problem(self.line, field, zh, en))

    def text(self, field: str, *, required: bool = True) -> str:
        value = self._values.get(field, "")
        if required and not value:
            self.fail(field, "不能为空", "must not be empty")
        return value

    def one_of(self, field: str, allowed: Sequence[str]) -> str:
        value = self._values.get(field, "")
        if value in allowed:
            return value
        self.fail(field, f"应为 {'、'.join(allowed)} 之一", f"must be one of {', '.join(allowed)}")
        return allowed[0]

    def codes(self, field: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in self._values.get(field, "").split(";") if part.strip())

    def flag(self, field: str) -> bool:
        return self.one_of(field, ("false", "true")) == "true"

    def whole(self, field: str, low: int, high: int) -> int:
        value = self._values.get(field, "")
        if value.isascii() and value.isdigit() and len(value) <= 9 and low <= int(value) <= high:
            return int(value)
        self.fail(field, f"应为 {low} 到 {high} 的整数", f"must be a whole number from {low} to {high}")
        return low

    def day(self, field: str, *, required: bool = True) -> date | None:
        value = self.text(field, required=required)
        try:
            return date.fromisoformat(value) if value else None
        except ValueError:
            self.fail(field, "应为 YYYY-MM-DD 格式的日期", "must be a date as YYYY-MM-DD")
            return None


@dataclass(frozen=True, slots=True)
class Lines:
    """A table as read: its heading, and each line's number with its cells by name (None: too many cells)."""

    heading: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str] | None], ...]


class DataFile:
    """A table read line by line; `finish` raises when anything was wrong."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._open(path.name, _csv_file(path), columns)

    @classmethod
    def of(cls, name: str, lines: Lines, columns: Sequence[str]) -> "DataFile":
        """Return a table that was read from elsewhere. Raises InvalidList where a column is missing."""
        table = cls.__new__(cls)
        table._open(name, lines, columns)
        return table

    def _open(self, name: str, lines: Lines, columns: Sequence[str]) -> None:
        missing = [column for column in columns if column not in lines.heading]
        if missing:
            refuse(name, f"缺少列 {'、'.join(missing)}", f"lacks the columns {', '.join(missing)}")
        self.name = name
        self.problems: list[Problem] = []
        self._lines = lines

    def rows(self) -> Iterator[Row]:
        for line, values in self._lines.rows:
            if values is None:
                self.problems.append(Problem(line, "", "列数过多", "has too many columns"))
            else:
                yield Row(line, values, self.problems)

    def finish(self) -> None:
        """Raises: InvalidList: with every problem, in the order of the lines."""
        if self.problems:
            raise InvalidList(self.name, sorted(self.problems, key=lambda p: p.line))


def _csv_file(path: Path) -> Lines:
    reader = csv.DictReader(io.StringIO(_content(path), newline=""))
    rows = tuple((reader.line_num, _cells(values)) for values in reader)
    return Lines(tuple(reader.fieldnames or ()), rows)


def _cells(values: Mapping[str | None, str | None]) -> dict[str, str] | None:
    if None in values:
        return None
    return {field or "": (value or "").strip() for field, value in values.items()}


def read_header(path: Path) -> Header:
    """Return the TOML header of a data set.

    Raises: InvalidList: if it is no TOML or a field is missing or of the wrong kind.
    """
    return header_of(path.name, read_toml(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Return the fields of a TOML file. Raises: InvalidList."""
    try:
        return tomllib.loads(_content(path))
    except tomllib.TOMLDecodeError:
        refuse(path.name, "不是有效的 TOML", "is not valid TOML")


def header_of(name: str, fields: Mapping[str, Any]) -> Header:
    """Return a header from its fields. Raises: InvalidList: if one is missing or of the wrong kind."""
    kinds = {each: date if each == "effective_from" else str for each in Header.__slots__}
    wrong = [each for each, kind in kinds.items() if not isinstance(fields.get(each), kind)]
    if wrong:
        refuse(name, f"字段缺失或类型不符 {'、'.join(wrong)}", f"lacks or mistypes {', '.join(wrong)}")
    return Header(**{each: fields[each] for each in kinds})


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        refuse(path.name, "文件不存在", "does not exist")
    except (OSError, UnicodeDecodeError):
        refuse(path.name, "无法按 UTF-8 读取", "cannot be read as UTF-8")


def refuse(name: str, zh: str, en: str, *, line: int = 1) -> NoReturn:
    """Raises: InvalidList: with one fault of the file as a whole."""
    raise InvalidList(name, [Problem(line, "", zh, en)])
