"""A FHIR search as it is asked (R4 §3.1.1): whose chart, what of it, and what was passed over.

A person is named by the catalogue's number, or in the body by a document or a number of the asking hospital. Names,
birth dates and the like name nobody; what would bring such a thing into a URL is refused.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Final
from urllib.parse import parse_qsl

from fastapi import Request

from catalog import whose
from catalog.identity import Document, normalise_document
from catalog.sealed_numbers import may_be_document
from catalog.whose import Whose
from exchange.fhir_audit import PERSON
from exchange.fhir_chart import PATIENT_ID
from exchange.fhir_parameters import DICOM_UID, NEWEST_FIRST, PARAMETERS, Test, split, token_of
from exchange.fhir_reading import DOCUMENT_TYPES, HOSPITAL_TYPES, ID_TYPE_SYSTEM
from exchange.outcomes import Issue, Refused, refusal

Given = list[tuple[str, str]]
_USUAL: Final = 50
_MOST: Final = 100
_LONGEST: Final = 500
_MOST_PARAMETERS: Final = 50
_ID: Final = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z_:.$-]{1,40}")
_REFERENCES: Final = frozenset({"patient", "subject", "patient:Patient", "subject:Patient"})
_IDENTIFIERS: Final = frozenset(
    {"patient:identifier", "subject:identifier", "patient.identifier", "subject.identifier"}
)
# R4's search parameters of Patient whose values are a patient's own data
_PERSONAL: Final = frozenset(
    {
        *("name", "family", "given", "phonetic", "birthdate", "death-date", "email", "phone", "telecom"),
        *("address", "address-city", "address-country", "address-postalcode", "address-state"),
    }
)
_WITHOUT_EFFECT: Final = {("_summary", "false"), ("_total", "accurate"), ("_total", "none")}


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose numbers are meant where a number is a hospital's own, and on which day."""

    hospital_code: str
    today: date


@dataclass(slots=True)
class Search:
    """A search as read; `kept` are the parameters that hold for its next page too, `ignored` those of no effect."""

    kind: str
    whose: list[Whose] = field(default_factory=list, repr=False)
    tests: list[Test] = field(default_factory=list)
    count: int = _USUAL
    counts_only: bool = False
    includes_patient: bool = False
    kept: Given = field(default_factory=list, repr=False)
    ignored: list[str] = field(default_factory=list)


async def form_of(request: Request) -> Given:
    """Return the parameters of a form in the body. Raises Refused for very many."""
    return read_form(await request.body())


def read_form(body: bytes) -> Given:
    """Return the parameters of a form. Raises Refused for very many."""
    try:
        return parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS
        )
    except ValueError:
        raise bad_parameter("") from None


def refuse_personal(given: Iterable[tuple[str, str]]) -> None:
    """Keep patients out of URLs: logs and histories keep those. Raises Refused."""
    for name, value in given:
        base = name.partition(":")[0].removeprefix("patient.").removeprefix("subject.")
        is_number = base == "identifier" and not value.startswith(f"{DICOM_UID}|")
        if (
            is_number
            or base in _PERSONAL
            or name in _IDENTIFIERS
            or may_be_document(value.rpartition("|")[2])
        ):
            raise refusal(
                "invalid",
                "patient_in_url",
                "",
                "患者标识、检查号和报告编号不得出现在网址中,请用 POST _search",
                "Identifiers of a patient, accession and report numbers must not stand in a URL; use POST _search",
                status=400,
            )


def read_search(kind: str, given: Given, asker: Asker, *, strict: bool) -> Search:
    """Return what is asked. Raises Refused for a value that is none, InvalidInput for a document that is none.

    What is not supported is passed over and said to be (R4 §3.1.1.7), or refused where `strict`; but a modifier that
    is not understood, and a way to name a patient that is none, are always refused.
    """
    search = Search(kind)
    for name, value in given:
        if not 0 < len(value) <= _LONGEST or any(character < " " for character in value):
            raise bad_parameter(name)
        _read(search, name, value, asker)
    if strict and search.ignored:
        raise Refused(400, [_not_supported(name) for name in search.ignored])
    if not search.whose:
        search.whose = _by_resource(kind, search.kept)
    if not search.whose:
        raise refusal(
            "required",
            "patient_required",
            "",
            "须指明一位患者(patient)或一份资源(_id)",
            "Name one patient (patient), or one resource (_id)",
            status=400,
        )
    return search


def _read(search: Search, name: str, value: str, asker: Asker) -> None:
    if name in _REFERENCES and search.kind != "Patient":
        search.whose.append(_referred_to(name, value))
    elif (name in _IDENTIFIERS) if search.kind != "Patient" else name == "identifier":
        search.whose.append(_identified(name, value, asker))
    elif name == "identifier:of-type" and search.kind == "Patient":
        search.whose.append(_of_type(name, value, asker))
    elif name.startswith(("patient.", "patient:", "subject.", "subject:")):
        raise bad_parameter(name)
    elif name in ("_count", "_summary", "_include", "_sort"):
        _shape(search, name, value)
    elif name in ("_format", "_pretty") or (name, value) in _WITHOUT_EFFECT:
        pass
    else:
        _compare(search, name, value)


def _compare(search: Search, name: str, value: str) -> None:
    parameter = PARAMETERS[search.kind].get(name.partition(":")[0].partition(".")[0])
    if parameter is None:
        search.ignored.append(_safe(name))
        return
    try:
        if name not in PARAMETERS[search.kind]:
            raise ValueError("a modifier or a chain")
        search.tests.append(parameter.test(value))
    except ValueError:
        raise bad_parameter(name) from None
    search.kept.append((name, value))


def _shape(search: Search, name: str, value: str) -> None:
    """Read what says how the answer looks; a count of 0 asks for the total alone (R4 §3.1.1.5.3)."""
    if name == "_count":
        if not (value.isascii() and value.isdigit()):
            raise bad_parameter(name)
        search.count = min(int(value[:9]), _MOST)
        search.counts_only = search.counts_only or search.count == 0
    elif name == "_summary" and value == "count":
        search.counts_only = True
    elif name == "_include" and value in included(search.kind):
        search.includes_patient = True
    elif (
        not (name == "_sort" and value == NEWEST_FIRST.get(search.kind))
        and (name, value) not in _WITHOUT_EFFECT
    ):
        search.ignored.append(name)
        return
    search.kept.append((name, value))


def included(kind: str) -> list[str]:
    """Return what `_include` can bring along: whose the resources are."""
    if kind == "Patient":
        return []
    return [f"{kind}:{name}{target}" for name in ("patient", "subject") for target in ("", ":Patient")]


# --- who is meant ---------------------------------------------------------------------------------------


def _by_resource(kind: str, kept: Given) -> list[Whose]:
    """Let a resource that is named alone name its person."""
    find = {
        "Patient": whose.person,
        "ImagingStudy": whose.of_study,
        "DiagnosticReport": whose.of_report,
        "Observation": whose.of_result,
    }[kind]
    ids = [value for name, value in kept if name == "_id"]
    if len(ids) == 1 and "," not in ids[0]:
        return [find(int(ids[0]))] if _ID.fullmatch(ids[0]) else [whose.nobody]
    numbers = [value for name, value in kept if name == "identifier"]
    if kind == "ImagingStudy" and len(numbers) == 1 and "," not in numbers[0]:
        system, uid = token_of(numbers[0])
        return [whose.of_study_uid(uid.removeprefix("urn:oid:"))] if system == DICOM_UID else []
    return []


def _referred_to(name: str, value: str) -> Whose:
    kind, slash, number = value.rpartition("/")
    if "," in value or (slash and kind != "Patient" and not kind.endswith("/fhir/Patient")):
        raise bad_parameter(name)
    return whose.person(int(number)) if _ID.fullmatch(number) else whose.nobody


def _identified(name: str, value: str, asker: Asker) -> Whose:
    """Read `system|value`. Raises Refused without a system: a bare number could be anybody's."""
    try:
        ((system, number),) = [token_of(each) for each in split(value)]
    except ValueError:
        raise bad_parameter(name) from None
    if not system or not number:
        raise bad_parameter(name)
    if system.startswith(ID_TYPE_SYSTEM):
        return whose.holder(_document(system.removeprefix(ID_TYPE_SYSTEM), number, asker))
    if system == PERSON:
        return whose.person(int(number)) if _ID.fullmatch(number) else whose.nobody
    own = system == PATIENT_ID + asker.hospital_code
    return whose.patient(number) if own else whose.nobody


def _of_type(name: str, value: str, asker: Asker) -> Whose:
    """Read `system|code|value` (R4 §3.1.1.4.10): a type of v2-0203."""
    _, _, rest = value.partition("|")
    code, bar, number = rest.partition("|")
    if not bar or not number:
        raise bad_parameter(name)
    if code in DOCUMENT_TYPES:
        return whose.holder(_document(DOCUMENT_TYPES[code], number, asker))
    if code in HOSPITAL_TYPES:
        return whose.patient(number)
    raise bad_parameter(name)


def _document(id_type: str, number: str, asker: Asker) -> Document:
    return normalise_document(id_type, number, asker.today, issuer=asker.hospital_code)


# --- refusals -------------------------------------------------------------------------------------------


def bad_parameter(name: str) -> Refused:
    """Return the refusal of a parameter, named where its name is one."""
    known = _safe(name)
    return refusal(
        "invalid",
        "bad_parameter",
        "",
        f"查询参数不支持或取值有误:{known}",
        f"A search parameter is not supported, or its value is wrong: {known}",
        status=400,
    )


def _not_supported(name: str) -> Issue:
    return Issue(
        "not-supported",
        "parameter_not_supported",
        f"不支持该查询参数:{name}",
        f"A search parameter is not supported: {name}",
    )


def ignored(search: Search) -> list[Issue]:
    """Return, for the answer, which parameters had no effect."""
    return [
        Issue(
            "not-supported",
            "parameter_ignored",
            f"未采用该查询参数:{name}",
            f"A search parameter was passed over: {name}",
            severity="warning",
        )
        for name in search.ignored
    ]


def _safe(name: str) -> str:
    return name if _NAME.fullmatch(name) else ""
