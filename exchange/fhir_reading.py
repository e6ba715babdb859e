"""From FHIR R4 resources to what the catalogue takes: patients and reports, every refusal with its place. Pure."""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from catalog.errors import InvalidInput
from catalog.identity import Demographics, Document, normalise_document
from catalog.records import ReportStatus
from catalog.report_records import LOINC, Category, Coding, LabValue, ReportMessage
from catalog.report_sections import section_of
from exchange import fhir_types as fhir
from exchange.outcomes import Issue, Refused, refusal

_Kind = TypeVar("_Kind", bound=fhir.Element)

# http://terminology.hl7.org/CodeSystem/v2-0203 → WS 364 CV02.01.101; or the document type itself as a system.
DOCUMENT_TYPES: Final = {"NI": "01", "NNCHN": "01", "PPN": "03", "MI": "04", "DL": "05", "BCT": "93"}
ID_TYPE_SYSTEM: Final = "urn:huren:id-type:"
HOSPITAL_TYPES: Final = ("MR", "PI", "PT")
IDENTITY_CARD: Final = "01"
_ACCESSION: Final = "ACSN"
_DICOM_UID: Final = "urn:dicom:uid"
_LABORATORY: Final = frozenset(("LAB", "CH", "HM", "MB", "IMM", "BLB", "SR", "TX", "URN", "LP29693-6"))
_IMAGING: Final = frozenset(
    ("RAD", "RX", "CT", "NMR", "MR", "RUS", "NMS", "MG", "XRC", "CUS", "IMG", "LP29684-5")
)
_STRUCTURE: Final = {
    "missing": ("required", "element_required", "缺少必需的元素", "A required element is missing"),
    "too_short": ("required", "element_required", "缺少必需的元素", "A required element is missing"),
    "literal_error": ("code-invalid", "code_unknown", "代码不在值集内", "The code is not in the value set"),
    "too_long": ("too-long", "too_long", "条目过多", "There are too many entries"),
    "string_too_long": ("too-long", "too_long", "内容过长", "The content is too long"),
}


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """Who a Patient resource is: the hospital's PatientID, his best document, and what confirms them.

    `others` are the documents it names beside that one; not the `whole` where one of them could not be read.
    """

    patient_id: str = ""
    document: Document | None = None
    demographics: Demographics = field(default_factory=Demographics)
    others: tuple[Document, ...] = ()
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Form:
    """A document inside a report, still to be kept."""

    content: bytes
    content_type: str
    title: str
    expression: str


@dataclass(frozen=True, slots=True)
class ReadReport:
    """A report as read, its documents, and the place of its resource."""

    message: ReportMessage
    forms: tuple[Form, ...]
    path: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a resource stands, and how its references find the others: fullUrl or Type/id → resource and path."""

    path: str
    issuer: str
    today: date
    known: Mapping[str, tuple[Mapping[str, Any], str]]


def validated(kind: type[_Kind], resource: Any, path: str) -> _Kind:
    """Return a resource as its model. Raises Refused with every fault and its place."""
    try:
        return kind.model_validate(resource)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        raise Refused(400, [_issue(fault, path) for fault in faults[:20]]) from None


def read_patient(resource: Any, place: Place) -> PatientFacts:
    """Return who a Patient is, whatever the order of his identifiers; those no longer in use are left out.

    Raises Refused; for a document that cannot be, unless it is a lesser one beside a good one.
    """
    patient = validated(fhir.Patient, resource, place.path)
    numbered = [(number, each) for number, each in enumerate(patient.identifier) if each.is_in_use()]
    documents, whole = _documents(numbered, place)
    patient_id = next((each.value for _, each in numbered if each.value and _is_hospitals(each)), "")
    if not patient_id and not documents:
        raise refusal(
            "required",
            "subject_required",
            f"{place.path}.identifier",
            "患者须有本机构患者编号(MR)或证件号码",
            "A patient needs the hospital's number (MR) or an identity document",
        )
    best, others = next(iter(documents), None), tuple(documents[1:])
    return PatientFacts(patient_id, best, _demographics(patient), others, whole)


def read_report(resource: Any, place: Place) -> ReadReport:
    """Return the report that a DiagnosticReport and what it refers to say. Raises Refused."""
    report = validated(fhir.DiagnosticReport, resource, place.path)
    resolve = _resolver(report, place)
    observations = _observations(report, place, resolve)
    patient = _subject(report, place, resolve)
    category = _category(report, observations)
    issued = report.issued and fhir.moment(report.issued)
    reported_at = issued or report.effective()
    if reported_at is None:
        raise refusal(
            "required",
            "element_required",
            f"{place.path}.issued",
            "缺少报告时间",
            "The time of issue is missing",
        )
    texts = _texts(report, observations) if category == "imaging" else {"conclusion": report.conclusion or ""}
    message = ReportMessage(
        number=_number(report, place),
        category=category,
        status=ReportStatus(report.status),
        reported_at=reported_at,
        source="fhir",
        title=report.code.name(),
        findings=texts.get("findings", ""),
        conclusion=texts.get("conclusion", ""),
        author=_author(report),
        StudyInstanceUID=_study_uid(report, place, resolve) if category == "imaging" else "",
        AccessionNumber=_accession(report, resolve) if category == "imaging" else "",
        PatientID=patient.patient_id,
        document=patient.document,
        demographics=patient.demographics,
        values=_values(observations, place, reported_at) if category == "laboratory" else (),
    )
    return ReadReport(message, _forms(report, place), place.path)


def number_of_query(query: str) -> str | None:
    """Return the report number that a search `identifier=system|value` names, or None where it is another search."""
    name, _, value = query.partition("=")
    return value.removeprefix("|") if name == "identifier" and value and "&" not in value else None


# --- identifiers ----------------------------------------------------------------------------------------


def _number(report: fhir.DiagnosticReport, place: Place) -> str:
    for identifier in report.identifier:
        if identifier.value and not identifier.is_of(_ACCESSION):
            return f"{identifier.system}|{identifier.value}" if identifier.system else identifier.value
    raise refusal(
        "required",
        "number_required",
        f"{place.path}.identifier",
        "报告须有编号",
        "A report needs an identifier with a value",
    )


def _document_type(identifier: fhir.Identifier) -> str:
    system = identifier.system or ""
    if system.startswith(ID_TYPE_SYSTEM):
        return system.removeprefix(ID_TYPE_SYSTEM)
    codes = identifier.type.codes() if identifier.type else []
    return next((DOCUMENT_TYPES[code] for code in codes if code in DOCUMENT_TYPES), "")


def _is_hospitals(identifier: fhir.Identifier) -> bool:
    if _document_type(identifier):
        return False
    return identifier.type is None or identifier.is_of(*HOSPITAL_TYPES)


def _documents(numbered: Iterable[tuple[int, fhir.Identifier]], place: Place) -> tuple[list[Document], bool]:
    """Return each document once, identity cards first, and whether all could be read."""
    found: list[Document] = []
    faults: list[Refused] = []
    for number, identifier in numbered:
        id_type = _document_type(identifier)
        if not id_type or not identifier.value:
            continue
        try:
            found.append(
                _document(id_type, identifier.value, place, f"{place.path}.identifier[{number}].value")
            )
        except Refused as refused:
            if id_type == IDENTITY_CARD:
                raise
            faults.append(refused)
    if faults and not found:
        raise faults[0]
    documents = sorted(dict.fromkeys(found), key=lambda each: each.id_type != IDENTITY_CARD)
    if sum(each.id_type == IDENTITY_CARD for each in documents) > 1:
        raise refusal(
            "business-rule",
            "document_ambiguous",
            f"{place.path}.identifier",
            "患者有不同的身份证号码",
            "The patient has different identity card numbers",
        )
    return documents, not faults


def _document(id_type: str, value: str, place: Place, expression: str) -> Document:
    try:
        return normalise_document(id_type, value, place.today, issuer=place.issuer)
    except InvalidInput as error:
        raise refusal("value", error.code, expression, error.zh, error.en) from None


def _demographics(patient: fhir.Patient) -> Demographics:
    names = [name.text or "^".join(filter(None, (name.family, "".join(name.given)))) for name in patient.name]
    born = (
        date.fromisoformat(patient.birthDate) if patient.birthDate and len(patient.birthDate) == 10 else None
    )
    return Demographics(name="=".join(filter(None, names)) or None, birth_date=born, sex=patient.gender)


# --- references -----------------------------------------------------------------------------------------

Resolve = Callable[[fhir.Reference], tuple[Mapping[str, Any], str] | None]


def _resolver(report: fhir.DiagnosticReport, place: Place) -> Resolve:
    contained = {
        f"#{resource.get('id')}": (resource, f"{place.path}.contained[{number}]")
        for number, resource in enumerate(report.contained)
    }

    def resolve(reference: fhir.Reference) -> tuple[Mapping[str, Any], str] | None:
        return contained.get(reference.reference or "") or place.known.get(reference.reference or "")

    return resolve


def _subject(report: fhir.DiagnosticReport, place: Place, resolve: Resolve) -> PatientFacts:
    if report.subject is None:
        return PatientFacts()
    found = resolve(report.subject)
    if found is not None:
        resource, path = found
        return read_patient(resource, Place(path, place.issuer, place.today, place.known))
    identifier = report.subject.identifier
    if identifier is None or not identifier.value:
        raise _unresolved(f"{place.path}.subject")
    id_type = _document_type(identifier)
    if id_type:
        at = f"{place.path}.subject.identifier.value"
        return PatientFacts(document=_document(id_type, identifier.value, place, at))
    return PatientFacts(patient_id=identifier.value)


def _observations(
    report: fhir.DiagnosticReport, place: Place, resolve: Resolve
) -> list[tuple[fhir.Observation, str]]:
    found = []
    for number, reference in enumerate(report.result):
        at = f"{place.path}.result[{number}]"
        observation, path = _observation(reference, at, resolve)
        found.append((observation, path))
        for member_number, member in enumerate(observation.hasMember):
            found.append(_observation(member, f"{path}.hasMember[{member_number}]", resolve))
    return found


def _observation(reference: fhir.Reference, at: str, resolve: Resolve) -> tuple[fhir.Observation, str]:
    found = resolve(reference)
    if found is None:
        raise _unresolved(at)
    resource, path = found
    return validated(fhir.Observation, resource, path), path


def _unresolved(expression: str) -> Refused:
    return refusal(
        "not-found",
        "reference_unresolved",
        expression,
        "引用的资源不在所发送的内容中",
        "The reference leads to nothing that was sent along",
    )


def _identifiers(references: Iterable[fhir.Reference], resolve: Resolve) -> Iterable[fhir.Identifier]:
    for reference in references:
        if reference.identifier is not None:
            yield reference.identifier
        found = resolve(reference)
        if found is not None and found[0].get("resourceType") in ("ImagingStudy", "ServiceRequest"):
            yield from validated(fhir.Identified, found[0], found[1]).identifier


def _study_uid(report: fhir.DiagnosticReport, place: Place, resolve: Resolve) -> str:
    for identifier in _identifiers(report.imagingStudy, resolve):
        if identifier.value and identifier.system == _DICOM_UID:
            return identifier.value.removeprefix("urn:oid:")
    return ""


def _accession(report: fhir.DiagnosticReport, resolve: Resolve) -> str:
    named = [*report.identifier, *_identifiers([*report.basedOn, *report.imagingStudy], resolve)]
    return next((each.value for each in named if each.value and each.is_of(_ACCESSION)), "")


# --- content --------------------------------------------------------------------------------------------


def _category(
    report: fhir.DiagnosticReport, observations: Iterable[tuple[fhir.Observation, str]]
) -> Category:
    codes = {code for concept in report.category for code in concept.codes()}
    if codes & _LABORATORY:
        return "laboratory"
    if codes & _IMAGING or report.imagingStudy:
        return "imaging"
    return "laboratory" if any(each.valueQuantity for each, _ in observations) else "imaging"


def _texts(
    report: fhir.DiagnosticReport, observations: Iterable[tuple[fhir.Observation, str]]
) -> dict[str, str]:
    texts: dict[str, list[str]] = {"conclusion": [report.conclusion] if report.conclusion else []}
    for observation, _ in observations:
        section = section_of(observation.code.codes(), [observation.code.name()])
        texts.setdefault(section, []).append(observation.value_text())
    return {section: "\n".join(filter(None, parts)) for section, parts in texts.items()}


def _author(report: fhir.DiagnosticReport) -> str:
    named = [*report.resultsInterpreter, *report.performer]
    return next((each.display for each in named if each.display), "")


def _values(
    observations: Iterable[tuple[fhir.Observation, str]], place: Place, reported_at: Any
) -> tuple[LabValue, ...]:
    values: dict[str, LabValue] = {}
    for observation, path in observations:
        if observation.hasMember:
            continue
        value = _value(observation, path, reported_at, values)
        if value.key in values:
            raise refusal(
                "duplicate", "value_twice", f"{path}.code", "同一报告内检验项目重复", "A value stands twice"
            )
        values[value.key] = value
    return tuple(values.values())


def _value(
    observation: fhir.Observation, path: str, reported_at: Any, earlier: Mapping[str, LabValue]
) -> LabValue:
    codings = tuple(
        Coding(
            LOINC if coding.system == LOINC else "", coding.code, coding.display or observation.code.name()
        )
        for coding in observation.code.coding
        if coding.code
    )
    if not codings:
        raise refusal(
            "required", "element_required", f"{path}.code.coding", "缺少检验项目代码", "The code is missing"
        )
    status, text = ReportStatus(observation.status), observation.value_text()
    if status in (ReportStatus.FINAL, ReportStatus.AMENDED, ReportStatus.CORRECTED) and not text:
        raise refusal(
            "required", "value_required", f"{path}.value", "最终结果没有值", "A final value is missing"
        )
    key = codings[0].code
    own = next((each.value for each in observation.identifier if each.value), "")
    quantity = observation.valueQuantity
    return LabValue(
        key=f"{key}#{own}" if key in earlier and own else key,
        codings=codings,
        value=text,
        status=status,
        observed_at=observation.effective() or reported_at,
        unit=(quantity.unit or quantity.code or "") if quantity else "",
        reference_range="; ".join(filter(None, (each.described() for each in observation.referenceRange))),
        method=observation.method.name() if observation.method else "",
        flag=next((code for each in observation.interpretation for code in each.codes()), ""),
    )


def _forms(report: fhir.DiagnosticReport, place: Place) -> tuple[Form, ...]:
    forms = []
    for number, form in enumerate(report.presentedForm):
        at = f"{place.path}.presentedForm[{number}]"
        if form.data is None or form.contentType is None:
            raise refusal(
                "not-supported",
                "attachment_by_url",
                at,
                "附件须以 data 内嵌",
                "A form must come with its data, not by a link",
            )
        try:
            content = base64.b64decode(re.sub(r"\s", "", form.data), validate=True)
        except (binascii.Error, ValueError):
            raise refusal(
                "value", "base64_invalid", f"{at}.data", "Base64 无法解码", "The Base64 cannot be decoded"
            ) from None
        forms.append(Form(content, form.contentType, form.title or "", at))
    return tuple(forms)


def _issue(fault: Any, path: str) -> Issue:
    expression = path
    for part in fault["loc"]:
        expression += f"[{part}]" if isinstance(part, int) else f".{part}"
    kind = fault["type"]
    if kind == "value_error" and fault["loc"] and fault["loc"][-1] in ("modifierExtension", "implicitRules"):
        return Issue("extension", "extension_unknown", "含有不理解的修饰扩展", "Not understood", expression)
    issue, code, zh, en = _STRUCTURE.get(
        kind,
        ("value" if kind == "value_error" else "structure", "element_invalid", "元素不合规范", fault["msg"]),
    )
    return Issue(issue, code, zh, en, expression)
