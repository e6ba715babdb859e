"""Examples of the answers about repeats and refusals, as JSON and as files, for the OpenAPI document."""

from datetime import date
from typing import Any, Final

from exchange.examples import answers
from exchange.repeat_files import entries_table, reasons_table, report_table
from exchange.savings_examples import with_files

_NOW: Final = "2026-06-30T04:00:00+00:00"
_NONE: Final[dict[str, int]] = {
    "avoidable": 0,
    "avoidable_fen": 0,
    "no_check": 0,
    "no_check_fen": 0,
    "no_answer": 0,
    "no_answer_fen": 0,
    "recognised_and_done": 0,
    "recognised_and_done_fen": 0,
    "refused": 0,
    "refused_fen": 0,
    "lawfully_repeated": 0,
    "lawfully_repeated_fen": 0,
    "not_visible": 0,
    "not_visible_fen": 0,
    "unpriced": 0,
}
_ONE: Final = _NONE | {"avoidable": 1, "avoidable_fen": 19800, "no_answer": 1, "no_answer_fen": 19800}
_FIGURES: Final[dict[str, Any]] = {**_ONE, "own_hospital": _NONE, "emergency": _NONE}
REPEATS: Final[dict[str, Any]] = {
    "as_of": _NOW,
    "from": "2026-01",
    "to": "2026-06",
    "group_by": ["hospital", "item", "month"],
    "rows": [
        {
            "hospital": "B",
            "item": "CT07",
            "month": "2026-06",
            "hospital_name": "乙医院",
            "item_name": "胸部CT平扫",
            "item_name_en": "CT chest without contrast",
            **_FIGURES,
        }
    ],
    "next": None,
    "total": _FIGURES,
}
ENTRIES: Final[dict[str, Any]] = {
    "as_of": _NOW,
    "entries": [
        {
            "repeat_id": "1",
            "kind": "no_answer",
            "hospital": "B",
            "item": "CT07",
            "business_date": "2026-06-30",
            "exam_time": _NOW,
            "cost_fen": 19800,
            "price_id": "1",
            "result_id": "9",
            "prior_result_id": "7",
            "prior_hospital": "A",
            "own_hospital": False,
            "emergency": False,
            "check_id": "1181ee8b-118f-4c3d-9799-0dac41e8ccd1",
            "order_id": "MZ20260001",
            "decision_id": None,
            "posted_at": _NOW,
            "superseded_at": None,
        }
    ],
    "next": None,
}
REASONS: Final[dict[str, Any]] = {
    "as_of": _NOW,
    "from": "2026-01",
    "to": "2026-06",
    "rows": [
        {
            "reason": "61",
            "text": "图像质量不满足诊断要求",
            "text_en": "The image quality does not meet the needs of diagnosis",
            "national": "6",
            "national_text": "其他情形确需复查的",
            "national_text_en": "Other circumstances that truly need re-examination",
            "counts_as_refusal": True,
            "standing": 1,
            "undone": 0,
            "own_hospital": 0,
            "emergency": 0,
            "beyond_duty": 0,
        }
    ],
    "reminders": {
        "reminders": 2,
        "unanswered": 1,
        "unanswered_own_hospital": 0,
        "unanswered_emergency": 0,
    },
}
REPORT_ANSWERS: Final = with_files(answers(REPEATS), report_table(REPEATS, _NOW))
ENTRIES_ANSWERS: Final = with_files(
    answers(ENTRIES), entries_table(ENTRIES, date(2026, 6, 1), date(2026, 6, 30), _NOW)
)
REASONS_ANSWERS: Final = with_files(answers(REASONS), reasons_table(REASONS, _NOW))
