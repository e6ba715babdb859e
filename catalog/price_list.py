"""Prices as curators read them: which stand on a day and for whom, and which items a hospital has none for."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from catalog import item_lists, registry
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.items import Item
from catalog.rules import local_day
from catalog.tables import Hospital, Price

SCOPE_KINDS: Final = ("hospital", "region", "tier")


def prices(
    catalogue: Catalogue,
    *,
    on: date | None = None,
    scope_kind: str = "",
    scope: str = "",
    item: str = "",
    after: int = 0,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Return the prices that stand on a day (today), in the order in which they were recorded."""
    day = on or local_day(catalogue.clock())
    query = select(Price).where(
        Price.id > after, Price.valid_from <= day, or_(Price.valid_to.is_(None), Price.valid_to >= day)
    )
    for column, value in ((Price.scope_kind, scope_kind), (Price.scope, scope), (Price.item_code, item)):
        if value:
            query = query.where(column == value)
    with transaction(catalogue.engine) as session:
        rows = session.scalars(query.order_by(Price.id).limit(limit)).all()
        named = item_lists.every_item(session, catalogue)
        return [_described(row, named.get(row.item_code)) for row in rows]


def gaps(
    catalogue: Catalogue, *, on: date | None = None, after: str = "", limit: int = 100
) -> list[dict[str, Any]]:
    """Return the active hospitals that lack prices on a day, by code, each with the items it has none for."""
    day = on or local_day(catalogue.clock())
    found: list[dict[str, Any]] = []
    with transaction(catalogue.engine) as session:
        for hospital, missing in _missing(session, catalogue, day, after):
            if len(found) == limit:
                break
            items = [{"code": each.code, "name": each.name_zh, "name_en": each.name_en} for each in missing]
            found.append(
                {"hospital": hospital.code, "name": hospital.name, "missing": len(items), "items": items}
            )
    return found


def gap_count(session: Session, catalogue: Catalogue, day: date) -> int:
    """Return how many active hospitals lack the price of an item on a day."""
    return sum(1 for _ in _missing(session, catalogue, day, ""))


def _missing(
    session: Session, catalogue: Catalogue, day: date, after: str
) -> Iterator[tuple[Hospital, list[Item]]]:
    """Yield hospitals with the items of their list that neither they, nor a region, nor their tier has a price for."""
    query = select(Hospital).where(Hospital.active, Hospital.code > after).order_by(Hospital.code)
    hospitals = session.scalars(query).all()
    places = registry.institutions(session, hospitals)
    priced = _priced(session, day)
    lists: dict[tuple[str, ...], list[Item]] = {}
    for hospital in hospitals:
        place = places[hospital.id]
        if place.regions not in lists:
            lists[place.regions] = list(
                item_lists.in_force(session, catalogue, place.regions, catalogue.clock())
            )
        scopes = [("hospital", place.code), ("tier", str(place.tier))]
        scopes += [("region", region) for region in place.regions]
        known: set[str] = set().union(*(priced[scope] for scope in scopes if scope in priced))
        missing = [item for item in lists[place.regions] if item.code not in known]
        if missing:
            yield hospital, missing


def _priced(session: Session, day: date) -> dict[tuple[str, str], set[str]]:
    query = select(Price.scope_kind, Price.scope, Price.item_code).where(
        Price.valid_from <= day, or_(Price.valid_to.is_(None), Price.valid_to >= day)
    )
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for kind, scope, item in session.execute(query).tuples():
        found[kind, scope].add(item)
    return found


def _described(row: Price, item: Item | None) -> dict[str, Any]:
    return {
        "id": row.id,
        "item": row.item_code,
        "name": item.name_zh if item else "",
        "name_en": item.name_en if item else "",
        "scope_kind": row.scope_kind,
        "scope": row.scope,
        "price_fen": row.price_fen,
        "from": row.valid_from,
        "to": row.valid_to,
        "source": row.source,
    }
