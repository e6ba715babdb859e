"""What stands in a chart as FHIR R4 (4.0.1): Patient, ImagingStudy, DiagnosticReport, Observation. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from catalog.chart import Entry
from catalog.report_records import LOINC
from catalog.rules import HOSPITAL_ZONE
from catalog.sealed_numbers import may_be_document
from exchange.fhir_reading import ID_TYPE_SYSTEM
from exchange.fhir_writing import diagnostic_report, value_of

PATIENT_ID: Final = "urn:huren:patient-id:"
ACCESSION_NUMBER: Final = "urn:huren:accession-number:"
REPORT_NUMBER: Final = "urn:huren:report-number:"
ITEM: Final = "urn:huren:item"
_VERDICT: Final = "urn:huren:verdict"
_REASON: Final = "urn:huren:reason"
_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_V2_0203: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
_CATEGORY: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
_MASKED: Final = {
    "extension": [
        {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}
    ]
}
_VERDICTS: Final = {"recognisable": "可互认 / recognisable", "reference": "仅供参考 / for reference"}


def patient(person_id: int, entry: Entry) -> dict[str, Any]:
    """Return a Patient: what confirms him, the asking hospital's own numbers, and of his document the type only."""
    told = entry.told
    resource: dict[str, Any] = {
        "resourceType": "Patient",
        "id": str(person_id),
        "identifier": [
            {"use": "official", "system": ID_TYPE_SYSTEM + told["id_type"], "_value": _MASKED},
            *(_own_number(told["hospital"], number) for number in told["PatientIDs"]),
        ],
        "active": True,
        "gender": told["sex"],
    }
    if told["name"]:
        resource["name"] = [{"text": told["name"]}]
    if told["birth_date"]:
        resource["birthDate"] = told["birth_date"]
    if told["merged"]:
        resource["link"] = [_link(each, "replaces") for each in told["merged"]]
    return resource


def merged_patient(person_id: int, into: int) -> dict[str, Any]:
    """Return the Patient of somebody who was merged: it leads to the one that everything names."""
    return {
        "resourceType": "Patient",
        "id": str(person_id),
        "active": False,
        "link": [_link(into, "replaced-by")],
    }


def imaging_study(person_id: int, entry: Entry) -> dict[str, Any]:
    """Return the ImagingStudy of a study; withdrawn is `entered-in-error`, as R4 means it."""
    told, results = entry.told, entry.told["results"]
    images, hospital = results[0]["images"], results[0]["hospital"]
    identifiers: list[dict[str, Any]] = [_uid(images["StudyInstanceUID"])]
    if told["accession_number"]:
        system = ACCESSION_NUMBER + hospital["code"]
        identifiers.append({"type": _type("ACSN"), "system": system, "value": told["accession_number"]})
    resource = {
        "resourceType": "ImagingStudy",
        "id": str(entry.id),
        "meta": {"tag": _tags(results)},
        "identifier": identifiers,
        "status": "entered-in-error" if told["withdrawn"] else "available",
        "modality": [{"system": _DCM, "code": code} for code in images["Modalities"]],
        "subject": _subject(person_id),
        "started": _iso(entry.at),
        "numberOfSeries": images["series"],
        "numberOfInstances": images["instances"],
        "procedureCode": [{"coding": [_item(each["item"])]} for each in results],
    }
    if images["StudyDescription"]:
        resource["description"] = images["StudyDescription"]
    return _filled(resource)


def report(person_id: int | None, entry: Entry) -> dict[str, Any]:
    """Return the DiagnosticReport of a report with what it is about."""
    told = entry.told
    resource = diagnostic_report(told)
    system, bar, number = told["number"].rpartition("|")
    if not may_be_document(number):
        default = REPORT_NUMBER + told["hospital"]["code"]
        resource["identifier"] = [{"system": system if bar else default, "value": number}]
    if person_id is not None:
        resource["subject"] = _subject(person_id)
    if told["done_at"]:
        resource["effectiveDateTime"] = _iso(told["done_at"])
    if told["study"]:
        study_id, uid = told["study"]
        resource["imagingStudy"] = [{"reference": f"ImagingStudy/{study_id}", "identifier": _uid(uid)}]
    if told["results"]:
        resource["meta"]["tag"] = _tags(told["results"])
    return resource


def observation(person_id: int, entry: Entry) -> dict[str, Any]:
    """Return the Observation of a laboratory result; of a withdrawn one the value is not repeated."""
    told, given, hospital = entry.told, entry.told["report"], entry.told["hospital"]
    value = given["values"][0] if given and given["values"] else None
    resource: dict[str, Any] = {
        "resourceType": "Observation",
        "id": str(entry.id),
        "meta": {"tag": _tags([told])},
        "status": "entered-in-error",
        "category": [{"coding": [{"system": _CATEGORY, "code": "laboratory", "display": "Laboratory"}]}],
        "code": {},
        "subject": _subject(person_id),
        "effectiveDateTime": _iso(entry.at),
        "performer": [{"display": hospital["name"]}],
    }
    if given:
        resource["meta"] |= {"versionId": str(given["version"]), "lastUpdated": given["received_at"]}
        resource["issued"] = given["reported_at"]
    if value:
        resource |= value_of(value, hospital["code"])
    code = resource["code"]
    resource["code"] = {"text": told["item"]["name"], **code, "coding": _codings(told["item"], code)}
    return resource


def _codings(item: Mapping[str, str], code: Mapping[str, Any]) -> list[dict[str, str]]:
    given = list(code.get("coding", []))
    if not given and item["loinc"]:
        given.append({"system": LOINC, "code": item["loinc"]})
    return [*given, _item(item)]


def _own_number(hospital: str, number: str) -> dict[str, Any]:
    return {"use": "usual", "type": _type("MR"), "system": PATIENT_ID + hospital, "value": number}


def _type(code: str) -> dict[str, Any]:
    return {"coding": [{"system": _V2_0203, "code": code}]}


def _uid(uid: str) -> dict[str, Any]:
    return {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}


def _item(item: Mapping[str, str]) -> dict[str, str]:
    return {"system": ITEM, "code": item["code"], "display": item["name"]}


def _subject(person_id: int) -> dict[str, str]:
    return {"reference": f"Patient/{person_id}"}


def _link(person_id: int, kind: str) -> dict[str, Any]:
    return {"other": _subject(person_id), "type": kind}


def _tags(results: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Say how it stands for who asks; several results in one are recognisable only where each of them is."""
    results = list(results)
    whole = all(each["verdict"] == "recognisable" for each in results)
    verdict = "recognisable" if whole else "reference"
    reasons = {reason["code"]: reason for each in results for reason in each["reasons"]}
    return [
        {"system": _VERDICT, "code": verdict, "display": _VERDICTS[verdict]},
        *(
            {"system": _REASON, "code": code, "display": f"{reason['text']} / {reason['text_en']}"}
            for code, reason in reasons.items()
        ),
    ]


def _filled(resource: dict[str, Any]) -> dict[str, Any]:
    """Leave out empty lists: FHIR's JSON has none (R4 §2.6.2.1)."""
    return {name: value for name, value in resource.items() if value != []}


def _iso(at: datetime) -> str:
    return at.astimezone(HOSPITAL_ZONE).isoformat(timespec="seconds")
