"""Webhooks: where hospitals want to be told of news, and the queue of what they have not been told yet.

A delivery is written with its notice and lives in the database until it is taken or given up. For one webhook the
oldest comes first and holds up those behind it, so that news arrive in the order in which they happened.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, case, false, func, or_, select, update
from sqlalchemy.orm import Session

from catalog import audit, notice_numbers
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, NotFound
from catalog.outbound import Outbound, target_of
from catalog.registry import hospital_by_code
from catalog.tables import Hospital
from catalog.tables_asking import Webhook, WebhookDelivery
from catalog.tables_people import Notice

# After each failed attempt; where there is none left, the delivery is dead until an operator tries it again.
WAITS: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 1800, 7200, 6 * 3600, 12 * 3600, 24 * 3600)
)
LEASE: Final = timedelta(minutes=2)  # for one attempt; a courier that died is followed by another after it
MOST_WEBHOOKS: Final = 5


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notice to be told to one address; nothing in it is about a patient."""

    delivery_id: int
    webhook_id: int
    url: str
    notice_id: int
    kind: str
    hospital_code: str
    created_at: datetime
    attempt: int


def add(
    catalogue: Catalogue, outbound: Outbound, caller: Caller, hospital_code: str, url: str
) -> dict[str, Any]:
    """Let a hospital be told at an address. Raises TargetRefused, NotFound, Conflict."""
    target_of(outbound, url)
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, hospital_code)
        session.scalars(select(Hospital.id).where(Hospital.id == hospital.id).with_for_update()).one()
        standing = session.scalars(select(Webhook).filter_by(hospital_id=hospital.id, active=True)).all()
        if any(hook.url == url for hook in standing):
            raise Conflict("该地址已登记", "The address is registered already", code="webhook_exists")
        if len(standing) >= MOST_WEBHOOKS:
            raise Conflict("该机构的地址已满", "The hospital has as many as it may", code="too_many_webhooks")
        hook = Webhook(
            hospital_id=hospital.id, url=url, created_by=caller.subject, created_at=catalogue.clock()
        )
        session.add(hook)
        session.flush()
        audit.record(session, caller, "webhook.add", hospital_id=hospital.id, webhook_id=hook.id)
        return _described(hook, hospital.code, {})


def listed(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return every active webhook with how its deliveries stand."""
    with transaction(catalogue.engine) as session:
        query = select(Webhook, Hospital.code).join(Hospital, Hospital.id == Webhook.hospital_id)
        rows = session.execute(query.where(Webhook.active).order_by(Webhook.id)).tuples().all()
        counts = _counts(session)
        return [_described(hook, code, counts.get(hook.id, {})) for hook, code in rows]


def remove(catalogue: Catalogue, caller: Caller, webhook_id: int) -> dict[str, Any]:
    """Stop telling an address anything, what is queued included. Raises NotFound."""
    with transaction(catalogue.engine) as session:
        hook, code = _active(session, webhook_id)
        hook.active = False
        dropped = update(WebhookDelivery).filter_by(webhook_id=webhook_id, state="queued")
        session.execute(dropped.values(state="dead", error="removed"))
        audit.record(session, caller, "webhook.remove", hospital_id=hook.hospital_id, webhook_id=webhook_id)
        session.flush()
        return _described(hook, code, _counts(session).get(webhook_id, {}))


def retry(catalogue: Catalogue, caller: Caller, webhook_id: int) -> dict[str, Any]:
    """Queue again what was given up, oldest first, and try at once what waits. Raises NotFound."""
    with transaction(catalogue.engine) as session:
        hook, code = _active(session, webhook_id)
        again = update(WebhookDelivery).where(
            WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.state.in_(("dead", "queued"))
        )
        session.execute(
            again.values(
                state="queued",
                attempts=case((WebhookDelivery.state == "dead", 0), else_=WebhookDelivery.attempts),
                next_attempt_at=catalogue.clock(),
            )
        )
        audit.record(session, caller, "webhook.retry", hospital_id=hook.hospital_id, webhook_id=webhook_id)
        return _described(hook, code, _counts(session).get(webhook_id, {}))


def enqueue(session: Session, catalogue: Catalogue, notices: Iterable[Notice]) -> None:
    """Queue notices for every webhook of their hospitals, in the transaction that makes them."""
    session.flush()
    by_hospital: dict[int, list[Notice]] = {}
    for notice in notices:
        by_hospital.setdefault(notice.hospital_id, []).append(notice)
    query = select(Webhook).where(Webhook.active, Webhook.hospital_id.in_(by_hospital))
    for hook in session.scalars(query) if by_hospital else ():
        for notice in by_hospital[hook.hospital_id]:
            session.add(
                WebhookDelivery(webhook_id=hook.id, notice_id=notice.id, next_attempt_at=catalogue.clock())
            )


def claim(catalogue: Catalogue) -> list[Delivery]:
    """Return for each webhook the oldest delivery, if it is due, and keep other couriers from it for a while."""
    with transaction(catalogue.engine) as session:
        now = catalogue.clock()
        due = WebhookDelivery.state == "queued", WebhookDelivery.next_attempt_at <= now
        waiting = session.scalars(
            select(Webhook.hospital_id).join(WebhookDelivery).where(*due).distinct()
        ).all()
        oldest = (
            select(func.min(WebhookDelivery.notice_id).label("notice_id"), WebhookDelivery.webhook_id)
            .where(WebhookDelivery.state == "queued")
            .group_by(WebhookDelivery.webhook_id)
            .subquery()
        )
        query = (
            select(WebhookDelivery, Webhook.url, Notice, Hospital.code)
            .join(
                oldest,
                (oldest.c.notice_id == WebhookDelivery.notice_id)
                & (oldest.c.webhook_id == WebhookDelivery.webhook_id),
            )
            .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
            .join(Notice, Notice.id == WebhookDelivery.notice_id)
            .join(Hospital, Hospital.id == Notice.hospital_id)
            .where(*due, or_(false(), *(_settled(session, hospital_id) for hospital_id in waiting)))
            .with_for_update(of=WebhookDelivery, skip_locked=True)
        )
        claimed = []
        for row, url, notice, code in session.execute(query).tuples():
            row.attempts, row.next_attempt_at = row.attempts + 1, now + LEASE
            claimed.append(_delivery(row, url, notice, code))
        return claimed


def _settled(session: Session, hospital_id: int) -> ColumnElement[bool]:
    """A notice that is not there yet may be older than what is."""
    return (Notice.hospital_id == hospital_id) & (Notice.id <= notice_numbers.settled(session, hospital_id))


def settle(catalogue: Catalogue, delivery: Delivery, error: str | None) -> None:
    """Note how an attempt ended: taken, to be tried again later, or given up. A lost lease settles nothing."""
    with transaction(catalogue.engine) as session:
        row = session.get(WebhookDelivery, delivery.delivery_id, with_for_update=True)
        if row is None or row.state != "queued" or row.attempts != delivery.attempt:
            return
        now = catalogue.clock()
        row.error = error
        if error is None:
            row.state, row.delivered_at = "delivered", now
        elif row.attempts > len(WAITS):
            row.state = "dead"
        else:
            row.next_attempt_at = now + WAITS[row.attempts - 1]


def _delivery(row: WebhookDelivery, url: str, notice: Notice, code: str) -> Delivery:
    return Delivery(
        row.id, row.webhook_id, url, notice.id, notice.kind, code, notice.created_at, row.attempts
    )


def _active(session: Session, webhook_id: int) -> tuple[Webhook, str]:
    hook = session.get(Webhook, webhook_id, with_for_update=True)
    if hook is None or not hook.active:
        raise NotFound("没有该通知地址", "No such webhook", code="unknown_webhook")
    return hook, session.get_one(Hospital, hook.hospital_id).code


def _counts(session: Session) -> dict[int, dict[str, int]]:
    query = select(WebhookDelivery.webhook_id, WebhookDelivery.state, func.count())
    found: dict[int, dict[str, int]] = {}
    for webhook_id, state, count in session.execute(
        query.group_by(WebhookDelivery.webhook_id, WebhookDelivery.state)
    ):
        found.setdefault(webhook_id, {})[state] = count
    return found


def _described(hook: Webhook, hospital_code: str, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "webhook_id": hook.id,
        "hospital": hospital_code,
        "url": hook.url,
        "active": hook.active,
        "created_by": hook.created_by,
        "created_at": hook.created_at,
        "queued": counts.get("queued", 0),
        "delivered": counts.get("delivered", 0),
        "dead": counts.get("dead", 0),
    }
