"""An independent recount: every sum from the events, the ledger against all that it follows from, by other SQL.

Nothing here is used to keep the books, and of what keeps them only the names of the sums are used here.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from catalog.ledger import COUNTERS
from catalog.recount_repeats import FAULTS as _OF_REPEATS

Progress = Callable[[str, int, int], None]
_KEYS: Final = ("hospital_id", "item_code", "month", "own_hospital", "emergency")

_RECOUNT: Final = """
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
"""
_SUMS: Final = ", ".join(COUNTERS)
_COMPARED: Final = text(f"""
with recount as materialized ({_RECOUNT}),
differing as (
  select hospital_id, item_code, month, own_hospital, emergency, {", ".join(f"coalesce(kept.{c}, 0) as kept_{c}" for c in COUNTERS)},
         {", ".join(f"coalesce(recount.{c}, 0) as recounted_{c}" for c in COUNTERS)}
    from recount full join monthly kept using (hospital_id, item_code, month, own_hospital, emergency)
   where ({", ".join(f"coalesce(kept.{c}, 0)" for c in COUNTERS)})
         is distinct from ({", ".join(f"coalesce(recount.{c}, 0)" for c in COUNTERS)})
)
select count(*) as rows, coalesce(sum(saved_fen - reversed_fen), 0)::bigint as net_fen,
       (select coalesce(jsonb_agg(to_jsonb(differing) order by hospital_id, item_code, month, own_hospital, emergency), '[]')
          from differing) as differing
  from recount
""")  # noqa: S608 (of constants)

# Each names what disagrees: a decision, and of the ledger the entry, of the audit the record, of checks the check.
_WITH: Final = """
with standing as materialized (
  select distinct on (decision_id) decision_id, id as entry_id, kind, cause, cause_id
    from ledger order by decision_id, id desc
), saved as (
  select id, person_id, hospital_id, item_code, checked_at from decision
   where action = 'recognise' and price_fen > 0
), again as materialized (
  select saved.id as decision_id, e.id as result_id, e.exam_time, e.laterality, e.body_part
    from saved join examined e on e.person_id = saved.person_id
     and e.hospital_id = saved.hospital_id and e.item_code = saved.item_code
   where e.exam_time > saved.checked_at and e.status in ('active', 'erased')
   union all
  select saved.id, e.id, e.exam_time, e.laterality, e.body_part
    from saved join merged m on m.person_id = saved.person_id
    join examined e on e.person_id = m.other_id
     and e.hospital_id = saved.hospital_id and e.item_code = saved.item_code
   where e.exam_time > saved.checked_at and e.status in ('active', 'erased')
)
"""
_FAULTS: Final[dict[str, str]] = {
    "recognition_without_saving": """
      select d.id as decision_id from decision d left join ledger l on l.decision_id = d.id and l.kind = 'saving'
       where d.action = 'recognise' and l.id is null""",
    "saving_differs_from_decision": """
      select d.id as decision_id, l.id as entry_id
        from decision d join ledger l on l.decision_id = d.id
       where d.action <> 'recognise' or l.business_date <> d.business_date or l.hospital_id <> d.hospital_id
          or l.item_code <> d.item_code or l.person_id <> d.person_id
          or l.kind = 'saving' and l.amount_fen <> d.price_fen""",
    "saved_twice": """
      select decision_id, max(id) as entry_id from ledger
       where kind = 'saving' group by decision_id having count(*) > 1""",
    "order_saved_twice": """
      select max(d.id) as decision_id from decision d
       where d.action = 'recognise' and not exists (select from decision u where u.undoes_id = d.id)
       group by d.hospital_id, d.order_number having count(*) > 1""",
    "price_differs_from_decision": """
      select d.id as decision_id, p.id as price_id from decision d join price p on p.id = d.price_id
       where d.action = 'recognise' and p.price_fen <> d.price_fen""",
    "price_did_not_apply": """
      select d.id as decision_id, p.id as price_id
        from decision d join price p on p.id = d.price_id join hospital h on h.id = d.hospital_id
       where d.action = 'recognise'
         and (p.item_code <> d.item_code or d.business_date < p.valid_from or d.business_date > p.valid_to
              or p.scope_kind = 'hospital' and p.scope <> h.code)""",
    "undone_but_still_saving": """
      select d.id as decision_id from decision d join decision u on u.undoes_id = d.id
       where d.action = 'recognise'
         and (select coalesce(sum(amount_fen), 0) from ledger l where l.decision_id = d.id) <> 0""",
    "nets_outside_its_price": """
      select d.id as decision_id from decision d
       where d.action = 'recognise'
         and (select coalesce(sum(amount_fen), 0) from ledger l where l.decision_id = d.id) not in (0, d.price_fen)""",
    "reversal_without_cause": """
      select l.decision_id, l.id as entry_id from ledger l join decision d on d.id = l.decision_id
       where l.kind = 'reversal'
         and case l.cause
             when 'undo' then not exists (select from decision u where u.id = l.cause_id and u.undoes_id = d.id)
             when 'examination' then not exists (
               select from examined e where e.id = l.cause_id and e.hospital_id = d.hospital_id
                  and e.exam_time > d.checked_at)
             else true end""",
    "reversed_by_what_does_not_stand": """
      select s.decision_id, s.entry_id
        from standing s join decision d on d.id = s.decision_id join examined e on e.id = s.cause_id
       where s.kind = 'reversal' and s.cause = 'examination'
         and (e.status not in ('active', 'erased') or e.person_id is distinct from d.person_id and not exists (
               select from merged m where m.person_id = d.person_id and m.other_id = e.person_id))""",
    "examination_reverses_twice": """
      select max(decision_id) as decision_id, max(entry_id) as entry_id from standing s
       where kind = 'reversal' and cause = 'examination' group by cause_id having count(*) > 1""",
    # The window is the shortest of any version of the list: a longer one is for the books to know.
    "examination_without_reversal": """
      select d.id as decision_id, again.result_id
        from again join decision d on d.id = again.decision_id
        join standing s on s.decision_id = d.id and s.kind <> 'reversal'
       where (again.exam_time at time zone 'Asia/Shanghai')::date
             <= d.business_date + (select min((i.fields ->> 'window_days')::int) from item i where i.code = d.item_code)
         and (d.laterality is null or again.laterality is null or again.laterality in (d.laterality, 'B'))
         and (d.body_part is null or again.body_part is null or again.body_part = d.body_part)
         and again.result_id not in (select cause_id from standing where kind = 'reversal' and cause = 'examination')""",
    "decision_missing": """
      select a.decision_id, a.id as audit_id from audited_act a left join decision d on d.id = a.decision_id
       where a.decision_id is not null and d.id is null""",
    "decision_without_audit": """
      select d.id as decision_id from decision d left join audited_act a on a.decision_id = d.id
       where a.id is null""",
    "audit_differs_from_decision": """
      select d.id as decision_id, a.id as audit_id from decision d join audited_act a on a.decision_id = d.id
       where a.action <> 'decision.' || d.action or a.check_id <> d.check_id or a.hospital_id <> d.hospital_id
          or a.person_id <> d.person_id or coalesce(a.saving_fen, 0) <> d.price_fen
          or a.undoes_id is distinct from d.undoes_id""",
    "check_missing": """
      select a.check_id::text, a.id as audit_id from audited_act a left join order_check c on c.id = a.check_id
       where a.action = 'check' and c.id is null""",
    "check_without_audit": """
      select c.id::text as check_id
        from order_check c left join audited_act a on a.check_id = c.id and a.action = 'check'
       where a.id is null""",
    **_OF_REPEATS,
}


SUMS: Final = "monthly sums"
STEPS: Final = (SUMS, *_FAULTS)  # in their order


def verify(session: Session, *, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Recount every sum from the events and compare; list each disagreement by what it is and the ids it concerns.

    All sides are read in one snapshot: the caller's transaction should be REPEATABLE READ. `progress` is told what is
    looked at, how many steps are done, and how many there are.
    """
    session.execute(text("set local statement_timeout = 0"))  # years of decisions take their time
    steps = len(STEPS)
    progress(SUMS, 0, steps)
    sums, differing = _recounted(session)
    faults = []
    for done, kind in enumerate(_FAULTS, 1):
        progress(kind, done, steps)
        faults += list(_faults(session, kind))
    progress("", steps, steps)
    return {
        "agrees": not differing and not faults,
        **sums,
        "range": dict(session.execute(_RANGE).mappings().one()),
        "differing": differing,
        "faults": faults,
    }


def _recounted(session: Session) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return how many sums there are and what they come to, and those that are kept otherwise."""
    found = session.execute(_COMPARED).mappings().one()
    differing = [
        {
            **{key: str(row[key]) for key in _KEYS},
            "kept": {name: row[f"kept_{name}"] for name in COUNTERS},
            "recounted": {name: row[f"recounted_{name}"] for name in COUNTERS},
        }
        for row in found["differing"]
    ]
    return {"rows": found["rows"], "net_fen": found["net_fen"]}, differing


def _faults(session: Session, kind: str) -> Iterator[dict[str, Any]]:
    for row in session.execute(text(_WITH + _FAULTS[kind])).mappings():
        yield {"fault": kind, **row}


# What was looked at: whoever recounts again knows what came since.
_RANGE: Final = text("""
select (select count(*) from decision) as decisions, (select max(id) from decision) as last_decision_id,
       (select count(*) from ledger) as entries, (select max(id) from ledger) as last_entry_id,
       (select count(*) from order_check) as checks, (select max(number) from order_check) as last_check_number
""")
