"""Reports as FHIR R4 (4.0.1): the version that stands, its values as contained Observations. Pure."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from catalog.report_records import LABEL_ZH, LOINC

_CATEGORY: Final = {"imaging": ("RAD", "Radiology"), "laboratory": ("LAB", "Laboratory")}
_KIND: Final = {
    "imaging": ("18748-4", "Diagnostic imaging study"),
    "laboratory": ("11502-2", "Laboratory report"),
}
_V2_0074: Final = "http://terminology.hl7.org/CodeSystem/v2-0074"
_INTERPRETATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
LOCAL_CODE: Final = "urn:huren:local-code:"


def diagnostic_report(read: Mapping[str, Any]) -> dict[str, Any]:
    """Return the DiagnosticReport of a report as `report_views.read` gives it."""
    version = next(each for each in read["versions"] if each["version"] == read["standing_version"])
    code, display = _CATEGORY[read["category"]]
    observations = [
        {"resourceType": "Observation", "id": f"o{number}", **value_of(value, read["hospital"]["code"])}
        for number, value in enumerate(version["values"], 1)
    ]
    kind, kind_display = _KIND[read["category"]]
    resource: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "id": read["report_id"],
        "meta": {"versionId": str(version["version"]), "lastUpdated": version["received_at"]},
        "status": version["status"],
        "category": [{"coding": [{"system": _V2_0074, "code": code, "display": display}]}],
        "code": {
            "coding": [{"system": LOINC, "code": kind, "display": kind_display}],
            "text": version["title"] or display,
        },
        "issued": version["reported_at"],
        "performer": [{"display": read["hospital"]["name"]}],
    }
    if observations:
        resource["contained"] = observations
        resource["result"] = [{"reference": f"#{each['id']}"} for each in observations]
    if version["author"]:
        resource["resultsInterpreter"] = [{"display": version["author"]}]
    if version["conclusion"]:
        resource["conclusion"] = f"【{LABEL_ZH}】{version['conclusion']}"
    if version["attachments"]:
        resource["presentedForm"] = [_form(each) for each in version["attachments"]]
    return resource


def _form(attachment: Mapping[str, Any]) -> dict[str, Any]:
    form = {
        "contentType": attachment["content_type"],
        "url": attachment["href"],
        "size": attachment["size_bytes"],
    }
    return form | ({"title": attachment["title"]} if attachment["title"] else {})


def value_of(value: Mapping[str, Any], hospital: str) -> dict[str, Any]:
    """Return the elements of an Observation that a laboratory value of a hospital gives it."""
    coding = [{"system": LOINC, "code": code} for code in value["loinc_codes"]]
    coding += [{"system": LOCAL_CODE + hospital, "code": code} for code in value["local_codes"]]
    code: dict[str, Any] = {"coding": coding} if coding else {}
    if value["name"]:
        code["text"] = value["name"]
    resource = {
        "status": value["status"] if value["status"] != "partial" else "preliminary",
        "code": code,
        "effectiveDateTime": value["observed_at"],
        **_value(value),
    }
    if value["reference_range"]:
        resource["referenceRange"] = [{"text": value["reference_range"]}]
    if value["method"]:
        resource["method"] = {"text": value["method"]}
    if value["abnormal_flag"]:
        flag = {"system": _INTERPRETATION, "code": value["abnormal_flag"]}
        resource["interpretation"] = [{"coding": [flag]}]
    return resource


def _value(value: Mapping[str, Any]) -> dict[str, Any]:
    text = value["value"]
    if not text:
        return {}
    comparator = next((each for each in ("<=", ">=", "<", ">") if text.startswith(each)), "")
    try:
        number = Decimal(text.removeprefix(comparator).strip())
    except InvalidOperation:
        return {"valueString": text}
    if not number.is_finite():
        return {"valueString": text}
    quantity: dict[str, Any] = {"value": float(number)}
    if comparator:
        quantity["comparator"] = comparator
    if value["unit"]:
        quantity["unit"] = value["unit"]
    return {"valueQuantity": quantity}
