# ruff: noqa: S608 (of constants)
"""What the recount asks of repeats: each row against the examinations, checks, decisions and prices it follows from.

Nothing here is used to keep them. What only the rules can judge, marks and quality, is taken as a check had shown it.
"""

from typing import Final


def _theirs(person_id: str, of: str = "r.person_id") -> str:
    """Say that a row is of the same human being as another; an array, so that an index finds whose rows are meant."""
    everybody = f"select {of} union all select m.other_id from merged m where m.person_id = {of}"
    return f"{person_id} = any (array({everybody}))"


def _days(earlier: str, later: str) -> str:
    zone = "at time zone 'Asia/Shanghai'"
    return f"({later} {zone})::date - ({earlier} {zone})::date"


# The shortest window of any version of the list: what lies within it was within every one.
_WINDOW: Final = "(select min((i.fields ->> 'window_days')::int) from item i where i.code = {})"
_STANDS: Final = "r.superseded_at is null"
_COUNTED: Final = "('active', 'erased')"
_COVERS: Final = """(p.item_code = r.item_code or not exists (select from item i where i.code = r.item_code)
           or exists (select from item i where i.code = p.item_code and i.fields -> 'covers' ? r.item_code))"""
# Each by its number: PostgreSQL would rather read all there are, as it does not see how few are asked for.
_EXAMINED: Final = "cross join lateral (select * from examined x where x.id = r.result_id offset 0) e"
_PRIOR: Final = "cross join lateral (select * from examined x where x.id = r.prior_result_id offset 0) p"
_ORDERS: Final = f"""
    select c.asked_at, o ->> 'order_id' as order_number, o -> 'item' ->> 'code' as item_code,
           o ->> 'laterality' as laterality, o ->> 'body_part' as body_part, o -> 'candidates' as candidates
      from order_check c cross join lateral jsonb_array_elements(c.given -> 'orders') o
     where c.hospital_id = r.hospital_id and {_theirs("c.person_id")} and c.asked_at <= r.exam_time
       and not o ? 'error'
"""
_SHOWN: Final = """exists (select from jsonb_array_elements(asked.candidates) k
           where k ->> 'verdict' = 'recognisable' and k ->> 'result_id' = r.prior_result_id::text)"""
_STANDING_DECISION: Final = f"""
    select d.id, case when d.action = 'recognise' then 'recognised_and_done'
                      when d.counts_as_refusal then 'refused' else 'lawfully_repeated' end as kind
      from decision d
     where d.hospital_id = r.hospital_id and d.order_number = r.order_number and {_theirs("d.person_id")}
       and d.action in ('recognise', 'override') and not exists (select from decision u where u.undoes_id = d.id)
"""

FAULTS: Final[dict[str, str]] = {
    "repeat_differs_from_examination": f"""
      select r.id as repeat_id, r.result_id from repeat r {_EXAMINED}
       where {_STANDS}
         and (e.status not in {_COUNTED} or e.person_id is distinct from r.person_id
              or e.hospital_id <> r.hospital_id or e.item_code <> r.item_code or e.exam_time <> r.exam_time
              or r.business_date <> (r.exam_time at time zone 'Asia/Shanghai')::date)""",
    "repeat_differs_from_prior": f"""
      select r.id as repeat_id, r.prior_result_id
        from repeat r {_EXAMINED} {_PRIOR}
       where {_STANDS}
         and (p.status not in {_COUNTED} or p.hospital_id <> r.prior_hospital_id or p.exam_time >= r.exam_time
              or r.own_hospital <> (p.hospital_id = r.hospital_id) or p.study_id = e.study_id
              or not {_theirs("p.person_id")} or not {_COVERS})""",
    "repeat_differs_from_price": f"""
      select r.id as repeat_id, p.id as price_id from repeat r left join price p on p.id = r.price_id
       where {_STANDS}
         and (r.price_fen <> coalesce(p.price_fen, 0) or p.item_code <> r.item_code
              or r.business_date < p.valid_from or r.business_date > p.valid_to)""",
    "repeat_differs_from_check": f"""
      select r.id as repeat_id, c.id::text as check_id from repeat r left join order_check c on c.id = r.check_id
       where {_STANDS}
         and case when r.check_id is null
             then r.kind not in ('no_check', 'not_visible') or r.emergency or r.order_number is not null
             else r.kind = 'no_check' or c.hospital_id <> r.hospital_id or c.asked_at > r.exam_time
                  or r.emergency <> (c.urgency = 'emergency') or not {_theirs("c.person_id")}
                  or not exists (select from jsonb_array_elements(c.given -> 'orders') o
                                  where o ->> 'order_id' = r.order_number) end""",
    "repeat_differs_from_decision": f"""
      select r.id as repeat_id, r.result_id
        from repeat r left join lateral ({_STANDING_DECISION}) d on true
       where {_STANDS}
         and (r.decision_id is distinct from d.id
              or r.kind <> 'not_visible' and r.kind <> coalesce(d.kind, 'no_answer') and r.order_number is not null)
    """,
    "repeat_differs_from_what_was_shown": f"""
      select r.id as repeat_id, r.prior_result_id from repeat r
       where {_STANDS} and r.kind in ('no_answer', 'not_visible')
         and (r.kind = 'no_answer') <> exists (
             select from ({_ORDERS}) asked where asked.order_number = r.order_number and {_SHOWN})""",
    # Of images only: when a report came is not to be seen without its patient.
    "repeat_of_what_came_later": f"""
      select r.id as repeat_id, r.prior_result_id
        from repeat r {_PRIOR}
        cross join lateral (select min(k.received_at) as received_at from pack_digest k where k.study_id = p.study_id) came
       where {_STANDS}
         and case when r.kind <> 'not_visible' then came.received_at >= r.exam_time
                       and not exists (select from ({_ORDERS}) asked where {_SHOWN})
             else r.check_id is null and came.received_at < r.exam_time and p.person_id = r.person_id end""",
    # Another examination since may have been what the order was for.
    "repeat_was_asked_about": f"""
      select r.id as repeat_id, r.result_id from repeat r {_EXAMINED}
       where {_STANDS} and r.kind = 'no_check' and exists (
           select from ({_ORDERS}) asked
            where asked.item_code = r.item_code and coalesce(asked.laterality = e.laterality, asked.laterality is null)
              and coalesce(asked.body_part = e.body_part, asked.body_part is null)
              and {_days("asked.asked_at", "r.exam_time")} <= {_WINDOW.format("r.item_code")}
              and not exists (
                  select from examined other
                   where other.hospital_id = r.hospital_id and {_theirs("other.person_id")} and other.id <> r.result_id
                     and other.exam_time between asked.asked_at and r.exam_time))""",
    "repeat_missing": f"""
      select min(d.id) as decision_id, e.id as result_id
        from decision d
        join examined p on p.id = d.result_id
        join examined e on e.person_id = d.person_id and e.item_code = d.item_code
         and e.hospital_id = d.hospital_id and e.exam_time > d.checked_at
       where d.action in ('recognise', 'override') and not d.beyond_duty
         and e.status = 'active' and p.status = 'active' and p.person_id = d.person_id and p.item_code = e.item_code
         and p.laterality is not distinct from e.laterality and p.body_part is not distinct from e.body_part
         and p.id <> e.id and p.exam_time < e.exam_time and p.study_id is distinct from e.study_id
         and not exists (select from withdrawn_report w where w.study_id = p.study_id)
         and {_days("p.exam_time", "e.exam_time")} <= {_WINDOW.format("d.item_code")}
         and {_days("d.checked_at", "e.exam_time")} <= {_WINDOW.format("d.item_code")}
         and not exists (select from repeat r where r.result_id = e.id and {_STANDS})
       group by e.id""",
}
