"""The list of recognised items: versioned, validated, and which item answers for which other.

The list is data (`catalog/items/`); a region may bring its own list in the same form.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final, Literal, cast

from catalog.datafile import DataFile, Header, Lines, Row, read_header

ITEM_LISTS: Final = Path(__file__).parent / "items"

Category = Literal["imaging", "laboratory"]
LateralityRule = Literal["none", "paired", "both"]
ContrastRule = Literal["none", "with", "any"]

TECHNIQUES: Final = (
    "routine",
    "low_dose",
    "angiography",
    "pulmonary_angiography",
    "venography",
    "urography",
    "cholangiography",
)
VIEWS: Final = (
    "frontal",
    "lateral",
    "oblique",
    "obliques",
    "erect",
    "supine",
    "waters",
    "full_length",
)
LONGEST_WINDOW_DAYS: Final = 3650
COLUMNS: Final = (
    "code",
    "name_zh",
    "name_en",
    "category",
    "modalities",
    "body_part",
    "laterality",
    "contrast",
    "technique",
    "views",
    "window_days",
    "negative",
    "covers",
    "spans_body_parts",
    "unit",
    "loinc",
    "note",
)
_CODE: Final = re.compile(r"[A-Z]{2,6}[0-9]{2,6}")
_TERM: Final = re.compile(r"[A-Z]{2,16}")
_LOINC: Final = re.compile(r"[0-9]{1,7}-[0-9]")


@dataclass(frozen=True, slots=True)
class Item:
    """One recognised item.

    `body_part` is a defined term of PS3.16 Annex L; `laterality` paired: an order must name a side,
    both: two-sided by nature; `covers` are the codes this item answers for besides its own;
    `spans_body_parts`: it holds several parts, and only the same part answers.
    """

    code: str
    name_zh: str
    name_en: str
    category: Category
    modalities: tuple[str, ...]
    body_part: str
    laterality: LateralityRule
    contrast: ContrastRule
    technique: str
    views: frozenset[str]
    window_days: int
    negative: bool
    covers: tuple[str, ...]
    spans_body_parts: bool
    unit: str
    loinc: str
    note: str

    @property
    def groups(self) -> frozenset[str]:
        """Return the groups an evaluation may name instead of the item: its category and its series."""
        return frozenset({self.category, self.code.rstrip("0123456789")})


@dataclass(frozen=True)
class ItemList:
    """One version of the list, in its own order."""

    version: str
    title_zh: str
    title_en: str
    effective_from: date
    status: str
    source: str
    items: tuple[Item, ...]
    _by_code: Mapping[str, Item] = field(init=False, repr=False, compare=False)
    _covering: dict[str, frozenset[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_code", {item.code: item for item in self.items})
        covering = {item.code: {item.code} for item in self.items}
        for item in self.items:
            for code in item.covers:
                covering.setdefault(code, set()).add(item.code)
        object.__setattr__(self, "_covering", {code: frozenset(by) for code, by in covering.items()})

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def get(self, code: str) -> Item | None:
        """Return the item with this code, or None."""
        return self._by_code.get(code)

    def covered_by(self, ordered_code: str) -> frozenset[str]:
        """Return the codes that answer an order: its own and those listed as covering it.

        Explicit pairs only: covering is not carried on from pair to pair.
        """
        return self._covering.get(ordered_code, frozenset())

    @property
    def groups(self) -> frozenset[str]:
        """Return every group of the list (imaging, laboratory, XR, CT, MR, LB in the seed)."""
        return frozenset().union(*(item.groups for item in self.items))


def load_item_list(path: Path = ITEM_LISTS) -> ItemList:
    """Return the list of a TOML header, or the newest list of a folder of headers.

    Raises: InvalidList: with every fault and its line.
    """
    if path.is_dir():
        return max((load_item_list(each) for each in sorted(path.glob("*.toml"))), key=_start)
    return _list(read_header(path), _items(DataFile(path.with_suffix(".csv"), COLUMNS), ()))


def read_item_list(name: str, header: Header, lines: Lines, wider: Iterable[Item] = ()) -> ItemList:
    """Return a list read from elsewhere; a region's own may cover items of the `wider` list it stands over.

    Raises: InvalidList: with every fault and its line.
    """
    return _list(header, _items(DataFile.of(name, lines, COLUMNS), wider))


def overlaid(wider: ItemList, region: ItemList) -> ItemList:
    """Return a list in which a region's own items replace those of the same code, and new ones follow."""
    items = [region.get(item.code) or item for item in wider]
    items += [item for item in region if wider.get(item.code) is None]
    return ItemList(
        version=f"{wider.version}+{region.version}",
        title_zh=region.title_zh,
        title_en=region.title_en,
        effective_from=max(wider.effective_from, region.effective_from),
        status=region.status,
        source=region.source,
        items=tuple(items),
    )


def _items(table: DataFile, wider: Iterable[Item]) -> list[Item]:
    read = [(row, _item(row)) for row in table.rows()]
    _check_codes(read)
    _check_covers(read, wider)
    table.finish()
    return [item for _, item in read]


def _start(items: ItemList) -> date:
    return items.effective_from


def _list(header: Header, items: Iterable[Item]) -> ItemList:
    return ItemList(
        version=header.version,
        title_zh=header.title_zh,
        title_en=header.title_en,
        effective_from=header.effective_from,
        status=header.status,
        source=header.source,
        items=tuple(items),
    )


def _item(row: Row) -> Item:
    category = cast(Category, row.one_of("category", ("imaging", "laboratory")))
    return Item(
        code=_matching(row, "code", _CODE, required=True),
        name_zh=row.text("name_zh"),
        name_en=row.text("name_en"),
        category=category,
        modalities=_modalities(row, category),
        body_part=_matching(row, "body_part", _TERM, required=category == "imaging"),
        laterality=cast(LateralityRule, row.one_of("laterality", ("none", "paired", "both"))),
        contrast=cast(ContrastRule, row.one_of("contrast", ("none", "with", "any"))),
        technique=row.one_of("technique", TECHNIQUES) if category == "imaging" else "",
        views=_views(row),
        window_days=row.whole("window_days", 1, LONGEST_WINDOW_DAYS),
        negative=row.flag("negative"),
        covers=row.codes("covers"),
        spans_body_parts=row.flag("spans_body_parts"),
        unit=row.text("unit", required=False),
        loinc=_matching(row, "loinc", _LOINC, required=False),
        note=row.text("note", required=False),
    )


def _matching(row: Row, name: str, form: re.Pattern[str], *, required: bool) -> str:
    value = row.text(name, required=required)
    if value and not form.fullmatch(value):
        row.fail(name, f"格式不符 {form.pattern}", f"does not have the form {form.pattern}")
    return value


def _modalities(row: Row, category: Category) -> tuple[str, ...]:
    modalities = row.codes("modalities")
    if category == "imaging" and not modalities:
        row.fail("modalities", "影像项目须有设备类型", "an imaging item needs a modality")
    return modalities


def _views(row: Row) -> frozenset[str]:
    views = row.codes("views")
    for unknown in sorted(set(views) - set(VIEWS)):
        row.fail("views", f"未知的投照体位 {unknown}", f"unknown view {unknown}")
    return frozenset(views)


def _check_codes(read: Iterable[tuple[Row, Item]]) -> None:
    first_lines: dict[str, int] = {}
    for row, item in read:
        first = first_lines.setdefault(item.code, row.line)
        if first != row.line:
            row.fail("code", f"与第{first}行重复", f"repeats line {first}")


def _check_covers(read: Iterable[tuple[Row, Item]], wider: Iterable[Item]) -> None:
    read = list(read)
    known = {item.code: item for item in (*wider, *(item for _, item in read))}
    for row, item in read:
        for code in item.covers:
            if code == item.code:
                row.fail("covers", "不能覆盖自身", "an item does not cover itself")
            elif code not in known:
                row.fail("covers", f"清单中没有 {code}", f"{code} is not on the list")
            elif known[code].category != item.category:
                row.fail("covers", f"{code} 类别不同", f"{code} is of another category")
