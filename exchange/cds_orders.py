"""From the call of a CDS service to what the catalogue is asked: the patient, the orders, how urgent. Pure."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from catalog.identity import Demographics, Document
from catalog.items import ItemList
from catalog.orders import OrderRequest
from catalog.records import Laterality, Urgency
from catalog.report_records import LOINC
from catalog.standard_codes import listed_item, region_name
from exchange import fhir_types as fhir
from exchange.cds_types import Call, CdsRefused, ServiceRequest
from exchange.fhir_reading import ID_TYPE_SYSTEM, Place, read_patient, validated
from exchange.outcomes import Refused

ITEM_SYSTEM: Final = "urn:huren:item"
LATERALITY_SYSTEM: Final = "urn:huren:laterality"
SNOMED: Final = "http://snomed.info/sct"
_SCHEMES: Final = {
    LOINC: "LN",
    "http://www.radlex.org": "RADLEX",
    "http://radlex.org": "RADLEX",
    SNOMED: "SCT",
}
_SNOMED_SIDES: Final[dict[str, Laterality]] = {"7771000": "L", "24028007": "R", "51440002": "B"}
_SIDE_WORDS: Final[tuple[tuple[str, Laterality], ...]] = (
    (r"双|\bbilateral\b|\bboth\b", "B"),
    (r"左|\bleft\b", "L"),
    (r"右|\bright\b", "R"),
)
_ORDER_NUMBER: Final = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
_EMERGENCY: Final = frozenset({"stat", "asap"})
_LOCAL: Final = 20  # codings of an order looked up in the hospital's own table

LocalMeaning = tuple[
    str, str | None, str | None
]  # item, side, body part; no item: the hospital says none fits
KnownCodes = Callable[[Collection[str]], Mapping[str, LocalMeaning]]


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft order as sent, and the number it goes by."""

    number: str
    resource: ServiceRequest


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is to be examined and what is about to be ordered; without `documents` nobody can be looked up.

    They are the `whole` unless the patient has one that could not be read.
    """

    documents: tuple[Document, ...]
    whole: bool
    demographics: Demographics
    drafts: tuple[Draft, ...]
    urgency: Urgency


def read_call(call: Call, hook: str, issuer: str, today: date, systems: Mapping[str, str]) -> Asked:
    """Return what a call asks; `systems` are document types by identifier system.

    Raises CdsRefused: 400 for what contradicts itself, 412 for missing prefetch."""
    if call.hook != hook:
        raise _bad("wrong_hook", "该服务不用于此 hook", "This service is for another hook", "hook")
    if hook == "order-select" and call.context.selections is None:
        raise _bad("invalid_request", "缺少 selections", "selections is missing", "context.selections")
    patient = call.prefetch.get("patient")
    if not isinstance(patient, dict) or patient.get("resourceType") != "Patient":
        raise CdsRefused(
            412,
            "prefetch_required",
            "须在 prefetch 中提供 patient,本服务不会另行读取",
            "The prefetch `patient` is required; this service fetches nothing itself",
        )
    if patient.get("id", call.context.patientId) != call.context.patientId:
        raise _bad(
            "patient_mismatch", "患者与上下文不符", "The patient is not the context's", "prefetch.patient"
        )
    try:
        documents, whole, demographics = _person(
            _named(patient, systems), Place("prefetch.patient", issuer, today, {})
        )
        drafts = _drafts(call)
    except Refused as refused:
        faults = [{"field": issue.expression, "message": issue.en} for issue in refused.issues]
        raise CdsRefused(
            400, "invalid_resource", "资源不符合 FHIR R4", "A resource is not FHIR R4", faults
        ) from None
    return Asked(documents, whole, demographics, drafts, _urgency(call, drafts))


def order_requests(
    drafts: Iterable[Draft], items: ItemList, known: KnownCodes, code_systems: Collection[str] = ()
) -> list[OrderRequest]:
    """Return drafts as the check takes them: by the list's code, the hospital's own, a public one, else by text.

    The hospital's own codes stand without a system or with one of `code_systems`; codings that contradict each other
    name no item.
    """
    codes = {draft.number: _local_codes(draft, code_systems) for draft in drafts}
    wanted = {code for own in codes.values() for code in own}
    mapped = known(wanted) if wanted else {}
    return [
        _order(draft, items, {code: mapped[code] for code in codes[draft.number] if code in mapped})
        for draft in drafts
    ]


def _person(resource: dict[str, Any], place: Place) -> tuple[tuple[Document, ...], bool, Demographics]:
    """Return the documents of a Patient, none where it has none, or one that cannot be."""
    validated(fhir.Patient, resource, place.path)  # not FHIR: refused, not unknown
    try:
        facts = read_patient(resource, place)
    except Refused:
        return (), False, Demographics()
    best = (facts.document,) if facts.document else ()
    return best + facts.others, facts.whole, facts.demographics


def _named(patient: dict[str, Any], systems: Mapping[str, str]) -> dict[str, Any]:
    """Return a Patient whose identifiers of a configured system say which document they are."""
    identifiers = patient.get("identifier")
    if not isinstance(identifiers, list):
        return patient
    told = [
        {**each, "system": f"{ID_TYPE_SYSTEM}{systems[each['system']]}"}
        if isinstance(each, dict) and isinstance(each.get("system"), str) and each["system"] in systems
        else each
        for each in identifiers
    ]
    return {**patient, "identifier": told}


def _drafts(call: Call) -> tuple[Draft, ...]:
    """Return the orders in question, each once, in the order sent.

    order-select concerns its `selections` only; what they name may stand in the prefetched drafts.
    """
    entries = [*_entries(call.context.draftOrders), *_entries(call.prefetch.get("draftOrders"))]
    if call.context.selections is None:
        entries = _entries(call.context.draftOrders)
    else:
        wanted = {each.rpartition("/")[2] for each in call.context.selections}
        entries = [each for each in entries if each[0].get("id") in wanted]
    drafts: dict[str, Draft] = {}
    seen: set[str] = set()
    for resource, path in entries:
        if resource.get("resourceType") != "ServiceRequest" or resource.get("id") in seen:
            continue
        draft = _draft(resource, path, call)
        seen.update({draft.resource.id} if draft.resource.id else ())
        if draft.number in drafts:
            raise _bad("duplicate_order", "医嘱号重复", "An order number stands twice", path)
        if not draft.resource.doNotPerform and draft.resource.status in (None, "draft"):
            drafts[draft.number] = draft
    return tuple(drafts.values())


def _entries(bundle: Any) -> list[tuple[dict[str, Any], str]]:
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        return []
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        return []
    return [
        (entry["resource"], f"draftOrders.entry[{number}].resource")
        for number, entry in enumerate(entries)
        if isinstance(entry, dict) and isinstance(entry.get("resource"), dict)
    ]


def _draft(resource: dict[str, Any], path: str, call: Call) -> Draft:
    patient_id = call.context.patientId
    order = validated(ServiceRequest, resource, path)
    reference = order.subject.reference if order.subject else None
    if reference and reference.partition("/_history")[0].rpartition("Patient/")[2] != patient_id:
        raise _bad("patient_mismatch", "医嘱属于另一患者", "An order is another patient's", f"{path}.subject")
    placer = [each.value for each in order.identifier if each.value and each.is_of("PLAC")]
    others = [each.value for each in order.identifier if each.value]
    number = next(iter([*placer, *others]), _own_number(call, order))
    if number is None or not _ORDER_NUMBER.fullmatch(number):
        raise _bad("order_number", "医嘱须有 1 到 64 位编号", "An order needs a number of 1 to 64", path)
    return Draft(number, order)


def _own_number(call: Call, order: ServiceRequest) -> str | None:
    """Return a number for a draft that has none: its id is one among this patient's drafts, not the hospital's orders."""
    if order.id is None:
        return None
    named = (call.context.patientId, call.context.encounterId or "", order.id)
    return hashlib.sha256("\n".join(named).encode()).hexdigest()


def _urgency(call: Call, drafts: Iterable[Draft]) -> Urgency:
    encounter = call.prefetch.get("encounter")
    kind = encounter.get("class") if isinstance(encounter, dict) else None
    if isinstance(kind, dict) and kind.get("code") == "EMER":
        return "emergency"
    return "emergency" if any(draft.resource.priority in _EMERGENCY for draft in drafts) else "routine"


def _order(draft: Draft, items: ItemList, own: Mapping[str, LocalMeaning]) -> OrderRequest:
    codings = draft.resource.code.coding if draft.resource.code else []
    listed = {each.code for each in codings if each.system == ITEM_SYSTEM and each.code}
    public = {item for each in codings if (item := _public_item(each, items))}
    is_certain = len(listed | public | {item for item, _, _ in own.values()}) <= 1 >= len(set(own.values()))
    item_code, local = next(iter(listed), None), next(iter(own), None)
    text = draft.resource.code.name() if draft.resource.code else ""
    return OrderRequest(
        order_number=draft.number,
        item_code=item_code or (next(iter(public), None) if local is None else None) if is_certain else None,
        local_code=local if is_certain and item_code is None else None,
        text=text[:200] if is_certain else "",
        laterality=_side(draft.resource.bodySite),
        body_part=_body_part(draft.resource.bodySite),
    )


def _local_codes(draft: Draft, code_systems: Collection[str]) -> list[str]:
    codings = draft.resource.code.coding if draft.resource.code else []
    own = (each for each in codings if not each.system or each.system in code_systems)
    return [each.code for each in own if each.code and len(each.code) <= 64 and "\0" not in each.code][
        :_LOCAL
    ]


def _public_item(coding: fhir.Coding, items: ItemList) -> str | None:
    scheme = _SCHEMES.get(coding.system or "")
    if scheme is None or not coding.code:
        return None
    laboratory = (item.code for item in items if scheme == "LN" and item.loinc == coding.code)
    return next(laboratory, None) or listed_item(f"{scheme}|{coding.code}")


def _side(sites: Iterable[fhir.CodeableConcept]) -> Laterality | None:
    found = {side for site in sites if (side := _side_of(site))}
    if found == {"L", "R"}:
        return "B"
    return found.pop() if len(found) == 1 else None


def _side_of(site: fhir.CodeableConcept) -> Laterality | None:
    for coding in site.coding:
        if coding.system == SNOMED and coding.code in _SNOMED_SIDES:
            return _SNOMED_SIDES[coding.code]
        if coding.system == LATERALITY_SYSTEM and coding.code in ("L", "R", "B"):
            return coding.code  # type: ignore[return-value]
    words = " ".join([site.text or "", *(coding.display or "" for coding in site.coding)])
    found = [side for pattern, side in _SIDE_WORDS if re.search(pattern, words, re.IGNORECASE)]
    return found[0] if len(found) == 1 or found[:1] == ["B"] else "B" if found else None


def _body_part(sites: Iterable[fhir.CodeableConcept]) -> str | None:
    for site in sites:
        for coding in site.coding:
            part = (
                region_name(f"{_SCHEMES.get(coding.system or '', '')}|{coding.code}") if coding.code else ""
            )
            if part:
                return part
        name = site.name()
        if name and not all(coding.code in _SNOMED_SIDES for coding in site.coding or [fhir.Coding()]):
            return name[:64]
    return None


def _bad(code: str, zh: str, en: str, field: str) -> CdsRefused:
    return CdsRefused(400, code, zh, en, [{"field": field, "message": en}])
