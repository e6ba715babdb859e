"""Avoidable repeats as they are kept: brought in line with a person's examinations, checks and decisions.

What is recognisable is what a check at the moment of the later examination would say (catalog.candidates), by what
is known now of the earlier one; how the repeat came is for catalog.repetition to say.
"""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import or_, select, text
from sqlalchemy.orm import Session, aliased

from catalog import candidates, db, lookup
from catalog.context import Catalogue
from catalog.lookup import Known
from catalog.orders import Asking, order_of, side
from catalog.records import Order, Shown, Verdict
from catalog.registry_view import Registry
from catalog.repetition import Asked, Done, Kind, Prior, Repetition, classify
from catalog.rules import local_day
from catalog.scope import books
from catalog.settlement import Examination
from catalog.steps import Rows
from catalog.tables import Result
from catalog.tables_repeats import Repeat

# What no check can have shown away: these follow from the moment of the examination itself, or were learnt of since.
_AGAINST_ANY: Final = frozenset({"withdrawn", "out_of_window", "exam_in_future"})
_FACTS: Final = (
    *("person_id", "hospital_id", "item_code", "exam_time", "kind", "prior_result_id", "prior_hospital_id"),
    *("own_hospital", "emergency", "check_id", "order_number", "decision_id"),
)


@dataclass(frozen=True, slots=True)
class _Past:
    """A result that stands, and since when the catalogue has had it."""

    id: int
    person_id: int
    study_id: int | None
    report_id: int | None
    hospital_id: int
    item_code: str
    laterality: str | None
    body_part: str | None
    exam_time: datetime
    received_at: datetime

    @property
    def examination(self) -> Examination:
        return Examination(
            self.id, self.hospital_id, self.item_code, self.laterality, self.body_part, self.exam_time
        )

    def came_with(self, other: "_Past") -> bool:
        """Say whether both are parts of one study or report: neither repeats the other."""
        mine = self.study_id, self.report_id
        return mine != (None, None) and mine == (other.study_id, other.report_id)


@dataclass(frozen=True, slots=True)
class _Person:
    """A person with those merged with him, everything that stands of him, and the registers to judge it by."""

    session: Session
    catalogue: Catalogue
    registry: Registry
    known: Known
    past: Mapping[int, _Past]


@dataclass(frozen=True, slots=True)
class _Suspect:
    """An examination, the order it would have been, and what could have answered that."""

    done: _Past
    asking: Asking
    order: Order
    before: tuple[_Past, ...]


@books
def settle(session: Session, catalogue: Catalogue, person_id: int) -> None:
    """Bring a person's repeats in line with his examinations, checks and decisions; what differs is superseded.

    Those merged with him count as him. The caller holds the person's lock (`people.lock`). Who had one examination
    costs one statement.
    """
    session.flush()
    people, results, standing, stamp = session.execute(_KNOWN, {"id": person_id}).one()
    if results < 2 and not standing:
        return
    known = Known(person_id, "", None, "unknown", tuple(people), opted_out=False, held=False)
    past = {row.id: _Past(*row) for row in session.execute(_PAST, {"people": people})}
    registry = Registry(session, catalogue.registry.under(stamp))
    person = _Person(session, catalogue, registry, known, past)
    found = _repetitions(person)
    if found or standing:
        _bring_in_line(person, found)


def _repetitions(person: _Person) -> dict[int, Repetition]:
    """Return what each examination repeated; nothing more is read where none could have."""
    suspects = [each for done in person.past.values() if (each := _suspect(person, done)) is not None]
    if not suspects:
        return {}
    priors = _priors(person, suspects)
    if not any(priors.values()):
        return {}
    hospitals = {suspect.done.hospital_id for suspect in suspects}
    done = [
        Done(each.examination, priors.get(each.id, ()))
        for each in person.past.values()
        if each.hospital_id in hospitals
    ]
    return classify(done, _asked(person, hospitals))


def _suspect(person: _Person, done: _Past) -> _Suspect | None:
    """Return an examination with what it may repeat; nothing where there is none such."""
    place = person.registry.places([done.hospital_id])[done.hospital_id]
    items = person.registry.items(person.catalogue.items, place.regions, done.exam_time)
    item = items.get(done.item_code)
    if item is None:
        return None
    asking = Asking(
        person.session, person.catalogue, place, done.hospital_id, done.exam_time, "routine", items
    )
    order = order_of(asking, item, side(done.laterality), done.body_part)
    before = tuple(each for each in person.past.values() if _may_answer(person, order, done, each))
    return _Suspect(done, asking, order, before) if before else None


def _may_answer(person: _Person, order: Order, done: _Past, before: _Past) -> bool:
    """Leave out early what the rules leave out anyhow: somebody may have had the same examination for years."""
    by_report = person.catalogue.policy.window_from == "report"
    age_days = (local_day(done.exam_time) - local_day(before.exam_time)).days
    return (
        before.exam_time < done.exam_time
        and before.item_code in order.answered_by
        and (by_report or age_days <= order.window_days)
        and not before.came_with(done)
    )


def _priors(person: _Person, suspects: Collection[_Suspect]) -> dict[int, tuple[Prior, ...]]:
    """Return by examination what may count against it, the best first."""
    items = {before.item_code for suspect in suspects for before in suspect.before}
    statement = lookup.done_before(person.known.everybody, items)
    rows = db.rows(person.session, statement.text, statement.values)
    events = _identity_events(person)
    return {suspect.done.id: _priors_of(person, suspect, rows, events) for suspect in suspects}


def _priors_of(
    person: _Person, suspect: _Suspect, rows: Rows, events: Sequence[tuple[str, datetime]]
) -> tuple[Prior, ...]:
    at = suspect.done.exam_time
    ids = {before.id for before in suspect.before}
    of_these = [row for row in rows if row[1] in ids]
    verdicts = candidates.verdicts(suspect.asking, person.registry, person.known, suspect.order, of_these)
    hidden = _opted_out(events, at)
    merged_at = max((moment for kind, moment in events if kind == "merge"), default=None)
    found = [
        (each, verdict)
        for each in suspect.before
        if (verdict := verdicts.get(each.id)) is not None and _AGAINST_ANY.isdisjoint(verdict.reasons)
    ]
    return tuple(
        Prior(
            result_id=each.id,
            hospital_id=each.hospital_id,
            own_hospital=verdict.own_hospital,
            in_time=_known_by(each, suspect.done, merged_at),
            recognisable=verdict.shown is Shown.RECOGNISABLE and not hidden,
        )
        for each, verdict in sorted(found, key=lambda pair: _rank(suspect, *pair))
    )


def _rank(suspect: _Suspect, before: _Past, verdict: Verdict) -> tuple[bool, bool, float, int]:
    """Another hospital's first: one's own repeated work stands apart; then as a check lists them."""
    exact = before.item_code == suspect.done.item_code
    return verdict.own_hospital, not exact, -before.exam_time.timestamp(), before.id


def _known_by(before: _Past, done: _Past, merged_at: datetime | None) -> bool:
    """Say whether a check at the time of an examination could have found this; of another number, once merged."""
    one = before.person_id == done.person_id or merged_at is None or merged_at < done.exam_time
    return before.received_at < done.exam_time and one


def _opted_out(events: Iterable[tuple[str, datetime]], at: datetime) -> bool:
    """Say whether the person's wish at a moment was that nothing be shown."""
    wishes = [kind for kind, moment in events if kind != "merge" and moment <= at]
    return wishes[-1:] == ["opt_out"]


def _identity_events(person: _Person) -> list[tuple[str, datetime]]:
    found = person.session.execute(_EVENTS, {"people": list(person.known.everybody)})
    return [(kind, moment) for kind, moment in found]


def _asked(person: _Person, hospitals: Collection[int]) -> list[Asked]:
    """Return what these hospitals asked about the person, order by order."""
    values = {"people": list(person.known.everybody), "hospitals": list(hospitals)}
    rows = person.session.execute(_ASKED, values)
    return [_order_asked(person, *row) for row in rows]


def _order_asked(  # one parameter for each column of _ASKED
    person: _Person,
    number: int,
    check_id: uuid.UUID,
    hospital_id: int,
    asked_at: datetime,
    emergency: bool,
    order_number: str,
    item_code: str,
    laterality: str | None,
    body_part: str | None,
    shown: list[str],
    decision_id: int | None,
    action: str | None,
    counts_as_refusal: bool | None,
) -> Asked:
    place = person.registry.places([hospital_id])[hospital_id]
    items = person.registry.items(person.catalogue.items, place.regions, asked_at)
    item = items.get(item_code)
    return Asked(
        number=number,
        check_id=check_id,
        order_number=order_number,
        hospital_id=hospital_id,
        answered_by=items.covered_by(item_code) if item else frozenset({item_code}),
        laterality=laterality,
        body_part=body_part,
        window_days=item.window_days if item else 0,
        asked_at=asked_at,
        emergency=emergency,
        shown=frozenset(int(result_id) for result_id in shown),
        decision_id=decision_id,
        decided=_decided(action, counts_as_refusal),
    )


def _decided(action: str | None, counts_as_refusal: bool | None) -> Kind | None:
    if action == "recognise":
        return "recognised_and_done"
    if action == "override":
        return "refused" if counts_as_refusal else "lawfully_repeated"
    return None


def _bring_in_line(person: _Person, found: Mapping[int, Repetition]) -> None:
    """Supersede what stands otherwise than found, and post what is new.

    Where one of both examinations was erased nothing can be judged again: what stood stays, and no figure changes.
    """
    wanted = {result_id: _facts(person.past[result_id], each) for result_id, each in found.items()}
    now = person.catalogue.clock()
    for row, statuses in _standing(person):
        if "erased" in statuses or wanted.get(row.result_id) == {name: getattr(row, name) for name in _FACTS}:
            wanted.pop(row.result_id, None)
        else:
            row.superseded_at = now
    person.session.flush()  # the rows that take their place come after
    for result_id, facts in wanted.items():
        row = Repeat(result_id=result_id, **facts, **_priced(person, person.past[result_id]), posted_at=now)
        person.session.add(row)


def _standing(person: _Person) -> list[tuple[Repeat, tuple[str, str]]]:
    done, prior = aliased(Result), aliased(Result)
    query = (
        select(Repeat, done.status, prior.status)
        .join(done, done.id == Repeat.result_id)
        .join(prior, prior.id == Repeat.prior_result_id)
        .where(
            Repeat.superseded_at.is_(None),
            or_(Repeat.person_id.in_(person.known.everybody), Repeat.result_id.in_(person.past)),
        )
    )
    return [(row, (of_done, of_prior)) for row, of_done, of_prior in person.session.execute(query)]


def _facts(done: _Past, repetition: Repetition) -> dict[str, Any]:
    told = {name: getattr(repetition, name) for name in Repetition.__dataclass_fields__}
    return {name: told[name] if name in told else getattr(done, name) for name in _FACTS}


def _priced(person: _Person, done: _Past) -> dict[str, Any]:
    """Return the day of an examination and the hospital's price of it on that day."""
    day = local_day(done.exam_time)
    place = person.registry.places([done.hospital_id])[done.hospital_id]
    items = person.registry.items(person.catalogue.items, place.regions, done.exam_time)
    price = person.registry.prices(place, items, day).get(done.item_code)
    return {
        "business_date": day,
        "price_fen": price.price_fen if price else 0,
        "price_id": int(price.row_id) if price else None,
    }


_KNOWN: Final = text("""
with one as materialized (select distinct id from unnest(open_people(array[cast(:id as bigint)])) id)
select array(select id from one),
       (select count(*) from result where person_id in (select id from one) and status = 'active'),
       exists (select from repeat where person_id in (select id from one) and superseded_at is null),
       (select stamp from registry_stamp)
""")
_PAST: Final = text("""
select r.id, r.person_id, r.study_id, said.report_id, r.hospital_id, r.item_code, r.laterality, r.body_part,
       r.exam_time, coalesce(s.first_received_at, said.received_at, r.created_at)
from result r
left join study s on s.id = r.study_id
left join lateral (
    select o.report_id, min(v.received_at) as received_at
    from observation o join report_version v on v.id = o.report_version_id
    where o.result_id = r.id and r.study_id is null group by o.report_id limit 1
) said on true
where r.person_id = any(:people) and r.status = 'active'
order by r.id
""")
_EVENTS: Final = text("""
select kind, created_at from identity_event
where kind in ('merge', 'opt_out', 'opt_in') and person_id = any(:people) order by id
""")
_ASKED: Final = text("""
select c.number, c.id, c.hospital_id, c.asked_at, c.urgency = 'emergency', o ->> 'order_id', o -> 'item' ->> 'code',
       o ->> 'laterality', o ->> 'body_part',
       array(select k ->> 'result_id' from jsonb_array_elements(o -> 'candidates') k
              where k ->> 'verdict' = 'recognisable'),
       d.id, d.action, d.counts_as_refusal
from order_check c
cross join lateral jsonb_array_elements(c.given -> 'orders') o
left join ordered_item i on i.hospital_id = c.hospital_id and i.order_number = o ->> 'order_id'
left join decision d on d.id = i.standing_decision_id and d.person_id = any(:people)
where c.person_id = any(:people) and c.hospital_id = any(:hospitals) and not o ? 'error'
order by c.number
""")
