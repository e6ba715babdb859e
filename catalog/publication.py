"""The report as outsiders may have it: small counts withheld, what would tell them with it, and nothing finer beside.

What is protected is one answer. Two answers of other groupings, filters or months can be subtracted from each other:
whoever publishes chooses one cut of a period and stays with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from catalog import suppression
from catalog.ledger import COUNTERS

_COUNTS: Final = tuple(name for name in COUNTERS if not name.endswith("_fen"))
_MONEY: Final = ("saved_fen", "reversed_fen", "net_fen")
_BEHIND_MONEY: Final = frozenset({"recognised", "beyond_duty", "undone", "unpriced"})
_BEHIND_RATE: Final = ("recognised", "reminders", "excused")
FOLLOWS: Final = "follows"  # the mark of a rate or of money behind which a count is withheld
TOTAL: Final = "total"  # the mark of a total; it says nothing of how large it is


def published(
    answer: Mapping[str, Any], least: int, *, offset: int = 0, limit: int | None = None
) -> dict[str, Any]:
    """Return a page of a whole report with every count below `least` withheld: None, and its mark in `withheld`.

    `answer` is that of `as_of.report` with every row. Own-hospital and emergency figures are left out, being parts
    that could be subtracted; money is withheld with the counts behind it, a rate with any count it is made of.
    """
    rows = answer["rows"]
    columns = {name: suppression.withhold([row[name] for row in rows], least) for name in _COUNTS}
    shown = [
        _keys(row, answer["group_by"])
        | _figures(
            row, {name: found.rows[place] for name, found in columns.items() if place in found.rows}, least
        )
        for place, row in enumerate(rows)
    ]
    end = len(shown) if limit is None else offset + limit
    totals = {name: TOTAL for name, found in columns.items() if found.total}
    return {
        **answer,
        "rows": shown[offset:end],
        "next": end if end < len(shown) else None,
        "total": _figures(answer["total"], totals, least),
        "unpriced": [gap | {"recognised": None} for gap in answer["unpriced"]],
        "months": [month | {"reopened_at": None} for month in answer["months"]],
        "publication": {"least_count": least},
    }


def _figures(row: Mapping[str, Any], withheld: Mapping[str, str], least: int) -> dict[str, Any]:
    """Return a row's figures without what is withheld, and why that is."""
    marks: dict[str, str] = dict(withheld)
    if _BEHIND_MONEY & marks.keys():
        marks |= dict.fromkeys(_MONEY, FOLLOWS)
    if row["rate"] is not None and (marks.keys() & set(_BEHIND_RATE) or _tells_few(row, least)):
        marks["rate"] = FOLLOWS
    figures = {name: None if name in marks else row[name] for name in (*_COUNTS, "rate", *_MONEY)}
    return figures | {"withheld": marks}


def _tells_few(row: Mapping[str, Any], least: int) -> bool:
    """Say whether the rate, which leaves own-hospital priors out, would tell how few those or the others are."""
    parts = [
        count
        for name in _BEHIND_RATE
        for count in (row["own_hospital"][name], row[name] - row["own_hospital"][name])
    ]
    return any(0 < count < least for count in parts)


def _keys(row: Mapping[str, Any], group_by: Sequence[str]) -> dict[str, Any]:
    return {
        key: row[key] for name in group_by for key in (name, f"{name}_name", f"{name}_name_en") if key in row
    }
