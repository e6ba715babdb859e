"""From an order as a hospital writes it to an order the rules can judge."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from catalog import registry
from catalog.context import Catalogue
from catalog.descriptions import read as read_description
from catalog.items import Item, ItemList
from catalog.mapping import map_order
from catalog.records import Institution, Laterality, Order, Urgency

ORDER_ERRORS: Final[dict[str, tuple[str, str]]] = {
    "unknown_item": ("清单中没有该项目", "The item is not on the recognised list"),
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
class Asking:
    """What is the same for every order of one check; `items` is the list in force for the asker."""

    session: Session
    catalogue: Catalogue
    asker: Institution
    hospital_id: int
    now: datetime
    urgency: Urgency
    items: ItemList


def resolve(asking: Asking, request: OrderRequest) -> tuple[Order | str, Item | None]:
    """Return the order the rules can judge, or the code of what is wrong with it."""
    item_code, laterality, body_part = _item_of(asking, request)
    item = asking.items.get(item_code) if item_code else None
    if item is None:
        return "unknown_item", None
    if item.laterality == "paired" and laterality is None:
        return "laterality_required", item
    if item.spans_body_parts and not body_part:
        return "body_part_required", item
    return _order(asking, item, laterality, body_part), item


def _order(asking: Asking, item: Item, laterality: Laterality | None, body_part: str | None) -> Order:
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


def _item_of(asking: Asking, request: OrderRequest) -> tuple[str | None, Laterality | None, str | None]:
    part = _body_part(request.body_part) if request.body_part else None
    if request.item_code is not None:
        return request.item_code, request.laterality, part
    if request.local_code is not None:
        row = registry.local_item(asking.session, asking.hospital_id, request.local_code)
        if row is None:
            return None, None, None
        return row.item_code, request.laterality or side(row.laterality), part or row.body_part
    found = map_order(request.text or "", asking.items, request.laterality)
    if found is None:
        return None, None, None
    item = asking.items.get(found.item_code)
    unsaid = item is None or found.body_part == item.body_part
    return (
        found.item_code,
        request.laterality or found.laterality,
        part or (None if unsaid else found.body_part),
    )


def _body_part(text: str) -> str:
    """Return the defined term a body part is written as, in Chinese, English or DICOM."""
    parts = {claim.part for claim in read_description(text).claims if claim.part}
    return parts.pop() if len(parts) == 1 else text.strip().upper()


def side(text: str | None) -> Laterality | None:
    """Return a side that the rules know, or None."""
    return text if text in ("L", "R", "B") else None  # type: ignore[return-value]
