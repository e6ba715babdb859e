"""Reference data that comes with the release: regions, the proposed list and its proposed prices."""

from pathlib import Path
from typing import Final

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import item_lists, registry
from catalog.datafile import DataFile, read_header
from catalog.items import load_item_list
from catalog.pricing import PRICES, load_prices
from catalog.tables import Region

REGIONS: Final = Path(__file__).parent / "regions" / "regions-1.csv"
KINDS: Final = ("country", "alliance", "province", "municipality", "city", "district", "consortium")
COLUMNS: Final = ("code", "name_zh", "name_en", "kind", "parent", "members", "mark_name")


def load_reference_data(session: Session) -> None:
    """Add the regions, the list and the price proposal to the catalogue; what is there already stays."""
    _load_regions(session)
    item_lists.load_released(session, load_item_list())
    registry.add_prices(session, load_prices(), source=read_header(PRICES.with_suffix(".toml")).version)


def _load_regions(session: Session) -> None:
    table = DataFile(REGIONS, COLUMNS)
    rows = [
        {
            "code": row.text("code"),
            "name": row.text("name_zh"),
            "name_en": row.text("name_en"),
            "kind": row.one_of("kind", KINDS),
            "mark_name": row.text("mark_name"),
            "parent": row.text("parent", required=False) or None,
            "members": list(row.codes("members")),
        }
        for row in table.rows()
    ]
    table.finish()
    parents = {row["code"]: row.pop("parent") for row in rows}
    session.execute(insert(Region).values(rows).on_conflict_do_nothing())
    for code, parent in parents.items():
        session.execute(
            update(Region).where(Region.code == code, Region.parent_code.is_(None)).values(parent_code=parent)
        )
