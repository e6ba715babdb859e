"""Examples of questions about figures and of investigations, for the OpenAPI document."""

from typing import Any, Final

from exchange.examples import answers
from exchange.question_files import questions_table
from exchange.savings_examples import CHAIN, with_files

_NOW: Final = "2026-06-30T04:00:00+00:00"
QUESTIONS: Final[dict[str, Any]] = {
    "as_of": _NOW,
    "from": "2026-06",
    "to": "2026-06",
    "questions": [
        {
            "question_id": "burst:B:41:2026-06",
            "kind": "burst",
            "hospital": "B",
            "hospital_name": "B医院",
            "item": None,
            "item_name": None,
            "month": "2026-06",
            "seen": {"unit": "decisions", "value": 24, "count": 24, "of": 310, "emergencies": 0},
            "expected": {"usual": 19, "at_most": 19, "compared_with": "setting", "compared": 0},
            "question": "B医院一名医生2026-06在 5 分钟内作出 24 次决定(当月共 310 次)。当时是怎样接诊的?",
            "question_en": "One doctor of B医院 made 24 decisions within 5 minutes in 2026-06 (310 in the whole month)."
            " What happened then?",
            "may_be": "可能:体检或住院批量开单;补录积压的决定;多人使用同一账户。",
            "may_be_en": "Perhaps orders were placed in bulk for a check-up or a ward; a backlog was entered.",
            "computed": "设定:一名医生 5 分钟内达到 19 次以上",
            "computed_en": "as set: more than 19 decisions of one doctor within 5 minutes",
            "entries": "/v1/savings/entries?from=2026-06&to=2026-06&hospital=B",
            "decisions": ["41", "42"],
        }
    ],
    "next": None,
    "total": 1,
}
QUESTIONS_ANSWERS: Final = with_files(answers(QUESTIONS), questions_table(QUESTIONS, _NOW))
INVESTIGATION: Final[dict[str, Any]] = {
    "investigation_id": "3",
    "opened_by": "regulator.chen",
    "reason": "核实 2026-06 B医院胸部CT平扫净节约偏高",
    "scope": {"from": "2026-06", "to": "2026-06", "hospital": "B", "item": "CT07", "decision_id": None},
    "entries": "/v1/savings/entries?from=2026-06&to=2026-06&hospital=B&item=CT07",
    "opened_at": _NOW,
    "expires_at": "2026-07-14T04:00:00+00:00",
    "closed_at": None,
    "open": True,
    "verdict": None,
    "note": None,
    "reviewed_by": None,
    "reviewed_at": None,
}
INVESTIGATED: Final[dict[str, Any]] = {
    "investigation_id": "3",
    "person": {
        "name": "林晓渝",
        "sex": "female",
        "birth_date": "1980-05-17",
        "document": "居民身份证",
        "number": "999*************25",
    },
    "decided_by": "dr.B",
    "asked_by": "dr.B",
    **CHAIN,
}
