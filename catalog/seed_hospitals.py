"""The institutions of a synthetic city, with their quality evaluations and some prices of their own."""

import random
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from catalog.tables import Hospital, Price, QcEvaluation, Region

# 1,151 institutions in the proportions of June 2025: 83 of tier 3, 106 of tier 2, 1,060 others.
HOSPITALS: Final[Mapping[int, int]] = {3: 76, 2: 98, 1: 977}
SHARE_OF_RESULTS: Final[Mapping[int, float]] = {3: 0.60, 2: 0.27, 1: 0.13}

_EVALUATED: Final[Mapping[int, float]] = {3: 0.95, 2: 0.85, 1: 0.40}
_GROUPS: Final = ("imaging", "laboratory")
_CITY: Final = "50"
_ALLIANCE: Final = "CY"
_PRICED_EVERY: Final = 10  # hospitals with prices of their own; the others have their tier's


def write_hospitals(session: Session, chance: random.Random, today: date) -> dict[int, int]:
    """Write hospitals, evaluations and prices; return the tier of each by id."""
    query = select(Region.code, Region.name).where(Region.kind == "district").order_by(Region.code)
    districts = session.execute(query).tuples().all()
    rows = []
    for tier, count in HOSPITALS.items():
        for number in range(1, count + 1):
            code, name = districts[chance.randrange(len(districts))]
            named = f"{name}合成{'一二三'[tier - 1]}级第{number}医院"
            rows.append({"code": f"S{tier}{number:04d}", "name": named, "tier": tier, "region_code": code})
    made = session.execute(
        insert(Hospital).returning(Hospital.id, Hospital.code, Hospital.tier, Hospital.region_code), rows
    )
    hospitals = made.tuples().all()
    session.execute(insert(QcEvaluation), _evaluations(hospitals, chance, today))
    session.execute(insert(Price), _prices(session, hospitals, chance, today))
    return {hospital_id: tier for hospital_id, _, tier, _ in hospitals}


def _evaluations(hospitals: Any, chance: random.Random, today: date) -> list[dict[str, Any]]:
    """Give most large hospitals a mark of the city, some of the alliance too, and small ones their district's."""
    start = today - timedelta(days=3 * 365)
    rows = []
    for hospital_id, _, tier, region in hospitals:
        for group in _GROUPS:
            if chance.random() > _EVALUATED[tier]:
                continue
            scopes = [_CITY if tier > 1 else region] + [_ALLIANCE] * (tier == 3 and chance.random() < 0.5)
            for scope in scopes:
                end = today + timedelta(days=chance.randrange(-180, 720))
                rows.append(
                    {
                        "hospital_id": hospital_id,
                        "item_group": group,
                        "scope_code": scope,
                        "passed": True,
                        "valid_from": start,
                        "valid_to": end,
                    }
                )
    return rows


def _prices(session: Session, hospitals: Any, chance: random.Random, today: date) -> list[dict[str, Any]]:
    query = select(Price.item_code, Price.scope, Price.price_fen).where(Price.scope_kind == "tier")
    of_tier = session.execute(query).tuples().all()
    rows = []
    for _, code, tier, _ in hospitals[::_PRICED_EVERY]:
        discount = chance.randrange(80, 100)
        rows += [
            {
                "item_code": item,
                "scope_kind": "hospital",
                "scope": code,
                "price_fen": price_fen * discount // 100,
                "valid_from": today - timedelta(days=365),
                "source": "huren seed",
            }
            for item, scope, price_fen in of_tier
            if scope == str(tier)
        ]
    return rows
