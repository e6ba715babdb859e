"""Examples of the answers about savings and the entries behind them, as JSON and as files, for the OpenAPI document."""

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Any, Final

from exchange.examples import SAVINGS, Answers, answers
from exchange.savings_files import entries_table, report_table
from exchange.supply_files import supply_table
from exchange.table_files import MEDIA_TYPES, Table, csv_of

_CHECK_ID: Final = "1181ee8b-118f-4c3d-9799-0dac41e8ccd1"
DECIDED: Final = "2026-06-30T04:00:00+00:00"
_EXAMINED: Final = "2026-06-23T04:00:00+00:00"
_ISSUER: Final = {"code": "A", "name": "A医院"}
_ENTRY: Final[dict[str, Any]] = {
    "entry_id": "1",
    "kind": "saving",
    "amount_fen": 19800,
    "hospital": "B",
    "item": "CT07",
    "business_date": "2026-06-30",
    "posted_at": DECIDED,
    "cause": "decision",
    "decision_id": "1",
    "own_hospital": False,
    "emergency": False,
    "beyond_duty": False,
}
AXES: Final[dict[str, Any]] = {
    "hospitals": [{"code": "B", "name": "B医院", "tier": "2", "district": "500107", "active": True}],
    "districts": [{"code": "500107", "name": "九龙坡区", "name_en": "Jiulongpo District"}],
    "tiers": [{"code": "2", "name": "二级", "name_en": "Secondary"}],
    "items": [
        {"code": "CT07", "name": "胸部CT平扫", "name_en": "CT chest without contrast", "category": "imaging"}
    ],
    "categories": [{"code": "imaging", "name": "影像检查", "name_en": "Imaging"}],
}
ENTRIES: Final[dict[str, Any]] = {"as_of": DECIDED, "entries": [_ENTRY], "next": None}
CHAIN: Final[dict[str, Any]] = {
    "entry": _ENTRY,
    "entries": [_ENTRY],
    "net_fen": 19800,
    "decision": {
        "decision_id": "1",
        "action": "recognise",
        "order_id": "MZ20260001",
        "hospital": {"code": "B", "name": "B医院"},
        "item": "CT07",
        "decided_at": DECIDED,
        "business_date": "2026-06-30",
        "price_fen": 19800,
        "result_id": "7",
    },
    "undone_by": None,
    "contradicted_by": None,
    "check": {
        "check_id": _CHECK_ID,
        "asked_at": DECIDED,
        "department": "呼吸内科",
        "urgency": "routine",
        "answer": "complete",
        "item_list": "proposal-1",
        "candidates": 1,
    },
    "verdict": {
        "verdict": "recognisable",
        "reasons": [],
        "item_code": "CT07",
        "laterality": None,
        "body_part": None,
        "hospital": _ISSUER,
        "own_hospital": False,
        "hr_marks": ["重庆市HR"],
        "exam_time": "2026-06-23T12:00:00+08:00",
        "valid_until": "2026-07-23",
        "saving_fen": 19800,
        "price_id": "1",
    },
    "prior": {
        "result_id": "7",
        "hospital": "A",
        "item": "CT07",
        "laterality": None,
        "body_part": None,
        "exam_time": _EXAMINED,
        "status": "active",
        "StudyInstanceUID": "2.25.1001",
        "packs": [
            {
                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "size_bytes": 4096,
                "instance_count": 1,
                "received_at": _EXAMINED,
            }
        ],
    },
    "evaluations": [
        {
            "evaluation_id": 1,
            "item": None,
            "group": "imaging",
            "scope": "50",
            "passed": True,
            "valid_from": "2025-01-01",
            "valid_to": "2027-12-31",
        }
    ],
    "price": {
        "price_id": "1",
        "price_fen": 19800,
        "scope_kind": "tier",
        "scope": "2",
        "valid_from": "2026-01-01",
        "valid_to": None,
        "source": "proposal-1.csv",
    },
    "audit": [{"audit_id": "1", "action": "check", "role": "doctor", "recorded_at": DECIDED}],
}
_SUPPLIED: Final[dict[str, Any]] = {
    "studies": 1,
    "images_complete": 1,
    "reported": 1,
    "reports": 1,
    "matched": 1,
    "results": 1,
    "linked": 1,
    "marked": 1,
    "shown": 1,
    "viewed": 1,
    "timed": 1,
    "timely": 1,
    "timely_rate": 1.0,
    "images_complete_rate": 1.0,
    "reported_rate": 1.0,
    "matched_rate": 1.0,
    "marked_rate": 1.0,
    "viewing_rate": 1.0,
    "arrival_median_minutes": 15,
    "arrival_p90_minutes": 15,
    "viewing_median_minutes": 2,
}
SUPPLY: Final[dict[str, Any]] = {
    "as_of": DECIDED,
    "running": True,
    "from": "2026-01",
    "to": "2026-06",
    "group_by": ["hospital"],
    "within_hours": 24,
    "rows": [{"hospital": "A", "hospital_name": "A医院", **_SUPPLIED}],
    "next": None,
    "total": _SUPPLIED,
    "months": [
        {"month": "2026-06", "as_of": DECIDED, "changed": False, "running": True, "seconds": 1.5},
    ],
}


def with_files(shown: Answers, table: Table, more: Mapping[str, str] = MappingProxyType({})) -> Answers:
    """Return the OpenAPI of an answer that can be had as a file too, `more` being binary ones."""
    files = {"text/csv": csv_of(table).decode(), MEDIA_TYPES["xlsx"]: "PK…", **more}
    for media_type, example in files.items():
        schema = {"type": "string"} if media_type == "text/csv" else {"type": "string", "format": "binary"}
        shown[200]["content"][media_type] = {"schema": schema, "example": example}
    return shown


REPORT_ANSWERS: Final = with_files(answers(SAVINGS), report_table(SAVINGS), {"application/pdf": "%PDF-1.3…"})
ENTRIES_ANSWERS: Final = with_files(
    answers(ENTRIES), entries_table(ENTRIES, date(2026, 6, 1), date(2026, 6, 30), DECIDED)
)
SUPPLY_ANSWERS: Final = with_files(answers(SUPPLY), supply_table(SUPPLY))
