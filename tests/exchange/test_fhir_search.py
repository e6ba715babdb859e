"""FHIR R4 search, case by case: what is found, page by page, and what is refused."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from catalog.embedded import Services
from tests.city import id_number
from tests.exchange.conftest import Service
from tests.exchange.ward import HER, HIM, KINDS, Ward, ask_about, found, ids, issue, open_ward, search


@pytest.fixture(scope="module")
def ward(database_url: str, services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """Made once: the tests that use it change nothing but the audit."""
    with open_ward(database_url, services, tmp_path_factory.mktemp("keys")) as opened:
        yield opened


# --- what is found --------------------------------------------------------------------------------------


def test_everything_of_hers_is_found_newest_first_and_is_valid_r4(ward: Ward) -> None:
    assert {kind: len(each) for kind, each in ward.ids.items()} == {
        "ImagingStudy": 3,
        "DiagnosticReport": 3,
        "Observation": 2,
    }
    for kind, time in (("ImagingStudy", "started"), ("Observation", "effectiveDateTime")):
        times = [each[time] for each in found(search(ward, kind, patient=ward.patient))]
        assert times == sorted(times, reverse=True)


# kind, parameters, which of hers by place in the order of time
FOUND: list[tuple[str, dict[str, str], list[int]]] = [
    ("ImagingStudy", {"modality": "CT"}, [1, 2]),
    ("ImagingStudy", {"modality": "http://dicom.nema.org/resources/ontology/DCM|MR"}, [0]),
    ("ImagingStudy", {"modality": "http://elsewhere.example|MR"}, []),
    ("ImagingStudy", {"modality": "MR,CT"}, [0, 1, 2]),
    ("ImagingStudy", {"identifier": "ACC-9"}, [2]),
    ("ImagingStudy", {"identifier": "urn:huren:accession-number:A|ACC-9"}, [2]),
    ("ImagingStudy", {"identifier": "urn:huren:accession-number:B|ACC-9"}, []),
    ("ImagingStudy", {"identifier": "urn:dicom:uid|urn:oid:2.25.1002"}, [1]),
    ("ImagingStudy", {"identifier": "urn:dicom:uid|2.25.1002"}, [1]),
    ("ImagingStudy", {"status": "available"}, [0, 1, 2]),
    ("ImagingStudy", {"status": "cancelled,entered-in-error"}, []),
    ("ImagingStudy", {"started": "2026-06-25"}, [1]),
    ("ImagingStudy", {"started": "ge2026-06-25"}, [0, 1]),
    ("ImagingStudy", {"started": "gt2026-06-25"}, [0]),
    ("ImagingStudy", {"started": "le2026-06-25"}, [1, 2]),
    ("ImagingStudy", {"started": "lt2026-06-25"}, [2]),
    ("ImagingStudy", {"started": "sa2026-06-25T00:00:00+08:00"}, [0, 1]),
    ("ImagingStudy", {"started": "eb2026-06"}, []),
    ("ImagingStudy", {"started": "2026"}, [0, 1, 2]),
    ("ImagingStudy", {"_sort": "-started"}, [0, 1, 2]),
    ("DiagnosticReport", {"category": "LAB"}, [0, 2]),
    ("DiagnosticReport", {"category": "http://terminology.hl7.org/CodeSystem/v2-0074|RAD"}, [1]),
    ("DiagnosticReport", {"code": "http://loinc.org|11502-2"}, [0, 2]),
    ("DiagnosticReport", {"code": "18748-4", "status": "final"}, [1]),
    ("DiagnosticReport", {"identifier": "R-1"}, [1]),
    ("DiagnosticReport", {"identifier": "urn:huren:report-number:A|L-2"}, [2]),
    ("DiagnosticReport", {"date": "ge2026-06-20"}, [0, 1]),
    ("DiagnosticReport", {"issued": "2026-06-24"}, [1]),
    ("DiagnosticReport", {"_lastUpdated": "ge2026-06-30"}, [0, 1, 2]),
    ("DiagnosticReport", {"_lastUpdated": "lt2026-06-30"}, []),
    ("Observation", {"code": "2823-3"}, [0]),
    ("Observation", {"code": "http://loinc.org|2951-2"}, [1]),
    ("Observation", {"code": "urn:huren:item|LB14"}, [0]),
    ("Observation", {"code": "2823-3,2951-2"}, [0, 1]),
    ("Observation", {"category": "laboratory"}, [0, 1]),
    ("Observation", {"status": "http://hl7.org/fhir/observation-status|final"}, [0, 1]),
    ("Observation", {"date": "lt2026-06-01"}, [1]),
    ("Observation", {"_id": "999999"}, []),
]


@pytest.mark.parametrize(("kind", "parameters", "places"), FOUND)
def test_a_parameter_finds_what_it_names(
    ward: Ward, kind: str, parameters: dict[str, str], places: list[int]
) -> None:
    answer = search(ward, kind, patient=ward.patient, **parameters)
    assert ids(answer) == [ward.ids[kind][place] for place in places]
    assert answer.json()["total"] == len(places)


def test_two_values_of_one_parameter_must_both_hold(ward: Ward) -> None:
    between = {"patient": ward.patient, "started": ["ge2026-06-22", "lt2026-06-27"]}
    answer = ward.call("GET", "/fhir/ImagingStudy", params=between)
    assert ids(answer) == [ward.ids["ImagingStudy"][1]]
    self_link = urlsplit(answer.json()["link"][0]["url"])
    assert self_link.query == f"patient={ward.patient}&started=ge2026-06-22&started=lt2026-06-27"


NAMED = [
    {"patient": "Patient/{}"},
    {"subject": "{}"},
    {"subject": "https://huren.example/fhir/Patient/{}"},
    {"subject:Patient": "{}"},
    {"patient:identifier": HER},
    {"subject.identifier": HER},
    {"patient": "{}", "subject:identifier": HER},
    {"patient.identifier": "urn:huren:person|{}"},
]


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("kind", KINDS)
def test_she_is_named_as_clients_name_patients(ward: Ward, kind: str, name: dict[str, str]) -> None:
    named = {key: value.format(ward.patient) for key, value in name.items()}
    assert ids(search(ward, kind, **named)) == ward.ids[kind]


def test_one_resource_may_be_asked_for_without_its_patient(ward: Ward) -> None:
    for kind, numbers in ward.ids.items():
        assert ids(ward.call("GET", f"/fhir/{kind}?_id={numbers[0]}")) == numbers[:1]
        assert ids(ward.call("GET", f"/fhir/{kind}?_id={ward.man[kind]}")) == []
    uid = ward.call("GET", "/fhir/ImagingStudy", params={"identifier": "urn:dicom:uid|urn:oid:2.25.1001"})
    assert ids(uid) == [ward.ids["ImagingStudy"][2]]
    several = ",".join(f"urn:dicom:uid|urn:oid:2.25.{number}" for number in (1001, 1002))
    of_hers = {"patient": ward.patient, "identifier": several}
    assert len(ids(ward.call("GET", "/fhir/ImagingStudy", params=of_hers))) == 2
    assert ids(ward.call("GET", f"/fhir/Patient?_id={ward.patient}")) == [ward.patient]


def test_the_patient_comes_along_where_asked_for(ward: Ward) -> None:
    for kind in KINDS:
        answer = search(ward, kind, patient=ward.patient, _include=f"{kind}:subject")
        (patient,) = found(answer, "include")
        assert (patient["id"], ids(answer)) == (ward.patient, ward.ids[kind])


@pytest.mark.parametrize("how", [{"_summary": "count"}, {"_count": "0"}])
def test_a_count_is_right_and_shows_nothing(ward: Ward, how: dict[str, str]) -> None:
    answer = search(ward, "ImagingStudy", patient=ward.patient, modality="CT", **how)
    assert (found(answer), answer.json()["total"]) == ([], 2)


# --- paging ---------------------------------------------------------------------------------------------


def next_link(answer: Any) -> str:
    links = {each["relation"]: each["url"] for each in answer.json()["link"]}
    return str(links.get("next", "")).removeprefix("http://testserver")


@pytest.mark.parametrize("kind", KINDS)
def test_pages_go_on_without_gap_or_repeat_and_their_links_say_nothing(ward: Ward, kind: str) -> None:
    answer = search(ward, kind, subject__identifier=HER, _count="1", status="final,available")
    seen = ids(answer)
    while path := next_link(answer):
        assert urlsplit(path).path == f"/fhir/{kind}"
        assert urlsplit(path).query.startswith("_page=")
        assert not any(word in path for word in (id_number(2), "patient", "status", "01|"))
        answer = ward.call("GET", path)
        assert answer.json()["total"] == len(ward.ids[kind])
        seen += ids(answer)
    assert seen == ward.ids[kind]


def test_a_link_is_good_for_its_own_kind_and_for_whoever_may_see_her(ward: Ward) -> None:
    path = next_link(search(ward, "ImagingStudy", patient=ward.patient, _count="1"))
    assert issue(ward.call("GET", path.replace("ImagingStudy", "Observation"))) == (400, "bad_parameter")
    assert issue(ward.call("GET", path[:-4] + "AAAA")) == (400, "bad_parameter")
    assert ids(ward.call("GET", path, hospital="C")) == []


def test_a_link_that_has_expired_is_gone(service: Service) -> None:
    service.city.study("A", days_ago=3)
    ask_about(service)
    path = next_link(search(service, "ImagingStudy", patient__identifier=HER, _count="1"))
    path = path[path.index("/fhir/") :]
    service.city.now += timedelta(minutes=59)
    assert len(ids(service.call("GET", path))) == 1
    service.city.now += timedelta(minutes=1)
    assert issue(service.call("GET", path)) == (410, "page_expired")


# --- what is refused ------------------------------------------------------------------------------------

PATIENT_IN_URL = [
    ("Patient", {"identifier": HER}),
    ("Patient", {"name": "林晓渝"}),
    ("Patient", {"birthdate": "1980-05-17"}),
    ("ImagingStudy", {"patient:identifier": HER}),
    ("ImagingStudy", {"subject.identifier": HER}),
    ("ImagingStudy", {"patient.name": "林晓渝"}),
    ("ImagingStudy", {"patient": "1", "identifier": "ACC-9"}),
    ("DiagnosticReport", {"patient": "1", "identifier": "R-1"}),
    ("Observation", {"patient": id_number(2)}),
    ("Observation", {"patient": "1", "code": f"x|{id_number(2)}"}),
]


@pytest.mark.parametrize(("kind", "parameters"), PATIENT_IN_URL)
def test_nothing_of_a_patient_stands_in_a_url(ward: Ward, kind: str, parameters: dict[str, str]) -> None:
    for method, path in (("GET", f"/fhir/{kind}"), ("POST", f"/fhir/{kind}/_search")):
        answer = ward.call(method, path, params=parameters)
        assert issue(answer) == (400, "patient_in_url")
        assert id_number(2) not in answer.text


WRONG = [
    ({"started": "2026-02-30"}, "bad_parameter"),
    ({"started": "ne2026"}, "bad_parameter"),
    ({"started": "ap2026"}, "bad_parameter"),
    ({"started": "9999"}, "bad_parameter"),
    ({"started": "yesterday"}, "bad_parameter"),
    ({"started": ""}, "bad_parameter"),
    ({"modality": "|"}, "bad_parameter"),
    ({"modality": "CT,"}, "bad_parameter"),
    ({"modality": "C\x00T"}, "bad_parameter"),
    ({"modality": "x" * 501}, "bad_parameter"),
    ({"modality:not": "CT"}, "bad_parameter"),
    ({"status:missing": "true"}, "bad_parameter"),
    ({"patient:Group": "1"}, "bad_parameter"),
    ({"patient.name": "林"}, "bad_parameter"),
    ({"patient": "1,2"}, "bad_parameter"),
    ({"patient": "Device/1"}, "bad_parameter"),
    ({"patient:identifier": id_number(2)}, "bad_parameter"),
    ({"patient:identifier": f"{HER},{HIM}"}, "bad_parameter"),
    ({"_count": "-1"}, "bad_parameter"),
    ({"_count": "x"}, "bad_parameter"),
    ({"_page": "AAAA"}, "bad_parameter"),
    ({"_page": "é"}, "bad_parameter"),
]


@pytest.mark.parametrize(("parameters", "code"), WRONG)
def test_a_wrong_parameter_is_refused_whatever_the_handling(
    ward: Ward, parameters: dict[str, str], code: str
) -> None:
    given = {"patient": ward.patient} | parameters
    for prefer in ("handling=lenient", "handling=strict"):
        answer = ward.call("POST", "/fhir/ImagingStudy/_search", data=given, headers={"Prefer": prefer})
        assert issue(answer) == (400, code)
        assert id_number(2) not in answer.text


def test_a_document_that_is_none_is_unprocessable(ward: Ward) -> None:
    answer = search(ward, "Patient", identifier="urn:huren:id-type:01|999999198005170029")
    assert answer.status_code == 422
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert "99999919800517" not in answer.text


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("Patient", {}),
        ("Patient", {"name": "林晓渝"}),
        ("ImagingStudy", {"modality": "CT"}),
        ("ImagingStudy", {"_id": "1,2"}),
        ("ImagingStudy", {"identifier": "ACC-9"}),
        ("DiagnosticReport", {"identifier": "R-1"}),
        ("Observation", {"code": "2823-3"}),
    ],
)
def test_a_search_names_one_patient_or_one_resource(ward: Ward, kind: str, form: dict[str, str]) -> None:
    assert issue(search(ward, kind, **form)) == (400, "patient_required")


@pytest.mark.parametrize(
    "unknown", ["color", "_elements", "_has:Observation:patient:code", "reason", "_include", "_sort"]
)
def test_an_unknown_parameter_is_passed_over_and_said_to_be_or_refused_when_strict(
    ward: Ward, unknown: str
) -> None:
    asked = {"patient": ward.patient, unknown: "x"}
    answer = ward.call("GET", "/fhir/ImagingStudy", params=asked)
    assert ids(answer) == ward.ids["ImagingStudy"]
    (outcome,) = found(answer, "outcome")
    assert outcome["issue"][0]["severity"] == "warning"
    assert unknown in outcome["issue"][0]["details"]["text"]
    assert urlsplit(answer.json()["link"][0]["url"]).query == f"patient={ward.patient}"
    strict = ward.call("GET", "/fhir/ImagingStudy", params=asked, headers={"Prefer": "handling=strict"})
    assert issue(strict) == (400, "parameter_not_supported")


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/fhir+json", 200),
        ("application/fhir+json; fhirVersion=4.0", 200),
        ("application/json", 200),
        ("text/html, */*;q=0.1", 200),
        ("application/fhir+xml", 406),
        ("text/html", 406),
        ("application/fhir+json; fhirVersion=5.0", 406),
        ("application/json;q=0", 406),
    ],
)
def test_the_answer_is_in_the_form_asked_for_or_refused(ward: Ward, accept: str, status: int) -> None:
    for path in ("/fhir/metadata", f"/fhir/Patient/{ward.patient}"):
        answer = ward.call("GET", path, headers={"Accept": accept})
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/fhir+json"


def test_a_format_in_the_url_counts_before_the_header(ward: Ward) -> None:
    for form, status in (("json", 200), ("application/fhir%2Bjson", 200), ("xml", 406)):
        path = f"/fhir/Patient/{ward.patient}?_format={form}"
        assert ward.call("GET", path, headers={"Accept": "text/html"}).status_code == status


def test_every_error_below_fhir_is_an_outcome(ward: Ward) -> None:
    path = f"/fhir/Patient/{ward.patient}"
    for method, address, role, expected in (
        ("GET", path, "", (401, "unauthenticated")),
        ("GET", path, "curator", (403, "role_not_allowed")),
        ("GET", "/fhir/Patient/999999", "doctor", (404, "unknown_resource")),
        ("GET", "/fhir/Medication/1", "doctor", (404, "not_found")),
        ("GET", "/fhir/Patient/x", "doctor", (422, "invalid_input")),
    ):
        assert issue(ward.call(method, address, role=role)) == expected
    assert issue(ward.client.delete(path)) == (405, "method_not_allowed")
    many = {f"p{number}": "x" for number in range(60)}
    assert issue(search(ward, "Patient", **many)) == (400, "bad_parameter")
