"""Audit records as FHIR R4 AuditEvent in the shapes of IHE BALP (Basic Audit Log Patterns 1.1). Pure.

A patient stands there by the catalogue's own number only: no document number, no name.
"""

import base64
import re
from typing import Any, Final

import orjson

from catalog.audit_kinds import Kind, Pattern, kind_of
from catalog.audit_reading import Told

PERSON: Final = "urn:huren:person"
CALLER: Final = "urn:huren:caller"
_HOSPITAL: Final = "urn:huren:hospital"
_SYSTEM: Final = "urn:huren:system"
_OBJECT: Final = "urn:huren:audit-object:"
_PROFILE: Final = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
_TYPE: Final = "http://terminology.hl7.org/CodeSystem/audit-event-type"
_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_ENTITY: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_SOURCE_TYPE: Final = "http://terminology.hl7.org/CodeSystem/security-source-type"
_INTERACTION: Final = "http://hl7.org/fhir/restful-interaction"
_PARTICIPATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
_INTERACTIONS: Final[dict[Pattern, tuple[str, str]]] = {
    "Read": ("read", "read"),
    "Query": ("search", "search"),
    "Create": ("create", "create"),
    "Update": ("update", "update"),
    "Delete": ("delete", "delete"),
}
_NOT_IN_A_STRING: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]|[^\S \t\r\n]")
_SOURCE: Final = ("110153", "Source Role ID")
_DESTINATION: Final = ("110152", "Destination Role ID")
_ITSELF: Final = {"identifier": {"system": _SYSTEM, "value": "huren"}, "display": "Huren 互认"}


def audit_event(told: Told) -> dict[str, Any]:
    """Return a record as an AuditEvent."""
    entry, kind = told.entry, kind_of(told.entry.action)
    return {
        "resourceType": "AuditEvent",
        "id": str(entry.id),
        **_profile(kind, with_patient=entry.person_id is not None),
        "type": _coding(_TYPE, "rest", "Restful Operation")
        if kind.pattern != "Alert"
        else _coding(_DCM, "110113", "Security Alert"),
        "subtype": [*_interaction(kind), _coding("urn:huren:audit-action", entry.action)],
        "action": kind.letter,
        "recorded": entry.recorded_at,
        "outcome": kind.outcome,
        "agent": _agents(told, kind),
        "source": {
            "observer": _ITSELF,
            "type": [_coding(_SOURCE_TYPE, "4", "Application Server")],
        },
        "entity": [*_patient(entry.person_id), *_objects(told, kind)],
    }


def _profile(kind: Kind, *, with_patient: bool) -> dict[str, Any]:
    if kind.pattern == "Alert":
        return {}
    return {"meta": {"profile": [_PROFILE + ("Patient" if with_patient else "") + kind.pattern]}}


def _interaction(kind: Kind) -> list[dict[str, str]]:
    if kind.pattern == "Alert":
        return []
    return [_coding(_INTERACTION, *_INTERACTIONS[kind.pattern])]


def _agents(told: Told, kind: Kind) -> list[dict[str, Any]]:
    """User, client and server; who reads is the destination, who asks or writes the source (BALP §3:5.7)."""
    client, server = (_DESTINATION, _SOURCE) if kind.pattern == "Read" else (_SOURCE, _DESTINATION)
    caller = _text(told.entry.caller)
    user = {
        "type": {"coding": [_coding(_PARTICIPATION, "IRCP", "information recipient")]},
        "role": [{"coding": [_coding("urn:huren:role", told.entry.role)]}],
        "who": {"identifier": {"system": CALLER, "value": caller}},
        "name": caller,
        "requestor": True,
    }
    asking = (
        {"identifier": {"system": _HOSPITAL, "value": told.hospital_code}}
        if told.hospital_code
        else {"display": told.entry.role}
    )
    return [
        user,
        {"type": _role_id(client), "who": asking, "requestor": False, **_network(told)},
        {"type": _role_id(server), "who": _ITSELF, "requestor": False},
    ]


def _network(told: Told) -> dict[str, Any]:
    address = detail_of(told).get("address")
    return {"network": {"address": address, "type": "2"}} if isinstance(address, str) and address else {}


def _patient(person_id: int | None) -> list[dict[str, Any]]:
    if person_id is None:
        return []
    return [
        {
            "what": {"type": "Patient", "identifier": {"system": PERSON, "value": str(person_id)}},
            "type": _coding(_ENTITY, "1", "Person"),
            "role": _coding(_ROLE, "1", "Patient"),
        }
    ]


def _objects(told: Told, kind: Kind) -> list[dict[str, Any]]:
    detail = detail_of(told)
    if kind.pattern == "Query":
        query = orjson.dumps({"action": told.entry.action, **detail}, option=orjson.OPT_SORT_KEYS)
        return [
            {
                "type": _coding(_ENTITY, "2", "System Object"),
                "role": _coding(_ROLE, "24", "Query"),
                "query": base64.b64encode(query).decode(),
            }
        ]
    name, value = object_of(told)
    entity: dict[str, Any] = {
        "what": {"identifier": {"system": _OBJECT + name, "value": _text(value)}},
        "type": _coding(_ENTITY, "2", "System Object"),
        "role": _coding(_ROLE, "4", "Domain Resource"),
    }
    if detail:
        entity["detail"] = [{"type": _text(key), "valueString": _text(detail[key])} for key in sorted(detail)]
    return [entity]


def detail_of(told: Told) -> dict[str, Any]:
    """Return what a record says beyond who and whom; what a forger made of it that is no object stands alone."""
    detail = orjson.loads(told.entry.detail)
    return detail if isinstance(detail, dict) else {"detail": detail}


def object_of(told: Told) -> tuple[str, str]:
    """Return kind and number of what was acted on: the first `…_id` of the record, else the record itself."""
    for key, value in sorted(detail_of(told).items()):
        if key.endswith("_id") and isinstance(value, str | int):
            return key.removesuffix("_id"), str(value)
    return "record", str(told.entry.id)


def _text(value: Any) -> str:
    """Return a value as a FHIR string, which is never empty and has no controls or odd blanks (R4 §2.24.0.1)."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return _NOT_IN_A_STRING.sub(" ", text) or "—"


def _role_id(role: tuple[str, str]) -> dict[str, Any]:
    return {"coding": [_coding(_DCM, *role)]}


def _coding(system: str, code: str, display: str = "") -> dict[str, str]:
    return {"system": system, "code": code} | ({"display": display} if display else {})
