"""Prices: yuan in files, fen in the program, and the one price that applies.

A saving is the asking hospital's price of the ordered item at the moment of decision.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal, cast

from catalog.datafile import DataFile, Lines, Row
from catalog.errors import InvalidInput

PRICES: Final = Path(__file__).parent / "prices" / "proposal-1.csv"
COLUMNS: Final = ("scope_kind", "scope", "item", "price", "from", "to", "source")
TIERS: Final = ("1", "2", "3")

ScopeKind = Literal["hospital", "region", "tier"]
_SCOPE_KINDS: Final = ("hospital", "region", "tier")
_YUAN: Final = re.compile(r"(0|[1-9][0-9]{0,8})(?:\.([0-9]{2}))?")


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One price of one item for one scope; days inclusive, `valid_to` None is open."""

    scope_kind: ScopeKind
    scope: str
    item_code: str
    price_fen: int
    valid_from: date
    valid_to: date | None
    row_id: str

    def holds_on(self, day: date) -> bool:
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)


def parse_yuan(text: str) -> int:
    """Return the fen of a price in yuan, written whole or with two decimals ("220", "220.00").

    Raises: InvalidInput: for anything else: signs, separators, one or three decimals.
    """
    match = _YUAN.fullmatch(text)
    if match is None:
        raise InvalidInput(
            "价格应为元,整数或两位小数,如 220.00",
            "a price is in yuan, whole or with two decimals, such as 220.00",
            field="price",
        )
    return int(match[1]) * 100 + int(match[2] or 0)


def format_yuan(fen: int) -> str:
    """Return fen as yuan with two decimals; a negative amount keeps its sign."""
    yuan, rest = divmod(abs(fen), 100)
    return f"{'-' if fen < 0 else ''}{yuan}.{rest:02d}"


def price_that_applies(
    rows: Iterable[PriceRow],
    *,
    hospital_code: str,
    regions_small_to_large: Sequence[str],
    tier: int,
    item_code: str,
    on: date,
) -> PriceRow | None:
    """Return the price of an item at a hospital on a day, or None where there is none.

    The hospital's own price, then that of the smallest region that has one, then the tier's;
    the latest start date wins an overlap, and of equal starts the row given last.
    """
    scopes: list[tuple[str, str]] = [("hospital", hospital_code)]
    scopes += [("region", region) for region in regions_small_to_large]
    scopes += [("tier", str(tier))]
    found: dict[tuple[str, str], PriceRow] = {}
    for row in rows:
        if row.item_code != item_code or not row.holds_on(on):
            continue
        best = found.get((row.scope_kind, row.scope))
        if best is None or row.valid_from >= best.valid_from:
            found[row.scope_kind, row.scope] = row
    return next((found[scope] for scope in scopes if scope in found), None)


def load_prices(path: Path = PRICES) -> tuple[PriceRow, ...]:
    """Return the prices of a CSV file; a row's id is the file's stem and its line.

    Raises: InvalidList: with every fault and its line.
    """
    table, rows = _read(DataFile(path, COLUMNS), path.stem)
    table.finish()
    return tuple(price for _, price in rows)


def price_table(name: str, lines: Lines) -> tuple[DataFile, list[tuple[Row, PriceRow]]]:
    """Return the prices of a table with their lines, for a reader who finds more faults; he calls `finish`.

    Raises: InvalidList: where a column is missing.
    """
    return _read(DataFile.of(name, lines, COLUMNS), name)


def _read(table: DataFile, stem: str) -> tuple[DataFile, list[tuple[Row, PriceRow]]]:
    rows = [(row, _price(row, stem)) for row in table.rows()]
    _check_starts(rows)
    return table, rows


def _price(row: Row, stem: str) -> PriceRow:
    kind = cast(ScopeKind, row.one_of("scope_kind", _SCOPE_KINDS))
    start, end = row.day("from"), row.day("to", required=False)
    if start is not None and end is not None and end < start:
        row.fail("to", "早于起始日期", "lies before the start date")
    return PriceRow(
        scope_kind=kind,
        scope=row.one_of("scope", TIERS) if kind == "tier" else row.text("scope"),
        item_code=row.text("item"),
        price_fen=_fen(row),
        valid_from=start or date.min,
        valid_to=end,
        row_id=f"{stem}:{row.line}",
    )


def _fen(row: Row) -> int:
    try:
        return parse_yuan(row.text("price"))
    except InvalidInput as error:
        row.fail("price", error.zh, error.en)
        return 0


def _check_starts(rows: Iterable[tuple[Row, PriceRow]]) -> None:
    first_lines: dict[tuple[str, str, str, date], int] = {}
    for row, price in rows:
        key = (price.scope_kind, price.scope, price.item_code, price.valid_from)
        first = first_lines.setdefault(key, row.line)
        if first != row.line:
            row.fail("from", f"与第{first}行同日起效", f"starts on the same day as line {first}")
