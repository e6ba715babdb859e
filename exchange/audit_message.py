"""Audit records as DICOM audit messages (PS3.15 A.5): the XML of one event. Pure."""

import base64
import re
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from catalog.audit_kinds import Kind, kind_of
from catalog.audit_reading import Told
from exchange.fhir_audit import detail_of, object_of

Code = tuple[str, str, str]  # csd-code, codeSystemName, originalText

_NO_XML: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_QUERY: Final = ("110112", "DCM", "Query")
_PATIENT_RECORD: Final = ("110110", "DCM", "Patient Record")
_AUDIT_LOG_USED: Final = ("110101", "DCM", "Audit Log Used")
_SECURITY_ALERT: Final = ("110113", "DCM", "Security Alert")
_NODE_AUTHENTICATION: Final = ("110126", "DCM", "Node Authentication")
_SECURITY_CONFIGURATION: Final = ("110129", "DCM", "Security Configuration")
_SOFTWARE_CONFIGURATION: Final = ("110131", "DCM", "Software Configuration")
_SOURCE: Final = ("110153", "DCM", "Source Role ID")
_DESTINATION: Final = ("110152", "DCM", "Destination Role ID")
_PATIENT_NUMBER: Final = ("2", "RFC-3881", "Patient Number")


def audit_message(told: Told, source: str) -> bytes:
    """Return a record as an AuditMessage in UTF-8; `source` names this system."""
    entry, kind = told.entry, kind_of(told.entry.action)
    message = Element("AuditMessage")
    event = SubElement(
        message,
        "EventIdentification",
        EventActionCode=kind.letter,
        EventDateTime=entry.recorded_at,
        EventOutcomeIndicator=kind.outcome,
    )
    for name, code in _event_codes(told, kind):
        _coded(event, name, code)
    _participants(message, told, kind, source)
    origin = SubElement(message, "AuditSourceIdentification", AuditSourceID=source)
    SubElement(origin, "AuditSourceTypeCode", {"csd-code": "4"})  # an application server process
    if entry.person_id is not None:
        person = _object(message, str(entry.person_id), "1", "1", _PATIENT_NUMBER)
        _text(person, "ParticipantObjectName", "")
    _acted_on(message, told, kind)
    written: bytes = tostring(message, encoding="utf-8", xml_declaration=True)
    return written


def _event_codes(told: Told, kind: Kind) -> list[tuple[str, Code]]:
    action = _clean(told.entry.action)
    own = ("EventTypeCode", (action, "Huren", action))
    if action.startswith("audit."):
        return [("EventID", _AUDIT_LOG_USED), own]
    if kind.pattern == "Alert":
        detail = _NODE_AUTHENTICATION if action == "association_refused" else _SECURITY_CONFIGURATION
        return [("EventID", _SECURITY_ALERT), ("EventTypeCode", detail), own]
    if told.entry.person_id is None and kind.pattern not in ("Query", "Read"):
        return [("EventID", _SECURITY_ALERT), ("EventTypeCode", _SOFTWARE_CONFIGURATION), own]
    if told.entry.person_id is None or kind.pattern == "Query":
        return [("EventID", _QUERY), own]
    return [("EventID", _PATIENT_RECORD), own]


def _participants(message: Element, told: Told, kind: Kind, source: str) -> None:
    """The user with his hospital, and this system on the other side."""
    ours, theirs = (_SOURCE, _DESTINATION) if kind.pattern == "Read" else (_DESTINATION, _SOURCE)
    user = {"UserID": _clean(told.entry.caller), "UserIsRequestor": "true"}
    if told.hospital_code:
        user["AlternativeUserID"] = _clean(f"{told.entry.caller}@{told.hospital_code}")
    address = detail_of(told).get("address")
    if isinstance(address, str) and address:
        user |= {"NetworkAccessPointID": _clean(address), "NetworkAccessPointTypeCode": "2"}
    asking = SubElement(message, "ActiveParticipant", user)
    _coded(asking, "RoleIDCode", theirs)
    _coded(asking, "RoleIDCode", (_clean(told.entry.role), "Huren", _clean(told.entry.role)))
    server = SubElement(message, "ActiveParticipant", UserID=source, UserIsRequestor="false")
    _coded(server, "RoleIDCode", ours)


def _acted_on(message: Element, told: Told, kind: Kind) -> None:
    name, value = object_of(told)
    code = (_clean(name), "Huren", _clean(name))
    role = "24" if kind.pattern == "Query" else "3"
    found = _object(message, _clean(value), "2", role, code)
    detail = base64.b64encode(told.entry.detail.encode()).decode()
    if kind.pattern == "Query":
        _text(found, "ParticipantObjectQuery", detail)
    else:
        _text(found, "ParticipantObjectName", f"{_clean(name)} {_clean(value)}")
    SubElement(found, "ParticipantObjectDetail", type="detail", value=detail)


def _object(message: Element, number: str, kind: str, role: str, code: Code) -> Element:
    found = SubElement(
        message,
        "ParticipantObjectIdentification",
        ParticipantObjectID=number,
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    _coded(found, "ParticipantObjectIDTypeCode", code)
    return found


def _coded(parent: Element, name: str, code: Code) -> None:
    given = {"csd-code": code[0], "codeSystemName": code[1], "originalText": code[2]}
    SubElement(parent, name, given)


def _text(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = text


def _clean(text: str) -> str:
    """Return a text that XML can hold."""
    return _NO_XML.sub("\ufffd", text)
