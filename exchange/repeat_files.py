"""Repeats and refusals as tables to be written to files: money in yuan, exact to the fen."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from catalog.repetition import KINDS
from exchange.savings_files import COUNT, YUAN, cell, facts, grouped_columns, labels
from exchange.table_files import Cell, Column, Table

KIND_WORDS: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "no_check": (
        "未询问",
        "no_check",
        "开单前未询问,重做了可互认的检查",
        "Done again without having asked",
    ),
    "no_answer": (
        "未答复",
        "no_answer",
        "已提示而无现行有效的决定",
        "Reminded, and no decision stands",
    ),
    "recognised_and_done": (
        "认可后仍做",
        "recognised_and_done",
        "已认可,仍做了检查",
        "Recognised, and done all the same",
    ),
    "refused": ("不予互认", "refused", "不予互认而重做", "Done again instead of recognised"),
    "lawfully_repeated": (
        "依规复检",
        "lawfully_repeated",
        "依规定不计入的复检",
        "Done again for a reason that the rules excuse",
    ),
    "not_visible": (
        "未及可见",
        "not_visible",
        "当时无从看到既往结果",
        "The earlier result was not to be seen in time",
    ),
}
_AVOIDABLE: Final = (
    Column("可避免", "avoidable", "前四类合计", "The first four kinds together", COUNT),
    Column(
        "可避免费用(元)",
        "avoidable yuan",
        "前四类费用合计",
        "What the first four kinds cost, in yuan",
        YUAN,
    ),
)
_UNPRICED: Final = Column(
    "无价格", "unpriced", "当日无价格,费用计为 0", "Without a price on the day: costs 0", COUNT
)
_FIGURES: Final = (
    "avoidable",
    "avoidable_fen",
    *(f"{k}{w}" for k in KINDS for w in ("", "_fen")),
    "unpriced",
)
_ENTRY: Final[Mapping[str, Column]] = {
    "repeat_id": Column("重复检查", "repeat", "重复检查的编号", "Number of the repeat"),
    "kind": Column(
        "类别",
        "kind",
        ",".join(f"{kind} {words[0]}" for kind, words in KIND_WORDS.items()),
        "How it came: asked or not, decided or not, visible or not",
    ),
    "hospital": Column("机构", "hospital", "做检查的机构", "Code of the hospital that did it"),
    "item": Column("项目", "item", "所做的项目", "Code of the item that was done"),
    "business_date": Column("检查日", "day", "检查所在的日期", "Day of the examination"),
    "cost_fen": Column("费用(元)", "yuan", "当日该机构的价格", "The hospital's price on that day", YUAN),
    "result_id": Column("结果", "result", "所做检查的结果号", "Number of what was done"),
    "prior_result_id": Column("既往结果", "prior", "可互认的既往结果号", "Number of the earlier result"),
    "prior_hospital": Column("既往机构", "prior hospital", "既往检查的机构", "Who did the earlier one"),
    "own_hospital": Column("本院结果", "own_hospital", "既往检查出自本院", "The prior is the hospital's own"),
    "emergency": Column("急诊", "emergency", "询问时为急诊", "The check said it was an emergency"),
    "order_id": Column("医嘱", "order", "医嘱号", "Number of the order"),
    "decision_id": Column("决定", "decision", "现行有效的决定", "The decision that stands"),
    "posted_at": Column("入账", "posted", "入账时刻", "When it was learnt of"),
    "superseded_at": Column("失效", "superseded", "不再成立的时刻", "When it was found not to hold"),
}
_REASON: Final[Mapping[str, Column]] = {
    "reason": Column("理由代码", "reason", "理由的代码", "Code of the reason"),
    "text": Column("理由", "reason text", "理由", "The reason's words"),
    "national": Column("国家情形", "national", "所属国家规定的情形", "The national reason it falls under"),
    "counts_as_refusal": Column(
        "计入", "counts", "是否计为不予互认", "Whether it counts as a refusal to recognise"
    ),
    "standing": Column("现行", "standing", "现行有效的决定", "Decisions that stand", COUNT),
    "undone": Column("撤销", "undone", "已撤销的决定", "Decisions undone", COUNT),
    "own_hospital": Column("本院结果", "own_hospital", "其中既往出自本院", "Of them, of own priors", COUNT),
    "emergency": Column(
        "急诊", "emergency", "其中急诊(本院除外)", "Of them emergencies, own left out", COUNT
    ),
    "beyond_duty": Column(
        "超出义务", "beyond_duty", "其中无互认义务的", "Of them where nothing obliged", COUNT
    ),
}


def report_table(answer: Mapping[str, Any], as_of: str) -> Table:
    """Return the repeats as `repeat_figures.report` gives them, a total beneath."""
    names = list(answer["group_by"])
    groups = grouped_columns(names)
    total: list[Cell] = ["合计 total", *[None] * (len(groups) - 1)]
    return Table(
        title="重复检查 repeats",
        facts=facts(answer["from"], answer["to"], as_of),
        columns=[*groups, *_AVOIDABLE, *_kinds(), _UNPRICED],
        rows=[[*labels(row, names), *_figures(row)] for row in answer["rows"]],
        total=[*total, *_figures(answer["total"])],
    )


def entries_table(found: Mapping[str, Any], first: date, last: date, as_of: str) -> Table:
    """Return a page of repeats as `repeat_figures.page` gives it; its facts say where the next page begins."""
    return Table(
        title="重复检查明细 repeats",
        facts=[
            *facts(f"{first:%Y-%m}", f"{last:%Y-%m}", as_of),
            ("下一页 next page: after=", "—" if found["next"] is None else str(found["next"])),
        ],
        columns=list(_ENTRY.values()),
        rows=[[cell(name, each[name]) for name in _ENTRY] for each in found["entries"]],
    )


def reasons_table(answer: Mapping[str, Any], as_of: str) -> Table:
    """Return refusals by reason as `refusals.by_reason` gives them; its facts say how many reminders went unanswered."""
    reminders = answer["reminders"]
    return Table(
        title="复检理由 reasons",
        facts=[
            *facts(answer["from"], answer["to"], as_of),
            ("提醒 reminders", reminders["reminders"]),
            ("未答复 unanswered", reminders["unanswered"]),
        ],
        columns=list(_REASON.values()),
        rows=[[cell(name, row[name]) for name in _REASON] for row in answer["rows"]],
    )


def _kinds() -> list[Column]:
    """Return the two columns of each kind: how many, and what they cost."""
    counted = [Column(*KIND_WORDS[kind], COUNT) for kind in KINDS]
    cost = [
        Column(f"{zh}费用(元)", f"{en} yuan", f"{meaning_zh}:费用", f"{meaning_en}: in yuan", YUAN)
        for zh, en, meaning_zh, meaning_en in (KIND_WORDS[kind] for kind in KINDS)
    ]
    return [column for pair in zip(counted, cost, strict=True) for column in pair]


def _figures(row: Mapping[str, Any]) -> list[Cell]:
    return [cell(name, row[name]) for name in _FIGURES]
