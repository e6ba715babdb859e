"""What the regulator reads: sums by hospital, item and month, rates, gaps, and an independent recount."""

from collections.abc import Iterable, Sequence
from datetime import date
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from catalog.errors import InvalidInput
from catalog.items import ItemList
from catalog.ledger import COUNTERS
from catalog.tables import Decision, Hospital, Monthly

GROUPINGS: Final = ("hospital", "item", "month")
_GROUP_COLUMNS: Final[dict[str, Any]] = {
    "hospital": Hospital.code,
    "item": Monthly.item_code,
    "month": func.to_char(Monthly.month, "YYYY-MM"),
}


def report(
    session: Session, items: ItemList, *, first: date, last: date, group_by: Sequence[str] = GROUPINGS
) -> dict[str, Any]:
    """Return the figures of the months from `first` to `last`, both inclusive, grouped as asked.

    Own-hospital and emergency figures stand apart under their own names. Raises InvalidInput for an
    unknown grouping or a reversed range.
    """
    if first > last:
        raise InvalidInput("起始月份晚于截止月份", "The range is reversed", field="from")
    if unknown := [name for name in group_by if name not in GROUPINGS]:
        raise InvalidInput(f"无此分组:{','.join(unknown)[:40]}", "Unknown grouping", field="group_by")
    months = (first.replace(day=1), last.replace(day=1))
    rows = _rows(session, items, months, tuple(dict.fromkeys(group_by)))
    total = _rows(session, items, months, ())
    return {
        "from": months[0].isoformat()[:7],
        "to": months[1].isoformat()[:7],
        "group_by": list(group_by),
        "rows": rows,
        "total": total[0] if total else _figures({}),
        "unpriced": _gaps(session, months),
    }


def rate(recognised: int, reminders: int, excused: int) -> float | None:
    """Return standing recognitions ÷ (reminders − lawfully excused repeats); None where that is 0."""
    asked = reminders - excused
    return float(round(Fraction(recognised, asked), 6)) if asked > 0 else None


def _rows(
    session: Session, items: ItemList, months: tuple[date, date], group_by: tuple[str, ...]
) -> list[dict[str, Any]]:
    keys = [_GROUP_COLUMNS[name].label(name) for name in group_by]
    sums = [func.sum(getattr(Monthly, name)).label(name) for name in COUNTERS]
    query = (
        select(*keys, Monthly.own_hospital, Monthly.emergency, *sums)
        .join(Hospital, Hospital.id == Monthly.hospital_id)
        .where(Monthly.month.between(*months))
        .group_by(*(_GROUP_COLUMNS[name] for name in group_by), Monthly.own_hospital, Monthly.emergency)
    )
    parts: dict[tuple[str, ...], dict[tuple[bool, bool], dict[str, int]]] = {}
    for row in session.execute(query).mappings():
        key = tuple(row[name] for name in group_by)
        counted = {name: int(row[name]) for name in COUNTERS}
        parts.setdefault(key, {})[row["own_hospital"], row["emergency"]] = counted
    names = _names(session, items)
    return [
        {name: value for name, value in zip(group_by, key, strict=True)}
        | _labels(names, dict(zip(group_by, key, strict=True)))
        | _figures(parts[key])
        for key in sorted(parts)
    ]


def _figures(parts: dict[tuple[bool, bool], dict[str, int]]) -> dict[str, Any]:
    """Return one row's figures: the whole, and of it what concerns own-hospital priors and emergencies.

    The rate leaves own-hospital priors out: recognising one's own work is no mutual recognition.
    """
    whole = _sum(parts.values())
    own = _sum(value for (is_own, _), value in parts.items() if is_own)
    urgent = _sum(value for (is_own, emergency), value in parts.items() if emergency and not is_own)
    others = {name: whole[name] - own[name] for name in COUNTERS}
    return _with_net(whole) | {
        "rate": rate(others["recognised"], others["reminders"], others["excused"]),
        "own_hospital": _with_net(own),
        "emergency": _with_net(urgent),
    }


def _with_net(counted: dict[str, int]) -> dict[str, int]:
    return counted | {"net_fen": counted["saved_fen"] - counted["reversed_fen"]}


def _sum(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    listed = list(parts)
    return {name: sum(part[name] for part in listed) for name in COUNTERS}


def _names(session: Session, items: ItemList) -> dict[str, dict[str, str]]:
    hospitals = session.execute(select(Hospital.code, Hospital.name)).tuples()
    return {"hospital": dict(hospitals.all()), "item": {item.code: item.name_zh for item in items}}


def _labels(names: dict[str, dict[str, str]], key: dict[str, str]) -> dict[str, str]:
    return {f"{name}_name": names[name].get(value, "") for name, value in key.items() if name in names}


def _gaps(session: Session, months: tuple[date, date]) -> list[dict[str, Any]]:
    """Return what was recognised without a price, so that nobody mistakes 0 for nothing."""
    query = (
        select(Hospital.code, Decision.item_code, func.count())
        .join(Hospital, Hospital.id == Decision.hospital_id)
        .where(Decision.action == "recognise", Decision.price_id.is_(None))
        .where(func.date(func.date_trunc("month", Decision.business_date)).between(*months))
        .group_by(Hospital.code, Decision.item_code)
        .order_by(Hospital.code, Decision.item_code)
    )
    return [
        {"hospital": code, "item": item, "recognised": count} for code, item, count in session.execute(query)
    ]


_RECOUNT: Final = text("""
with decided as (
  select d.*, u.id as undone_by
    from decision d left join decision u on u.undoes_id = d.id
   where d.action <> 'undo'
), counted as (
  select hospital_id, item_code, date_trunc('month', business_date)::date as month, own_hospital, emergency,
         0 as reminders,
         (action = 'recognise' and not beyond_duty and undone_by is null)::int as recognised,
         (beyond_duty and undone_by is null)::int as beyond_duty,
         (action = 'override' and not beyond_duty and counts_as_refusal and undone_by is null)::int as refused,
         (action = 'override' and not beyond_duty and not counts_as_refusal and undone_by is null)::int as excused,
         (action = 'cite')::int as cited,
         (undone_by is not null)::int as undone,
         (action = 'recognise' and price_id is null and undone_by is null)::int as unpriced,
         0::bigint as saved_fen, 0::bigint as reversed_fen
    from decided
  union all
  select d.hospital_id, d.item_code, date_trunc('month', d.business_date)::date, d.own_hospital, d.emergency,
         0, 0, 0, 0, 0, 0, 0, 0,
         case when l.kind = 'saving' then l.amount_fen else 0 end,
         case when l.kind = 'saving' then 0 else -l.amount_fen end
    from ledger l join decision d on d.id = l.decision_id
  union all
  select r.hospital_id, r.item_code, date_trunc('month', r.day)::date, r.own, r.emergency,
         1, 0, 0, 0, 0, 0, 0, 0, 0, 0
    from (
      select distinct on (c.hospital_id, o ->> 'order_id')
             c.hospital_id, f.item_code, f.day, f.emergency, f.person_id,
             not exists (select 1 from jsonb_array_elements(o -> 'candidates') k
                          where k ->> 'verdict' = 'recognisable' and not (k ->> 'own_hospital')::bool) as own
        from order_check c
        cross join lateral jsonb_array_elements(c.given -> 'orders') o
        join (
          select distinct on (c1.hospital_id, o1 ->> 'order_id')
                 c1.hospital_id, o1 ->> 'order_id' as order_number, o1 -> 'item' ->> 'code' as item_code,
                 (c1.asked_at at time zone 'Asia/Shanghai')::date as day,
                 c1.urgency = 'emergency' as emergency, c1.person_id
            from order_check c1 cross join lateral jsonb_array_elements(c1.given -> 'orders') o1
           where c1.person_id is not null and not o1 ? 'error'
           order by c1.hospital_id, o1 ->> 'order_id', c1.number
        ) f on f.hospital_id = c.hospital_id and f.order_number = o ->> 'order_id' and f.person_id = c.person_id
       where exists (select 1 from jsonb_array_elements(o -> 'candidates') k where k ->> 'verdict' = 'recognisable')
       order by c.hospital_id, o ->> 'order_id', c.number
    ) r
)
select hospital_id, item_code, month, own_hospital, emergency,
       sum(reminders) as reminders, sum(recognised) as recognised, sum(beyond_duty) as beyond_duty,
       sum(refused) as refused, sum(excused) as excused, sum(cited) as cited, sum(undone) as undone, sum(unpriced) as unpriced,
       sum(saved_fen) as saved_fen, sum(reversed_fen) as reversed_fen
  from counted group by 1, 2, 3, 4, 5
""")

_LEDGER_FAULTS: Final = text("""
select 'recognition_without_saving' as fault, d.id as decision_id
  from decision d left join ledger l on l.decision_id = d.id and l.kind = 'saving'
 where d.action = 'recognise' and l.id is null
union all
select 'saving_differs_from_decision', d.id
  from decision d join ledger l on l.decision_id = d.id and l.kind = 'saving'
 where l.amount_fen <> d.price_fen or d.action <> 'recognise' or l.business_date <> d.business_date
union all
select 'saved_twice', decision_id from ledger where kind = 'saving' group by decision_id having count(*) > 1
union all
select 'order_saved_twice', max(d.id)
  from decision d
 where d.action = 'recognise' and not exists (select 1 from decision u where u.undoes_id = d.id)
 group by d.hospital_id, d.order_number having count(*) > 1
union all
select 'price_differs_from_decision', d.id
  from decision d join price p on p.id = d.price_id
 where d.action = 'recognise' and p.price_fen <> d.price_fen
union all
select 'undone_but_still_saving', d.id
  from decision d join decision u on u.undoes_id = d.id
 where d.action = 'recognise'
   and (select coalesce(sum(amount_fen), 0) from ledger l where l.decision_id = d.id) <> 0
union all
select 'nets_outside_its_price', d.id
  from decision d
 where d.action = 'recognise'
   and (select coalesce(sum(amount_fen), 0) from ledger l where l.decision_id = d.id) not in (0, d.price_fen)
""")


def verify(session: Session) -> dict[str, Any]:
    """Recount every sum from the events by other SQL and compare; lists each disagreement.

    Both sides are read in one snapshot: the caller's transaction should be REPEATABLE READ.
    """
    keys = ("hospital_id", "item_code", "month", "own_hospital", "emergency")
    recount = {
        tuple(row[key] for key in keys): {name: int(row[name]) for name in COUNTERS}
        for row in session.execute(_RECOUNT).mappings()
    }
    kept = {
        tuple(getattr(row, key) for key in keys): {name: getattr(row, name) for name in COUNTERS}
        for row in session.scalars(select(Monthly))
    }
    nothing = dict.fromkeys(COUNTERS, 0)
    differing = [
        {
            **dict(zip(keys, [str(part) for part in key], strict=True)),
            "kept": kept.get(key, nothing),
            "recounted": recount.get(key, nothing),
        }
        for key in sorted({*recount, *kept}, key=str)
        if kept.get(key, nothing) != recount.get(key, nothing)
    ]
    faults = [dict(row) for row in session.execute(_LEDGER_FAULTS).mappings()]
    net_fen = sum(row["saved_fen"] - row["reversed_fen"] for row in recount.values())
    return {
        "agrees": not differing and not faults,
        "rows": len(recount),
        "net_fen": net_fen,
        "differing": differing,
        "faults": faults,
    }
