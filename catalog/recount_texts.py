"""What each step of a recount looks for, in Chinese and English: said beside its progress and beside what it found. Pure."""

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "monthly sums": (
        "各月合计与由事件重新相加的结果一致",
        "Each month's sums are those of its events, added up again",
    ),
    "recognition_without_saving": ("每次互认都有一笔节约入账", "Each recognition has a saving in the ledger"),
    "saving_differs_from_decision": (
        "账目与所依据的决定一致:金额、日期、机构、项目",
        "Entries are those of their decision: amount, day, hospital, item",
    ),
    "saved_twice": ("同一决定只入账一次", "No decision saves twice"),
    "order_saved_twice": ("同一医嘱只节约一次", "No order saves twice"),
    "price_differs_from_decision": (
        "价格在决定之后没有被改动",
        "No price was changed after a decision had used it",
    ),
    "price_did_not_apply": (
        "所用价格在当日适用于该机构和该项目",
        "The price used applied to that hospital and item on that day",
    ),
    "undone_but_still_saving": ("已撤销的决定不再计节约", "What was undone saves nothing"),
    "nets_outside_its_price": ("每个决定的净额为零或其价格", "A decision nets nothing or its price"),
    "reversal_without_cause": (
        "每笔冲回都有撤销或复检为据",
        "Each reversal has an undo or an examination behind it",
    ),
    "reversed_by_what_does_not_stand": (
        "冲回所依据的检查仍然有效且属同一人",
        "What reversed a saving still stands and is the same person's",
    ),
    "examination_reverses_twice": ("一次检查只冲回一笔", "An examination reverses one saving at most"),
    "examination_without_reversal": (
        "互认后又做的同项检查都已冲回",
        "What was examined after all had its saving taken back",
    ),
    "decision_missing": ("审计中的决定都在", "Every decision of the audit is there"),
    "decision_without_audit": ("每个决定都有审计", "Every decision is in the audit"),
    "audit_differs_from_decision": ("决定与审计所载一致", "Decisions are as the audit has them"),
    "check_missing": ("审计中的询问都在", "Every check of the audit is there"),
    "check_without_audit": ("每次询问都有审计", "Every check is in the audit"),
    "repeat_differs_from_examination": ("重复检查与检查记录一致", "Repeats are as their examinations say"),
    "repeat_differs_from_prior": ("重复检查与既往检查一致", "Repeats are as their priors say"),
    "repeat_differs_from_price": ("重复检查的费用与价格一致", "Repeats cost what their prices say"),
    "repeat_differs_from_check": ("重复检查与询问一致", "Repeats are as their checks say"),
    "repeat_differs_from_decision": ("重复检查与决定一致", "Repeats are as their decisions say"),
    "repeat_differs_from_what_was_shown": ("重复检查与当时所示一致", "Repeats are as what was shown says"),
    "repeat_of_what_came_later": (
        "既往检查在重复检查之前已经可见",
        "What was repeated had arrived before it was done again",
    ),
    "repeat_was_asked_about": (
        "未询问的重复检查确实没有询问",
        "Repeats without a check were indeed not asked about",
    ),
    "repeat_missing": ("应计的重复检查都已计入", "Every repeat that was decided on is counted"),
}
