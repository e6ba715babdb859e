"""The registry as a check sees it: hospitals, evaluations, prices, lists, read once and kept while its stamp stands.

A check reads the stamp in its first statement, in its own transaction. Whatever is kept under that stamp was read
after the change that made it, so a stale evaluation or price never decides; and a new stamp forgets everything.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog import item_lists, registry
from catalog.items import ItemList
from catalog.pricing import PriceRow
from catalog.records import Evaluation, Institution
from catalog.registry_kept import Kept
from catalog.tables import Hospital

_MOST_DAYS: Final = 4_000  # of price tables, each of one hospital on one day


class NotKept(Exception):
    """Something must be read that is not kept."""


class _KeptOnly(Session):
    """A session for where nothing may be waited for: it reads nothing."""

    def get_bind(self, *_: Any, **__: Any) -> Any:
        raise NotKept


KEPT_ONLY: Final = _KeptOnly()


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry under one stamp or newer; what is not kept yet is read by the session of who asks."""

    _session: Session
    _kept: Kept

    def hospital(self, code: str) -> tuple[int, Institution]:
        """Return the id and the place of an active hospital. Raises NotFound."""
        if code not in self._kept.ids:
            self._read_hospitals(lambda kept: bool(kept.places))
        found = self._kept.ids.get(code)
        if found is None:
            raise registry.unknown_hospital()
        return found, self._kept.places[found]

    def places(self, hospital_ids: Iterable[int]) -> dict[int, Institution]:
        """Return where these hospitals stand, active or not."""
        wanted = set(hospital_ids)
        if not wanted <= self._kept.places.keys():
            self._read_hospitals(lambda kept: wanted <= kept.places.keys())
        return {each: self._kept.places[each] for each in wanted}

    def marks(self, hospital_ids: Iterable[int]) -> dict[int, tuple[Evaluation, ...]]:
        """Return every evaluation of these hospitals, whose places are known."""
        return {each: self._kept.marks[each] for each in hospital_ids}

    def _read_hospitals(self, is_enough: Callable[[Kept], bool]) -> None:
        """Read all of them: a city has a thousand, and one by one each would make a check wait.

        Whoever reads has the others wait: after a change many ask at once.
        """
        if isinstance(self._session, _KeptOnly):
            raise NotKept
        with self._kept.reading:
            if is_enough(self._kept):
                return
            hospitals = self._session.scalars(select(Hospital)).all()
            places = registry.institutions(self._session, hospitals)
            marks = registry.evaluations(self._session, places)
            self._kept.marks.update({each: marks.get(each, ()) for each in places})
            self._kept.ids.update({hospital.code: hospital.id for hospital in hospitals if hospital.active})
            self._kept.places.update(places)  # last: who finds a place finds all of it

    def prices(self, asker: Institution, items: ItemList, on: date) -> Mapping[str, PriceRow]:
        """Return the price of each item of the list at the asking hospital on a day; unpriced items are absent."""
        key = (asker.code, on)
        found = self._kept.prices.get(key)
        if found is None:
            if len(self._kept.prices) >= _MOST_DAYS:
                self._kept.prices.clear()
            codes = [item.code for item in items]
            found = self._kept.prices[key] = registry.prices_for(self._session, asker, codes, on)
        return found

    def items(self, ground: ItemList, regions: tuple[str, ...], at: datetime) -> ItemList:
        """Return the list for a hospital in these regions (smallest first) as it stood at a moment.

        `ground` is the released list, for an exchange that has none of its own yet.
        """
        versions = self._kept.versions.get(regions)
        if versions is None:
            versions = self._kept.versions[regions] = item_lists.versions_for(self._session, regions)
        return item_lists.standing(self._session, ground, versions, regions, at)
