"""Invented answers that the description of FHIR read and search shows, made by what makes the real ones."""

from datetime import UTC, datetime
from typing import Any, Final

from catalog.chart import Entry
from exchange import fhir_chart
from exchange.outcomes import Issue, operation_outcome

_BASE: Final = "https://huren.example/fhir/"
_DONE: Final = datetime(2026, 6, 30, 0, 0, tzinfo=UTC)
_ISSUED: Final = "2026-06-30T12:00:00+08:00"
_RECEIVED: Final = "2026-06-30T12:05:00+08:00"
_HOSPITAL: Final = {"code": "A", "name": "甲医院"}
_VALUE: Final[dict[str, Any]] = {
    "name": "钾",
    "local_codes": [],
    "loinc_codes": ["2823-3"],
    "value": "4.1",
    "unit": "mmol/L",
    "reference_range": "3.5-5.3",
    "method": "离子选择电极法",
    "abnormal_flag": "",
    "status": "final",
    "observed_at": "2026-06-30T08:00:00+08:00",
}
_POTASSIUM: Final[dict[str, Any]] = {
    "result_id": "31",
    "verdict": "recognisable",
    "reasons": [],
    "item": {"code": "LB14", "name": "钾(K)", "loinc": "2823-3"},
    "hospital": _HOSPITAL,
    "report": {"version": 1, "received_at": _RECEIVED, "reported_at": _ISSUED, "values": [_VALUE]},
}
_CHEST: Final[dict[str, Any]] = {
    "result_id": "21",
    "verdict": "recognisable",
    "reasons": [],
    "item": {"code": "CT07", "name": "胸部CT平扫", "loinc": ""},
    "hospital": _HOSPITAL,
    "images": {
        "StudyInstanceUID": "2.25.1001",
        "StudyDescription": "胸部CT平扫",
        "Modalities": ["CT"],
        "series": 1,
        "instances": 1,
    },
}
_VERSION: Final[dict[str, Any]] = {
    "version": 1,
    "status": "final",
    "reported_at": _ISSUED,
    "received_at": _RECEIVED,
    "title": "电解质",
    "author": "",
    "conclusion": None,
    "attachments": [],
    "values": [_VALUE],
}
_TOLD: Final[dict[str, tuple[int, dict[str, Any]]]] = {
    "Patient": (
        1,
        {
            "name": "张三丰",
            "birth_date": "1980-01-01",
            "sex": "male",
            "id_type": "01",
            "hospital": "B",
            "PatientIDs": ["P0001"],
            "merged": [],
        },
    ),
    "ImagingStudy": (11, {"accession_number": "ACC-7", "withdrawn": False, "results": [_CHEST]}),
    "DiagnosticReport": (
        7,
        {
            "report_id": "7",
            "number": "L20260630001",
            "category": "laboratory",
            "hospital": _HOSPITAL,
            "standing_version": 1,
            "versions": [_VERSION],
            "study": None,
            "done_at": _DONE,
            "results": [],
        },
    ),
    "Observation": (31, _POTASSIUM),
}
_WRITE: Final = {
    "Patient": fhir_chart.patient,
    "ImagingStudy": fhir_chart.imaging_study,
    "DiagnosticReport": fhir_chart.report,
    "Observation": fhir_chart.observation,
}
SHOWN: Final[dict[str, dict[str, Any]]] = {
    name: _WRITE[name](1, Entry(number, _DONE, told)) for name, (number, told) in _TOLD.items()
}
NOT_FOUND: Final = operation_outcome(
    [Issue("not-found", "unknown_resource", "没有该资源", "No such resource")]
)
NO_REPORT: Final = operation_outcome([Issue("not-found", "unknown_report", "没有该报告", "No such report")])
NO_PATIENT: Final = operation_outcome(
    [
        Issue(
            "required",
            "patient_required",
            "须指明一位患者(patient)或一份资源(_id)",
            "Name one patient (patient), or one resource (_id)",
        )
    ]
)
MATCH: Final[dict[str, Any]] = {
    "resourceType": "Parameters",
    "parameter": [
        {
            "name": "resource",
            "resource": {
                "resourceType": "Patient",
                "identifier": [{"system": "urn:huren:id-type:01", "value": "999999198001010011"}],
                "name": [{"text": "张三丰"}],
                "birthDate": "1980-01-01",
            },
        },
        {"name": "onlyCertainMatches", "valueBoolean": True},
    ],
}
NO_IDENTIFIER: Final = operation_outcome(
    [
        Issue(
            "required",
            "subject_required",
            "患者须有本机构患者编号(MR)或证件号码",
            "A patient needs the hospital's number (MR) or an identity document",
            "Parameters.parameter[0].resource.identifier",
        )
    ]
)


def reads(name: str) -> dict[int, dict[str, Any]]:
    """Return the answers to reading one resource, by status."""
    return {200: SHOWN[name], 404: NO_REPORT if name == "DiagnosticReport" else NOT_FOUND}


def searches(name: str) -> dict[int, dict[str, Any]]:
    """Return the answers to a search, by status."""
    return {200: found(name), 400: NO_PATIENT}


def found(name: str, **search: Any) -> dict[str, Any]:
    """Return a searchset with the one example of a kind."""
    resource = SHOWN[name]
    entry = {
        "fullUrl": f"{_BASE}{name}/{resource['id']}",
        "resource": resource,
        "search": {"mode": "match", **search},
    }
    link = [{"relation": "self", "url": _BASE + name}]
    return {"resourceType": "Bundle", "type": "searchset", "total": 1, "link": link, "entry": [entry]}
