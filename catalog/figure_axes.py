"""What figures are told of and can be narrowed to: hospitals with their places, items, tiers and categories, by name."""

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.items import ItemList
from catalog.tables import Hospital, Region

# Highest first, as they are told everywhere.
TIERS: Final = (("3", "三级", "Tertiary"), ("2", "二级", "Secondary"), ("1", "基层", "Primary care"))
CATEGORIES: Final = (
    ("imaging", "影像检查", "Imaging"),
    ("laboratory", "检验", "Laboratory"),
)


def axes(session: Session, items: ItemList) -> dict[str, Any]:
    """Return every hospital, the districts that have one, every item of any version, tiers and categories, by code."""
    placed = (
        select(Hospital, Region).join(Region, Region.code == Hospital.region_code).order_by(Hospital.code)
    )
    found = session.execute(placed).tuples().all()
    districts = {region.code: region for _, region in found}
    return {
        "hospitals": [
            {
                "code": hospital.code,
                "name": hospital.name,
                "tier": str(hospital.tier),
                "district": region.code,
                "active": hospital.active,
            }
            for hospital, region in found
        ],
        "districts": [
            {"code": code, "name": region.name, "name_en": region.name_en}
            for code, region in sorted(districts.items())
        ],
        "tiers": [{"code": code, "name": zh, "name_en": en} for code, zh, en in TIERS],
        "items": [
            {"code": item.code, "name": item.name_zh, "name_en": item.name_en, "category": item.category}
            for item in sorted(items, key=lambda item: item.code)
        ],
        "categories": [{"code": code, "name": zh, "name_en": en} for code, zh, en in CATEGORIES],
    }
