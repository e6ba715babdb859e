"""How figures are grouped: by hospital, its district or tier, item and month; codes, and the names that go with them.

A hospital has one name; districts and items have an English one besides.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from catalog.errors import InvalidInput
from catalog.items import ItemList
from catalog.tables import Hospital, Region

GROUPINGS: Final = ("hospital", "district", "tier", "item", "month")
Names = Mapping[str, Mapping[str, str]]


def columns(item_code: Any, day: Any) -> dict[str, Any]:
    """Return the column of each grouping for rows with this item and day, joined with their hospital."""
    return {
        "hospital": Hospital.code,
        "district": Hospital.region_code,
        "tier": cast(Hospital.tier, Text),
        "item": item_code,
        "month": func.to_char(day, "YYYY-MM"),
    }


def asked(group_by: Sequence[str], allowed: Sequence[str] = GROUPINGS) -> tuple[str, ...]:
    """Return the groupings asked for, each once. Raises InvalidInput for one that is none."""
    if unknown := [name for name in group_by if name not in allowed]:
        raise InvalidInput(f"无此分组:{','.join(unknown)[:40]}", "Unknown grouping", field="group_by")
    return tuple(dict.fromkeys(group_by))


def keys(names: Names, values: Sequence[str], group_by: Sequence[str]) -> dict[str, Any]:
    """Return what a row is about: codes, and the names that go with them."""
    named = dict(zip(group_by, values, strict=True))
    return named | {
        f"{name}_name{language}": names[f"{name}{language}"].get(code, "")
        for name, code in named.items()
        for language in ("", "_en")
        if f"{name}{language}" in names
    }


def names(session: Session, items: ItemList) -> Names:
    """Return the names of hospitals, districts and items by their codes."""
    hospitals = dict(session.execute(select(Hospital.code, Hospital.name)).tuples().all())
    districts = session.execute(select(Region.code, Region.name, Region.name_en)).tuples().all()
    return {
        "hospital": hospitals,
        "issuing_hospital": hospitals,
        "district": {code: name for code, name, _ in districts},
        "district_en": {code: name for code, _, name in districts},
        "item": {item.code: item.name_zh for item in items},
        "item_en": {item.code: item.name_en for item in items},
    }
