"""A check as it is kept, in one statement.

The answer as given, each order at its first check, the reminders it makes, the reports its hospital may see because
of it, and the audit record of all that.
"""

import uuid
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, Final

import orjson

from catalog import audit
from catalog.context import Caller
from catalog.records import Shown
from catalog.steps import Statement, Steps

# An order becomes a reminder once, when a recognisable prior was first shown for it; the month of its first check
# counts it. Rows that several checks may write at once are taken in one order, so that none waits for another.
_KEEP: Final = f"""
    with audited as ({audit.INSERT}), kept as (
        insert into order_check (id, hospital_id, person_id, department, urgency, answer, caller, disclosed, given,
                                 asked_at, expires_at)
        values (%(id)s, %(hospital_id)s, %(person_id)s, %(department)s, %(urgency)s, %(answer)s, %(caller)s,
                %(disclosed)s, %(given)s::jsonb, %(asked_at)s, %(expires_at)s)
    ), shown as (
        insert into report_shown (hospital_id, person_id, report_id)
        select %(hospital_id)s, %(person_id)s::bigint, unnest(%(reports)s::bigint[]) on conflict do nothing
    ), ordered as (
        insert into ordered_item (hospital_id, order_number, person_id, item_code, first_check_id, business_date,
                                  emergency, own_hospital, reminder, department, reminded_at)
        select %(hospital_id)s, order_number, %(person_id)s::bigint, item_code, %(id)s, %(business_date)s,
               %(urgency)s = 'emergency', own_hospital, reminder, %(department)s,
               case when reminder then %(asked_at)s::timestamptz end
        from jsonb_to_recordset(%(orders)s::jsonb)
             as o(order_number text, item_code text, own_hospital bool, reminder bool)
        order by order_number
        on conflict (hospital_id, order_number)
        do update set reminder = true, own_hospital = excluded.own_hospital, reminded_at = excluded.reminded_at
        where excluded.reminder and not ordered_item.reminder and ordered_item.person_id = excluded.person_id
        returning item_code, date_trunc('month', business_date) as month, own_hospital, emergency, reminder
    )
    insert into monthly (hospital_id, item_code, month, own_hospital, emergency, reminders)
    select %(hospital_id)s, item_code, month, own_hospital, emergency, count(*) from ordered where reminder
    group by item_code, month, own_hospital, emergency order by item_code, month, own_hospital, emergency
    on conflict (hospital_id, item_code, month, own_hospital, emergency)
    do update set reminders = monthly.reminders + excluded.reminders
"""  # noqa: S608 (of constants)


def keep(
    caller: Caller,
    given: dict[str, Any],
    written: bytes,
    *,
    hospital_id: int,
    person_id: int | None,
    department: str,
    asked_at: datetime,
    expires_at: datetime,
    business_date: date,
) -> Steps[None]:
    """Keep an answer as given, and audit it, at the end of a transaction; of somebody who is not known no order is counted.

    `written` is the answer as JSON.
    `disclosed`: until it expires the asking hospital may see whom it was shown (catalog.grants).
    Raises AuditDown where the audit cannot be written: then nothing is kept, and nothing may be disclosed.
    """
    orders = [] if person_id is None else list(_orders(given["orders"]))
    shown = [candidate for answer in given["orders"] for candidate in answer["candidates"]]
    row = audit.record_of(
        caller,
        "check",
        hospital_id=hospital_id,
        person_id=person_id,
        check_id=given["check_id"],
        answer=given["answer"],
        shown=[candidate["result_id"] for candidate in shown],
    ) | {
        "id": uuid.UUID(given["check_id"]),
        "department": department,
        "urgency": given["urgency"],
        "answer": given["answer"],
        "given": written.decode(),
        "asked_at": asked_at,
        "expires_at": expires_at,
        "disclosed": given["patient"] is not None,
        "reports": _reports(shown),
        "business_date": business_date,
        "orders": orjson.dumps(orders).decode(),
    }
    with audit.blamed():
        yield Statement(_KEEP, row, ends=True)


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


def _reports(shown: Iterable[dict[str, Any]]) -> str:
    """Return the reports shown, in one order for every check; as PostgreSQL writes an array (see lookup.asking)."""
    reports = sorted({int(each["report"]["report_id"]) for each in shown if each["report"] is not None})
    return "{" + ",".join(map(str, reports)) + "}"
