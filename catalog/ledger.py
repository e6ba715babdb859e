"""The books: savings, reversals and reinstatements in fen, and the monthly sums kept with them.

What every decision goes through is written out in SQL: a doctor waits for it.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from itertools import chain
from types import MappingProxyType
from typing import Any, Final

import orjson
from sqlalchemy.orm import Session

from catalog import db, groups
from catalog.context import Catalogue
from catalog.items import ItemList
from catalog.registry_view import Registry
from catalog.scope import books
from catalog.settlement import Examination, Recognition, Standing
from catalog.settlement import settle as settle_person

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
# Of each recognition: the registry's stamp, what it claims, by what it was undone, and what is booked on it.
_RECOGNISED: Final = """
    select registry_stamp.stamp, d.id, d.hospital_id, d.item_code, d.laterality, d.body_part, d.checked_at, d.decided_at,
           d.price_fen, d.business_date, d.own_hospital, d.emergency, d.person_id, undo.id, booked.net_fen,
           last.cause, last.cause_id
    from registry_stamp cross join decision d
    left join decision undo on undo.undoes_id = d.id
    left join lateral (select sum(amount_fen)::bigint as net_fen from ledger where decision_id = d.id) booked on true
    left join lateral (
        select cause, cause_id from ledger where decision_id = d.id order by id desc limit 1
    ) last on true
    where d.person_id = any(%(people)s) and d.action = 'recognise'
    order by d.id
"""
_EXAMINED: Final = """
    select id, hospital_id, item_code, laterality, body_part, exam_time from result
    where person_id = any(%(people)s) and status in ('active', 'erased') and hospital_id = any(%(hospitals)s)
      and exam_time > %(since)s
"""
_POST: Final = """
    insert into ledger (kind, decision_id, person_id, hospital_id, item_code, amount_fen, cause, cause_id, business_date,
                        posted_at)
    select kind, decision_id, person_id, hospital_id, item_code, amount_fen, cause, cause_id, business_date, %(posted_at)s
    from jsonb_to_recordset(%(entries)s::jsonb)
         as e(number int, kind text, decision_id bigint, person_id bigint, hospital_id bigint, item_code text,
              amount_fen bigint, cause text, cause_id bigint, business_date date)
    order by number
"""
_SUMS: Final = "sums"
_KEYS: Final = "hospital_id, item_code, month, own_hospital, emergency"
_ADD: Final = f"""
    insert into monthly ({_KEYS}, {", ".join(COUNTERS)})
    select {_KEYS}, {", ".join(f"coalesce({name}, 0)" for name in COUNTERS)}
    from jsonb_to_recordset(%(sums)s::jsonb)
         as s(hospital_id bigint, item_code text, month date, own_hospital bool, emergency bool,
              {", ".join(f"{name} bigint" for name in COUNTERS)})
    order by {_KEYS}
    on conflict ({_KEYS}) do update set {", ".join(f"{name} = monthly.{name} + excluded.{name}" for name in COUNTERS)}
"""  # noqa: S608 (of constants)


@dataclass(frozen=True, slots=True)
class Account:
    """Where something is counted: asking hospital, item, first day of the month, and what stands apart."""

    hospital_id: int
    item_code: str
    month: date
    own_hospital: bool
    emergency: bool

    @classmethod
    def of(
        cls, hospital_id: int, item_code: str, day: date, *, own_hospital: bool, emergency: bool
    ) -> "Account":
        """Return where what is of this day is counted."""
        return cls(hospital_id, item_code, day.replace(day=1), own_hospital, emergency)


Sums = Mapping[Account, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class _Booked:
    """A recognition as the books know it; `booked` is what its entries come to and what the last of them stands by."""

    recognition: Recognition
    account: Account
    business_date: date
    person_id: int
    booked: Standing | None


@books
def settle(
    session: Session,
    catalogue: Catalogue,
    person_id: int,
    *,
    people: Collection[int] = (),
    counted: Sums = MappingProxyType({}),
) -> dict[int, int]:
    """Bring a person's ledger in line with his decisions and examinations, by new entries only.

    Those merged with him (`people`, where they are known) count as him. `counted` goes to the months with the money.
    Returns what stands of each recognition, in fen. The caller holds the person's lock (`people.lock`).
    """
    session.flush()
    people = people or groups.members(session, {person_id})
    found = _recognised(session, catalogue, people)
    standing = settle_person([each.recognition for each in found], _examinations(session, people, found))
    entries = [entry for each in found for entry in _entries(each, standing[each.recognition.decision_id])]
    _post(session, entries, catalogue.clock())
    add_to_months(session, counted, *(entry.sums() for entry in entries))
    return {decision_id: each.net_fen for decision_id, each in standing.items()}


def add_to_months(session: Session, *several: Sums) -> None:
    """Add to the sums of months, at the end of the transaction of what is counted.

    There all of them are added in one order: who waits for a sum that another adds to waits for his commit and no
    more, and no two wait for each other. In a savepoint, which may be undone alone, they are added at once.
    """
    is_undone_alone = session.in_nested_transaction()
    together: dict[Account, Counter[str]] = {} if is_undone_alone else session.info.setdefault(_SUMS, {})
    for account, counters in chain.from_iterable(sums.items() for sums in several):
        together.setdefault(account, Counter()).update(counters)
    if is_undone_alone:
        _write_sums(session, together)
    elif together:
        db.at_end(session, _SUMS, lambda session: _write_sums(session, session.info.pop(_SUMS)))


@books
def _write_sums(session: Session, sums: Sums) -> None:
    if sums:
        rows = [{**asdict(account), **counters} for account, counters in sums.items()]
        db.rows(session, _ADD, {"sums": orjson.dumps(rows).decode()})


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry to come: what it does to the money of a recognition, and what this then stands by."""

    of: _Booked
    kind: str
    amount_fen: int
    by: Standing

    def sums(self) -> Sums:
        """Return what it adds to its month."""
        money = (
            {"saved_fen": self.amount_fen} if self.kind == "saving" else {"reversed_fen": -self.amount_fen}
        )
        return {self.of.account: money}

    def row(self, number: int) -> dict[str, Any]:
        """Return it as the ledger keeps it."""
        return {
            "number": number,
            "kind": self.kind,
            "decision_id": self.of.recognition.decision_id,
            "person_id": self.of.person_id,
            "hospital_id": self.of.account.hospital_id,
            "item_code": self.of.account.item_code,
            "amount_fen": self.amount_fen,
            "cause": self.by.cause,
            "cause_id": self.by.cause_id,
            "business_date": self.of.business_date,
        }


def _entries(each: _Booked, standing: Standing) -> Iterator[_Entry]:
    """Yield what takes a decision from what is booked to what stands, if they differ.

    Money that is taken back by something else than before comes back first: every entry names what it stands by.
    """
    price_fen, booked = each.recognition.price_fen, each.booked
    saved = Standing(price_fen)
    if booked is None:
        yield _Entry(each, "saving", price_fen, saved)
        booked = saved
    if not price_fen or booked == standing:
        return
    if booked.net_fen < saved.net_fen:
        yield _Entry(each, "reinstatement", saved.net_fen - booked.net_fen, saved)
    if standing != saved:
        yield _Entry(each, "reversal", -price_fen, standing)


def _post(session: Session, entries: Sequence[_Entry], posted_at: datetime) -> None:
    if entries:
        rows = [entry.row(number) for number, entry in enumerate(entries)]
        db.rows(session, _POST, {"entries": orjson.dumps(rows).decode(), "posted_at": posted_at})


def _recognised(session: Session, catalogue: Catalogue, people: Collection[int]) -> list[_Booked]:
    """Return these people's recognitions, each by the list its check was answered from: a later one changes no figure."""
    rows = db.rows(session, _RECOGNISED, {"people": list(people)})
    if not rows:
        return []
    registry = Registry(session, catalogue.registry.under(rows[0][0]))
    places = registry.places(row[2] for row in rows)
    return [
        _booked(registry.items(catalogue.items, places[row[2]].regions, row[6]), *row[1:]) for row in rows
    ]


def _booked(  # one parameter for each column
    items: ItemList,
    decision_id: int,
    hospital_id: int,
    item_code: str,
    laterality: str | None,
    body_part: str | None,
    checked_at: datetime,
    decided_at: datetime,
    price_fen: int,
    business_date: date,
    own_hospital: bool,
    emergency: bool,
    person_id: int,
    undone_by: int | None,
    net_fen: int | None,
    cause: str | None,
    cause_id: int | None,
) -> _Booked:
    item = items.get(item_code)
    recognition = Recognition(
        decision_id=decision_id,
        hospital_id=hospital_id,
        answered_by=items.covered_by(item_code) if item else frozenset({item_code}),
        laterality=laterality,
        body_part=body_part,
        window_days=item.window_days if item else 0,
        checked_at=checked_at,
        decided_at=decided_at,
        price_fen=price_fen,
        undone_by=undone_by,
    )
    account = Account.of(
        hospital_id, item_code, business_date, own_hospital=own_hospital, emergency=emergency
    )
    booked = None if net_fen is None else Standing(net_fen, cause or "", cause_id)
    return _Booked(recognition, account, business_date, person_id, booked)


def _examinations(session: Session, people: Collection[int], found: Sequence[_Booked]) -> list[Examination]:
    """Return what was done at hospitals that recognised, after they had first asked."""
    if not found:
        return []
    values = {
        "people": list(people),
        "hospitals": list({each.account.hospital_id for each in found}),
        "since": min(each.recognition.checked_at for each in found),
    }
    return [Examination(*row) for row in db.rows(session, _EXAMINED, values)]
