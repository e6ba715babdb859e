"""The regulators' forms as templates: which columns each has, named in both languages, and what is to be said of them. Pure.

A form is a CSV file of its columns in their order, and a TOML header beside it with its notes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, cast

from catalog.datafile import DataFile, Header, Row, header_of, read_toml, refuse
from catalog.errors import NotFound

Kind = Literal["text", "count", "flag", "rate", "fen"]
_FOLDER: Final = Path(__file__).parent / "forms"
_KINDS: Final = ("text", "count", "flag", "rate", "fen")
_NAMES: Final = ("institution", "national")
_COLUMNS: Final = ("key", "group_zh", "group_en", "zh", "en", "kind", "meaning_zh", "meaning_en")
Note = tuple[str, str]  # Chinese, English


@dataclass(frozen=True, slots=True)
class FormColumn:
    """A column of a form; `group_zh` and `group_en` stand above it and its neighbours, empty where nothing does."""

    key: str
    group_zh: str
    group_en: str
    zh: str
    en: str
    kind: Kind
    meaning_zh: str
    meaning_en: str


@dataclass(frozen=True, slots=True)
class Form:
    """A form of the regulators'."""

    name: str
    header: Header
    columns: tuple[FormColumn, ...]
    notes: tuple[Note, ...]


def every_form() -> tuple[Form, ...]:
    """Return the forms that can be filled in."""
    return tuple(_load(name) for name in _NAMES)


def form_named(name: str) -> Form:
    """Return the form of this name. Raises NotFound."""
    if name not in _NAMES:
        raise NotFound(
            f"没有该报表,可选:{'、'.join(_NAMES)}",
            f"No such form; there are {', '.join(_NAMES)}",
            code="unknown_form",
        )
    return _load(name)


@lru_cache
def _load(name: str) -> Form:
    fields = read_toml(_FOLDER / f"{name}-1.toml")
    table = DataFile(_FOLDER / f"{name}-1.csv", _COLUMNS)
    columns = tuple(_column(row) for row in table.rows())
    table.finish()
    return Form(name, header_of(name, fields), columns, _notes(name, fields))


def _column(row: Row) -> FormColumn:
    return FormColumn(
        key=row.text("key"),
        group_zh=row.text("group_zh", required=False),
        group_en=row.text("group_en", required=False),
        zh=row.text("zh"),
        en=row.text("en"),
        kind=cast(Kind, row.one_of("kind", _KINDS)),
        meaning_zh=row.text("meaning_zh"),
        meaning_en=row.text("meaning_en"),
    )


def _notes(name: str, fields: Mapping[str, object]) -> tuple[Note, ...]:
    given = fields.get("notes")
    if not isinstance(given, list) or not all({"zh", "en"} <= note.keys() for note in given):
        refuse(f"{name}-1.toml", "notes 须有 zh 与 en", "every note has zh and en")
    return tuple((note["zh"], note["en"]) for note in given)
