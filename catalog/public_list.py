"""What everybody may know: the recognised items, the institutions, and the HR marks they carry today.

The Measures of 2022 (art. 12 to 14) have items, institutions and marks published. Nothing else is in it, and it is
held for some seconds, so that however many ask, the database is asked once.
"""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from sqlalchemy import select

from catalog import item_lists, registry
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.items import Item, ItemList
from catalog.records import Evaluation
from catalog.rules import local_day, marks_on
from catalog.tables import Hospital, Region

HELD_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Listed:
    """One institution, and the evaluations it has."""

    code: str
    name: str
    tier: int
    district: str
    district_name: str
    district_name_en: str
    evaluations: tuple[Evaluation, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """All of it as it stood at one moment; the marks of an institution are worked out when somebody sees it."""

    day: date
    items: ItemList
    institutions: tuple[Listed, ...]
    _told: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    def told(self, listed: Listed) -> dict[str, Any]:
        """Return an institution as everybody may see it."""
        if listed.code not in self._told:
            self._told[listed.code] = {
                "code": listed.code,
                "name": listed.name,
                "tier": listed.tier,
                "district": listed.district,
                "district_name": listed.district_name,
                "district_name_en": listed.district_name_en,
                "marks": self._marks(listed),
            }
        return self._told[listed.code]

    def _marks(self, listed: Listed) -> list[dict[str, Any]]:
        """Return each mark with its items; an item that is on no list of today has none."""
        found: dict[str, list[Item]] = {}
        for item in self.items:
            for mark in {
                each.mark for each in marks_on(listed.evaluations, item.code, item.groups, self.day)
            }:
                found.setdefault(mark, []).append(item)
        return [
            {
                "mark": mark,
                "items": [item.code for item in items],
                "categories": sorted({item.category for item in items}),
            }
            for mark, items in sorted(found.items())
        ]


class PublicList:
    """Asks the catalogue at most once in HELD_SECONDS, for any number of threads."""

    def __init__(self, catalogue: Catalogue, clock: Callable[[], float] = time.monotonic) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._lock = threading.Lock()
        self._held: tuple[float, Published] | None = None

    def now(self) -> Published:
        """Return what is published now. Raises DatabaseDown."""
        with self._lock:
            if self._held is None or self._clock() - self._held[0] >= HELD_SECONDS:
                self._held = (self._clock(), _read(self._catalogue))
            return self._held[1]


def institutions(
    published: Published, *, text: str = "", districts: Collection[str] = (), offset: int = 0, limit: int = 50
) -> dict[str, Any]:
    """Return institutions by district and code; `text` is a part of a name or a code."""
    wanted = text.strip().casefold()
    found = [
        each
        for each in published.institutions
        if (not districts or each.district in districts)
        and (wanted in each.name.casefold() or wanted == each.code.casefold() or not wanted)
    ]
    return {
        "day": published.day,
        "total": len(found),
        "offset": offset,
        "institutions": [published.told(each) for each in found[offset : offset + limit]],
    }


def districts(published: Published) -> list[dict[str, str]]:
    """Return the districts that have an institution."""
    found = {
        each.district: {
            "code": each.district,
            "name": each.district_name,
            "name_en": each.district_name_en,
        }
        for each in published.institutions
    }
    return [found[code] for code in sorted(found)]


def _read(catalogue: Catalogue) -> Published:
    day = local_day(catalogue.clock())
    query = (
        select(Hospital, Region.name, Region.name_en)
        .join(Region, Region.code == Hospital.region_code)
        .where(Hospital.active)
        .order_by(Hospital.region_code, Hospital.code)
    )
    with transaction(catalogue.engine) as session:
        rows = session.execute(query).tuples().all()
        evaluations = registry.evaluations(session, [hospital.id for hospital, _, _ in rows])
        return Published(
            day,
            item_lists.on_day(session, catalogue, None, day),
            tuple(
                Listed(
                    hospital.code,
                    hospital.name,
                    hospital.tier,
                    hospital.region_code,
                    name,
                    name_en,
                    evaluations.get(hospital.id, ()),
                )
                for hospital, name, name_en in rows
            ),
        )
