"""Investigations: a regulator sees a name behind an entry only after stating why, for a while, of what he stated.

Each is audited and listed for auditors to review, as emergency accesses are; one found unjustified ends at once. The
hospital is not told: its audit shows its reviewer nothing of an investigation. Below the application the view
`investigated` shows the same entries and no others (migration 0030).
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import urlencode

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from catalog import audit, item_lists, ledger_entries, savings
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.identity import DOCUMENT_TYPES, display_name, mask_number
from catalog.plausibility import months_before
from catalog.registry import hospital_by_code
from catalog.tables import Decision, Hospital, LedgerEntry
from catalog.tables_investigation import Investigation

LONGEST_DAYS: Final = 60
MOST_MONTHS: Final = 3
_SHORTEST_REASON: Final = 4
Verdict = Literal["justified", "unjustified"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be investigated: one entry, one decision, or a hospital's item in some months."""

    entry_id: int | None = None
    decision_id: int | None = None
    hospital: str | None = None
    item: str | None = None
    first: date | None = None
    last: date | None = None


def open_investigation(
    catalogue: Catalogue, caller: Caller, wanted: Wanted, reason: str, lasting: timedelta
) -> dict[str, Any]:
    """Open an investigation for its opener alone; audited, and listed for review.

    Raises InvalidInput for a missing reason, another scope than one of the three, or one that is too long; NotFound.
    """
    reason = reason.strip()
    if len(reason) < _SHORTEST_REASON:
        raise InvalidInput("请写明立案事由", "Say why it is opened", field="reason", code="reason_needed")
    if not timedelta(0) < lasting <= timedelta(days=LONGEST_DAYS):
        raise InvalidInput(
            f"期限最长 {LONGEST_DAYS} 天", f"{LONGEST_DAYS} days at most", field="days", code="too_long"
        )
    now = catalogue.clock()
    with transaction(catalogue.engine) as session:
        row = Investigation(
            opened_by=caller.subject,
            reason=reason,
            opened_at=now,
            expires_at=now + lasting,
            **_scope(session, catalogue, wanted),
        )
        session.add(row)
        session.flush()
        _record(session, caller, "investigation.open", row)
        return _found(session, caller, row.id, now)


def listed(
    catalogue: Catalogue, caller: Caller, *, pending: bool = False, after: int = 0, limit: int = 100
) -> list[dict[str, Any]]:
    """Return investigations, oldest first: a regulator's own, to an auditor everybody's; audited."""
    now = catalogue.clock()
    with transaction(catalogue.engine) as session:
        query = _seen_by(caller).where(Investigation.id > after).order_by(Investigation.id).limit(limit)
        if pending:
            query = query.where(Investigation.verdict.is_(None))
        found = [_described(*row, now) for row in session.execute(query).tuples()]
        ids = [int(each["investigation_id"]) for each in found]
        audit.record(session, caller, "investigation.list", investigations=ids)
        return found


def close(catalogue: Catalogue, caller: Caller, investigation_id: int) -> dict[str, Any]:
    """End one's own investigation; closing it again changes nothing. Audited. Raises NotFound."""
    now = catalogue.clock()
    with transaction(catalogue.engine) as session:
        row = _locked(session, caller, investigation_id)
        row.closed_at = row.closed_at or now
        _record(session, caller, "investigation.close", row)
        return _found(session, caller, investigation_id, now)


def review(
    catalogue: Catalogue, caller: Caller, investigation_id: int, verdict: Verdict, note: str
) -> dict[str, Any]:
    """Say whether it was justified to open it; one that was not ends at once. Audited.

    Raises NotFound, Conflict where another verdict stands.
    """
    now = catalogue.clock()
    with transaction(catalogue.engine) as session:
        row = _locked(session, caller, investigation_id)
        if row.verdict not in (None, verdict):
            raise Conflict("已有不同的审核结论", "Another verdict stands", code="reviewed_otherwise")
        if row.verdict is None:
            row.verdict, row.note, row.reviewed_by, row.reviewed_at = verdict, note, caller.subject, now
        if verdict == "unjustified":
            row.closed_at = row.closed_at or now
        _record(session, caller, "investigation.review", row, verdict=verdict)
        return _found(session, caller, investigation_id, now)


def explain(catalogue: Catalogue, caller: Caller, investigation_id: int, entry_id: int) -> dict[str, Any]:
    """Return the chain behind one entry with the patient and the doctors; audited with the patient.

    Raises NotFound alike for what is not there, not his, out of scope, expired or closed.
    """
    with transaction(catalogue.engine) as session:
        values = {"id": investigation_id, "by": caller.subject, "moment": catalogue.clock()}
        is_open = session.scalar(_OPEN, values)
        row = session.execute(_INVESTIGATED, {"id": entry_id}).mappings().one_or_none() if is_open else None
        if row is None:
            raise NotFound("没有该立案,或账目不在其范围内", "No such investigation or entry", code="unknown")
        audit.record(
            session,
            caller,
            "investigation.show",
            person_id=row["person_id"],
            investigation_id=investigation_id,
            entry_id=entry_id,
        )
        chain = ledger_entries.explain(session, item_lists.every_item(session, catalogue), entry_id)
        return {
            "investigation_id": str(investigation_id),
            "person": _person(catalogue, row),
            "decided_by": row["decided_by"],
            "asked_by": row["asked_by"],
            **chain,
        }


def _scope(session: Session, catalogue: Catalogue, wanted: Wanted) -> dict[str, Any]:
    """Return how far an investigation reaches. Raises InvalidInput, NotFound."""
    match wanted:
        case Wanted(int(), None, None, None, None, None) | Wanted(None, int(), None, None, None, None):
            return _scope_of(_decision(session, wanted))
        case Wanted(None, None, str(hospital), str(item), date() as first, date() as last):
            return {
                "hospital_id": hospital_by_code(session, hospital).id,
                "item_code": _known(session, catalogue, item),
                **_months(first, last),
            }
    raise InvalidInput(
        "范围须为一笔账目、一次决定,或机构、项目及起止月份之一",
        "Name one entry, one decision, or a hospital, an item, and the months from and to",
        field="scope",
        code="scope_needed",
    )


def _known(session: Session, catalogue: Catalogue, item: str) -> str:
    if item_lists.every_item(session, catalogue).get(item) is None:
        raise NotFound("清单中没有该项目", "No such item", code="unknown_item")
    return item


def _months(first: date, last: date) -> dict[str, date]:
    months = savings.months(first, last)
    if months_before(months[1], MOST_MONTHS - 1) > months[0]:
        raise InvalidInput(
            f"一次立案至多 {MOST_MONTHS} 个月", f"{MOST_MONTHS} months at most", field="from", code="too_long"
        )
    return {"first_month": months[0], "last_month": months[1]}


def _decision(session: Session, wanted: Wanted) -> Decision:
    """Return the decision that is meant, or that an entry is about. Raises NotFound; only what moved money is either."""
    query = select(Decision).join(LedgerEntry, LedgerEntry.decision_id == Decision.id)
    if wanted.entry_id is not None:
        query = query.where(LedgerEntry.id == wanted.entry_id)
    else:
        query = query.where(Decision.id == wanted.decision_id)
    found = session.scalars(query.limit(1)).one_or_none()
    if found is None:
        raise NotFound("没有此账目或决定", "No such entry or decision", code="unknown_entry")
    return found


def _scope_of(decision: Decision) -> dict[str, Any]:
    month = decision.business_date.replace(day=1)
    return {
        "hospital_id": decision.hospital_id,
        "item_code": decision.item_code,
        "first_month": month,
        "last_month": month,
        "decision_id": decision.id,
    }


def _seen_by(caller: Caller) -> Select[Investigation, str]:
    query = select(Investigation, Hospital.code).join(Hospital, Hospital.id == Investigation.hospital_id)
    return query if caller.role == "auditor" else query.where(Investigation.opened_by == caller.subject)


def _locked(session: Session, caller: Caller, investigation_id: int) -> Investigation:
    query = _seen_by(caller).where(Investigation.id == investigation_id).with_for_update(of=Investigation)
    row = session.execute(query).tuples().one_or_none()
    if row is None:
        raise NotFound("没有该立案", "No such investigation", code="unknown_investigation")
    return row[0]


def _record(session: Session, caller: Caller, action: str, row: Investigation, **detail: Any) -> None:
    """Audit without a hospital: its own reviewer would read of it."""
    audit.record(session, caller, action, investigation_id=row.id, **detail)


def _found(session: Session, caller: Caller, investigation_id: int, now: datetime) -> dict[str, Any]:
    session.flush()
    query = _seen_by(caller).where(Investigation.id == investigation_id)
    return _described(*session.execute(query).tuples().one(), now)


def _described(row: Investigation, hospital_code: str, now: datetime) -> dict[str, Any]:
    first, last = f"{row.first_month:%Y-%m}", f"{row.last_month:%Y-%m}"
    scope = {"from": first, "to": last, "hospital": hospital_code, "item": row.item_code}
    return {
        "investigation_id": str(row.id),
        "opened_by": row.opened_by,
        "reason": row.reason,
        "scope": {**scope, "decision_id": None if row.decision_id is None else str(row.decision_id)},
        "entries": f"/v1/savings/entries?{urlencode(scope)}",
        "opened_at": row.opened_at,
        "expires_at": row.expires_at,
        "closed_at": row.closed_at,
        "open": row.closed_at is None and row.expires_at > now,
        "verdict": row.verdict,
        "note": row.note,
        "reviewed_by": row.reviewed_by,
        "reviewed_at": row.reviewed_at,
    }


def _person(catalogue: Catalogue, row: Any) -> dict[str, Any]:
    kind = DOCUMENT_TYPES.get(row["id_type"])
    number = catalogue.vault.open(row["id_type"], row["number_cipher"]) if row["number_cipher"] else ""
    return {
        "name": display_name(row["name"]),
        "sex": row["sex"],
        "birth_date": row["birth_date"],
        "document": kind.zh if kind else "",
        "number": mask_number(number),
    }


_OPEN: Final = text("select open_investigation(:id, :by, :moment)")
# Of a decision with several entries each is a row of its own.
_INVESTIGATED: Final = text("select * from investigated where entry_id = :id")
