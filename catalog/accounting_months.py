"""The months that figures are kept in: when each ended, and how often what came late opened it again."""

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import RowMapping, func, select, text
from sqlalchemy.orm import Session

from catalog.rules import HOSPITAL_ZONE, local_day
from catalog.tables import Monthly


def last_day(month: date) -> date:
    """Return the last day of a month."""
    return month.replace(day=monthrange(month.year, month.month)[1])


def revisions(session: Session, first: date, last: date, at: datetime) -> list[dict[str, Any]]:
    """Return the months from `first` to `last` that had begun at a moment, from the first that has any figures.

    `revision` is 0 while a month runs and 1 from its end; each later day on which something was posted into it (a
    reversal, an undo, a prior shown at last for one of its orders) makes it one more, and `reopened_at` is the newest
    such time. Whoever sees one hospital's rows is told what came late for that hospital.
    """
    earliest = session.scalar(select(func.min(Monthly.month)))
    if earliest is None:
        return []
    values = {"first": first, "last": last_day(last), "at": at, "ended": _end_of(last)}
    late = {row["month"]: row for row in session.execute(_CAME_LATE, values).mappings()}
    today = local_day(at)
    return [
        _described(month, today, late.get(month)) for month in _months(max(first, earliest), min(last, today))
    ]


def _months(month: date, last: date) -> Iterator[date]:
    while month <= last:
        yield month
        month = last_day(month) + timedelta(days=1)


def _described(month: date, today: date, late: RowMapping | None) -> dict[str, Any]:
    ended = last_day(month) < today
    return {
        "month": f"{month:%Y-%m}",
        "revision": int(ended) + (late["days"] if late else 0),
        "ended_at": _end_of(month).isoformat() if ended else None,
        "reopened_at": late["newest"].astimezone(HOSPITAL_ZONE).isoformat() if late else None,
    }


def _end_of(month: date) -> datetime:
    return datetime.combine(last_day(month), time.max, HOSPITAL_ZONE)


# The first condition of each is that of its index (ix_…_late). An undo keeps the time of the check it goes back to.
_CAME_LATE: Final = text("""
select date_trunc('month', business_date)::date as month, max(late_at) as newest,
       count(distinct (late_at at time zone 'Asia/Shanghai')::date) as days
from (
    select business_date, posted_at as late_at from ledger
    where (posted_at at time zone 'Asia/Shanghai')::date > business_date and business_date between :first and :last
    union all
    select business_date, reminded_at from ordered_item
    where (reminded_at at time zone 'Asia/Shanghai')::date > business_date and business_date between :first and :last
    union all
    select undone.business_date, undo.decided_at from decision undo join decision undone on undone.id = undo.undoes_id
    where undo.action = 'undo'
      and (undo.checked_at at time zone 'Asia/Shanghai')::date < undo.business_date
      and undo.checked_at <= :ended and undone.business_date between :first and :last
) posted
where late_at <= :at
  and date_trunc('month', late_at at time zone 'Asia/Shanghai') > date_trunc('month', business_date)
group by 1
""")
