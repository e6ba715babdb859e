"""The decision on one prior for one order: a pure function of values.

The order of the rules is the order in which their reasons are listed. The law behind them:
《医疗机构检查检验结果互认管理办法》(国卫医发〔2022〕6号); the doctor decides, these rules only inform.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from catalog.records import Evaluation, Order, Policy, Prior, ReportStatus, ReportVersion, Shown, Verdict

HOSPITAL_ZONE: Final = ZoneInfo("Asia/Shanghai")
CLOCK_TOLERANCE: Final = timedelta(minutes=5)

REASONS: Final[dict[str, tuple[str, str]]] = {
    "laterality_unknown": ("既往检查未注明左右侧", "The prior does not say which side"),
    "negative_list": ("项目在负面清单内,不自动推荐互认", "The item is on the negative list"),
    "report_missing": ("尚无报告", "There is no report yet"),
    "report_not_final": ("报告尚未终审", "The report is not final"),
    "withdrawn": ("结果已撤回", "The result was withdrawn"),
    "images_incomplete": ("影像不完整", "The images are incomplete"),
    "quality_flagged": ("影像质量存疑", "The image quality is in doubt"),
    "uid_conflict": ("影像标识冲突,待核实", "The study's identifiers conflict and await review"),
    "no_hr_mark": (
        "检查当日该机构该项目无互认标识",
        "The hospital held no HR mark for this item on the exam day",
    ),
    "scope_excludes_requester": (
        "互认标识范围不含本机构",
        "The HR mark's scope does not include this hospital",
    ),
    "exam_in_future": ("检查时间晚于开单时间", "The exam time lies after the order"),
    "out_of_window": ("超出互认时限", "The validity window has passed"),
}

_VALID_REPORTS: Final = frozenset(
    {ReportStatus.FINAL, ReportStatus.AMENDED, ReportStatus.CORRECTED, ReportStatus.APPENDED}
)
_WITHDRAWN_REPORTS: Final = frozenset({ReportStatus.CANCELLED, ReportStatus.ENTERED_IN_ERROR})


def decide(order: Order, prior: Prior, policy: Policy, now: datetime) -> Verdict:
    """Return how `prior` stands towards `order`, with every reason that speaks against it.

    `now` is the moment of asking (aware); it only matters for hiding a hospital's own fresh results.
    """
    own = prior.hospital.code == order.requester.code
    if _hidden(order, prior, policy, now, own=own):
        return Verdict(Shown.HIDDEN, own_hospital=own)
    marks = hr_marks(prior)
    reasons = (
        *_side_reasons(order, prior),
        *(["negative_list"] if order.negative or prior.negative else []),
        *_report_reasons(prior, policy),
        *_image_reasons(prior),
        *([] if own else _mark_reasons(order, marks)),
        *_time_reasons(order, prior, policy),
    )
    return Verdict(
        Shown.REFERENCE if reasons else Shown.RECOGNISABLE,
        reasons=tuple(reasons),
        marks=tuple(sorted({evaluation.mark for evaluation in marks})),
        own_hospital=own,
        valid_until=_counted_day(prior, policy) + timedelta(days=order.window_days),
    )


def hr_marks(prior: Prior) -> tuple[Evaluation, ...]:
    """Return the passed evaluations that give the done item its HR marks on the exam day."""
    return marks_on(prior.evaluations, prior.item_code, prior.item_groups, local_day(prior.exam_time))


def marks_on(
    evaluations: Iterable[Evaluation], item_code: str, groups: frozenset[str], day: date
) -> tuple[Evaluation, ...]:
    """Return those of a hospital's evaluations that give an item, or the groups it is in, its HR marks on a day.

    Per scope an item row beats a group row, and a later failed row ends an earlier pass from its
    own first day (Measures 2022, art. 13 and 14: the mark belongs to hospital, item and evaluation).
    """
    rows = [
        e for e in evaluations if e.item_code == item_code or (e.item_code is None and e.item_group in groups)
    ]
    scopes = sorted({evaluation.scope for evaluation in rows})
    found = (_mark_in_scope([e for e in rows if e.scope == scope], day) for scope in scopes)
    return tuple(evaluation for evaluation in found if evaluation is not None)


def local_day(moment: datetime) -> date:
    """Return the calendar day of an aware time in the hospital's zone."""
    return moment.astimezone(HOSPITAL_ZONE).date()


def newest_report(reports: Iterable[ReportVersion]) -> ReportVersion | None:
    """Return the version that counts: the newest by report time, where a preliminary one does not
    replace a final one.
    """
    ordered = sorted(reports, key=lambda version: version.reported_at)
    settled = [v for v in ordered if v.status in _VALID_REPORTS | _WITHDRAWN_REPORTS]
    standing = settled or ordered
    return standing[-1] if standing else None


def _hidden(order: Order, prior: Prior, policy: Policy, now: datetime, *, own: bool) -> bool:
    if not prior.person_linked or prior.person_in_conflict or prior.opted_out:
        return True
    if prior.item_code not in order.answered_by:
        return True
    if order.spans_body_parts and (prior.body_part or "") != (order.body_part or ""):
        return True
    if order.paired and prior.laterality not in (None, "B", order.laterality):
        return True
    return own and _own_hidden(prior, policy, now)


def _own_hidden(prior: Prior, policy: Policy, now: datetime) -> bool:
    if policy.own_hospital == "hide":
        return True
    return now - prior.exam_time < timedelta(hours=policy.own_hospital_hidden_hours)


def _side_reasons(order: Order, prior: Prior) -> list[str]:
    return ["laterality_unknown"] if order.paired and prior.laterality is None else []


def _report_reasons(prior: Prior, policy: Policy) -> list[str]:
    newest = newest_report(prior.reports)
    if prior.withdrawn or (newest is not None and newest.status in _WITHDRAWN_REPORTS):
        return ["withdrawn"]
    if newest is None:
        needed = policy.report_required or prior.category == "laboratory"
        return ["report_missing"] if needed else []
    return [] if newest.status in _VALID_REPORTS else ["report_not_final"]


def _image_reasons(prior: Prior) -> list[str]:
    if prior.category == "laboratory":
        return []
    flags = {
        "images_incomplete": not prior.images_complete,
        "quality_flagged": prior.quality_flagged,
        "uid_conflict": prior.uid_conflict,
    }
    return [code for code, raised in flags.items() if raised]


def _mark_reasons(order: Order, marks: tuple[Evaluation, ...]) -> list[str]:
    if not marks:
        return ["no_hr_mark"]
    held = any(evaluation.scope in order.requester.scopes for evaluation in marks)
    return [] if held else ["scope_excludes_requester"]


def _time_reasons(order: Order, prior: Prior, policy: Policy) -> list[str]:
    reasons = ["exam_in_future"] if prior.exam_time > order.ordered_at + CLOCK_TOLERANCE else []
    age_days = (local_day(order.ordered_at) - _counted_day(prior, policy)).days
    return [*reasons, "out_of_window"] if age_days > order.window_days else reasons


def _counted_day(prior: Prior, policy: Policy) -> date:
    newest = newest_report(prior.reports)
    if policy.window_from == "report" and newest is not None:
        return local_day(newest.reported_at)
    return local_day(prior.exam_time)


def _mark_in_scope(rows: list[Evaluation], day: date) -> Evaluation | None:
    of_item = [e for e in rows if e.item_code is not None]
    of_group = [e for e in rows if e.item_code is None]
    if any(e.valid_from <= day <= e.valid_to for e in of_item):
        return _standing_pass(of_item, of_item, day)
    return _standing_pass(of_group, rows, day)


def _standing_pass(passes: list[Evaluation], rows: list[Evaluation], day: date) -> Evaluation | None:
    """Return the newest pass valid on `day` that no later failed row among `rows` has ended."""
    valid = [e for e in passes if e.passed and e.valid_from <= day <= e.valid_to]
    newest = max(valid, key=lambda e: e.valid_from, default=None)
    if newest is None:
        return None
    ended = any(not e.passed and newest.valid_from <= e.valid_from <= day for e in rows)
    return None if ended else newest
