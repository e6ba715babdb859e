"""What hospitals bring and how it is used, by month of the examination: figures of the issuing hospital.

They are counted behind the scenes (catalog.supply_refresh; what each of them is says catalog.supply_sql) and only added
up here. A rate is None where there is nothing to divide by. Minutes are by nearest rank, of waits rounded up: to the
minute up to two hours, to 5 minutes up to six, to 15 up to a day, to the hour up to a week, to the day beyond.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import exists, select, text
from sqlalchemy.orm import Session

from catalog.errors import InvalidInput
from catalog.items import ItemList
from catalog.savings import months
from catalog.supply_sql import LONGEST_LIMIT_HOURS
from catalog.tables_supply import SupplyChanged, SupplyMonth

GROUPINGS: Final = ("hospital", "district", "tier", "item", "category", "month")
TIMELY_HOURS: Final = 24
COUNTERS: Final = (
    *("studies", "images_complete", "reported", "reports", "matched"),
    *("results", "linked", "marked", "shown", "viewed"),
)
# Each share, of what and of how many.
RATES: Final[Mapping[str, tuple[str, str]]] = {
    "timely_rate": ("timely", "timed"),
    "images_complete_rate": ("images_complete", "studies"),
    "reported_rate": ("reported", "studies"),
    "matched_rate": ("matched", "reports"),
    "marked_rate": ("marked", "results"),
    "viewing_rate": ("viewed", "shown"),
}
MINUTES: Final = ("arrival_median_minutes", "arrival_p90_minutes", "viewing_median_minutes")
_CATEGORIES: Final = {"imaging": "检查", "laboratory": "检验"}
_NOT_LISTED: Final = "不在清单 / on no list"
# What a row is about, and its name where it has one beside its code.
_KEYS: Final[Mapping[str, Mapping[str, str]]] = {
    "hospital": {"hospital": "hospital.code", "hospital_name": "hospital.name"},
    "district": {"district": "hospital.region_code", "district_name": "region.name"},
    "tier": {"tier": "hospital.tier::text"},
    "item": {"item": "figures.item_code"},
    "category": {"category": "figures.category"},
    "month": {"month": "to_char(figures.month, 'YYYY-MM')"},
}


def report(
    session: Session,
    items: ItemList,
    *,
    today: date,
    first: date,
    last: date,
    group_by: Sequence[str] = ("hospital",),
    within_hours: int = TIMELY_HOURS,
    offset: int = 0,
    limit: int | None = None,
) -> dict[str, Any]:
    """Return the figures of examinations in the months from `first` to `last`, both inclusive, grouped as asked.

    `timely` is what could be shown `within_hours` after the examination. `limit` rows after the first `offset`; `next`
    is the offset of those that follow, None at the end. `months` say how fresh they are, and which goes on still.
    Raises InvalidInput for an unknown grouping, a reversed range or a limit outside 1 to 168 hours.
    """
    asked = months(first, last)
    _refuse(group_by, within_hours)
    group_by = tuple(dict.fromkeys(group_by))
    given = {"first": asked[0], "last": asked[1], "within": within_hours * 60}
    page = {"offset": offset, "limit": None if limit is None else limit + 1}
    found = session.execute(text(_statement(group_by)), given | page).mappings().all()
    total = session.execute(text(_statement(())), given | {"offset": 0, "limit": 1}).mappings().one_or_none()
    kept = _months(session, asked, today)
    return {
        "as_of": min((each["as_of"] for each in kept), default=None),
        "running": asked[0] <= today.replace(day=1) <= asked[1],
        "from": f"{asked[0]:%Y-%m}",
        "to": f"{asked[1]:%Y-%m}",
        "group_by": list(group_by),
        "within_hours": within_hours,
        "rows": [_keys(items, row, group_by, today) | _figures(row) for row in found[:limit]],
        "next": offset + limit if limit is not None and len(found) > limit else None,
        "total": _figures(total or {}),
        "months": kept,
    }


def _refuse(group_by: Sequence[str], within_hours: int) -> None:
    if unknown := [name for name in group_by if name not in _KEYS]:
        raise InvalidInput(f"无此分组:{','.join(unknown)[:40]}", "Unknown grouping", field="group_by")
    if not 1 <= within_hours <= LONGEST_LIMIT_HOURS:
        raise InvalidInput(
            f"时限为 1 至 {LONGEST_LIMIT_HOURS} 小时",
            f"The limit is 1 to {LONGEST_LIMIT_HOURS} hours",
            field="within_hours",
        )


def _statement(group_by: Sequence[str]) -> str:
    """Return the query for one row of figures for each group, in the order of its keys.

    It reads the rows of one level only, and the minutes of the page's groups only.
    """
    level = "item" if "item" in group_by else "category" if "category" in group_by else "hospital"
    keys = {"level": "figures.level"}
    for name in group_by:
        keys |= _KEYS[name]
    selected = ", ".join(f"{expression} as {name}" for name, expression in keys.items())
    return _REPORT.format(
        level=level,
        keys=", ".join(keys),
        selected=selected,
        grouped=", ".join(keys.values()),
        sums=", ".join(f"sum(figures.{name})::bigint as {name}" for name in COUNTERS),
    )


_REPORT: Final = """
with page as materialized (
    select {selected}, {sums}
    from supply figures
    join hospital on hospital.id = figures.hospital_id join region on region.code = hospital.region_code
    where figures.level = '{level}' and figures.month between :first and :last
    group by {grouped} order by {grouped} offset :offset limit :limit
), steps as (
    select {keys}, what, minutes, sum(step.results) as results
    from (
        select {selected}, figures.what, figures.minutes, figures.results
        from supply_minutes figures
        join hospital on hospital.id = figures.hospital_id join region on region.code = hospital.region_code
        where figures.level = '{level}' and figures.month between :first and :last
    ) step
    join page using ({keys})
    group by {keys}, what, minutes
), ranked as (
    select *, sum(results) over (partition by {keys}, what order by minutes) as upto,
           sum(results) over (partition by {keys}, what) as whole
    from steps
), waited as (
    select {keys}, min(minutes) filter (where what = 'arrival' and upto * 2 >= whole) as arrival_median_minutes,
           min(minutes) filter (where what = 'arrival' and upto * 10 >= whole * 9) as arrival_p90_minutes,
           min(minutes) filter (where what = 'viewing' and upto * 2 >= whole) as viewing_median_minutes,
           (sum(results) filter (where what = 'arrival'))::bigint as timed,
           (sum(results) filter (where what = 'arrival' and minutes <= :within))::bigint as timely
    from ranked group by {keys}
)
select * from page left join waited using ({keys}) order by {keys}
"""


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    counted = {name: row.get(name) or 0 for name in (*COUNTERS, "timed", "timely")}
    rates = {name: rate(counted[part], counted[of]) for name, (part, of) in RATES.items()}
    return counted | rates | {name: row.get(name) for name in MINUTES}


def rate(part: int, of: int) -> float | None:
    """Return a share; None where there is nothing it could be a share of."""
    return float(round(Fraction(part, of), 6)) if of else None


def _keys(items: ItemList, row: Mapping[str, Any], group_by: Sequence[str], today: date) -> dict[str, Any]:
    """Return what a row is about: codes, the names that go with them, and whether its month goes on still."""
    keys = {key: row[key] for name in group_by for key in _KEYS[name]}
    if "item" in keys:
        item = items.get(keys["item"])
        keys["item_name"] = item.name_zh if item else _NOT_LISTED if not keys["item"] else ""
    if "category" in keys:
        keys["category_name"] = _CATEGORIES.get(keys["category"], "")
    if "month" in keys:
        keys["running"] = keys["month"] == f"{today:%Y-%m}"
    return keys


def _months(session: Session, asked: tuple[date, date], today: date) -> list[dict[str, Any]]:
    """Return each month counted: as of when, whether something has changed since, whether it goes on still."""
    changed = exists().where(SupplyChanged.month == SupplyMonth.month)
    query = select(SupplyMonth, changed).where(SupplyMonth.month.between(*asked)).order_by(SupplyMonth.month)
    return [
        {
            "month": f"{row.month:%Y-%m}",
            "as_of": row.as_of.isoformat(timespec="seconds"),
            "changed": is_changed,
            "running": row.month == today.replace(day=1),
            "seconds": row.seconds,
        }
        for row, is_changed in session.execute(query).tuples()
    ]
