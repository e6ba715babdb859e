"""How a month of what hospitals bring is counted, in one statement over what the tables hold.

It is a month of examinations, by exam time in the hospitals' zone. Counted are:

* results that count now (`active`), each an item on the list: how many there are; of how many a person is known, without
  whom no check can show them; and how many bear a mark;
* the mark, by the rule of `rules.hr_marks`, written out again here as `marked` for each hospital, item and stretch of days
  between which nothing of its evaluations changes; tests hold the two together;
* from when a check could show a result: the moment the exchange received the first of its study (it is catalogued within
  seconds: what takes longer is the exchange's own delay and no hospital's), or the first version of its laboratory report;
* studies that were not withdrawn, once at each level, those on no list too: whether the images are complete as a check
  sees it (`completeness.stands`), and have as many instances as were declared; whether the report that stands for the
  study by `rules.newest_report` is final;
* imaging reports that stand, and of them those that have found their study;
* showings and viewings (catalog.viewings) of any result, those that count no more too: they did happen.
"""

from collections.abc import Sequence
from typing import Final

from catalog.supply_steps import ARRIVAL, VIEWING

COUNTERS: Final = (
    *("studies", "images_complete", "reported", "reports", "matched"),
    *("results", "linked", "marked", "shown", "viewed"),
)
_COMPLETE: Final = (
    "(study.images_complete or coalesce(study.settles_at <= :now, false)) and not study.count_short"
)
_FINAL: Final = "('final', 'amended', 'corrected', 'appended')"
_WITHDRAWN: Final = "('cancelled', 'entered-in-error')"
_DAY: Final = "(exam_time at time zone 'Asia/Shanghai')::date"


def _steps(steps: Sequence[int]) -> str:
    """Return how many of a group stand at each step."""
    return "array[" + ", ".join(f"count(*) filter (where step = {n})" for n in range(len(steps))) + "]"


def _step(waited: str, steps: Sequence[int]) -> str:
    """Return at which step a time is, the last taking what is longer too; null where it is not known."""
    return f"width_bucket(ceil(extract(epoch from {waited}) / 60)::int - 1, array{list(steps[:-1])})"


# A level names what lies below it not at all.
_LEVELS: Final = "grouping sets ((hospital_id, category, item_code), (hospital_id, category), (hospital_id))"
_KEYS: Final = """
    case grouping(category, item_code) when 0 then 'item' when 1 then 'category' else 'hospital' end as level,
    hospital_id, coalesce(category, '') as category, coalesce(item_code, '') as item_code
"""

_ITEMS: Final = """
listed as materialized (
    select * from jsonb_to_recordset(cast(:items as jsonb)) as i(code text, category text, groups text[])
)
"""
_DONE: Final = f"""
done as materialized (
    select result.id, result.study_id, result.hospital_id, result.item_code, listed.category, result.exam_time,
           {_DAY} as day, result.person_id is not null as linked, result.status = 'active' as counts
    from result join listed on listed.code = result.item_code
    where result.exam_time >= :since and result.exam_time < :until
)
"""  # noqa: S608 (of constants)
_BROUGHT: Final = f"""
standing as (
    select distinct on (report.study_id) report.study_id, version.status
    from study
    join report on report.study_id = study.id
    join report_version version on version.id = report.standing_version_id
    left join person mine on mine.id = report.person_id
    left join person theirs on theirs.id = study.person_id
    where study.exam_time >= :since and study.exam_time < :until
      and (report.identity = 'unlinked' or coalesce(mine.group_id, mine.id) = coalesce(theirs.group_id, theirs.id))
    order by report.study_id, version.status in {_FINAL} or version.status in {_WITHDRAWN} desc,
             version.reported_at desc, version.id desc
), brought as materialized (
    select study.id, study.hospital_id, study.first_received_at, {_COMPLETE} as complete,
           coalesce(standing.status in {_FINAL}, false) as reported
    from study left join standing on standing.study_id = study.id
    where study.exam_time >= :since and study.exam_time < :until and not study.withdrawn
)
"""  # noqa: S608 (of constants)
# Days on which something of a hospital's evaluations begins or has ended cut the month; in between nothing changes.
_MARKED: Final = """
cuts as (
    select distinct hospital_id, day
    from (select distinct hospital_id from done) asked
    cross join lateral (
        select cast(:month as date) as day
        union select valid_from from qc_evaluation of where of.hospital_id = asked.hospital_id
        union select valid_to + 1 from qc_evaluation of where of.hospital_id = asked.hospital_id
    ) cut
    where day >= :month and day < :following
), stretches as (
    select hospital_id, day as first_day,
           lead(day, 1, cast(:following as date)) over (partition by hospital_id order by day) as next_day
    from cuts
), marked as materialized (
    select asked.hospital_id, asked.item_code, stretch.first_day, stretch.next_day
    from (select distinct hospital_id, item_code from done) asked
    join listed on listed.code = asked.item_code
    join stretches stretch on stretch.hospital_id = asked.hospital_id
    where exists (
        select from qc_evaluation passed
        where passed.hospital_id = asked.hospital_id and passed.passed
          and stretch.first_day between passed.valid_from and passed.valid_to
          and (passed.item_code = asked.item_code or passed.item_group = any(listed.groups) and not exists (
              select from qc_evaluation own
              where own.hospital_id = asked.hospital_id and own.scope_code = passed.scope_code
                and own.item_code = asked.item_code and stretch.first_day between own.valid_from and own.valid_to))
          and not exists (
              select from qc_evaluation failed
              where failed.hospital_id = asked.hospital_id and failed.scope_code = passed.scope_code and not failed.passed
                and failed.valid_from between passed.valid_from and stretch.first_day
                and (failed.item_code = asked.item_code
                     or passed.item_code is null and failed.item_group = any(listed.groups))))
)
"""
_OF_RESULTS: Final = f"""
of_results as (
    select {_KEYS}, count(*) as results, count(*) filter (where linked) as linked, count(mark) as marked,
           {_steps(ARRIVAL)} as arrival
    from (
        select done.hospital_id, done.category, done.item_code, done.linked, marked.item_code as mark,
               {_step("coalesce(brought.first_received_at, laboratory.received_at) - done.exam_time", ARRIVAL)} as step
        from done
        left join brought on brought.id = done.study_id
        left join lateral (
            select min(version.received_at) as received_at
            from observation join report_version version on version.id = observation.report_version_id
            where observation.result_id = done.id and done.study_id is null
        ) laboratory on true
        left join marked on marked.hospital_id = done.hospital_id and marked.item_code = done.item_code
          and done.day >= marked.first_day and done.day < marked.next_day
        where done.counts
    ) counted
    group by {_LEVELS}
), of_use as (
    select {_KEYS}, count(*) as shown, count(viewed_at) as viewed, {_steps(VIEWING)} as viewing
    from (
        select done.hospital_id, done.category, done.item_code, shown.viewed_at,
               {_step("shown.viewed_at - shown.shown_at", VIEWING)} as step
        from done join result_shown shown on shown.result_id = done.id
    ) used
    group by {_LEVELS}
)
"""  # noqa: S608 (of constants)
_OF_STUDIES: Final = f"""
of_studies as (
    select {_KEYS}, count(distinct id) as studies, count(distinct id) filter (where complete) as images_complete,
           count(distinct id) filter (where reported) as reported
    from (
        select brought.id, brought.hospital_id, 'imaging' as category, coalesce(done.item_code, '') as item_code,
               brought.complete, brought.reported
        from brought left join done on done.study_id = brought.id and done.counts
    ) borne
    group by {_LEVELS}
), of_reports as (
    select {_KEYS}, count(*) as reports, count(*) filter (where matched) as matched
    from (
        select report.hospital_id, 'imaging' as category, '' as item_code, true as matched
        from brought join report on report.study_id = brought.id
        join report_version version on version.id = report.standing_version_id
        where report.category = 'imaging' and version.status not in {_WITHDRAWN}
        union all
        select report.hospital_id, 'imaging', '', false
        from report join report_version version on version.id = report.standing_version_id
        where report.study_id is null and report.category = 'imaging' and version.status not in {_WITHDRAWN}
          and version.reported_at >= :since and version.reported_at < :until
    ) standing_reports
    group by {_LEVELS}
)
"""  # noqa: S608 (of constants)
COUNT_MONTH: Final = f"""
with {",".join((_ITEMS, _DONE, _BROUGHT, _MARKED, _OF_RESULTS, _OF_STUDIES))}
insert into supply (level, month, hospital_id, category, item_code, {", ".join(COUNTERS)}, arrival, viewing)
select level, :month, hospital_id, category, item_code, {", ".join(f"coalesce({name}, 0)" for name in COUNTERS)},
       coalesce(arrival, array_fill(0, array[{len(ARRIVAL)}])), coalesce(viewing, array_fill(0, array[{len(VIEWING)}]))
from of_results
full join of_studies using (level, hospital_id, category, item_code)
full join of_reports using (level, hospital_id, category, item_code)
full join of_use using (level, hospital_id, category, item_code)
"""  # noqa: S608 (of constants)
SETTLES_AT: Final = """
select min(settles_at) from study
where exam_time >= :since and exam_time < :until and not images_complete and settles_at > :now and not withdrawn
"""
# Every month there is anything to count of, or was.
NOTE_EVERY_MONTH: Final = """
insert into supply_changed (month)
select date_trunc('month', at at time zone 'Asia/Shanghai')::date
from (
    select exam_time as at from result
    union all select exam_time from study
    union all select reported_at from report join report_version on report_version.id = standing_version_id
              where study_id is null
) done
union select month from supply_month
"""
