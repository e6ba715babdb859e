"""Emergency access to a person without a check: stated, short, told to the hospital, and looked at afterwards."""

from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from catalog import audit, grants, notice_numbers, people, webhooks
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotAllowed, NotFound
from catalog.identity import Demographics, Document
from catalog.registry import hospital_by_code
from catalog.tables import Hospital
from catalog.tables_access import AccessGrant, BreakGlassReview
from catalog.tables_people import Notice

LONGEST: Final = timedelta(hours=8)
_SHORTEST_REASON: Final = 4  # 抢救昏迷
Verdict = Literal["justified", "unjustified"]


def open_glass(
    catalogue: Catalogue, caller: Caller, document: Document, reason: str, lasting: timedelta
) -> dict[str, Any]:
    """Let a doctor see a person for a while; audited, told to his hospital, and listed for review.

    The answer is the same whether the person is known, unknown or has opted out. Raises InvalidInput, NotFound.
    """
    reason = reason.strip()
    if len(reason) < _SHORTEST_REASON:
        raise InvalidInput(
            "请写明紧急情况", "Say what the emergency is", field="reason", code="reason_needed"
        )
    if not timedelta(0) < lasting <= LONGEST:
        raise InvalidInput("时限最长 8 小时", "Eight hours at most", field="minutes", code="too_long")
    now = catalogue.clock()
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, caller.hospital_code)
        person = people.find(session, catalogue, document)
        if person is None:
            person, _ = people.register(session, catalogue, document, Demographics())
        row = grants.grant(
            session, caller, hospital.id, person.id, "break_glass", now, lasting, reason=reason
        )
        session.flush()
        grant_id = row.id
        notice_numbers.announce(session, {hospital.id})
        notice = Notice(hospital_id=hospital.id, grant_id=grant_id, kind="break_glass", created_at=now)
        session.add(notice)
        webhooks.enqueue(session, catalogue, [notice])
        _record(session, caller, "break_glass.open", hospital.id, person.id, grant_id)
        return {
            "grant_id": str(grant_id),
            "granted_at": now,
            "expires_at": now + lasting,
            "review": "pending",
        }


def end(catalogue: Catalogue, caller: Caller, grant_id: int) -> dict[str, Any]:
    """End one's own emergency access before its time; it is reviewed all the same. Raises NotFound."""
    now = catalogue.clock()
    with transaction(catalogue.engine) as session:
        row = _locked(session, caller, grant_id)
        if row.subject != caller.subject:
            raise _unknown()
        grants.revoke(session, row.id, now)
        _record(session, caller, "break_glass.end", row.hospital_id, row.person_id, grant_id)
        return {"grant_id": str(grant_id), "ended_at": row.revoked_at or now}


def listed(
    catalogue: Catalogue, caller: Caller, *, pending: bool = False, after: int = 0, limit: int = 100
) -> list[dict[str, Any]]:
    """Return emergency accesses, oldest first, those of his hospital alone for a reviewer who has one; audited."""
    now = catalogue.clock()
    with transaction(catalogue.engine) as session:
        query = _seen_by(caller).where(AccessGrant.id > after).order_by(AccessGrant.id).limit(limit)
        if pending:
            query = query.where(BreakGlassReview.grant_id.is_(None))
        found = [_described(*row, now) for row in session.execute(query).tuples()]
        audit.record(session, caller, "break_glass.list", grants=[int(each["grant_id"]) for each in found])
        return found


def review(
    catalogue: Catalogue, caller: Caller, grant_id: int, verdict: Verdict, note: str
) -> dict[str, Any]:
    """Say whether an access was justified; one that was not ends at once. Audited.

    Raises NotFound, NotAllowed for one's own access, Conflict where another verdict stands.
    """
    now = catalogue.clock()
    with transaction(catalogue.engine) as session:
        row = _locked(session, caller, grant_id)
        if row.subject == caller.subject:
            raise NotAllowed("不能审核自己的紧急访问", "Nobody reviews his own access", code="own_access")
        found = session.get(BreakGlassReview, grant_id)
        if found is not None and found.verdict != verdict:
            raise Conflict("已有不同的审核结论", "Another verdict stands", code="reviewed_otherwise")
        if found is None:
            found = BreakGlassReview(
                grant_id=grant_id, verdict=verdict, note=note, reviewed_by=caller.subject, reviewed_at=now
            )
            session.add(found)
        if verdict == "unjustified":
            grants.revoke(session, grant_id, now)
        _record(
            session, caller, "break_glass.review", row.hospital_id, row.person_id, grant_id, verdict=verdict
        )
        session.flush()
        return _described(
            *session.execute(_seen_by(caller).where(AccessGrant.id == grant_id)).tuples().one(), now
        )


def _seen_by(caller: Caller) -> Select[AccessGrant, str, BreakGlassReview]:
    query = (
        select(AccessGrant, Hospital.code, BreakGlassReview)
        .join(Hospital, Hospital.id == AccessGrant.hospital_id)
        .outerjoin(BreakGlassReview, BreakGlassReview.grant_id == AccessGrant.id)
        .where(AccessGrant.basis == "break_glass")
    )
    return query.where(Hospital.code == caller.hospital_code) if caller.hospital_code else query


def _locked(session: Session, caller: Caller, grant_id: int) -> AccessGrant:
    query = _seen_by(caller).where(AccessGrant.id == grant_id).with_for_update(of=AccessGrant)
    row = session.execute(query.execution_options(populate_existing=True)).tuples().one_or_none()
    if row is None:
        raise _unknown()
    return row[0]


def _unknown() -> NotFound:
    return NotFound("没有该紧急访问", "No such emergency access", code="unknown_grant")


def _record(
    session: Session,
    caller: Caller,
    action: str,
    hospital_id: int,
    person_id: int,
    grant_id: int,
    **detail: str,
) -> None:
    audit.record(
        session, caller, action, hospital_id=hospital_id, person_id=person_id, grant_id=grant_id, **detail
    )


def _described(
    row: AccessGrant, hospital_code: str, found: BreakGlassReview | None, now: datetime
) -> dict[str, Any]:
    """Describe an access by its person's number in the catalogue, never by document."""
    return {
        "grant_id": str(row.id),
        "subject": row.subject,
        "hospital": hospital_code,
        "person_id": row.person_id,
        "reason": row.reason,
        "granted_at": row.granted_at,
        "expires_at": row.expires_at,
        "in_force": row.revoked_at is None and row.expires_at > now,
        "verdict": found.verdict if found else None,
        "note": found.note if found else None,
        "reviewed_by": found.reviewed_by if found else None,
        "reviewed_at": found.reviewed_at if found else None,
    }
