"""The national monthly form: the rate of mutual recognition, and how often each reason for not recognising was given."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from catalog import item_lists, savings
from catalog.context import Catalogue
from catalog.form_months import FormMonths
from catalog.forms import FormColumn
from catalog.tables import Decision

_SHOWN: Final = ("reminders", "recognised", "refused", "excused", "rate")
_NOTHING: Final = dict.fromkeys(_SHOWN, 0) | {"rate": None}
_GROUP: Final = ("未予互认的原因", "reasons for not recognising")


def fill(session: Session, catalogue: Catalogue, months: FormMonths) -> dict[str, Any]:
    """Return a row for each month, and the total; the reasons are further columns."""
    items = item_lists.every_item(session, catalogue)
    report = savings.report(session, items, first=months.first, last=months.last, group_by=("month",))
    counted = _reasons(session, months)
    codes = [
        *catalogue.override_reasons,
        *sorted({code for _, code in counted} - {*catalogue.override_reasons}),
    ]
    figures = {row["month"]: row for row in report["rows"]}
    names = [f"{month:%Y-%m}" for month in months]
    rows = [
        {"month": name, **_shown(figures.get(name, _NOTHING)), **_given(codes, counted, [name])}
        for name in names
    ]
    total = _shown(report["total"]) | _given(codes, counted, names)
    return {
        "rows": rows,
        "summary": [],
        "total": total,
        "more_columns": [_column(catalogue, code) for code in codes],
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _SHOWN}


def _given(codes: Iterable[str], counted: Counter[tuple[str, str]], months: Iterable[str]) -> dict[str, int]:
    return {f"reason_{code}": sum(counted[month, code] for month in months) for code in codes}


def _reasons(session: Session, months: FormMonths) -> Counter[tuple[str, str]]:
    """Return how often each reason stands, by month and code: not what was undone, nor what is beyond duty."""
    undo = aliased(Decision)
    month = func.to_char(Decision.business_date, "YYYY-MM")
    query = (
        select(month, Decision.reason_code, func.count())
        .where(
            Decision.action == "override",
            ~Decision.beyond_duty,
            Decision.business_date >= months.first,
            Decision.business_date < months.end,
            ~select(undo.id).where(undo.undoes_id == Decision.id).exists(),
        )
        .group_by(month, Decision.reason_code)
    )
    return Counter({(name, code or ""): count for name, code, count in session.execute(query).tuples()})


def _column(catalogue: Catalogue, code: str) -> FormColumn:
    reason = catalogue.override_reasons.get(code)
    zh, en = (reason.zh, reason.en) if reason else ("清单外的原因", "A reason that is on no list")
    return FormColumn(
        key=f"reason_{code}",
        group_zh=_GROUP[0],
        group_en=_GROUP[1],
        zh=f"{code} {zh}",
        en=en,
        kind="count",
        meaning_zh=zh,
        meaning_en=en,
    )
