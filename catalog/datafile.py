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
from typing import NoReturn

from catalog.errors import InvalidInput


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
        zh = ";".join(f"第{p.line}行 {p.field}:{p.zh}" for p in problems)
        en = "; ".join(f"line {p.line} {p.field}: {p.en}" for p in problems)
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


class DataFile:
    """A CSV file read line by line; `finish` raises when anything was wrong."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.name = path.name
        self.problems: list[Problem] = []
        self._lines = self._read(path, columns)

    def rows(self) -> Iterator[Row]:
        for line, values in self._lines:
            if None in values:
                self.problems.append(Problem(line, "", "列数过多", "has too many columns"))
            else:
                clean = {field: (value or "").strip() for field, value in values.items()}
                yield Row(line, clean, self.problems)

    def finish(self) -> None:
        """Raises: InvalidList: with every problem, in the order of the lines."""
        if self.problems:
            raise InvalidList(self.name, sorted(self.problems, key=lambda p: p.line))

    def _read(self, path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
        reader = csv.DictReader(io.StringIO(_content(path), newline=""))
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            _refuse(path, f"缺少列 {'、'.join(missing)}", f"lacks the columns {', '.join(missing)}")
        return [(reader.line_num, values) for values in reader]


def read_header(path: Path) -> Header:
    """Return the TOML header of a data set.

    Raises: InvalidList: if it is no TOML or a field is missing or of the wrong kind.
    """
    try:
        fields = tomllib.loads(_content(path))
    except tomllib.TOMLDecodeError:
        _refuse(path, "不是有效的 TOML", "is not valid TOML")
    kinds = {name: date if name == "effective_from" else str for name in Header.__slots__}
    wrong = [name for name, kind in kinds.items() if not isinstance(fields.get(name), kind)]
    if wrong:
        _refuse(path, f"字段缺失或类型不符 {'、'.join(wrong)}", f"lacks or mistypes {', '.join(wrong)}")
    return Header(**{name: fields[name] for name in kinds})


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        _refuse(path, "文件不存在", "does not exist")
    except (OSError, UnicodeDecodeError):
        _refuse(path, "无法按 UTF-8 读取", "cannot be read as UTF-8")


def _refuse(path: Path, zh: str, en: str) -> NoReturn:
    raise InvalidList(path.name, [Problem(1, "", zh, en)])
