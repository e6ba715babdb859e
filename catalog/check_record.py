"""A check as it is kept: the answer as given, each order at its first check, and the reminders it makes; one statement."""

import uuid
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, Final

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from catalog.records import Shown

# An order becomes a reminder once, when a recognisable prior was first shown for it; the month of its first check
# counts it. Rows that several checks may write at once are taken in one order, so that none waits for another.
_KEEP: Final = text("""
    with kept as (
        insert into order_check (id, hospital_id, person_id, department, urgency, answer, caller, given, asked_at,
                                 expires_at)
        values (:id, :hospital_id, :person_id, :department, :urgency, :answer, :caller, cast(:given as jsonb),
                :asked_at, :expires_at)
    ), ordered as (
        insert into ordered_item (hospital_id, order_number, person_id, item_code, first_check_id, business_date,
                                  emergency, own_hospital, reminder)
        select :hospital_id, order_number, cast(:person_id as bigint), item_code, :id, :business_date,
               :urgency = 'emergency', own_hospital, reminder
        from jsonb_to_recordset(cast(:orders as jsonb))
             as o(order_number text, item_code text, own_hospital bool, reminder bool)
        order by order_number
        on conflict (hospital_id, order_number) do update set reminder = true, own_hospital = excluded.own_hospital
        where excluded.reminder and not ordered_item.reminder and ordered_item.person_id = excluded.person_id
        returning item_code, date_trunc('month', business_date) as month, own_hospital, emergency, reminder
    )
    insert into monthly (hospital_id, item_code, month, own_hospital, emergency, reminders)
    select :hospital_id, item_code, month, own_hospital, emergency, count(*) from ordered where reminder
    group by item_code, month, own_hospital, emergency order by item_code, month, own_hospital, emergency
    on conflict (hospital_id, item_code, month, own_hospital, emergency)
    do update set reminders = monthly.reminders + excluded.reminders
""")


def keep(
    session: Session,
    given: dict[str, Any],
    *,
    hospital_id: int,
    person_id: int | None,
    department: str,
    caller: str,
    asked_at: datetime,
    expires_at: datetime,
    business_date: date,
) -> None:
    """Keep an answer as given; of somebody who is not known no order is counted."""
    orders = [] if person_id is None else list(_orders(given["orders"]))
    row = {
        "id": uuid.UUID(given["check_id"]),
        "hospital_id": hospital_id,
        "person_id": person_id,
        "department": department,
        "urgency": given["urgency"],
        "answer": given["answer"],
        "caller": caller,
        "given": orjson.dumps(given).decode(),
        "asked_at": asked_at,
        "expires_at": expires_at,
        "business_date": business_date,
        "orders": orjson.dumps(orders).decode(),
    }
    session.execute(_KEEP, row)


def _orders(answers: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for answer in answers:
        if answer.get("error"):
            continue
        recognisable = [c for c in answer["candidates"] if c["verdict"] == Shown.RECOGNISABLE]
        yield {
            "order_number": answer["order_id"],
            "item_code": answer["item"]["code"],
            "own_hospital": bool(recognisable) and all(c["own_hospital"] for c in recognisable),
            "reminder": bool(recognisable),
        }
