"""What a decision is taken on, and how it is kept: written out in few statements, for a doctor waits."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy.orm import Session

from catalog import audit, db, lookup
from catalog.context import Caller
from catalog.errors import Conflict
from catalog.lookup import Done
from catalog.registry import unknown_hospital
from catalog.report_records import WITHDRAWN
from catalog.report_versions import standing
from catalog.tables import Decision

# The key is claimed and the check looked up at once; whoever finds the key taken waits for its owner here.
_CLAIM: Final = """
    with asker as (select id from hospital where code = %(hospital)s and active), claimed as (
        insert into idempotency (hospital_id, key, body_sha256, answer)
        select id, %(key)s, %(body_sha256)s, '{}' from asker on conflict do nothing returning true
    )
    select registry_stamp.stamp, asker.id, exists (select from claimed), found.person_id, found.asked_at, found.expires_at,
           found.urgency, found.answer
    from registry_stamp left join asker on true left join lateral (
        select person_id, asked_at, expires_at, urgency, (
            select asked from jsonb_array_elements(given -> 'orders') asked
             where asked ->> 'order_id' = %(order_number)s limit 1
        ) as answer
        from order_check where order_check.id = %(check_id)s and order_check.hospital_id = asker.id
    ) found on true
"""
_CLAIMED: Final = """
    select body_sha256, answer from idempotency where hospital_id = %(hospital_id)s and key = %(key)s for update
"""
_ORDER: Final = """
    select person_id, own_hospital, reminder, standing_decision_id,
           exists (select from person where id = any(%(people)s) and opted_out),
           exists (select from result where person_id = any(%(people)s) and hospital_id = %(hospital_id)s
                   and exam_time >= (select asked_at from order_check where id = first_check_id) - interval '1 minute')
    from ordered_item where hospital_id = %(hospital_id)s and order_number = %(order_number)s
    for update of ordered_item
"""
_COLUMNS: Final = (
    "check_id",
    "hospital_id",
    "order_number",
    "person_id",
    "item_code",
    "laterality",
    "body_part",
    "action",
    "result_id",
    "issuing_hospital_id",
    "reason_code",
    "reason_text",
    "explained_to_patient",
    "counts_as_refusal",
    "beyond_duty",
    "own_hospital",
    "emergency",
    "price_fen",
    "price_id",
    "undoes_id",
    "checked_at",
    "decided_at",
    "business_date",
    "caller",
)
# A citation stands beside whatever else is decided on the order, and an undo leaves nothing standing.
_RECORD: Final = f"""
    with decided as (
        insert into decision ({", ".join(_COLUMNS)}) values ({", ".join(f"%({name})s" for name in _COLUMNS)}) returning id
    ), stands as (
        update ordered_item set standing_decision_id = case %(action)s when 'undo' then null else decided.id end
        from decided
        where hospital_id = %(hospital_id)s and order_number = %(order_number)s and %(action)s <> 'cite'
    )
    select id from decided
"""  # noqa: S608 (of constants)
_KEEP: Final = f"""
    with audited as ({audit.INSERT})
    update idempotency set answer = %(answer)s::jsonb where hospital_id = %(hospital_id)s and key = %(key)s
"""  # noqa: S608 (of constants)


@dataclass(frozen=True, slots=True)
class Asked:
    """A check of the deciding hospital; `answer` is what it said of the order, None where it has no such order."""

    person_id: int | None
    asked_at: datetime
    expires_at: datetime
    urgency: str
    answer: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A key claimed by a hospital, the answer already given to it (empty where it is new), and the check asked for."""

    stamp: uuid.UUID
    hospital_id: int
    earlier: dict[str, Any]
    check: Asked | None


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order, locked, as it stands.

    `opted_out`: whoever it is for no longer shares his results; `examined`: he may have been examined here since it was
    first asked about; of two questions at once the one that came first is not always the one that was written first.
    """

    person_id: int
    own_hospital: bool
    reminder: bool
    standing_decision_id: int | None
    opted_out: bool
    examined: bool


def claim(
    session: Session, caller: Caller, check_id: uuid.UUID, order_number: str, *, key: str, body_sha256: str
) -> Claimed:
    """Claim an Idempotency-Key for this transaction, and look the check up.

    Raises NotFound for a hospital that is not registered, Conflict where the key has another body.
    """
    values = {"hospital": caller.hospital_code, "key": key, "body_sha256": body_sha256}
    asked = {"check_id": check_id, "order_number": order_number}
    ((stamp, hospital_id, is_new, *found),) = db.rows(session, _CLAIM, values | asked)
    if hospital_id is None:
        raise unknown_hospital()
    earlier = {} if is_new else _earlier(session, hospital_id, key, body_sha256)
    return Claimed(stamp, hospital_id, earlier, None if found[1] is None else Asked(*found))


def _earlier(session: Session, hospital_id: int, key: str, body_sha256: str) -> dict[str, Any]:
    ((body, answer),) = db.rows(session, _CLAIMED, {"hospital_id": hospital_id, "key": key})
    if body != body_sha256:
        raise Conflict(
            "该 Idempotency-Key 已用于另一请求",
            "This Idempotency-Key was used for a different request",
            code="idempotency_key_reused",
        )
    found: dict[str, Any] = answer
    return found


def lock_order(session: Session, hospital_id: int, order_number: str, people: frozenset[int]) -> Ordered:
    """Return the order as it stands, locked; `people` are the person asked about and those merged with him."""
    values = {"hospital_id": hospital_id, "order_number": order_number, "people": list(people)}
    (row,) = db.rows(session, _ORDER, values)
    return Ordered(*row)


def stands(session: Session, result_id: int, people: frozenset[int]) -> Done | None:
    """Return a result of these people if it still stands: neither it nor its study or report was withdrawn."""
    statement = lookup.one_done(people, result_id)
    found = lookup.done(people, db.rows(session, statement.text, statement.values))
    if not found:
        return None
    ((done, said),) = found
    if done.status != "active":
        return None
    if done.images is None:
        return done
    report = standing(each.kept.version for each in said)
    is_withdrawn = done.images.withdrawn or (report is not None and report.status in WITHDRAWN)
    return None if is_withdrawn else done


def record(session: Session, event: Decision) -> None:
    """Append a decision, which gets its number, and say what now stands for its order."""
    values = {name: getattr(event, name) for name in _COLUMNS}
    ((event.id,),) = db.rows(session, _RECORD, values)


def keep_answer(
    session: Session, caller: Caller, event: Decision, key: str, answer: dict[str, Any], **detail: Any
) -> None:
    """Keep the answer for whoever sends the same again, and audit the decision. Raises AuditDown."""
    row = audit.record_of(
        caller,
        f"decision.{event.action}",
        hospital_id=event.hospital_id,
        person_id=event.person_id,
        decision_id=event.id,
        check_id=str(event.check_id),
        **detail,
    )
    with audit.blamed():
        db.rows(session, _KEEP, row | {"key": key, "answer": orjson.dumps(answer).decode()})
