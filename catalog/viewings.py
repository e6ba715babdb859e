"""What a viewing is: somebody of the asking hospital opened what a check had shown it.

A check shows results; each result in its answer is a showing. Opening a result's report or one of its documents, or
its study or laboratory value by FHIR, is a viewing (ACTIONS). It counts for the newest check of the same hospital that
had shown the result, while that check could be decided on; a showing opened twice is viewed once. A hospital that
opens what is its own views nothing, and searching lists without opening. All of it is read from the audit, which is
appended to and never changed: so reading on and reading from the beginning come to the same.
"""

from collections.abc import Callable
from datetime import date, datetime, time
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from catalog.audit_seal import settled_id
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.rules import HOSPITAL_ZONE
from catalog.tables_supply import AuditRead, ResultShown

ACTIONS: Final = ("report.read", "report.attachment", "imaging_study.read", "observation.read")
_READER: Final = "viewings"
_BATCH: Final = 20_000  # records
_WAIT_SECONDS: Final = 5.0

OnProgress = Callable[[int, int], None]


def by_hospital(session: Session, first: date, last: date) -> dict[int, int]:
    """Return how many showings each asking hospital viewed from one day to another, both inclusive, by its id."""
    since, until = (
        datetime.combine(day, at, HOSPITAL_ZONE) for day, at in ((first, time.min), (last, time.max))
    )
    query = (
        select(ResultShown.hospital_id, func.count())
        .where(ResultShown.viewed_at.between(since, until))
        .group_by(ResultShown.hospital_id)
    )
    return dict(session.execute(query).tuples().all())


def read_on(catalogue: Catalogue, on_progress: OnProgress = lambda _done, _total: None) -> int:
    """Read what the audit has had since the last time; return how many records that was.

    What is still being written waits for the next time. Raises DatabaseDown.
    """
    settled = settled_id(catalogue.engine, _WAIT_SECONDS)
    began = reached = _reached(catalogue)
    while reached < settled:
        reached = _read_batch(catalogue, settled)
        on_progress(reached - began, settled - began)
    return reached - began


def forget(session: Session) -> None:
    """Let the audit be read from its beginning again."""
    session.execute(text("delete from result_shown"))
    session.get_one(AuditRead, _READER, with_for_update=True).through_id = 0


def _reached(catalogue: Catalogue) -> int:
    with transaction(catalogue.engine) as session:
        return session.get_one(AuditRead, _READER).through_id


def _read_batch(catalogue: Catalogue, settled: int) -> int:
    with transaction(catalogue.engine) as session:
        row = session.get_one(AuditRead, _READER, with_for_update=True)
        after, row.through_id = row.through_id, max(row.through_id, min(row.through_id + _BATCH, settled))
        given = {
            "after": after,
            "through": row.through_id,
            "actions": list(ACTIONS),
            "within": catalogue.limits.decide_within,
        }
        for statement in (_SHOWINGS, _VIEWINGS):
            session.execute(text(statement), given)
        return row.through_id


# A result may be named that is gone: then there is nothing of it to count.
_SHOWINGS: Final = """
with told as (
    insert into result_shown (result_id, audit_id, hospital_id, shown_at)
    select distinct result.id, audit.id, audit.hospital_id, audit.recorded_at
    from audit_event audit, jsonb_array_elements_text(audit.detail -> 'shown') shown(result_id)
    join result on result.id = shown.result_id::bigint
    where audit.id > :after and audit.id <= :through and audit.action = 'check' and audit.hospital_id is not null
    on conflict do nothing
    returning result_id
)
insert into supply_changed (month)
select distinct date_trunc('month', exam_time at time zone 'Asia/Shanghai')::date
from told join result on result.id = told.result_id
"""
_VIEWINGS: Final = """
with opened as (
    select audit.id, audit.hospital_id, audit.recorded_at, audit.action, (audit.detail ->> 'report_id')::bigint as report_id,
           case when audit.action in ('imaging_study.read', 'observation.read') then audit.detail -> 'shown' end as entries
    from audit_event audit
    where audit.id > :after and audit.id <= :through and audit.action = any(:actions)
), of_results as (
    select opened.id, opened.hospital_id, opened.recorded_at, result.id as result_id
    from opened join report on report.id = opened.report_id join result on result.study_id = report.study_id
    union all
    select opened.id, opened.hospital_id, opened.recorded_at, observation.result_id
    from opened join observation on observation.report_id = opened.report_id
    where observation.result_id is not null
    union all
    select opened.id, opened.hospital_id, opened.recorded_at, result.id
    from opened, jsonb_array_elements_text(opened.entries) entry(id)
    join result on result.study_id = entry.id::bigint
    where opened.action = 'imaging_study.read'
    union all
    select opened.id, opened.hospital_id, opened.recorded_at, entry.id::bigint
    from opened, jsonb_array_elements_text(opened.entries) entry(id)
    where opened.action = 'observation.read'
), viewings as (
    select newest.result_id, newest.audit_id, min(of_results.recorded_at) as viewed_at
    from of_results
    join result on result.id = of_results.result_id and result.hospital_id <> of_results.hospital_id
    cross join lateral (
        select * from result_shown shown
        where shown.result_id = of_results.result_id and shown.hospital_id = of_results.hospital_id
          and shown.audit_id < of_results.id and shown.shown_at >= of_results.recorded_at - cast(:within as interval)
        order by shown.audit_id desc limit 1
    ) newest
    group by newest.result_id, newest.audit_id
), told as (
    update result_shown set viewed_at = viewings.viewed_at
    from viewings
    where result_shown.result_id = viewings.result_id and result_shown.audit_id = viewings.audit_id
      and (result_shown.viewed_at is null or viewings.viewed_at < result_shown.viewed_at)
    returning result_shown.result_id
)
insert into supply_changed (month)
select distinct date_trunc('month', exam_time at time zone 'Asia/Shanghai')::date
from told join result on result.id = told.result_id
"""
