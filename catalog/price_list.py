"""Prices as curators read them: which stand on a day and for whom, and which items a hospital has none for."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from catalog import item_lists
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.items import Item
from catalog.rules import local_day
from catalog.tables import Hospital, Price, Region
from catalog.tables_items import ItemListVersion

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
    """Yield hospitals with the items of their list that neither they, nor a region, nor their tier has a price for.

    What a region and a tier leave open is worked out once for all their hospitals: mostly it is nothing.
    """
    paths, shared = _paths(session), _priced(session, day, "region", "tier")
    lists = _Lists(session, catalogue)
    open_items: dict[tuple[str, int], list[Item]] = {}
    found: list[tuple[Hospital, list[Item]]] = []
    query = select(Hospital).where(Hospital.active, Hospital.code > after).order_by(Hospital.code)
    for hospital in session.scalars(query):
        key = (hospital.region_code, hospital.tier)
        if key not in open_items:
            path = paths[hospital.region_code]
            known = shared["tier", str(hospital.tier)].union(*(shared["region", each] for each in path))
            open_items[key] = [item for item in lists.of(path) if item.code not in known]
        if open_items[key]:
            found.append((hospital, open_items[key]))
    own = _priced(session, day, "hospital") if found else {}
    for hospital, items in found:
        known = own.get(("hospital", hospital.code), set())
        if missing := [item for item in items if item.code not in known]:
            yield hospital, missing


class _Lists:
    """The lists in force now; regions without one of their own share that of the whole exchange."""

    def __init__(self, session: Session, catalogue: Catalogue) -> None:
        self._session, self._catalogue = session, catalogue
        own = session.scalars(select(ItemListVersion.region_code).distinct())
        self._with_own = {each for each in own if each is not None}
        self._kept: dict[tuple[str, ...], list[Item]] = {}

    def of(self, path: tuple[str, ...]) -> list[Item]:
        """Return the items for hospitals in these regions, the smallest first."""
        wanted = tuple(each for each in path if each in self._with_own)
        if wanted not in self._kept:
            now = self._catalogue.clock()
            self._kept[wanted] = list(item_lists.in_force(self._session, self._catalogue, wanted, now))
        return self._kept[wanted]


def _paths(session: Session) -> dict[str, tuple[str, ...]]:
    """Return the regions that hold each region, from itself to the largest."""
    parents = dict(session.execute(select(Region.code, Region.parent_code)).tuples().all())
    paths: dict[str, tuple[str, ...]] = {}
    for code in parents:
        path, at = [code], parents[code]
        while at is not None and at not in path:
            path.append(at)
            at = parents[at]
        paths[code] = tuple(path)
    return paths


def _priced(session: Session, day: date, *kinds: str) -> defaultdict[tuple[str, str], set[str]]:
    query = (
        select(Price.scope_kind, Price.scope, func.array_agg(Price.item_code))
        .where(
            Price.scope_kind.in_(kinds),
            Price.valid_from <= day,
            or_(Price.valid_to.is_(None), Price.valid_to >= day),
        )
        .group_by(Price.scope_kind, Price.scope)
    )
    found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for kind, scope, items in session.execute(query).tuples():
        found[kind, scope] = set(items)
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
