"""Invented answers that the description of the interface shows; nobody in them exists."""

from typing import Any, Final

Answers = dict[int | str, dict[str, Any]]


def answers(example: Any, status: int = 200) -> Answers:
    """Return the OpenAPI of an answer in JSON with its example."""
    return {status: {"content": {"application/json": {"example": example}}}}


_CHECK_ID: Final = "1181ee8b-118f-4c3d-9799-0dac41e8ccd1"
_ASKED: Final = "2026-06-30T12:00:00+08:00"
_EXAMINED: Final = "2026-06-23T04:00:00+00:00"
_NOW: Final = "2026-06-30T04:00:00+00:00"

CHECK: Final[dict[str, Any]] = {
    "check_id": _CHECK_ID,
    "answer": "complete",
    "asked_at": _ASKED,
    "expires_at": "2026-07-01T12:00:00+08:00",
    "urgency": "routine",
    "interrupts": True,
    "reason_codes": ["1", "2", "3", "4", "5", "6", "61", "98"],
    "item_list": "proposal-1",
    "patient": {"name": "林晓渝", "birth_date": "1980-05-17", "sex": "female"},
    "orders": [
        {
            "order_id": "MZ20260001",
            "item": {"code": "CT07", "name": "胸部CT平扫", "name_en": "CT chest without contrast"},
            "candidates": [
                {
                    "result_id": "1",
                    "verdict": "recognisable",
                    "reasons": [],
                    "item_code": "CT07",
                    "laterality": None,
                    "body_part": None,
                    "hospital": {"code": "A", "name": "甲医院"},
                    "own_hospital": False,
                    "hr_marks": ["重庆HR"],
                    "exam_time": "2026-06-23T12:00:00+08:00",
                    "report": None,
                    "images": {
                        "StudyInstanceUID": "2.25.1001",
                        "StudyDescription": "胸部CT平扫",
                        "PatientName": "林晓渝",
                        "Modalities": ["CT"],
                        "series": 2,
                        "instances": 310,
                    },
                    "saving_fen": 19800,
                    "price_id": "143",
                    "valid_until": "2026-07-23",
                }
            ],
        }
    ],
}
_EVENT: Final[dict[str, Any]] = {
    "decision_id": "1",
    "order_id": "MZ20260001",
    "action": "recognise",
    "result_id": "1",
    "reason_code": None,
    "decided_at": "2026-06-30T12:03:00+08:00",
    "saving_fen": 19800,
}
_STANDING: Final[dict[str, Any]] = {
    "decision_id": "1",
    "action": "recognise",
    "result_id": "1",
    "reason_code": None,
    "decided_by": "dr.B",
    "decided_at": "2026-06-30T12:03:00+08:00",
    "saving_fen": 19800,
    "beyond_duty": False,
}
_STATE: Final[dict[str, Any]] = {
    "order_id": "MZ20260001",
    "position": 1,
    "best": "recognisable",
    "standing": _STANDING,
    "cited": [],
}
CHECK_READ: Final = {
    **CHECK,
    "decisions": [_EVENT],
    "state": [{**_STATE, "days_left": {"1": 23}, "can": ["cite", "undo"]}],
}
CHECKS: Final[dict[str, Any]] = {
    "day": "2026-06-30",
    "checks": [
        {
            "check_id": _CHECK_ID,
            "asked_at": _ASKED,
            "expires_at": "2026-07-01T12:00:00+08:00",
            "department": "呼吸内科",
            "urgency": "routine",
            "answer": "complete",
            "patient_name": "林晓渝",
            "orders": [
                {
                    **_STATE,
                    "item": {"code": "CT07", "name": "胸部CT平扫", "name_en": "CT chest without contrast"},
                    "laterality": None,
                    "body_part": None,
                }
            ],
        }
    ],
    "next_cursor": None,
}
DECISION: Final[dict[str, Any]] = {
    **_EVENT,
    "check_id": _CHECK_ID,
    "beyond_duty": False,
    "undoes": None,
    "decided_at": "2026-06-30T04:03:00+00:00",
    "price_id": 143,
    "standing_fen": 19800,
}

LINKED: Final = {"state": "linked", "reasons": [], "studies_changed": 2}
DOUBTFUL: Final = {"state": "doubtful", "reasons": ["claimed_for_several_people"], "studies_changed": 1}

NOTICE: Final[dict[str, Any]] = {
    "notice_id": 1,
    "kind": "study_withdrawn",
    "decision_id": "1",
    "check_id": _CHECK_ID,
    "order_id": "MZ20260001",
    "item_code": "CT07",
    "result_id": "1",
    "decided_by": "dr.B",
    "decided_at": _NOW,
    "created_at": _NOW,
    "read_at": None,
}
NOTICE_READ: Final = {**NOTICE, "read_at": "2026-06-30T05:00:00+00:00"}

_PERSON: Final[dict[str, Any]] = {
    "person_id": 1,
    "id_type": "01",
    "document": "居民身份证",
    "number": "999*************20",
    "name": "林晓渝",
    "birth_date": "1980-05-17",
    "sex": "female",
}
_NUMBER: Final[dict[str, Any]] = {"alias_id": 3, "hospital": "A", "kind": "PatientID", "number": "A0001"}
QUEUE: Final[dict[str, Any]] = {
    "numbers": [{**_NUMBER, "person": _PERSON, "source": "registration", "reasons": ["birth_date_conflict"]}],
    "studies": [
        {
            "study_id": 3,
            "hospital": "A",
            "PatientName": "林晓渝",
            "birth_date": "1999-01-01",
            "sex": "female",
            "exam_time": _EXAMINED,
            "StudyDescription": "头颅CT平扫",
            "person": _PERSON,
            "reasons": ["birth_date_conflict"],
        }
    ],
    "reports": [
        {
            "report_id": 12,
            "hospital": "A",
            "number": "L20260630001",
            "category": "laboratory",
            "PatientName": "林晓渝",
            "birth_date": "1999-01-01",
            "sex": "female",
            "person": _PERSON,
            "reasons": ["birth_date_conflict"],
        }
    ],
}
PERSON: Final[dict[str, Any]] = {
    **_PERSON,
    "merged_with": [],
    "numbers": [{**_NUMBER, "state": "linked", "reasons": [], "ruling": None}],
    "studies": [
        {
            "study_id": 1,
            "identity": "linked",
            "exam_time": _EXAMINED,
            "StudyDescription": "胸部CT平扫",
            "withdrawn": False,
        }
    ],
    "reports": [
        {
            "report_id": 12,
            "number": "L20260630001",
            "category": "laboratory",
            "identity": "linked",
            "reasons": [],
        }
    ],
    "events": [
        {
            "event_id": 4,
            "kind": "accept",
            "person_id": 1,
            "other_person_id": None,
            "alias_id": 3,
            "study_id": None,
            "report_id": None,
            "undoes": None,
            "reason": "已与医院核对原始登记",
            "by": "curator",
            "at": _NOW,
        }
    ],
}
PEOPLE_HISTORY: Final[dict[str, Any]] = {"events": [{**PERSON["events"][0], "undone": False}]}
RULED: Final = {"event_id": 4, "studies_changed": 1}

_MONEY: Final = {"saved_fen": 19800, "reversed_fen": 0, "net_fen": 19800}
_COUNTED: Final[dict[str, Any]] = {
    "reminders": 1,
    "recognised": 1,
    "beyond_duty": 0,
    "refused": 0,
    "excused": 0,
    "cited": 0,
    "undone": 0,
    "unpriced": 0,
    **_MONEY,
}
_NOTHING: Final = dict.fromkeys(_COUNTED, 0)
_FIGURES: Final[dict[str, Any]] = {
    **_COUNTED,
    "rate": 1.0,
    "own_hospital": _NOTHING,
    "emergency": _NOTHING,
}
SAVINGS: Final[dict[str, Any]] = {
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
            "entries": "/v1/savings/entries?from=2026-06&to=2026-06&hospital=B&item=CT07",
        }
    ],
    "next": None,
    "total": _FIGURES,
    "unpriced": [],
    "months": [
        {
            "month": "2026-05",
            "revision": 2,
            "ended_at": "2026-05-31T23:59:59.999999+08:00",
            "reopened_at": "2026-06-02T09:30:00+08:00",
        },
        {"month": "2026-06", "revision": 0, "ended_at": None, "reopened_at": None},
    ],
}
RECOUNT: Final[dict[str, Any]] = {
    "as_of": _NOW,
    "agrees": True,
    "rows": 1,
    "net_fen": 19800,
    "range": {
        "decisions": 1,
        "last_decision_id": 1,
        "entries": 1,
        "last_entry_id": 1,
        "checks": 1,
        "last_check_number": 1,
    },
    "differing": [],
    "faults": [],
    "signed": "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl",
}

REASONS: Final[dict[str, Any]] = {
    "reasons": [
        {
            "code": "6",
            "text": "其他情形确需复查的",
            "text_en": "Other circumstances that truly need re-examination",
            "parent": "",
            "needs_text": True,
            "counts_as_refusal": True,
        }
    ]
}
STUDIES: Final[dict[str, Any]] = {
    "studies": [
        {
            "id": 1,
            "StudyInstanceUID": "2.25.1001",
            "hospital": "A",
            "PatientID": "A0001",
            "PatientName": "林晓渝",
            "name_rule": "declared",
            "identity": "linked",
            "exam_time": _EXAMINED,
            "exam_time_source": "AcquisitionDate",
            "StudyDescription": "胸部CT平扫",
            "modalities": ["CT"],
            "series": 2,
            "instances": 310,
            "size_bytes": 163577856,
            "items": ["CT07"],
            "unmapped_reason": None,
            "images_complete": True,
            "settles_at": None,
            "quality_flagged": False,
            "uid_conflict": False,
        }
    ]
}
UNMAPPED: Final[dict[str, Any]] = {
    "studies": [
        {
            "id": 4,
            "StudyInstanceUID": "2.25.1004",
            "hospital": "A",
            "exam_time": _EXAMINED,
            "facts": {
                "modality": ["CT"],
                "laterality": "",
                "manufacturer": "",
                "contrast_agent": "",
                "protocol_names": [],
                "view_positions": [],
                "procedure_codes": [],
                "anatomic_regions": [],
                "study_description": "胸CT(特)",
                "body_part_examined": "",
                "requested_procedure": "",
                "series_descriptions": [],
            },
            "reason": {
                "code": "unknown_words",
                "text": "描述中有未识别的词,可能指另一部位或检查",
                "text_en": "Unknown words may name another body part or examination",
            },
        }
    ]
}
CONFLICTS: Final[dict[str, Any]] = {
    "conflicts": [
        {
            "id": 5,
            "StudyInstanceUID": "2.25.1001",
            "StudyDescription": "胸部CT平扫",
            "exam_time": _EXAMINED,
            "SOPInstanceUID": "2.25.1001.7",
            "kind": "other_bytes",
            "sha256": "b" * 64,
            "first_sha256": "a" * 64,
            "hospital": "A",
            "pack": f"packs/cc/{'c' * 64}.tar",
            "state": "open",
            "seen_at": _NOW,
            "decided_by": None,
            "decided_at": None,
            "note": None,
        }
    ]
}
WITHDRAWN: Final[dict[str, Any]] = {
    "studies": [
        {
            "id": 7,
            "StudyInstanceUID": "2.25.1007",
            "hospital": "A",
            "exam_time": _EXAMINED,
            "StudyDescription": "胸部CT平扫",
            "modalities": ["CT"],
            "withdrawn_at": _NOW,
            "reason": "患者信息录入错误",
        }
    ]
}
QUEUES: Final[dict[str, Any]] = {
    "most": 200,
    "expiring_days": 60,
    "queues": {
        **{
            name: {"count": 1, "more": False}
            for name in ("mapping", "local_codes", "identity_numbers", "identity_studies", "identity_reports")
        },
        "unmapped": {"count": 200, "more": True},
        **{
            name: {"count": 0, "more": False}
            for name in (
                "reports",
                "conflicts",
                "quality",
                "withdrawn",
                "qc_expiring",
                "price_gaps",
                "certificates",
            )
        },
    },
}
