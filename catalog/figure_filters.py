"""What figures and entries are narrowed to: hospitals, their districts and tiers, items and their categories."""

from dataclasses import dataclass
from typing import Any, Final, get_args

from sqlalchemy import ColumnElement, Text, cast, select

from catalog.errors import InvalidInput
from catalog.items import Category, ItemList
from catalog.tables import Hospital

CATEGORIES: Final[tuple[str, ...]] = get_args(Category)


@dataclass(frozen=True, slots=True)
class Filters:
    """Of each kind any of those named; one that names none narrows nothing. Hospitals are those that asked."""

    hospital: tuple[str, ...] = ()
    district: tuple[str, ...] = ()
    tier: tuple[str, ...] = ()
    item: tuple[str, ...] = ()
    category: tuple[str, ...] = ()

    def refuse_unknown(self) -> None:
        """Refuse a category that is none. Raises InvalidInput."""
        if unknown := set(self.category) - set(CATEGORIES):
            raise InvalidInput(f"无此类别:{min(unknown)[:40]}", "Unknown category", field="category")

    def conditions(self, table: Any, items: ItemList) -> list[ColumnElement[bool]]:
        """Return what rows of a table by asking hospital and item must fulfil.

        Raises InvalidInput for an unknown category.
        """
        self.refuse_unknown()
        places = {
            Hospital.code: self.hospital,
            Hospital.region_code: self.district,
            cast(Hospital.tier, Text): self.tier,
        }
        asked = [column.in_(wanted) for column, wanted in places.items() if wanted]
        found = [table.hospital_id.in_(select(Hospital.id).where(*asked))] if asked else []
        if self.item:
            found.append(table.item_code.in_(self.item))
        if self.category:
            found.append(table.item_code.in_([item.code for item in items if item.category in self.category]))
        return found


NO_FILTERS: Final = Filters()
