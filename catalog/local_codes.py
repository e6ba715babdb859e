"""A hospital's own codes: read from its file with every fault by line, and looked up for a study."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from catalog.datafile import DataFile, Lines, Row
from catalog.items import Item, ItemList
from catalog.records import Laterality
from catalog.study_facts import StudyFacts

COLUMNS: Final = ("local_code", "name", "item_code")
NOT_LISTED: Final = "NONE"
_SIDES: Final = ("", "L", "R", "B")
_PART: Final = re.compile(r"[A-Z]{2,16}")


@dataclass(frozen=True, slots=True)
class LocalMeaning:
    """One of a hospital's codes and the item it stands for; `item_code` is empty where no item fits."""

    code: str
    name: str
    item_code: str
    laterality: Laterality | None = None
    body_part: str | None = None


@dataclass(frozen=True, slots=True)
class LocalTable:
    """A hospital's codes, and of their names those that mean one thing."""

    by_code: Mapping[str, LocalMeaning]
    by_name: Mapping[str, LocalMeaning]

    @classmethod
    def of(cls, meanings: Iterable[LocalMeaning]) -> "LocalTable":
        """Return the table of these codes."""
        rows = list(meanings)
        named: dict[str, list[LocalMeaning]] = {}
        for row in rows:
            if row.name:
                named.setdefault(plain(row.name), []).append(row)
        alike = {
            name: found[0]
            for name, found in named.items()
            if len({(row.item_code, row.laterality, row.body_part) for row in found}) == 1
        }
        return cls({row.code: row for row in rows}, alike)

    def found(self, facts: StudyFacts) -> tuple[list[LocalMeaning], list[str]]:
        """Return what the codes of a study stand for, else its description, and the codes the table lacks."""
        values = list(dict.fromkeys(each.partition("|")[2] for each in facts.procedure_codes))
        known = [self.by_code[value] for value in values if value in self.by_code]
        if known:
            return known, [value for value in values if value not in self.by_code]
        texts = (facts.requested_procedure, facts.study_description)
        return [self.by_name[plain(text)] for text in texts if text and plain(text) in self.by_name][:1], []


def plain(text: str) -> str:
    """Return a name in one writing: half width, capitals, no blanks."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text)).upper()


def side(text: str | None) -> Laterality | None:
    """Return a side as it is kept, or None."""
    return cast(Laterality, text) if text in ("L", "R", "B") else None


def read_local_codes(name: str, lines: Lines, items: ItemList) -> list[LocalMeaning]:
    """Return a hospital's codes; `laterality` and `body_part` are optional columns, NONE is "on no list".

    Raises InvalidList with every fault and its line; nothing is taken from a file with a fault.
    """
    table = DataFile.of(name, lines, COLUMNS)
    read = [(row, _meaning(row, items)) for row in table.rows()]
    first_lines: dict[str, int] = {}
    for row, meaning in read:
        first = first_lines.setdefault(meaning.code, row.line)
        if first != row.line:
            row.fail("local_code", f"与第{first}行重复", f"repeats line {first}")
    table.finish()
    return [meaning for _, meaning in read]


def _meaning(row: Row, items: ItemList) -> LocalMeaning:
    code = row.text("item_code")
    item = items.get(code)
    if code and code != NOT_LISTED and item is None:
        row.fail("item_code", f"清单中没有 {code[:32]}", f"{code[:32]} is not on the list")
    return LocalMeaning(
        code=_short(row, "local_code", 64),
        name=_short(row, "name", 200, required=False),
        item_code="" if code == NOT_LISTED else code,
        laterality=_side(row, item),
        body_part=_body_part(row, item),
    )


def _short(row: Row, field: str, longest: int, *, required: bool = True) -> str:
    text = row.text(field, required=required)
    if len(text) > longest:
        row.fail(field, f"超过 {longest} 个字符", f"is longer than {longest} characters")
    return text


def _side(row: Row, item: Item | None) -> Laterality | None:
    side = row.text("laterality", required=False).upper()
    if side not in _SIDES:
        row.fail("laterality", "应为 L、R、B 或空", "must be L, R, B or empty")
        return None
    if side and item is not None and item.laterality == "none":
        row.fail("laterality", f"{item.code} 不分左右", f"{item.code} has no side")
    return cast(Laterality, side) if side else None


def _body_part(row: Row, item: Item | None) -> str | None:
    part = row.text("body_part", required=False).upper()
    if part and not _PART.fullmatch(part):
        row.fail("body_part", "应为 DICOM 部位代码", "must be a DICOM body part term")
    if part and item is not None and not item.spans_body_parts:
        row.fail("body_part", f"{item.code} 只有一个部位", f"{item.code} has one body part")
    return part or None
