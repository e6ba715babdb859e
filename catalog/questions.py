"""Questions about figures that are not plausible: asked of a hospital, item and month, never an accusation.

Recognised without a look at the prior; decided faster than anybody reads; one doctor's bursts; savings far above those
of peers or of the months before. Each says what was seen, what was expected and why, and where the entries are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy import RowMapping, select, text
from sqlalchemy.orm import Session

from catalog import savings
from catalog.errors import InvalidInput
from catalog.items import ItemList
from catalog.plausibility import Expected, Figure, Thresholds, above_history, above_peers, months_before
from catalog.pricing import format_yuan
from catalog.question_texts import TEXTS, Kind, compared_with
from catalog.tables import Hospital

MOST_MONTHS: Final = 12
_UNITS: Final[dict[Kind, str]] = {
    "unviewed": "share",
    "fast": "share",
    "burst": "decisions",
    "savings_above_peers": "fen_per_reminder",
    "savings_above_history": "fen_per_reminder",
}


@dataclass(frozen=True, slots=True)
class _Raised:
    """A question before it is put into words; `count` of `figure.of` is what was seen."""

    kind: Kind
    figure: Figure
    count: int
    expected: Expected
    decisions: tuple[int, ...] = ()
    emergencies: int | None = None


def ask(
    session: Session,
    items: ItemList,
    thresholds: Thresholds,
    *,
    first: date,
    last: date,
    hospital: str | None = None,
    offset: int = 0,
    limit: int | None = None,
) -> dict[str, Any]:
    """Return the questions about the months from `first` to `last`, by month, hospital, kind and item.

    `limit` of them after the first `offset`; `next` is the offset of those that follow. Raises InvalidInput for a
    reversed range, or one of more than MOST_MONTHS.
    """
    months = savings.months(first, last)
    if months_before(months[1], MOST_MONTHS - 1) > months[0]:
        raise InvalidInput(
            f"一次至多查询 {MOST_MONTHS} 个月", f"At most {MOST_MONTHS} months at a time", field="from"
        )
    raised = [*_of_decisions(session, thresholds, months), *_of_money(session, thresholds, months)]
    raised += _bursts(session, thresholds, months)
    wanted = sorted((each for each in raised if hospital in (None, each.figure.hospital)), key=_order)
    words = _Words(
        items, dict(session.execute(select(Hospital.code, Hospital.name)).tuples().all()), thresholds
    )
    end = None if limit is None else offset + limit
    return {
        "from": f"{months[0]:%Y-%m}",
        "to": f"{months[1]:%Y-%m}",
        "questions": [words.told(each) for each in wanted[offset:end]],
        "next": end if end is not None and len(wanted) > end else None,
        "total": len(wanted),
    }


def _order(raised: _Raised) -> tuple[Any, ...]:
    figure = raised.figure
    return figure.month, figure.hospital, raised.kind, figure.item, raised.decisions


def _of_decisions(session: Session, thresholds: Thresholds, months: tuple[date, date]) -> Iterator[_Raised]:
    """Yield where recognitions came without a viewing, and where they came too fast."""
    values = {
        **_range(months),
        "viewed_within": thresholds.viewed_within,
        "fast_seconds": thresholds.fast_seconds,
        "least": thresholds.least_orders,
    }
    rows = session.execute(_DECIDED_HOW, values).mappings().all()
    for kind, of, ceiling in (
        ("unviewed", "others", None),
        ("fast", "recognised", thresholds.fast_share),
    ):
        of_figure = {_figure(row, row[kind] / row[of], row[of]): row for row in rows if row[of]}
        found = above_peers(of_figure, thresholds, gap=thresholds.share_gap, ceiling=ceiling)
        for figure, expected in found:
            row = of_figure[figure]
            yield _Raised(
                kind,  # type: ignore[arg-type]
                figure,
                row[kind],
                expected,
                tuple(row[f"{kind}_decisions"]),
                row[f"{kind}_emergencies"],
            )


def _of_money(session: Session, thresholds: Thresholds, months: tuple[date, date]) -> Iterator[_Raised]:
    """Yield where a reminder saved far more than with peers, and than in the months before."""
    since = months_before(months[0], thresholds.history_months)
    rows = session.execute(
        _SAVED, {**_range((since, months[1])), "least": thresholds.least_orders}
    ).mappings()
    # What saves beyond any duty has no reminder: a hospital with nothing else is no smaller a question.
    net = {
        _figure(row, row["net_fen"] / max(row["reminders"], 1), row["orders"]): row["net_fen"] for row in rows
    }
    far = {"gap": float(thresholds.money_gap_fen), "ratio": thresholds.money_ratio}
    now = [figure for figure in net if figure.month >= months[0]]
    for figure, expected in above_peers(now, thresholds, **far):
        yield _Raised("savings_above_peers", figure, net[figure], expected)
    for figure, expected in above_history(net, thresholds, months[0], **far):
        yield _Raised("savings_above_history", figure, net[figure], expected)


def _bursts(session: Session, thresholds: Thresholds, months: tuple[date, date]) -> Iterator[_Raised]:
    """Yield the greatest burst of each doctor in each month, without his name."""
    values = {
        **_range(months),
        "within": thresholds.burst_within,
        "least": thresholds.burst_decisions,
    }
    at_most = thresholds.burst_decisions - 1
    for row in session.execute(_BURSTS, values).mappings():
        yield _Raised(
            "burst",
            Figure(row["hospital"], row["tier"], "", row["month"], row["burst"], row["decided"]),
            row["burst"],
            Expected(at_most, at_most, "setting", 0),
            tuple(row["decisions"]),
            row["emergencies"],
        )


def _figure(row: RowMapping, value: float, of: int) -> Figure:
    return Figure(row["hospital"], row["tier"], row["item_code"], row["month"], value, of)


def _range(months: tuple[date, date]) -> dict[str, date]:
    return {"first": months[0], "end": months_before(months[1], -1)}


@dataclass(frozen=True, slots=True)
class _Words:
    """What puts questions into words: the names of items and hospitals, and from where on something is asked."""

    items: ItemList
    hospitals: dict[str, str]
    thresholds: Thresholds

    def told(self, raised: _Raised) -> dict[str, Any]:
        """Return a question in words and figures."""
        figure, expected, month = raised.figure, raised.expected, f"{raised.figure.month:%Y-%m}"
        facts = self._facts(raised, month)
        return {
            "question_id": _id(raised, month),
            "kind": raised.kind,
            "hospital": figure.hospital,
            "hospital_name": facts["hospital_name"],
            "item": figure.item or None,
            "item_name": facts["item_name"] if figure.item else None,
            "month": month,
            "seen": {
                "unit": _UNITS[raised.kind],
                "value": round(figure.value, 4),
                "count": raised.count,
                "of": figure.of,
                "emergencies": raised.emergencies,
            },
            "expected": {
                "usual": round(expected.usual, 4),
                "at_most": round(expected.at_most, 4),
                "compared_with": expected.compared_with,
                "compared": expected.compared,
            },
            **TEXTS[raised.kind].told(facts),
            "entries": _entries(figure, month),
            "decisions": [str(each) for each in raised.decisions],
        }

    def _facts(self, raised: _Raised, month: str) -> dict[str, Any]:
        figure, expected, least = raised.figure, raised.expected, self.thresholds
        item = self.items.get(figure.item)
        return {
            **compared_with(expected.compared_with),
            "hospital_name": self.hospitals[figure.hospital],
            "item_name": item.name_zh if item else figure.item,
            "item_name_en": item.name_en if item else figure.item,
            "month": month,
            "value": figure.value,
            "count": raised.count,
            "of": figure.of,
            "usual": expected.usual,
            "at_most": f"{expected.at_most:g}",
            "compared": expected.compared,
            "value_yuan": format_yuan(round(figure.value)),
            "count_yuan": format_yuan(raised.count),
            "usual_yuan": format_yuan(round(expected.usual)),
            "deviations": f"{least.deviations:g}",
            "ratio": f"{least.money_ratio:g}",
            "gap": least.share_gap,
            "gap_yuan": format_yuan(least.money_gap_fen),
            "fast_seconds": f"{least.fast_seconds:g}",
            "fast_share": least.fast_share,
            "burst_minutes": f"{least.burst_minutes:g}",
        }


def _id(raised: _Raised, month: str) -> str:
    """Return what stays the same while the figures of a month change; a burst is told by its first decision."""
    told = str(raised.decisions[0]) if raised.kind == "burst" else raised.figure.item
    return f"{raised.kind}:{raised.figure.hospital}:{told}:{month}"


def _entries(figure: Figure, month: str) -> str:
    query = {"from": month, "to": month, "hospital": figure.hospital}
    return "/v1/savings/entries?" + urlencode(query | ({"item": figure.item} if figure.item else {}))


# Of what stands; a viewing of somebody merged with the patient is one of his. Moments are compared with moments of the
# same type: only that passes the view's barrier, so that an index serves it.
_DECIDED_HOW: Final = text("""
    with decided as materialized (
        select id, hospital_id, item_code, cast(date_trunc('month', business_date) as date) as month, person_id,
               decided_at, own_hospital, emergency,
               decided_at < checked_at + make_interval(secs => :fast_seconds) as fast
        from decision
        where business_date >= :first and business_date < :end and action = 'recognise'
          and not exists (select from decision undo where undo.undoes_id = decision.id)
    ), looked as materialized (
        select person_id, hospital_id, recorded_at from viewing
        where recorded_at >= cast(:first as timestamptz) - cast(:viewed_within as interval) - interval '1 day'
          and recorded_at < cast(:end as timestamptz) + interval '1 day'
    ), of_one_human_being as (
        select id, hospital_id, decided_at, person_id from decided
        union all
        select id, hospital_id, decided_at, m.other_id from decided join merged m on m.person_id = decided.person_id
    ), viewed as (
        select distinct d.id from of_one_human_being d
        join looked on looked.person_id = d.person_id and looked.hospital_id = d.hospital_id
         and looked.recorded_at between d.decided_at - cast(:viewed_within as interval) and d.decided_at
    ), told as (
        select decided.*, not own_hospital and viewed.id is null as unviewed
        from decided left join viewed on viewed.id = decided.id
    )
    select hospital.code as hospital, hospital.tier, item_code, month, count(*) as recognised,
           count(*) filter (where not own_hospital) as others,
           count(*) filter (where unviewed) as unviewed, count(*) filter (where fast) as fast,
           count(*) filter (where unviewed and emergency) as unviewed_emergencies,
           count(*) filter (where fast and emergency) as fast_emergencies,
           coalesce((array_agg(told.id order by told.id) filter (where unviewed))[1:20], '{}') as unviewed_decisions,
           coalesce((array_agg(told.id order by told.id) filter (where fast))[1:20], '{}') as fast_decisions
    from told join hospital on hospital.id = told.hospital_id
    group by 1, 2, 3, 4 having count(*) >= :least order by 1, 3, 4
""")
# What a system decides carries the system's name: only of a doctor's own is a burst one person's. Windows upon windows
# read the month once; to join the greatest of them with the rest would take its square.
_BURSTS: Final = text("""
    with counted as (
        select id, hospital_id, caller, person_id, decided_at, emergency,
               cast(date_trunc('month', business_date) as date) as month,
               count(*) over (partition by hospital_id, caller, date_trunc('month', business_date) order by decided_at
                              range between cast(:within as interval) preceding and current row) as burst
        from decision
        where business_date >= :first and business_date < :end and action in ('recognise', 'override')
    ), greatest_first as (
        select *, first_value(burst) over best as peak, first_value(decided_at) over best as peak_at,
               first_value(id) over best as peak_id, first_value(person_id) over best as peak_person,
               count(*) over (partition by hospital_id, caller, month) as decided
        from counted window best as (partition by hospital_id, caller, month order by burst desc, id)
    ), peaks as materialized (
        select hospital_id, month, peak, peak_id, peak_person, decided, (array_agg(id order by id))[1:20] as decisions,
               count(*) filter (where emergency) as emergencies
        from greatest_first
        where peak >= :least and decided_at between peak_at - cast(:within as interval) and peak_at
        group by hospital_id, caller, month, peak, peak_id, peak_person, decided
    )
    select hospital.code as hospital, hospital.tier, month, peak as burst, decided, decisions, emergencies
    from peaks join hospital on hospital.id = hospital_id
    cross join lateral (select from audited_act act where act.person_id = peak_person and act.decision_id = peak_id
                        and act.role = 'doctor' limit 1) by_a_doctor
    order by 1, 3, peak_id
""")
_SAVED: Final = text("""
    select hospital.code as hospital, hospital.tier, item_code, month, sum(reminders)::bigint as reminders,
           sum(reminders + beyond_duty)::bigint as orders, sum(saved_fen - reversed_fen)::bigint as net_fen
    from monthly join hospital on hospital.id = monthly.hospital_id
    where month >= :first and month < :end
    group by 1, 2, 3, 4 having sum(reminders + beyond_duty) >= :least order by 1, 3, 4
""")
