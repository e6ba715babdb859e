"""From an order as a hospital writes it to an order the rules can judge."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy.orm import Session

from catalog import registry
from catalog.context import Catalogue
from catalog.descriptions import read as read_description
from catalog.items import Item, ItemList
from catalog.mapping import map_order
from catalog.order_choices import choices
from catalog.records import Institution, Laterality, Order, Urgency
from catalog.wording import normalise

ORDER_ERRORS: Final[dict[str, tuple[str, str]]] = {
    "unknown_item": ("清单中没有该项目", "The item is not on the recognised list"),
    "ambiguous_item": (
        "所写文字不能确定清单中的一个项目,请选定",
        "The text does not say one item of the list for certain; choose",
    ),
    "laterality_required": ("该项目须注明左、右或双侧", "This item needs a side: L, R or B"),
    "body_part_required": ("该项目须注明检查部位", "This item needs a body part"),
}


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """One order as asked: exactly one of item code, local code and text says which item."""

    order_number: str
    item_code: str | None = None
    local_code: str | None = None
    text: str | None = None
    laterality: Laterality | None = None
    body_part: str | None = None


@dataclass(frozen=True, slots=True)
class OrderFault:
    """Why an order cannot be judged; `choices` are the items it may mean, where the doctor has to choose."""

    code: str
    choices: tuple[Item, ...] = ()

    def described(self) -> dict[str, Any]:
        """Return the fault as the answer to a check shows it."""
        zh, en = ORDER_ERRORS[self.code]
        told: dict[str, Any] = {"code": self.code, "text": zh, "text_en": en}
        if self.choices:
            told["choices"] = [
                {"code": item.code, "name": item.name_zh, "name_en": item.name_en} for item in self.choices
            ]
        return told


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What an order's own words stand for."""

    item_code: str
    laterality: Laterality | None = None
    body_part: str | None = None


_Names = Mapping[str, Collection[_Meaning]]


@dataclass(frozen=True, slots=True)
class Asking:
    """What is the same for every order of one check; `items` is the list in force for the asker.

    `session` reads registers and the hospital's own names; in a check it connects only if something must be read.
    """

    session: Session
    catalogue: Catalogue
    asker: Institution
    hospital_id: int
    now: datetime
    urgency: Urgency
    items: ItemList
    _names: list[_Names] = field(default_factory=list, init=False, repr=False)

    def own_names(self) -> _Names:
        """Return what the names in the hospital's own table mean, read once however many orders ask."""
        if not self._names:
            found: dict[str, set[_Meaning]] = {}
            for name, item, laterality, part in registry.local_names(self.session, self.hospital_id):
                found.setdefault(_written(name), set()).add(_of_row(item, laterality, part))
            self._names.append(found)
        return self._names[0]


def resolve(asking: Asking, request: OrderRequest) -> tuple[Order | OrderFault, Item | None]:
    """Return the order the rules can judge, or what is wrong with it."""
    meaning = _meaning(asking, request)
    if isinstance(meaning, OrderFault):
        return meaning, None
    item = asking.items.get(meaning.item_code)
    if item is None:
        return OrderFault("unknown_item"), None
    laterality = request.laterality or meaning.laterality
    body_part = _body_part(request.body_part) if request.body_part else meaning.body_part
    if item.laterality == "paired" and laterality is None:
        return OrderFault("laterality_required"), item
    if item.spans_body_parts and not body_part:
        return OrderFault("body_part_required"), item
    return order_of(asking, item, laterality, body_part), item


def order_of(asking: Asking, item: Item, laterality: Laterality | None, body_part: str | None) -> Order:
    """Return an order of this item, by the asking hospital at this moment."""
    paired = item.laterality == "paired"
    return Order(
        item_code=item.code,
        category=item.category,
        window_days=item.window_days,
        negative=item.negative,
        answered_by=asking.items.covered_by(item.code),
        requester=asking.asker,
        ordered_at=asking.now,
        laterality=laterality if paired else None,
        paired=paired,
        body_part=body_part if item.spans_body_parts else None,
        spans_body_parts=item.spans_body_parts,
        urgency=asking.urgency,
    )


def _meaning(asking: Asking, request: OrderRequest) -> _Meaning | OrderFault:
    if request.item_code is not None:
        return _Meaning(request.item_code)
    if request.local_code is not None:
        row = registry.local_item(asking.session, asking.hospital_id, request.local_code)
        if row is None:
            return OrderFault("unknown_item")
        return _of_row(row.item_code, row.laterality, row.body_part)
    return _of_text(asking, request.text or "", request.laterality)


def _of_text(asking: Asking, text: str, laterality: Laterality | None) -> _Meaning | OrderFault:
    """Return what a text means: a name in the asking hospital's own table first, then by the rules of mapping."""
    own = _one_meaning(asking, asking.own_names().get(_written(text), ()))
    if own is not None:
        return own
    found = map_order(text, asking.items, laterality)
    if found is None:
        possible = choices(text, asking.items)
        return OrderFault("ambiguous_item", possible) if possible else OrderFault("unknown_item")
    item = asking.items.get(found.item_code)
    unsaid = item is None or found.body_part == item.body_part
    return _Meaning(found.item_code, found.laterality, None if unsaid else found.body_part)


def _one_meaning(asking: Asking, meanings: Collection[_Meaning]) -> _Meaning | OrderFault | None:
    """Return what codes of one name stand for; only what they agree on is taken."""
    codes = {meaning.item_code for meaning in meanings}
    if len(codes) > 1:
        found = (asking.items.get(code) for code in sorted(codes))
        return OrderFault("ambiguous_item", tuple(item for item in found if item is not None))
    if not meanings:
        return None
    sides, parts = {m.laterality for m in meanings}, {m.body_part for m in meanings}
    return _Meaning(
        codes.pop(), sides.pop() if len(sides) == 1 else None, parts.pop() if len(parts) == 1 else None
    )


def _of_row(item_code: str, laterality: str | None, body_part: str | None) -> _Meaning:
    return _Meaning(item_code, side(laterality), body_part)


@lru_cache(maxsize=1 << 15)
def _written(name: str) -> str:
    """Return a name in one writing; a hospital's table is compared with again and again."""
    return normalise(name)


def _body_part(text: str) -> str:
    """Return the defined term a body part is written as, in Chinese, English or DICOM."""
    parts = {claim.part for claim in read_description(text).claims if claim.part}
    return parts.pop() if len(parts) == 1 else text.strip().upper()


def side(text: str | None) -> Laterality | None:
    """Return a side that the rules know, or None."""
    return text if text in ("L", "R", "B") else None  # type: ignore[return-value]
