"""What hospitals bring and how it is used, by month of the examination: figures of the issuing hospital.

They are counted behind the scenes (catalog.supply_refresh; what each of them is says catalog.supply_sql) and only added
up here. A rate is None where there is nothing to divide by. A median of minutes says within how many of them half lie,
by the steps of catalog.supply_steps.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any, Final

from sqlalchemy import exists, select, text
from sqlalchemy.orm import Session

from catalog.errors import InvalidInput
from catalog.figure_filters import NO_FILTERS, Filters
from catalog.items import ItemList
from catalog.savings import months
from catalog.supply_sql import COUNTERS
from catalog.supply_steps import ARRIVAL, LIMITS_HOURS, VIEWING, rank, within
from catalog.tables_supply import SupplyChanged, SupplyMonth

GROUPINGS: Final = ("hospital", "district", "tier", "item", "category", "month")
TIMELY_HOURS: Final = 24
LIMITS_TOLD: Final = ", ".join(map(str, LIMITS_HOURS))
_STEPS: Final = {"arrival": ARRIVAL, "viewing": VIEWING}
# Each share, of what and of how many.
RATES: Final[Mapping[str, tuple[str, str]]] = {
    "timely_rate": ("timely", "timed"),
    "images_complete_rate": ("images_complete", "studies"),
    "reported_rate": ("reported", "studies"),
    "matched_rate": ("matched", "reports"),
    "marked_rate": ("marked", "results"),
    "viewing_rate": ("viewed", "shown"),
}
_CATEGORIES: Final = {
    "imaging": ("检查", "Imaging examinations"),
    "laboratory": ("检验", "Laboratory tests"),
}
_NOT_LISTED: Final = ("不在清单", "On no list")
# What a row is about, and its name where it has one beside its code.
_KEYS: Final[Mapping[str, Mapping[str, str]]] = {
    "hospital": {"hospital": "hospital.code", "hospital_name": "hospital.name"},
    "district": {
        "district": "hospital.region_code",
        "district_name": "region.name",
        "district_name_en": "region.name_en",
    },
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
    filters: Filters = NO_FILTERS,
    within_hours: int = TIMELY_HOURS,
    offset: int = 0,
    limit: int | None = None,
) -> dict[str, Any]:
    """Return the figures of examinations in the months from `first` to `last`, both inclusive, grouped as asked.

    `timely` is what could be shown `within_hours` after the examination. `limit` rows after the first `offset`; `next`
    is the offset of those that follow, None at the end. `months` say how fresh they are, and which goes on still.
    Raises InvalidInput for an unknown grouping or category, a reversed range or a limit that is none of LIMITS_HOURS.
    """
    asked = months(first, last)
    _refuse(group_by, within_hours)
    filters.refuse_unknown()
    group_by = tuple(dict.fromkeys(group_by))
    given = {"first": asked[0], "last": asked[1]}
    page = {"offset": offset, "limit": None if limit is None else limit + 1}
    found = _read(session, group_by, filters, given | page)
    total = _read(session, (), filters, given | {"offset": 0, "limit": 1})
    kept = _months(session, asked, today)
    return {
        "as_of": min((each["as_of"] for each in kept), default=None),
        "running": asked[0] <= today.replace(day=1) <= asked[1],
        "from": f"{asked[0]:%Y-%m}",
        "to": f"{asked[1]:%Y-%m}",
        "group_by": list(group_by),
        "within_hours": within_hours,
        "rows": [_keys(items, row, group_by, today) | _figures(row, within_hours) for row in found[:limit]],
        "next": offset + limit if limit is not None and len(found) > limit else None,
        "total": _figures(total[0] if total else {}, within_hours),
        "months": kept,
    }


def _refuse(group_by: Sequence[str], within_hours: int) -> None:
    if unknown := [name for name in group_by if name not in _KEYS]:
        raise InvalidInput(f"无此分组:{','.join(unknown)[:40]}", "Unknown grouping", field="group_by")
    if within_hours not in LIMITS_HOURS:
        raise InvalidInput(
            f"时限(小时)为 {LIMITS_TOLD} 之一",
            f"The limit in hours is one of {LIMITS_TOLD}",
            field="within_hours",
        )


def _read(
    session: Session, group_by: Sequence[str], filters: Filters, given: dict[str, Any]
) -> list[dict[str, Any]]:
    narrowed = {name: list(values) for name, values in asdict(filters).items() if values}
    statement = text(_statement(group_by, narrowed))
    return [dict(row) for row in session.execute(statement, given | narrowed).mappings()]


def _statement(group_by: Sequence[str], narrowed: Collection[str]) -> str:
    """Return the query for one row of figures for each group, in the order of its keys; it reads one level only."""
    about = {*group_by, *narrowed}
    level = "item" if "item" in about else "category" if "category" in about else "hospital"
    keys = {"level": "figures.level"}
    for name in group_by:
        keys |= _KEYS[name]
    sums = [f"sum(figures.{name})::bigint as {name}" for name in COUNTERS]
    for what, steps in _STEPS.items():
        added = ", ".join(f"sum(figures.{what}[{n + 1}])::bigint" for n in range(len(steps)))
        sums.append(f"array[{added}] as {what}")
    return _REPORT.format(
        level=level,
        selected=", ".join(f"{expression} as {name}" for name, expression in keys.items()),
        grouped=", ".join(keys.values()),
        sums=", ".join(sums),
        narrowed="".join(f" and {_KEYS[name][name]} = any(:{name})" for name in narrowed),
    )


_REPORT: Final = """
select {selected}, {sums}
from supply figures
join hospital on hospital.id = figures.hospital_id join region on region.code = hospital.region_code
where figures.level = '{level}' and figures.month between :first and :last{narrowed}
group by {grouped} order by {grouped} offset :offset limit :limit
"""


def _figures(row: Mapping[str, Any], within_hours: int) -> dict[str, Any]:
    counted = {name: row.get(name, 0) for name in COUNTERS}
    arrival, viewing = (row.get(what) or [0] * len(steps) for what, steps in _STEPS.items())
    counted |= {"timed": sum(arrival), "timely": within(arrival, within_hours * 60)}
    rates = {name: rate(counted[part], counted[of]) for name, (part, of) in RATES.items()}
    return (
        counted
        | rates
        | {
            "arrival_median_minutes": rank(arrival, ARRIVAL, 50),
            "arrival_p90_minutes": rank(arrival, ARRIVAL, 90),
            "viewing_median_minutes": rank(viewing, VIEWING, 50),
        }
    )


def rate(part: int, of: int) -> float | None:
    """Return a share; None where there is nothing it could be a share of."""
    return round(part / of, 6) if of else None


def _keys(items: ItemList, row: Mapping[str, Any], group_by: Sequence[str], today: date) -> dict[str, Any]:
    """Return what a row is about: codes, the names that go with them, and whether its month goes on still."""
    keys = {key: row[key] for name in group_by for key in _KEYS[name]}
    if "item" in keys:
        item = items.get(keys["item"])
        named = (item.name_zh, item.name_en) if item else ("", "") if keys["item"] else _NOT_LISTED
        keys["item_name"], keys["item_name_en"] = named
    if "category" in keys:
        keys["category_name"], keys["category_name_en"] = _CATEGORIES.get(keys["category"], ("", ""))
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
