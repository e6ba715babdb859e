"""The versions of the recognised list in the database: imported whole, in force by day, for a region's hospitals.

The list of the whole exchange is the ground; a region's own list stands over it item by item, the smallest
region last. A moment is judged by what was known and in force then, so importing changes no past check.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, time
from typing import Any, Final

import orjson
from sqlalchemy import Row, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import audit
from catalog.context import Caller, Catalogue
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.item_diff import ListDiff, difference
from catalog.items import Item, ItemList, overlaid
from catalog.rules import HOSPITAL_ZONE, local_day
from catalog.tables import Region
from catalog.tables_items import ItemListVersion, ListedItem

RELEASED: Final = "release"
_VERSION: Final = re.compile(r"[\w.-]{1,64}")
_SETS: Final = ("views",)
_TUPLES: Final = ("modalities", "covers")


@dataclass(frozen=True, slots=True)
class Import:
    """What importing a list did, or would do: its difference from the list in force on its first day."""

    version: str
    region: str | None
    effective_from: date
    items: int
    diff: ListDiff
    in_force_now: bool
    dry_run: bool

    def report(self) -> dict[str, Any]:
        """Return it as JSON would have it."""
        return {
            "version": self.version,
            "region": self.region,
            "effective_from": self.effective_from.isoformat(),
            "items": self.items,
            "in_force_now": self.in_force_now,
            "dry_run": self.dry_run,
            "diff": self.diff.report(),
        }


def load_released(session: Session, items: ItemList) -> None:
    """Put the list that comes with the release where there is none yet; it was known when it took effect."""
    if (
        session.scalar(select(ItemListVersion.id).where(ItemListVersion.region_code.is_(None)).limit(1))
        is None
    ):
        _add(session, items, None, known_from=_start_of(items.effective_from), imported_by=RELEASED)


def in_force(session: Session, catalogue: Catalogue, regions: Sequence[str], at: datetime) -> ItemList:
    """Return the list for a hospital that lies in `regions` (smallest first) as it stood at a moment."""
    return standing(session, catalogue.items, versions_for(session, regions), regions, at)


def versions_for(session: Session, regions: Sequence[str]) -> Sequence[Row[Any]]:
    """Return every version of the lists that concern hospitals in `regions`, by first day; rows, without items."""
    query = (
        select(*ItemListVersion.__table__.columns)
        .where(or_(ItemListVersion.region_code.is_(None), ItemListVersion.region_code.in_(regions)))
        .order_by(ItemListVersion.effective_from)
    )
    return session.execute(query).all()


def standing(
    session: Session, ground: ItemList, versions: Iterable[Any], regions: Sequence[str], at: datetime
) -> ItemList:
    """Return the list that stood at a moment, of these versions; `ground` where the exchange has none of its own."""
    return _standing(session, ground, versions, regions, day=local_day(at), known_at=at)


def _standing(
    session: Session,
    ground: ItemList,
    versions: Iterable[Any],
    regions: Sequence[str],
    *,
    day: date,
    known_at: datetime,
) -> ItemList:
    newest = {
        row.region_code: row for row in versions if row.effective_from <= day and row.known_from <= known_at
    }
    row = newest.get(None)
    items = ground if row is None else _items(session, row)
    for region in reversed(regions):
        row = newest.get(region)
        items = items if row is None else overlaid(items, _items(session, row))
    return items


def on_day(session: Session, catalogue: Catalogue, region: str | None, day: date) -> ItemList:
    """Return the list of a region (none: the whole exchange) for a day, as it is known now."""
    path = () if region is None else (region, *_path_above(session, region))
    moment = _moment(catalogue, day)
    found = versions_for(session, path)
    return _standing(session, catalogue.items, found, path, day=day, known_at=moment)


def every_item(session: Session, catalogue: Catalogue) -> ItemList:
    """Return every item of every version, each as the newest one has it: what a code of any time means."""
    rows = session.scalars(select(ItemListVersion).order_by(ItemListVersion.effective_from)).all()
    items = catalogue.items
    for row in sorted(rows, key=lambda each: each.region_code is None):
        items = overlaid(items, _items(session, row))
    return items


def versions(session: Session) -> list[dict[str, Any]]:
    """Return every version of every list, in the order in which they take effect."""
    query = select(ItemListVersion).order_by(ItemListVersion.effective_from, ItemListVersion.id)
    return [
        {
            "version": row.version,
            "region": row.region_code,
            "title": row.title_zh,
            "title_en": row.title_en,
            "effective_from": row.effective_from,
            "status": row.status,
            "source": row.source,
            "known_from": row.known_from,
            "imported_by": row.imported_by,
        }
        for row in session.scalars(query)
    ]


def version(session: Session, name: str, region: str | None = None) -> ItemList:
    """Return one version exactly as imported. Raises NotFound."""
    query = select(ItemListVersion).where(
        ItemListVersion.version == name, ItemListVersion.region_code.is_not_distinct_from(region)
    )
    row = session.scalars(query).one_or_none()
    if row is None:
        raise NotFound("没有该清单版本", "No such version of the list", code="unknown_list_version")
    return _items(session, row)


def wider_list(session: Session, catalogue: Catalogue, region: str | None, on: date) -> ItemList | None:
    """Return the list over which a region's own will stand on a day; None for the whole exchange's."""
    if region is None:
        return None
    return in_force(session, catalogue, _path_above(session, region), _moment(catalogue, on))


def import_list(
    session: Session,
    catalogue: Catalogue,
    caller: Caller,
    items: ItemList,
    *,
    region: str | None = None,
    dry_run: bool = False,
) -> Import:
    """Add a version of the list, or only say what it would change; nothing that stands is altered.

    Raises Conflict where the region has a version of this name or of this first day already, InvalidInput
    for a malformed name.
    """
    if not _VERSION.fullmatch(items.version):
        raise InvalidInput(
            "版本名限 1 到 64 位字母、数字、汉字和 . _ -",
            "A version's name takes 1 to 64 letters, digits and . _ -",
            field="version",
        )
    now = catalogue.clock()
    wider = wider_list(session, catalogue, region, items.effective_from)
    after = items if wider is None else overlaid(wider, items)
    path = () if region is None else (region, *_path_above(session, region))
    before = in_force(session, catalogue, path, _moment(catalogue, items.effective_from))
    _refuse_known(session, items, region)
    if not dry_run:
        _add(session, items, region, known_from=now, imported_by=caller.subject)
        audit.record(session, caller, "items.import", version=items.version, region=region, items=len(items))
    return Import(
        version=items.version,
        region=region,
        effective_from=items.effective_from,
        items=len(items),
        diff=difference(before, after),
        in_force_now=items.effective_from <= local_day(now) and not _is_older(session, items, region, now),
        dry_run=dry_run,
    )


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), HOSPITAL_ZONE)


def _moment(catalogue: Catalogue, on: date) -> datetime:
    """Return when a list of that first day begins to be asked: then, or now if that day is past."""
    return max(_start_of(on), catalogue.clock())


def _path_above(session: Session, region: str) -> tuple[str, ...]:
    """Return the regions that hold a region, smallest first."""
    parents: dict[str, str | None] = dict(
        session.execute(select(Region.code, Region.parent_code)).tuples().all()
    )
    path: list[str] = []
    code = parents.get(region)
    while code is not None and code not in path:
        path.append(code)
        code = parents.get(code)
    return tuple(path)


def _refuse_known(session: Session, items: ItemList, region: str | None) -> None:
    query = select(ItemListVersion.version).where(
        ItemListVersion.region_code.is_not_distinct_from(region),
        or_(
            ItemListVersion.version == items.version,
            ItemListVersion.effective_from == items.effective_from,
        ),
    )
    if session.scalars(query.limit(1)).first() is not None:
        raise Conflict(
            "已有同名或同日生效的清单版本,版本不可更改",
            "A version of this name or first day stands already; versions are never changed",
            code="list_version_exists",
        )


def _is_older(session: Session, items: ItemList, region: str | None, now: datetime) -> bool:
    query = select(ItemListVersion.id).where(
        ItemListVersion.region_code.is_not_distinct_from(region),
        ItemListVersion.effective_from > items.effective_from,
        ItemListVersion.effective_from <= local_day(now),
    )
    return session.scalars(query.limit(1)).first() is not None


def _add(
    session: Session, items: ItemList, region: str | None, *, known_from: datetime, imported_by: str
) -> None:
    rows = [_fields(item) for item in items]
    content = orjson.dumps([[item.code, row] for item, row in zip(items, rows, strict=True)])
    heading = f"{items.version}\n{items.effective_from}\n{region}\n".encode()
    made = session.scalars(
        insert(ItemListVersion)
        .values(
            region_code=region,
            version=items.version,
            title_zh=items.title_zh,
            title_en=items.title_en,
            effective_from=items.effective_from,
            status=items.status,
            source=items.source,
            digest=hashlib.sha256(heading + content).hexdigest(),
            known_from=known_from,
            imported_by=imported_by,
        )
        .on_conflict_do_nothing()
        .returning(ItemListVersion.id)
    ).one_or_none()
    if made is None:
        raise Conflict("清单版本已存在", "The version stands already", code="list_version_exists")
    listed = [
        {"list_id": made, "code": item.code, "position": position, "fields": row}
        for position, (item, row) in enumerate(zip(items, rows, strict=True))
    ]
    session.execute(insert(ListedItem).values(listed))


def _fields(item: Item) -> dict[str, Any]:
    values = {field.name: getattr(item, field.name) for field in fields(Item) if field.name != "code"}
    return {
        name: sorted(value)
        if isinstance(value, frozenset)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in values.items()
    }


# Versions are never changed, so one that was read need not be read again; the digest tells databases apart.
_READ: Final[dict[str, ItemList]] = {}
_MOST_READ: Final = 256


def _items(session: Session, row: ItemListVersion | Row[Any]) -> ItemList:
    known = _READ.get(row.digest)
    if known is not None:
        return known
    query = select(ListedItem).where(ListedItem.list_id == row.id).order_by(ListedItem.position)
    items = ItemList(
        version=row.version,
        title_zh=row.title_zh,
        title_en=row.title_en,
        effective_from=row.effective_from,
        status=row.status,
        source=row.source,
        items=tuple(_item(listed) for listed in session.scalars(query)),
    )
    if len(_READ) >= _MOST_READ:
        _READ.clear()
    return _READ.setdefault(row.digest, items)


def _item(listed: ListedItem) -> Item:
    values = dict(listed.fields)
    values |= {name: frozenset(values[name]) for name in _SETS}
    values |= {name: tuple(values[name]) for name in _TUPLES}
    return Item(code=listed.code, **values)
