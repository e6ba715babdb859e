"""Invented resources that the description of the FHIR interface shows: what is sent, and what comes back."""

from collections.abc import Mapping
from typing import Any, Final

from catalog.audit_chain import Entry
from catalog.audit_reading import Told
from exchange.fhir_audit import audit_event
from exchange.outcomes import FHIR_JSON, Issue, operation_outcome


def answers(examples: Mapping[int, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI of answers in FHIR JSON, each with its example, by status."""
    return {
        status: {"content": {FHIR_JSON: {"schema": {"type": "object"}, "example": example}}}
        for status, example in examples.items()
    }


REPORT: Final[dict[str, Any]] = {
    "resourceType": "DiagnosticReport",
    "identifier": [{"value": "R20260630001"}],
    "status": "final",
    "category": [{"coding": [{"code": "RAD"}]}],
    "code": {"text": "胸部CT平扫"},
    "subject": {"identifier": {"type": {"coding": [{"code": "MR"}]}, "value": "P0001"}},
    "imagingStudy": [{"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:2.25.1001"}}],
    "issued": "2026-06-30T12:00:00+08:00",
    "resultsInterpreter": [{"display": "王医生"}],
    "conclusion": "未见明显异常。",
}
BUNDLE: Final[dict[str, Any]] = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        {
            "fullUrl": "urn:uuid:6f6f3b0a-0000-4000-8000-000000000001",
            "resource": {
                "resourceType": "Patient",
                "identifier": [
                    {"type": {"coding": [{"code": "MR"}]}, "value": "P0001"},
                    {"type": {"coding": [{"code": "NNCHN"}]}, "value": "999999198001010011"},
                ],
                "name": [{"text": "张三丰"}],
                "gender": "male",
                "birthDate": "1980-01-01",
            },
            "request": {"method": "POST", "url": "Patient"},
        },
        {
            "fullUrl": "urn:uuid:6f6f3b0a-0000-4000-8000-000000000002",
            "resource": {
                "resourceType": "Observation",
                "status": "final",
                "code": {"coding": [{"system": "http://loinc.org", "code": "2823-3", "display": "钾"}]},
                "effectiveDateTime": "2026-06-30T08:00:00+08:00",
                "valueQuantity": {"value": 4.1, "unit": "mmol/L"},
                "referenceRange": [{"text": "3.5-5.3"}],
                "method": {"text": "离子选择电极法"},
            },
            "request": {"method": "POST", "url": "Observation"},
        },
        {
            "resource": {
                "resourceType": "DiagnosticReport",
                "identifier": [{"value": "L20260630001"}],
                "status": "final",
                "category": [{"coding": [{"code": "LAB"}]}],
                "code": {"text": "电解质"},
                "subject": {"reference": "urn:uuid:6f6f3b0a-0000-4000-8000-000000000001"},
                "issued": "2026-06-30T12:00:00+08:00",
                "result": [{"reference": "urn:uuid:6f6f3b0a-0000-4000-8000-000000000002"}],
            },
            "request": {"method": "POST", "url": "DiagnosticReport"},
        },
    ],
}
BUNDLE_TAKEN: Final[dict[str, Any]] = {
    "resourceType": "Bundle",
    "type": "transaction-response",
    "entry": [
        {"response": {"status": "200 OK"}},
        {"response": {"status": "200 OK"}},
        {"response": {"status": "201 Created", "location": "DiagnosticReport/7/_history/1"}},
    ],
}
REPORT_TAKEN: Final[dict[str, Any]] = {
    "resourceType": "OperationOutcome",
    "issue": [
        {"severity": "information", "code": "informational", "details": {"text": "已接收 / taken"}},
    ],
}
REFUSED: Final = operation_outcome(
    [
        Issue(
            "required",
            "element_required",
            "缺少必需的元素",
            "A required element is missing",
            "DiagnosticReport.identifier",
        )
    ]
)
AUDIT_EVENT: Final = audit_event(
    Told(
        Entry(
            id=7,
            recorded_at="2026-06-30T04:00:00.000000Z",
            action="check.read",
            caller="dr.wang",
            role="doctor",
            hospital_id=2,
            person_id=1,
            detail='{"check_id": "1181ee8b-118f-4c3d-9799-0dac41e8ccd1"}',
        ),
        "B",
    )
)
AUDIT_FOUND: Final[dict[str, Any]] = {
    "resourceType": "Bundle",
    "type": "searchset",
    "link": [{"relation": "self", "url": "https://huren.example/fhir/AuditEvent"}],
    "entry": [
        {
            "fullUrl": "https://huren.example/fhir/AuditEvent/7",
            "resource": AUDIT_EVENT,
            "search": {"mode": "match"},
        }
    ],
}
BAD_COUNT: Final = operation_outcome(
    [
        Issue(
            "invalid",
            "bad_parameter",
            "查询参数不支持或取值有误:_count",
            "A search parameter is not supported, or its value is wrong: _count",
        )
    ]
)
NO_RECORD: Final = operation_outcome([Issue("not-found", "unknown_record", "没有该记录", "No such record")])
