"""The doctor's form: what was typed, as it is shown again and as the API is asked. Pure."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from starlette.datastructures import FormData

MOST_ORDERS: Final = 20
SIDES: Final = ("L", "R", "B")
_FIELDS: Final = ("id_type", "id_number", "country", "name", "department", "urgency")


@dataclass(frozen=True, slots=True)
class Row:
    """One order as it was typed: a code and name of the list, or free words."""

    item: str = ""
    side: str = ""
    part: str = ""
    number: str = ""


@dataclass(frozen=True, slots=True)
class Entered:
    """The whole form; it has a row to type in at least."""

    id_type: str = "01"
    id_number: str = ""
    country: str = ""
    name: str = ""
    department: str = ""
    urgency: str = "routine"
    rows: tuple[Row, ...] = field(default_factory=lambda: (Row(number=new_number()),))

    def with_another(self) -> "Entered":
        """Return the form with one more row, as long as there may be more."""
        if len(self.rows) >= MOST_ORDERS:
            return self
        return replace(self, rows=(*self.rows, Row(number=new_number())))


def new_number() -> str:
    """Return a number for an order that has none yet: nobody else's is the same."""
    return f"W-{secrets.token_hex(6)}"


def of_form(form: FormData) -> Entered:
    """Return what a form holds."""
    given = {name: _text(form.get(name)) for name in _FIELDS}
    columns = [[_text(each) for each in form.getlist(name)] for name in ("item", "side", "part", "number")]
    count = min(max(map(len, columns), default=0), MOST_ORDERS)
    filled = [[*column, *[""] * count][:count] for column in columns]
    rows = tuple(
        Row(item, side, part, number or new_number())
        for item, side, part, number in zip(*filled, strict=True)
    )
    told = {name: value for name, value in given.items() if value}
    return Entered(**told, rows=rows or (Row(number=new_number()),))


def of_launch(carried: Mapping[str, Any]) -> Entered:
    """Return the form as a hospital's system has filled it in."""
    patient = carried["patient"]
    rows = tuple(
        Row(
            each.get("item_code") or each.get("text") or "",
            each.get("laterality") or "",
            each.get("body_part") or "",
            each["order_id"],
        )
        for each in carried["orders"]
    )
    return Entered(
        id_type=patient["id_type"],
        id_number=patient["id_number"],
        country=patient.get("country", ""),
        name=patient.get("name") or "",
        department=carried["department"],
        urgency=carried["urgency"],
        rows=rows or (Row(number=new_number()),),
    )


def question(entered: Entered, codes: Iterable[str]) -> dict[str, Any]:
    """Return the body of a check; `codes` are those of the list, by which a row says its item."""
    known = frozenset(codes)
    patient = {
        "id_type": entered.id_type,
        "id_number": entered.id_number,
        "country": entered.country,
        "name": entered.name or None,
    }
    return {
        "patient": patient,
        "orders": [_order(row, known) for row in entered.rows if row.item],
        "department": entered.department,
        "urgency": entered.urgency,
    }


def _order(row: Row, known: frozenset[str]) -> dict[str, Any]:
    first = row.item.split()[0].upper()
    named = {"item_code": first} if first in known else {"text": row.item}
    return {
        "order_id": row.number,
        **named,
        "laterality": row.side if row.side in SIDES else None,
        "body_part": row.part or None,
    }


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
