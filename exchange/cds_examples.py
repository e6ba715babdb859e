"""Invented calls and answers of CDS Hooks that the description of the interface shows, and the services' words."""

from typing import Any, Final

_CARD: Final = "9d1f1fd6-2a4c-5a11-8d35-90a1dbf2bd7a"
_SUGGESTION: Final = "f0a4ab0e-5d7d-5f6f-9c1a-6b2a1a9a2f11"
_PREFETCH: Final = {
    "patient": "Patient/{{context.patientId}}",
    "draftOrders": "ServiceRequest?patient={{context.patientId}}&status=draft",
    "encounter": "Encounter/{{context.encounterId}}",
}
SERVICE_TEXTS: Final = {
    "zh": (
        "检查检验结果互认",
        "开单时提示患者在各机构已有的、可互认的检查检验结果;是否互认由医师判断,不阻断开单",
        "须登记 CDS 客户端并以 JWT 调用;prefetch 的 patient 必须提供,须含证件号码;要记录互认决定的医嘱须带医嘱号(identifier 类型 PLAC)",
    ),
    "en": (
        "Mutual recognition of results",
        "Shows, while ordering, results of other hospitals that may be recognised; the doctor decides, nothing blocks",
        "Register the CDS client and call with its JWT; prefetch `patient`, with an identity document, is required; "
        "for decisions that count an order needs its placer identifier (type PLAC)",
    ),
}
DISCOVERY: Final[dict[str, Any]] = {
    "services": [
        {
            "hook": "order-sign",
            "title": SERVICE_TEXTS["zh"][0],
            "description": SERVICE_TEXTS["zh"][1],
            "id": "huren-order-sign",
            "prefetch": _PREFETCH,
            "usageRequirements": SERVICE_TEXTS["zh"][2],
        }
    ]
}
CALL: Final[dict[str, Any]] = {
    "hook": "order-sign",
    "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
    "context": {
        "userId": "Practitioner/7",
        "patientId": "p1",
        "draftOrders": {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [
                {
                    "resource": {
                        "resourceType": "ServiceRequest",
                        "id": "draft-1",
                        "identifier": [{"value": "MZ20260001"}],
                        "status": "draft",
                        "intent": "order",
                        "priority": "routine",
                        "code": {"coding": [{"system": "urn:huren:item", "code": "CT07"}]},
                        "subject": {"reference": "Patient/p1"},
                    }
                }
            ],
        },
    },
    "prefetch": {
        "patient": {
            "resourceType": "Patient",
            "id": "p1",
            "identifier": [{"system": "urn:huren:id-type:01", "value": "999999198001010011"}],
            "name": [{"text": "张三丰"}],
            "gender": "male",
            "birthDate": "1980-01-01",
        }
    },
}
CARDS: Final[dict[str, Any]] = {
    "cards": [
        {
            "uuid": _CARD,
            "summary": "胸部CT平扫:有 1 项可互认的既往结果,最近一次 2026-06-23,甲医院",
            "indicator": "warning",
            "source": {
                "label": "互认 Huren",
                "url": "https://huren.example.org",
                "topic": {
                    "system": "urn:huren:cds-topic",
                    "code": "mutual-recognition",
                    "display": "检查检验结果互认",
                },
            },
            "detail": "1. **甲医院** · 检查时间 2026\\-06\\-23 12\\:00 · 重庆HR",
            "suggestions": [
                {
                    "label": "认可甲医院 2026-06-23 的结果,取消本医嘱",
                    "uuid": _SUGGESTION,
                    "actions": [
                        {
                            "type": "delete",
                            "description": "删除尚未签署的医嘱",
                            "resourceId": "ServiceRequest/draft-1",
                        }
                    ],
                }
            ],
            "selectionBehavior": "at-most-one",
            "overrideReasons": [
                {
                    "system": "urn:huren:override-reason:patient-told",
                    "code": "2",
                    "display": "检查检验结果在疾病发展演变过程中变化较快的(已向患者或家属说明复检的目的及必要性)",
                }
            ],
        }
    ]
}
FEEDBACK_CALL: Final[dict[str, Any]] = {
    "feedback": [
        {
            "card": _CARD,
            "outcome": "accepted",
            "acceptedSuggestions": [{"id": _SUGGESTION}],
            "outcomeTimestamp": "2026-06-30T04:03:00Z",
        }
    ]
}
FEEDBACK: Final[dict[str, Any]] = {"feedback": [{"card": _CARD, "outcome": "accepted", "decision": "1"}]}


def body(example: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI of a body in JSON that is read here and not by the framework, for its own errors."""
    content = {"application/json": {"schema": {"type": "object"}, "example": example}}
    return {"requestBody": {"required": True, "content": content}}
