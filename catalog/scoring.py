"""How well the rules map a labelled sample of headers: precision, coverage, and every miss with its reason."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from catalog.datafile import DataFile, Row
from catalog.items import ItemList
from catalog.mapping import Mapping, map_study
from catalog.spreadsheet import read_sheet
from catalog.study_facts import StudyFacts

Half = Literal["tuning", "unseen"]

COLUMNS: Final = (
    "modality",
    "body_part",
    "laterality",
    "contrast_agent",
    "study_description",
    "requested_procedure",
    "series_descriptions",
    "protocol_names",
    "view_positions",
    "manufacturer",
    "expected",
)
SPLIT_SEED: Final = 20260630


@dataclass(frozen=True, slots=True)
class Labelled:
    """One header and the codes a person gave it; empty where nothing on the list fits."""

    line: int
    facts: StudyFacts
    expected: frozenset[str]


@dataclass(frozen=True, slots=True)
class Scored:
    """One header with what the rules made of it."""

    row: Labelled
    mapping: Mapping

    @property
    def found(self) -> frozenset[str]:
        return frozenset(item.item_code for item in self.mapping.items)

    @property
    def missed(self) -> bool:
        return self.found != self.row.expected


@dataclass(frozen=True, slots=True)
class Score:
    """The counts of a sample, in items: one study may hold several."""

    scored: tuple[Scored, ...]

    @property
    def right(self) -> int:
        return sum(len(each.found & each.row.expected) for each in self.scored)

    @property
    def mapped(self) -> int:
        return sum(len(each.found) for each in self.scored)

    @property
    def listed(self) -> int:
        return sum(len(each.row.expected) for each in self.scored)

    @property
    def precision(self) -> float | None:
        """Return the share of what was mapped that is right; None where nothing was mapped."""
        return self.right / self.mapped if self.mapped else None

    @property
    def coverage(self) -> float | None:
        """Return the share of what is on the list that was found; None where nothing is."""
        return self.right / self.listed if self.listed else None

    @property
    def misses(self) -> list[Scored]:
        return [each for each in self.scored if each.missed]

    def report(self) -> dict[str, Any]:
        """Return the figures and misses as JSON would have them."""
        return {
            "headers": len(self.scored),
            "items_expected": self.listed,
            "items_mapped": self.mapped,
            "items_right": self.right,
            "precision": self.precision,
            "coverage": self.coverage,
            "misses": [_miss(each) for each in self.misses],
        }


def read_labelled(path: Path, items: ItemList) -> list[Labelled]:
    """Return a labelled sample, CSV or XLSX. Raises InvalidList with every fault and its line."""
    return read_labelled_bytes(path.name, path.read_bytes(), items)


def read_labelled_bytes(name: str, content: bytes, items: ItemList) -> list[Labelled]:
    """Return a labelled sample from the bytes of a file. Raises InvalidList as `read_labelled` does."""
    table = DataFile.of(name, read_sheet(name, content), COLUMNS)
    rows = [_labelled(row, items) for row in table.rows()]
    table.finish()
    return rows


def half_of(rows: Sequence[Labelled], half: Half) -> list[Labelled]:
    """Return one half of a sample, split by a fixed seed: the rules are tuned on one and tried on the other."""
    places = list(range(len(rows)))
    random.Random(SPLIT_SEED).shuffle(places)
    middle = len(rows) // 2
    chosen = places[:middle] if half == "tuning" else places[middle:]
    return [rows[place] for place in sorted(chosen)]


def score(rows: Iterable[Labelled], items: ItemList) -> Score:
    """Return what the rules make of a sample. No hospital's table or answer takes part: only the rules do."""
    return Score(tuple(Scored(row, map_study(row.facts, items)) for row in rows))


def _labelled(row: Row, items: ItemList) -> Labelled:
    expected = row.codes("expected")
    for code in expected:
        if items.get(code) is None:
            row.fail("expected", f"清单中没有 {code}", f"{code} is not on the list")
    return Labelled(row.line, _facts(row), frozenset(expected))


def _facts(row: Row) -> StudyFacts:
    def text(field: str) -> str:
        return row.text(field, required=False)

    return StudyFacts(
        modality=_several(text("modality")),
        body_part_examined=text("body_part"),
        laterality=text("laterality"),
        contrast_agent=text("contrast_agent"),
        study_description=text("study_description"),
        requested_procedure=text("requested_procedure"),
        series_descriptions=_several(text("series_descriptions")),
        protocol_names=_several(text("protocol_names")),
        view_positions=_several(text("view_positions")),
        manufacturer=text("manufacturer"),
    )


def _several(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(" | ") if part.strip())


def _miss(each: Scored) -> dict[str, Any]:
    reason = each.mapping.unmapped_reason
    if reason is not None:
        zh, en, code = reason.zh, reason.en, reason.code
    else:
        zh = ";".join(f"{item.item_code} {item.explanation_zh}" for item in each.mapping.items)
        en = "; ".join(f"{item.item_code} {item.explanation_en}" for item in each.mapping.items)
        code = None
    return {
        "line": each.row.line,
        "study_description": each.row.facts.study_description,
        "expected": sorted(each.row.expected),
        "found": sorted(each.found),
        "reason": code,
        "explanation": zh,
        "explanation_en": en,
    }
