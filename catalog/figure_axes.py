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
    columns = (Hospital.code, Hospital.name, Hospital.tier, Hospital.region_code, Hospital.active)
    found = session.execute(select(*columns).order_by(Hospital.code)).tuples().all()
    regions = select(Region.code, Region.name, Region.name_en).where(
        Region.code.in_({region for _, _, _, region, _ in found})
    )
    districts = session.execute(regions.order_by(Region.code)).tuples().all()
    return {
        "hospitals": [
            {"code": code, "name": name, "tier": str(tier), "district": region, "active": active}
            for code, name, tier, region, active in found
        ],
        "districts": [{"code": code, "name": zh, "name_en": en} for code, zh, en in districts],
        "tiers": [{"code": code, "name": zh, "name_en": en} for code, zh, en in TIERS],
        "items": [
            {"code": item.code, "name": item.name_zh, "name_en": item.name_en, "category": item.category}
            for item in sorted(items, key=lambda item: item.code)
        ],
        "categories": [{"code": code, "name": zh, "name_en": en} for code, zh, en in CATEGORIES],
    }
