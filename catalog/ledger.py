"""The books: savings, reversals and reinstatements in fen, and the monthly sums kept with them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from catalog import groups, item_lists, registry
from catalog.context import Catalogue
from catalog.items import ItemList
from catalog.scope import books
from catalog.settlement import Examination, Recognition, Standing
from catalog.settlement import settle as settle_person
from catalog.tables import Decision, Hospital, LedgerEntry, Monthly, Result

COUNTERS: Final = (
    "reminders",
    "recognised",
    "beyond_duty",
    "refused",
    "excused",
    "cited",
    "undone",
    "unpriced",
    "saved_fen",
    "reversed_fen",
)


@books
def settle(session: Session, catalogue: Catalogue, person_id: int) -> None:
    """Bring a person's ledger in line with his decisions and examinations, by new entries only.

    Those merged with him count as him. The caller holds the person's lock (`people.lock`).
    """
    session.flush()
    people = groups.members(session, {person_id})
    decisions = _recognise_events(session, people)
    if not decisions:
        return
    undone = _undone(session, decisions)
    lists = _lists_asked(session, catalogue, decisions)
    recognitions = [_recognition(d, lists[d.id], undone.get(d.id)) for d in decisions]
    standing = settle_person(recognitions, _examinations(session, people, decisions))
    booked = _booked(session, [d.id for d in decisions])
    for decision in decisions:
        _post(session, catalogue, decision, standing[decision.id], booked.get(decision.id))


@dataclass(frozen=True, slots=True)
class Account:
    """Where something is counted: asking hospital, item, the month of `day`, and what stands apart."""

    hospital_id: int
    item_code: str
    day: date
    own_hospital: bool
    emergency: bool


def account_of(decision: Decision) -> Account:
    """Return where a decision and its money are counted."""
    return Account(
        hospital_id=decision.hospital_id,
        item_code=decision.item_code,
        day=decision.business_date,
        own_hospital=decision.own_hospital,
        emergency=decision.emergency,
    )


def add_to_month(session: Session, account: Account, counters: Mapping[str, int]) -> None:
    """Add to the sums of one account's month, in the transaction of what is counted."""
    key = {
        "hospital_id": account.hospital_id,
        "item_code": account.item_code,
        "month": account.day.replace(day=1),
        "own_hospital": account.own_hospital,
        "emergency": account.emergency,
    }
    statement = insert(Monthly).values(**key, **counters)
    sums = {name: getattr(Monthly, name) + statement.excluded[name] for name in counters}
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=sums))


def _post(
    session: Session, catalogue: Catalogue, decision: Decision, standing: Standing, booked: Standing | None
) -> None:
    """Append what takes a decision from what is booked to what stands, if they differ.

    Money that is taken back by something else than before comes back first: every entry names what it stands by.
    """
    saved = Standing(decision.price_fen)
    if booked is None:
        _append(session, catalogue, decision, "saving", decision.price_fen, saved)
        booked = saved
    if not decision.price_fen or booked == standing:
        return
    if booked.net_fen < saved.net_fen:
        _append(session, catalogue, decision, "reinstatement", saved.net_fen - booked.net_fen, saved)
    if standing != saved:
        _append(session, catalogue, decision, "reversal", -decision.price_fen, standing)


def _append(
    session: Session, catalogue: Catalogue, decision: Decision, kind: str, amount_fen: int, standing: Standing
) -> None:
    session.add(
        LedgerEntry(
            kind=kind,
            decision_id=decision.id,
            person_id=decision.person_id,
            hospital_id=decision.hospital_id,
            item_code=decision.item_code,
            amount_fen=amount_fen,
            cause=standing.cause,
            cause_id=standing.cause_id,
            business_date=decision.business_date,
            posted_at=catalogue.clock(),
        )
    )
    money = {"saved_fen": amount_fen} if kind == "saving" else {"reversed_fen": -amount_fen}
    add_to_month(session, account_of(decision), money)


def _recognise_events(session: Session, people: Collection[int]) -> list[Decision]:
    query = select(Decision).where(Decision.person_id.in_(people), Decision.action == "recognise")
    return list(session.scalars(query.order_by(Decision.id)))


def _undone(session: Session, decisions: Iterable[Decision]) -> dict[int, int]:
    undo = aliased(Decision)
    query = select(undo.undoes_id, undo.id).where(undo.undoes_id.in_([d.id for d in decisions]))
    return {undone: by for undone, by in session.execute(query) if undone is not None}


def _examinations(
    session: Session, people: Collection[int], decisions: Iterable[Decision]
) -> list[Examination]:
    hospitals = {decision.hospital_id for decision in decisions}
    query = select(Result).where(
        Result.person_id.in_(people),
        Result.status.in_(("active", "erased")),
        Result.hospital_id.in_(hospitals),
    )
    return [
        Examination(r.id, r.hospital_id, r.item_code, r.laterality, r.body_part, r.exam_time)
        for r in session.scalars(query)
    ]


def _lists_asked(
    session: Session, catalogue: Catalogue, decisions: Iterable[Decision]
) -> dict[int, ItemList]:
    """Return, by decision, the list its check was answered from: a later version changes no figure."""
    hospitals = session.scalars(select(Hospital).where(Hospital.id.in_({d.hospital_id for d in decisions})))
    askers = registry.institutions(session, hospitals)
    return {
        d.id: item_lists.in_force(session, catalogue, askers[d.hospital_id].regions, d.checked_at)
        for d in decisions
    }


def _recognition(decision: Decision, items: ItemList, undone_by: int | None) -> Recognition:
    item = items.get(decision.item_code)
    return Recognition(
        decision_id=decision.id,
        hospital_id=decision.hospital_id,
        answered_by=items.covered_by(decision.item_code) if item else frozenset({decision.item_code}),
        laterality=decision.laterality,
        body_part=decision.body_part,
        window_days=item.window_days if item else 0,
        checked_at=decision.checked_at,
        decided_at=decision.decided_at,
        price_fen=decision.price_fen,
        undone_by=undone_by,
    )


def _booked(session: Session, decision_ids: list[int]) -> dict[int, Standing]:
    """Return what the entries of each decision come to, and by what the last of them stands."""
    query = select(LedgerEntry).where(LedgerEntry.decision_id.in_(decision_ids)).order_by(LedgerEntry.id)
    found: dict[int, Standing] = {}
    for entry in session.scalars(query):
        before_fen = found[entry.decision_id].net_fen if entry.decision_id in found else 0
        found[entry.decision_id] = Standing(before_fen + entry.amount_fen, entry.cause, entry.cause_id)
    return found
