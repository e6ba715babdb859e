"""How the exchange runs, as its operators see it: what waits, the audit's chain, hospitals; numbers, and nobody's data.

What no role of the service may read, a function of the database counts (migration 0040), each count up to a bound.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, literal, select, text, true
from sqlalchemy.orm import Session

from catalog import qc
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.queues import EXPIRING_DAYS, ending_certificates
from catalog.tables import Hospital, Pack
from catalog.tables_asking import Webhook, WebhookDelivery
from catalog.tables_dicom import Peer
from catalog.tables_items import RemapJob
from catalog.tables_people import Erasure
from catalog.tables_supply import SupplyChanged

LOOKS_BACK: Final = timedelta(hours=24)
MOST_HOSPITALS: Final = 200
MOST_REFUSALS: Final = 100
_MOST_NOTES: Final = 100_000
_STATE: Final = text("select running_state(:since)")


def jobs_and_audit(catalogue: Catalogue) -> dict[str, Any]:
    """Return what waits in the database, kind by kind, and how the audit's chain stands."""
    with transaction(catalogue.engine) as session:
        told = _told(session, catalogue)
        seal, unsealed, oldest = told["seal"], told["unsealed"], _moment(told["oldest_unsealed_at"])
        jobs = [
            _job("sealing", unsealed, oldest_at=oldest),
            _webhooks(session),
            _commitments(told["commitments"]),
            _job("recount", _months(session)),
            _remapping(session),
            _erasures(session),
        ]
    audit = {
        "seal": seal["number"] if seal else None,
        "head": seal["head"] if seal else None,
        "sealed_at": _moment(seal["sealed_at"]) if seal else None,
        "unsealed": unsealed,
        "oldest_unsealed_at": oldest,
    }
    return {"jobs": jobs, "audit": audit}


def outlook(catalogue: Catalogue) -> dict[str, int]:
    """Return how many certificates and evaluations end within EXPIRING_DAYS, or have ended."""
    with transaction(catalogue.engine) as session:
        certificates = ending_certificates(session, catalogue)
    return {"certificates": certificates, "evaluations": len(qc.expiring(catalogue, EXPIRING_DAYS))}


def hospitals(catalogue: Catalogue, *, offset: int = 0, limit: int = 50) -> dict[str, Any]:
    """Return hospitals by code: when each was last heard of, what of it was refused or given up since a day ago."""
    newest = (
        select(Pack.received_at, Pack.instance_count)
        .where(Pack.hospital_id == Hospital.id)
        .order_by(Pack.id.desc())
        .limit(1)
        .lateral()
    )
    query = (
        select(Hospital, newest.c.received_at, newest.c.instance_count)
        .outerjoin(newest, true())
        .order_by(Hospital.code)
        .offset(offset)
        .limit(limit)
    )
    with transaction(catalogue.engine) as session:
        told = _told(session, catalogue)
        total = session.scalar(select(func.count()).select_from(Hospital))
        rows = session.execute(query).all()
        known = _refusals(session, told["refused"])
        queued = _deliveries(session)
        waiting = _by_hospital(told["commitments"])
        found = [_hospital(row, known, waiting, queued) for row in rows]
    return {"hospitals": found, "total": total, "offset": offset, "limit": limit}


def refusals(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return the refused associations of a day by title and reason, the latest first; a title is as it was given."""
    with transaction(catalogue.engine) as session:
        found = _refusals(session, _told(session, catalogue)["refused"])
        codes = dict(session.execute(select(Hospital.id, Hospital.code)).tuples().all())
    shown = found[:MOST_REFUSALS]
    return [{**each, "hospital": codes.get(each.pop("hospital_id"))} for each in shown]


def _told(session: Session, catalogue: Catalogue) -> dict[str, Any]:
    """Return what the database counts for operators. Raises LookupError where somebody else asks."""
    found = session.scalar(_STATE, {"since": catalogue.clock() - LOOKS_BACK})
    if found is None:
        raise LookupError("only operators are told how the exchange runs")
    return dict(found)


def _refusals(session: Session, refused: list[dict[str, Any]]) -> list[dict[str, Any]]:
    titles = {each["ae_title"] for each in refused}
    query = select(Peer.ae_title, Peer.hospital_id).where(Peer.ae_title.in_(titles))
    owners = dict(session.execute(query).tuples().all())
    return [
        {**each, "last_at": _moment(each["last_at"]), "hospital_id": owners.get(each["ae_title"])}
        for each in refused
    ]


def _by_hospital(commitments: list[dict[str, Any]]) -> Mapping[tuple[int, bool], int]:
    found: dict[tuple[int, bool], int] = {}
    for each in commitments:
        key = each["hospital_id"], each["state"] == "given_up"
        found[key] = found.get(key, 0) + each["count"]
    return found


def _deliveries(session: Session) -> Mapping[int, tuple[int, int]]:
    """Return for each hospital how many deliveries wait, and how many were given up."""
    queued, dead = _deliveries_of(session, "queued"), _deliveries_of(session, "dead")
    return {each: (queued.get(each, 0), dead.get(each, 0)) for each in queued.keys() | dead.keys()}


def _deliveries_of(session: Session, state: str) -> dict[int, int]:
    """Count by hospital; the state stands in the statement itself, so that its own small index serves."""
    query = (
        select(Webhook.hospital_id, func.count())
        .join(WebhookDelivery, WebhookDelivery.webhook_id == Webhook.id)
        .where(Webhook.active, WebhookDelivery.state == literal(state, literal_execute=True))
        .group_by(Webhook.hospital_id)
    )
    return dict(session.execute(query).tuples().all())


def _hospital(
    row: Any,
    refused: list[dict[str, Any]],
    commitments: Mapping[tuple[int, bool], int],
    deliveries: Mapping[int, tuple[int, int]],
) -> dict[str, Any]:
    hospital, received_at, instances = row
    queued, dead = deliveries.get(hospital.id, (0, 0))
    return {
        "code": hospital.code,
        "name": hospital.name,
        "active": hospital.active,
        "last_images_at": received_at,
        "last_instances": instances,
        "refused": sum(each["count"] for each in refused if each["hospital_id"] == hospital.id),
        "commitments_waiting": commitments.get((hospital.id, False), 0),
        "commitments_given_up": commitments.get((hospital.id, True), 0),
        "webhooks_waiting": queued,
        "webhooks_given_up": dead,
    }


def _job(kind: str, waiting: int, failed: int = 0, oldest_at: datetime | None = None) -> dict[str, Any]:
    return {"kind": kind, "waiting": waiting, "failed": failed, "oldest_at": oldest_at}


def _webhooks(session: Session) -> dict[str, Any]:
    counts = _deliveries(session).values()
    return _job("webhooks", sum(queued for queued, _ in counts), sum(dead for _, dead in counts))


def _commitments(found: list[dict[str, Any]]) -> dict[str, Any]:
    waiting = [each for each in found if each["state"] != "given_up"]
    oldest = min((each["oldest_at"] for each in waiting), default=None)
    given_up = sum(each["count"] for each in found) - sum(each["count"] for each in waiting)
    return _job("commitments", sum(each["count"] for each in waiting), given_up, _moment(oldest))


def _months(session: Session) -> int:
    """Return how many months of figures are to be counted again."""
    notes = select(SupplyChanged.month).limit(_MOST_NOTES).subquery()
    found: set[date] = set(session.scalars(select(notes.c.month).distinct()))
    return len(found)


def _remapping(session: Session) -> dict[str, Any]:
    job = session.scalars(select(RemapJob).where(RemapJob.state == "running")).one_or_none()
    if job is None:
        return _job("remapping", 0)
    return _job("remapping", max(0, job.total - job.studies), oldest_at=job.started_at)


def _erasures(session: Session) -> dict[str, Any]:
    query = select(func.count(), func.min(Erasure.created_at)).where(Erasure.state == "open")
    count, oldest = session.execute(query).tuples().one()
    return _job("erasures", count, oldest_at=oldest)


def _moment(told: str | None) -> datetime | None:
    return datetime.fromisoformat(told) if told else None
