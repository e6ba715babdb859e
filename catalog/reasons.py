"""The lawful reasons for examining again although a recognisable result exists.

The six of the Measures of 2022 (国卫医发〔2022〕6号) word for word, and local ones under a national parent.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from catalog.datafile import DataFile, Row

OVERRIDE_REASONS: Final = Path(__file__).parent / "reasons" / "override-1.csv"
NATIONAL_CODES: Final = ("1", "2", "3", "4", "5", "6")
EMERGENCY_CODE: Final = "4"
COLUMNS: Final = (
    "code",
    "zh",
    "en",
    "parent",
    "needs_text",
    "counts_as_refusal",
    "opens_quality_task",
    "order",
)


@dataclass(frozen=True, slots=True)
class OverrideReason:
    """One reason; `parent` is the national code a local one falls under, empty for the six.

    `counts_as_refusal` False takes the order out of the rate; `opens_quality_task` asks the
    hospital that made the images to look at their quality.
    """

    code: str
    zh: str
    en: str
    parent: str
    needs_text: bool
    counts_as_refusal: bool
    opens_quality_task: bool
    order: int

    @property
    def national_code(self) -> str:
        return self.parent or self.code


def load_reasons(path: Path = OVERRIDE_REASONS) -> dict[str, OverrideReason]:
    """Return the reasons by code, in the order in which they are offered.

    Raises: InvalidList: with every fault and its line.
    """
    table = DataFile(path, COLUMNS)
    rows = [(row, _reason(row)) for row in table.rows()]
    _check_codes(rows)
    _check_parents(rows)
    if not {reason.code for _, reason in rows} >= set(NATIONAL_CODES) and rows:
        rows[-1][0].fail("code", "缺少国家规定的六种情形", "the six national reasons are not complete")
    table.finish()
    return {reason.code: reason for _, reason in sorted(rows, key=lambda pair: pair[1].order)}


def _reason(row: Row) -> OverrideReason:
    return OverrideReason(
        code=row.text("code"),
        zh=row.text("zh"),
        en=row.text("en"),
        parent=row.text("parent", required=False),
        needs_text=row.flag("needs_text"),
        counts_as_refusal=row.flag("counts_as_refusal"),
        opens_quality_task=row.flag("opens_quality_task"),
        order=row.whole("order", 1, 9999),
    )


def _check_codes(rows: Iterable[tuple[Row, OverrideReason]]) -> None:
    first_lines: dict[str, int] = {}
    for row, reason in rows:
        first = first_lines.setdefault(reason.code, row.line)
        if first != row.line:
            row.fail("code", f"与第{first}行重复", f"repeats line {first}")


def _check_parents(rows: Iterable[tuple[Row, OverrideReason]]) -> None:
    for row, reason in rows:
        national = reason.code in NATIONAL_CODES
        if national and reason.parent:
            row.fail("parent", "国家规定的情形没有上级", "a national reason has no parent")
        elif not national and reason.parent not in NATIONAL_CODES:
            row.fail("parent", "应为国家规定的情形 1 到 6", "must be one of the national reasons 1 to 6")
