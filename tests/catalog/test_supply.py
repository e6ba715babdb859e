"""What hospitals bring and how it is used: each figure beside what was done, late data, and incremental beside whole."""

from datetime import date
from typing import Any

from catalog import supply, supply_refresh
from catalog.db import transaction
from catalog.rules import local_day
from tests.city import City


def figures(city: City, *group_by: str, refresh: bool = True, **more: Any) -> dict[str, Any]:
    if refresh:
        supply_refresh.refresh(city.catalogue)
    with transaction(city.catalogue.engine) as session:
        asked = {"first": date(2026, 1, 1), "last": date(2026, 12, 1)} | more
        return supply.report(
            session, city.catalogue.items, today=local_day(city.now), group_by=group_by, **asked
        )


def test_x(city: City) -> None:
    city.hospital("A")
    city.study("A")
    doctor = city.hospital("B")
    city.check(doctor, [{"order_number": "1", "item_code": "CT07"}])
    import pprint

    pprint.pprint(figures(city, "hospital", "item", "month"))
    pprint.pprint(figures(city))
    assert 0
