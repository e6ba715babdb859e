"""What `catalog.seed` has PostgreSQL write of checks and decisions: as many as a city asks, each with all it leaves.

Each check asks for what somebody had done days before in another hospital, and is shown it; the first of them are
decided on. Nothing is drawn but from their numbers: the same seed, the same books.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, text

from catalog.bulk import put_back, take_off

OnProgress = Callable[[str, int, int], None]
TABLES: Final = ("order_check", "ordered_item", "decision", "ledger", "monthly", "audit_event", "repeat")

_ASKED: Final = """
create temporary table seed_asked on commit drop as
select row_number() over (order by n) as n, md5('check ' || n || ' ' || :seed)::uuid as check_id, r.id as result_id,
       r.person_id, r.item_code, i.name_zh, r.laterality, r.body_part, r.exam_time, issuer.code as issuer_code,
       issuer.name as issuer_name, r.hospital_id as issuer_id, s.hospital_id, chance, asked.at as asked_at,
       (asked.at at time zone 'Asia/Shanghai')::date as day, (chance >> 44) % 100 < 8 as emergency
from (
    select n, 1 + (hashint8extended(n, :seed + 7) & 9223372036854775807) % :results as result_id,
           hashint8extended(n, :seed + 8) & 9223372036854775807 as chance
    from generate_series(1, cast(:checks as bigint)) n
) drawn
join result r on r.id = drawn.result_id
join seed_item i on i.code = r.item_code
join hospital issuer on issuer.id = r.hospital_id
join seed_slot s on s.place = (chance >> 16) % :slots
cross join lateral (
    select least(r.exam_time + make_interval(hours => 12 + cast(chance % 120 as int)), cast(:now as timestamptz)) as at
) asked
where s.hospital_id <> r.hospital_id
"""
_GIVEN: Final = """
jsonb_build_object(
  'check_id', check_id, 'answer', 'complete', 'asked_at', asked_at, 'expires_at', asked_at + interval '24 hours',
  'urgency', case when emergency then 'emergency' else 'routine' end, 'interrupts', not emergency,
  'reason_codes', '["1","2","3","4","5","6","61","98"]'::jsonb, 'item_list', 'seed',
  'patient', jsonb_build_object('name', '合成', 'birth_date', null, 'sex', 'unknown'),
  'orders', jsonb_build_array(jsonb_build_object(
    'order_id', 'S' || n, 'item', jsonb_build_object('code', item_code, 'name', name_zh, 'name_en', ''),
    'candidates', jsonb_build_array(jsonb_build_object(
      'result_id', result_id::text, 'verdict', 'recognisable', 'reasons', '[]'::jsonb, 'item_code', item_code,
      'laterality', laterality, 'body_part', body_part,
      'hospital', jsonb_build_object('code', issuer_code, 'name', issuer_name), 'own_hospital', false,
      'hr_marks', '["重庆市HR"]'::jsonb, 'exam_time', exam_time, 'report', null, 'images', null, 'saving_fen', 0,
      'price_id', null, 'valid_until', null)))))
"""
_CHECKS: Final = f"""
insert into order_check (id, number, hospital_id, person_id, department, urgency, answer, caller, disclosed, given,
                         asked_at, expires_at)
overriding system value
select check_id, n, hospital_id, person_id, (array['呼吸内科', '神经内科', '骨科', '急诊科', '普外科'])[1 + chance % 5],
       case when emergency then 'emergency' else 'routine' end, 'complete', 'huren seed', true, {_GIVEN}, asked_at,
       asked_at + interval '24 hours'
from seed_asked
"""  # noqa: S608 (of constants)
# A saving that an examination contradicts would be taken back; here such an order was repeated.
_DECIDED: Final = """
create temporary table seed_decided on commit drop as
select a.*, a.asked_at + interval '5 minutes' as decided_at, p.id as price_id, coalesce(p.price_fen, 0) as price_fen,
       (a.chance >> 50) % 100 < 75 and not exists (
           select from result e where e.person_id = a.person_id and e.item_code = a.item_code
              and e.hospital_id = a.hospital_id and e.exam_time > a.asked_at) as recognised,
       (a.chance >> 50) % 100 >= 85 as refused, (a.chance >> 57) % 100 < 5 as undone
from seed_asked a
join hospital h on h.id = a.hospital_id
left join lateral (
    select price.id, price.price_fen from price
    where price.item_code = a.item_code and price.valid_from <= a.day and coalesce(price.valid_to >= a.day, true)
      and (price.scope_kind = 'hospital' and price.scope = h.code
           or price.scope_kind = 'tier' and price.scope = cast(h.tier as text))
    order by price.scope_kind = 'hospital' desc, price.valid_from desc limit 1
) p on true
where a.n <= :decisions
"""
_DAY: Final = "(decided_at at time zone 'Asia/Shanghai')::date"
_COLUMNS: Final = """
id, check_id, hospital_id, order_number, person_id, item_code, laterality, body_part, action, result_id,
issuing_hospital_id, reason_code, explained_to_patient, counts_as_refusal, emergency, price_fen, price_id, undoes_id,
checked_at, decided_at, business_date, caller
"""
_DECISIONS: Final = f"""
insert into decision ({_COLUMNS})
overriding system value
select n, check_id, hospital_id, 'S' || n, person_id, item_code, laterality, body_part,
       case when recognised then 'recognise' else 'override' end, result_id, case when recognised then issuer_id end,
       case when recognised then null when refused then '1' else '98' end, case when not recognised then true end,
       not recognised and refused, emergency, case when recognised then price_fen else 0 end,
       case when recognised then price_id end, null, asked_at, decided_at, {_DAY}, 'huren seed'
from seed_decided
"""  # noqa: S608 (of constants)
_UNDOS: Final = f"""
insert into decision ({_COLUMNS})
overriding system value
select :decisions + row_number() over (order by n), check_id, hospital_id, 'S' || n, person_id, item_code, laterality,
       body_part, 'undo', result_id, null, null, null, false, emergency, 0, null, n, asked_at,
       decided_at + interval '1 minute', ((decided_at + interval '1 minute') at time zone 'Asia/Shanghai')::date,
       'huren seed'
from seed_decided where recognised and undone
"""  # noqa: S608 (of constants)
_ORDERED: Final = """
insert into ordered_item (hospital_id, order_number, person_id, item_code, first_check_id, business_date, emergency,
                          own_hospital, reminder, department, reminded_at, standing_decision_id)
select a.hospital_id, 'S' || a.n, a.person_id, a.item_code, a.check_id, a.day, a.emergency, false, true, c.department,
       a.asked_at, case when d.n is not null and not (d.recognised and d.undone) then d.n end
from seed_asked a join order_check c on c.id = a.check_id left join seed_decided d on d.n = a.n
order by a.asked_at
"""
_LEDGER: Final = f"""
insert into ledger (kind, decision_id, person_id, hospital_id, item_code, amount_fen, cause, cause_id, business_date,
                    posted_at)
select 'saving', n, person_id, hospital_id, item_code, price_fen, 'decision', null::bigint, {_DAY}, decided_at
from seed_decided where recognised
union all
select 'reversal', d.n, d.person_id, d.hospital_id, d.item_code, -d.price_fen, 'undo', u.id,
       (d.decided_at at time zone 'Asia/Shanghai')::date, u.decided_at
from seed_decided d join decision u on u.undoes_id = d.n where d.price_fen > 0
"""  # noqa: S608 (of constants)
_AUDIT: Final = """
insert into audit_event (action, caller, role, hospital_id, person_id, detail, recorded_at)
select 'check', 'huren seed', 'doctor', hospital_id, person_id,
       jsonb_build_object('check_id', check_id, 'answer', 'complete', 'shown', jsonb_build_array(result_id::text)),
       asked_at
from seed_asked
union all
select 'decision.' || action, 'huren seed', 'doctor', hospital_id, person_id,
       jsonb_build_object('decision_id', id, 'check_id', check_id)
       || case action when 'undo' then jsonb_build_object('undoes_id', undoes_id)
                      when 'recognise' then jsonb_build_object('saving_fen', price_fen) else '{}'::jsonb end,
       decided_at
from decision
"""
_MONTHLY: Final = f"""
insert into monthly (hospital_id, item_code, month, own_hospital, emergency, reminders, recognised, refused, excused,
                     undone, unpriced, saved_fen, reversed_fen)
select hospital_id, item_code, date_trunc('month', day)::date, false, emergency, sum(reminders), sum(recognised),
       sum(refused), sum(excused), sum(undone), sum(unpriced), sum(saved_fen), sum(reversed_fen)
from (
    select hospital_id, item_code, day, emergency, 1 as reminders, 0 as recognised, 0 as refused, 0 as excused,
           0 as undone, 0 as unpriced, 0::bigint as saved_fen, 0::bigint as reversed_fen
    from seed_asked
    union all
    select hospital_id, item_code, {_DAY}, emergency, 0, (recognised and not undone)::int,
           (not recognised and refused)::int, (not recognised and not refused)::int, (recognised and undone)::int,
           (recognised and not undone and price_id is null)::int, case when recognised then price_fen else 0 end,
           case when recognised and undone then price_fen else 0 end
    from seed_decided
) counted
group by 1, 2, 3, 5
order by 3
"""  # noqa: S608 (of constants)
# What was done again within the windows of a seeded order lies behind the latest of them, as catalog.repetition has it.
_REPEATS: Final = """
insert into repeat (result_id, person_id, hospital_id, item_code, exam_time, business_date, kind, prior_result_id,
                    prior_hospital_id, own_hospital, emergency, check_id, order_number, decision_id, price_fen, price_id,
                    posted_at)
select distinct on (e.id) e.id, e.person_id, e.hospital_id, e.item_code, e.exam_time, done.day,
       case when o.standing_decision_id is null then 'no_answer' when d.recognised then 'recognised_and_done'
            when d.refused then 'refused' else 'lawfully_repeated' end,
       a.result_id, a.issuer_id, false, a.emergency, a.check_id, 'S' || a.n, o.standing_decision_id,
       coalesce(p.price_fen, 0), p.id, e.exam_time
from seed_asked a
join result e on e.person_id = a.person_id and e.item_code = a.item_code and e.hospital_id = a.hospital_id
     and e.exam_time > a.asked_at and e.laterality is not distinct from a.laterality
     and e.body_part is not distinct from a.body_part
cross join lateral (select (e.exam_time at time zone 'Asia/Shanghai')::date as day) done
join ordered_item o on o.hospital_id = a.hospital_id and o.order_number = 'S' || a.n
join hospital h on h.id = a.hospital_id
left join seed_decided d on d.n = a.n
left join lateral (
    select price.id, price.price_fen from price
    where price.item_code = a.item_code and price.valid_from <= done.day and coalesce(price.valid_to >= done.day, true)
      and (price.scope_kind = 'hospital' and price.scope = h.code
           or price.scope_kind = 'tier' and price.scope = cast(h.tier as text))
    order by price.scope_kind = 'hospital' desc, price.valid_from desc limit 1
) p on true
where done.day - (a.exam_time at time zone 'Asia/Shanghai')::date
      <= (select min((i.fields ->> 'window_days')::int) from item i where i.code = a.item_code)
order by e.id, a.asked_at desc, a.n desc
"""
_NUMBERS: Final = """
select setval(pg_get_serial_sequence('order_check', 'number'), (select coalesce(max(number), 1) from order_check)),
       setval(pg_get_serial_sequence('decision', 'id'), (select coalesce(max(id), 1) from decision))
"""
_STEPS: Final = (
    _ASKED,
    _CHECKS,
    _DECIDED,
    _DECISIONS,
    _UNDOS,
    _ORDERED,
    _LEDGER,
    _AUDIT,
    _MONTHLY,
    _REPEATS,
    _NUMBERS,
)


def write_books(connection: Connection, given: dict[str, object], on_progress: OnProgress) -> None:
    """Write checks, decisions and all that follows from them, in the transaction of the city they are about.

    `given` names `seed`, `results`, `slots`, `checks`, `decisions` and `now`; a draw that falls on the hospital that did
    the examination asks nothing, so there are some few checks less.
    """
    taken = take_off(connection, TABLES)
    for done, statement in enumerate(_STEPS, 1):
        connection.execute(text(statement), given)
        on_progress("checks and decisions", done, len(_STEPS))
    put_back(connection, taken, lambda done, total: on_progress("indexes of the books", done, total))
