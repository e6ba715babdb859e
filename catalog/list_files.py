"""A version of the list as it is handed over: a table, and what it says of itself from beside it or within it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from catalog.datafile import Header, Lines, header_of, read_toml
from catalog.items import ItemList, read_item_list
from catalog.spreadsheet import read_header_sheet, read_sheet


@dataclass(frozen=True, slots=True)
class ListFile:
    """The header and the lines of a list, not yet checked."""

    name: str
    header: Header
    lines: Lines

    def items(self, wider: ItemList | None = None) -> ItemList:
        """Return the list, whose region may cover items of a wider one. Raises InvalidList."""
        return read_item_list(self.name, self.header, self.lines, wider or ())


def read_list_file(path: Path, told: Mapping[str, str]) -> ListFile:
    """Return a list from a CSV or XLSX file; `told` comes before a TOML of the same name beside it.

    Raises InvalidList where it cannot be read or does not say its version and first day.
    """
    beside = path.with_suffix(".toml")
    known = read_toml(beside) if beside.exists() else {}
    return list_of(path.name, path.read_bytes(), told, known)


def list_of(
    name: str, content: bytes, told: Mapping[str, str], known: Mapping[str, Any] | None = None
) -> ListFile:
    """Return a list from the bytes of a file. Raises InvalidList as `read_list_file` does."""
    within = read_header_sheet(name, content)
    fields: dict[str, Any] = {"status": "imported", "title_en": "", "source": name}
    fields |= {**(known or {}), **_given(within), **_given(told)}
    fields["title_zh"] = fields.get("title_zh") or fields.get("version", "")
    fields["title_en"] = fields["title_en"] or fields["title_zh"]
    if isinstance(fields.get("effective_from"), str):
        fields["effective_from"] = _day(fields["effective_from"])
    return ListFile(name, header_of(name, fields), read_sheet(name, content))


def _given(fields: Mapping[str, str]) -> dict[str, str]:
    return {key: value.strip() for key, value in fields.items() if value and value.strip()}


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
