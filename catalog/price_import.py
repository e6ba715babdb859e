"""Prices from a file: every line checked, all of them recorded or none."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog import audit, item_lists, registry
from catalog.context import Caller, Catalogue
from catalog.datafile import Row
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.pricing import PriceRow, price_table
from catalog.spreadsheet import read_sheet
from catalog.tables import Hospital, Price, Region

SOURCE_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, or would do."""

    new: int
    present: int
    dry_run: bool


def import_prices(
    catalogue: Catalogue,
    caller: Caller,
    name: str,
    content: bytes,
    *,
    source: str = "",
    dry_run: bool = False,
) -> Imported:
    """Record the prices of a CSV or XLSX file, all or none; rows that are there already stay as they are.

    Raises InvalidList with every fault and its line: an unknown item, hospital or region, a malformed price or
    day, a row that repeats another of the file or contradicts a price on record: past prices never change.
    """
    table, read = price_table(name, read_sheet(name, content))
    if not read and not table.problems:
        raise InvalidInput("文件中没有价格", "The file has no prices", field="file")
    rows = [price for _, price in read]
    with transaction(catalogue.engine) as session:
        _refuse_unknown(session, read, {item.code for item in item_lists.every_item(session, catalogue)})
        present = _refuse_contradictions(session, read)
        table.finish()
        if not dry_run:
            registry.add_prices(session, rows, source=(source or name)[:SOURCE_LIMIT])
            audit.record(session, caller, "prices.import", new=len(rows) - present)
    return Imported(len(rows) - present, present, dry_run)


def _refuse_unknown(session: Session, read: Iterable[tuple[Row, PriceRow]], items: set[str]) -> None:
    scopes = {
        "hospital": set(session.scalars(select(Hospital.code).where(Hospital.active))),
        "region": set(session.scalars(select(Region.code))),
    }
    for row, price in read:
        if price.item_code and price.item_code not in items:
            row.fail("item", "清单中没有该项目", "is on no list")
        if price.scope and price.scope not in scopes.get(price.scope_kind, {price.scope}):
            row.fail("scope", "没有登记该机构或地区", "is no registered hospital or region")


def _refuse_contradictions(session: Session, read: Sequence[tuple[Row, PriceRow]]) -> int:
    """Note lines that say otherwise than what is on record; return how many say the same."""
    query = select(Price).where(Price.item_code.in_({price.item_code for _, price in read}))
    standing = {
        (row.item_code, row.scope_kind, row.scope, row.valid_from): (row.price_fen, row.valid_to)
        for row in session.scalars(query)
    }
    present = 0
    for row, price in read:
        known = standing.get((price.item_code, price.scope_kind, price.scope, price.valid_from))
        if known == (price.price_fen, price.valid_to):
            present += 1
        elif known is not None:
            row.fail("price", "与已登记的价格不同", "differs from the price on record")
    return present
