"""FHIR R4 read and search, case by case: what is found, what is refused, and that nobody sees whom he may not."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.imagingstudy import ImagingStudy
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.operationoutcome import OperationOutcome
from fhir.resources.R4B.patient import Patient
from sqlalchemy import text

from catalog.context import Caller
from catalog.db import open_engine, transaction
from catalog.embedded import Services
from catalog.errors import TooMany
from catalog.identity import normalise_document
from catalog.records import ReportStatus
from catalog.report_records import LOINC, Coding
from exchange.app import create_app
from exchange.fhir_capability import capability_statement
from exchange.fhir_parameters import PARAMETERS
from exchange.harvest import Harvest
from exchange.health import Health
from exchange.settings import ExchangeSettings
from exchange.tokens import open_token_key
from tests.city import City, id_number, open_catalogue, serving
from tests.exchange.conftest import Service
from tests.exchange.test_people_api import OTHER, curate, register
from tests.reports import IMAGING, LABORATORY, POTASSIUM, evaluate_laboratory, of_person, take

MODELS: dict[str, Any] = {
    "Bundle": Bundle,
    "DiagnosticReport": DiagnosticReport,
    "ImagingStudy": ImagingStudy,
    "Observation": Observation,
    "OperationOutcome": OperationOutcome,
    "Patient": Patient,
}
KINDS = ("ImagingStudy", "DiagnosticReport", "Observation")
HER = f"urn:huren:id-type:01|{id_number(2)}"
HIM = f"urn:huren:id-type:01|{id_number(4)}"
SODIUM = replace(
    POTASSIUM,
    key="2951-2",
    codings=(Coding(LOINC, "2951-2", "钠"),),
    value="140",
    observed_at=POTASSIUM.observed_at - timedelta(days=30),
)


@dataclass
class Ward(Service):
    """A service with a woman whom a check of B has shown, and a man whom nobody asked about."""

    ids: dict[str, list[str]] = field(default_factory=dict)
    patient: str = ""
    man: dict[str, str] = field(default_factory=dict)


def her_results(city: City) -> None:
    """Three studies and three reports of hospital A."""
    evaluate_laboratory(city, "A")
    city.study("A", days_ago=9, AccessionNumber="ACC-9")
    city.study("A", days_ago=5)
    city.study("A", days_ago=2, modalities=("MR",), StudyDescription="头颅MR平扫", BodyPartExamined="BRAIN")
    take(city, "A", IMAGING, StudyInstanceUID="2.25.1001")
    take(city, "A", LABORATORY, **of_person(2))
    take(city, "A", LABORATORY, number="L-2", values=(SODIUM,), title="血钠", **of_person(2))


def ask_about(service: Service, person: int = 2, item: str = "CT07", **caller: str) -> Any:
    patient = {"id_number": id_number(person)}
    order = {"order_id": f"o-{service.city.count}", "item_code": item}
    service.city.count += 1
    return service.call("POST", "/v1/checks", json={"patient": patient, "orders": [order]}, **caller).json()


def search(service: Service, kind: str, hospital: str = "B", **form: Any) -> Any:
    form = {name.replace("__", ":"): value for name, value in form.items()}
    return service.call("POST", f"/fhir/{kind}/_search", hospital=hospital, data=form)


def found(answer: Any, mode: str = "match") -> list[dict[str, Any]]:
    """The resources of a searchset, each valid as R4 has it."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fhir+json"
    told = answer.json()
    Bundle.model_validate(told)
    assert told.get("entry") != []
    entries = [each for each in told.get("entry", []) if each["search"]["mode"] == mode]
    for each in entries:
        MODELS[each["resource"]["resourceType"]].model_validate(each["resource"])
        assert "fullUrl" in each or mode == "outcome"
    return [each["resource"] for each in entries]


def ids(answer: Any) -> list[str]:
    return [each["id"] for each in found(answer)]


def issue(answer: Any) -> tuple[int, str]:
    """The status and our own code of a refusal."""
    told = answer.json()
    OperationOutcome.model_validate(told)
    assert answer.headers["content-type"] == "application/fhir+json"
    return answer.status_code, told["issue"][0]["details"]["coding"][0]["code"]


@pytest.fixture(scope="module")
def ward(database_url: str, services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """Made once: the tests that use it change nothing but the audit."""
    made: list[City] = []
    folder = tmp_path_factory.mktemp("keys")
    catalogue = open_catalogue(database_url, folder, lambda: made[0].now)
    made.append(City(catalogue))
    key = open_token_key(folder / "token.pem")
    served = serving(catalogue, services)
    app = create_app(served, key, ExchangeSettings(check_seconds=20), Health({}, {}))
    with TestClient(app, raise_server_exceptions=False) as client:
        for code in ("A", "B", "C"):
            made[0].hospital(code)
        ward = Ward(client, made[0], key)
        her_results(ward.city)
        ward.city.study("A", 4)
        his = take(ward.city, "A", LABORATORY, number="L-4", **of_person(4))
        with transaction(catalogue.engine) as session:
            read = "select id::text from {} where {} = (select max(person_id) from study)"
            ward.man = {
                "Patient": session.scalars(text("select max(person_id)::text from study")).one(),
                "ImagingStudy": session.scalars(text(read.format("study", "person_id"))).one(),
                "DiagnosticReport": str(his.report_id),
                "Observation": session.scalars(
                    text(read.format("result", "person_id") + " and study_id is null")
                ).one(),
            }
        ask_about(ward)
        (ward.patient,) = ids(search(ward, "Patient", identifier=HER))
        ward.ids = {kind: ids(search(ward, kind, patient=ward.patient)) for kind in KINDS}
        yield ward
    served.engine.dispose()
    catalogue.engine.dispose()


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


# --- reading --------------------------------------------------------------------------------------------


def test_each_resource_is_read_as_it_is_found(ward: Ward) -> None:
    for kind in KINDS:
        for resource in found(search(ward, kind, patient=ward.patient)):
            answer = ward.call("GET", f"/fhir/{kind}/{resource['id']}")
            told = answer.json()
            told.get("meta", {}).pop("tag", None)
            resource["meta"].pop("tag")
            assert told == resource | ({"meta": resource["meta"]} if "meta" in told else {})
            version = resource["meta"].get("versionId")
            assert answer.headers.get("etag") == (f'W/"{version}"' if version else None)
            if version:
                assert answer.headers["last-modified"] == "Tue, 30 Jun 2026 04:00:00 GMT"


def test_a_patient_is_shown_without_the_number_of_the_document(ward: Ward) -> None:
    answer = ward.call("GET", f"/fhir/Patient/{ward.patient}")
    told = answer.json()
    Patient.model_validate(told)
    assert (told["name"], told["birthDate"], told["gender"]) == (
        [{"text": "林晓渝"}],
        "1980-05-17",
        "female",
    )
    (document,) = told["identifier"]
    assert (document["system"], "value" in document) == ("urn:huren:id-type:01", False)
    assert id_number(2) not in answer.text


def test_what_a_withdrawn_report_said_is_not_repeated(service: Service) -> None:
    evaluate_laboratory(service.city, "A")
    take(service.city, "A", LABORATORY, **of_person(2))
    ask_about(service)
    later = {"reported_at": service.city.now, "values": (), "status": ReportStatus.ENTERED_IN_ERROR}
    take(service.city, "A", LABORATORY, **of_person(2), **later)
    (value,) = found(search(service, "Observation", patient__identifier=HER))
    assert (value["status"], "valueQuantity" in value) == ("entered-in-error", False)
    tags = {tag["code"] for tag in value["meta"]["tag"]}
    assert tags >= {"reference", "withdrawn"}
    service.call(
        "POST",
        "/v1/studies/withdraw",
        role="hospital_system",
        hospital="A",
        json={"StudyInstanceUID": "2.25.1001", "reason": "录入错误"},
    )
    (study,) = found(search(service, "ImagingStudy", patient__identifier=HER))
    assert study["status"] == "entered-in-error"


# --- who may see ----------------------------------------------------------------------------------------


def test_somebody_who_is_not_yours_to_see_answers_as_nobody_does(ward: Ward) -> None:
    nobody = normalise_document("01", id_number(888), ward.city.now.date()).number
    for kind in (*KINDS, "Patient"):
        name = "identifier" if kind == "Patient" else "patient:identifier"
        his, none = (
            search(ward, kind, **{name: number}) for number in (HIM, f"urn:huren:id-type:01|{nobody}")
        )
        assert (his.status_code, his.content) == (none.status_code, none.content)
        assert found(his) == []
        read = [ward.call("GET", f"/fhir/{kind}/{number}") for number in (ward.man[kind], "999999")]
        assert (read[0].status_code, read[0].content) == (404, read[1].content)
        if kind != "Patient":
            assert ids(search(ward, kind, patient=ward.man["Patient"])) == []
    for kind in KINDS:  # she was shown to B and to nobody else
        assert ids(search(ward, kind, "C", patient=ward.patient)) == []
        assert ward.call("GET", f"/fhir/{kind}/{ward.ids[kind][0]}", hospital="C").status_code == 404


def test_two_names_of_two_people_name_nobody(ward: Ward) -> None:
    both = {"patient": ward.patient, "patient:identifier": HIM}
    assert ids(search(ward, "ImagingStudy", **both)) == []


def test_a_reason_ends_and_so_does_what_it_lets_see(service: Service) -> None:
    ask_about(service)
    assert len(ids(search(service, "ImagingStudy", patient__identifier=HER))) == 1
    service.city.now += timedelta(hours=24)
    assert ids(search(service, "ImagingStudy", patient__identifier=HER)) == []


def test_an_emergency_opens_the_chart_to_the_doctor_alone(service: Service) -> None:
    body = {"patient": {"id_number": id_number(2)}, "reason": "抢救,患者昏迷,无法询问病史"}
    assert search(service, "Patient", identifier=HER).json()["total"] == 0
    assert service.call("POST", "/v1/break-glass", json=body).status_code == 201
    assert search(service, "Patient", identifier=HER).json()["total"] == 1
    as_system = {"role": "hospital_system", "hospital": "B", "data": {"identifier": HER}}
    assert service.call("POST", "/fhir/Patient/_search", **as_system).json()["total"] == 0


def test_who_opted_out_is_nobody_from_that_moment(service: Service) -> None:
    ask_about(service)
    (number,) = ids(search(service, "Patient", identifier=HER))
    wish = {"id_number": id_number(2), "shared": False}
    service.call("POST", "/v1/patients/sharing", role="curator", json=wish)
    for kind in KINDS:
        answer = search(service, kind, patient=number)
        assert (answer.json()["total"], found(answer, "outcome")) == (0, [])
    assert issue(service.call("GET", f"/fhir/Patient/{number}")) == (404, "unknown_resource")


def test_what_waits_for_a_human_is_held_back_and_the_answer_says_that_it_is_not_everything(
    service: Service,
) -> None:
    doubtful = service.city.study("A", None, PatientID="X1")
    ask_about(service)
    register(service, "X1", {"id_type": "01", "id_number": id_number(2)})
    assert register(service, "X1", OTHER).status_code == 202
    answer = search(service, "ImagingStudy", patient__identifier=HER)
    assert len(ids(answer)) == 1
    assert doubtful not in answer.text
    (outcome,) = found(answer, "outcome")
    assert outcome["issue"][0]["code"] == "incomplete"


def test_two_who_were_merged_are_one_patient_under_either_name(service: Service) -> None:
    service.city.study("A", 4)
    for person in (2, 4):
        ask_about(service, person)
    numbers = [ids(search(service, "Patient", identifier=each))[0] for each in (HER, HIM)]
    reason = {"reason": "已与医院核对"}
    merged = curate(service, "merge", person_id=numbers[0], into_person_id=numbers[1], **reason)
    assert merged.status_code == 200
    for number in numbers:
        studies = found(search(service, "ImagingStudy", patient=number))
        assert [each["subject"]["reference"] for each in studies] == [f"Patient/{numbers[0]}"] * 2
    one, other = (service.call("GET", f"/fhir/Patient/{number}").json() for number in numbers)
    assert one["link"] == [{"other": {"reference": f"Patient/{numbers[1]}"}, "type": "replaces"}]
    assert other["link"] == [{"other": {"reference": f"Patient/{numbers[0]}"}, "type": "replaced-by"}]
    for told in (one, other):
        Patient.model_validate(told)


# --- $match ---------------------------------------------------------------------------------------------


def match(service: Service, *identifiers: dict[str, Any], certain: bool = True, **patient: Any) -> Any:
    resource = {"resourceType": "Patient", "identifier": list(identifiers), **patient}
    parameters = [
        {"name": "resource", "resource": resource},
        {"name": "onlyCertainMatches", "valueBoolean": certain},
    ]
    return service.call(
        "POST", "/fhir/Patient/$match", json={"resourceType": "Parameters", "parameter": parameters}
    )


DOCUMENT = {"system": "urn:huren:id-type:01", "value": id_number(2)}
MR = {"type": {"coding": [{"code": "MR"}]}}


@pytest.mark.parametrize("certain", [True, False])
def test_a_document_matches_its_holder_for_certain_and_a_name_matches_nobody(
    ward: Ward, certain: bool
) -> None:
    answer = match(ward, DOCUMENT, certain=certain, name=[{"text": "林晓渝"}])
    assert ids(answer) == [ward.patient]
    (entry,) = answer.json()["entry"]
    assert (entry["search"]["score"], entry["search"]["extension"][0]["valueCode"]) == (1, "certain")
    by_name = match(ward, certain=certain, name=[{"text": "林晓渝"}], birthDate="1980-05-17", gender="female")
    assert issue(by_name) == (422, "subject_required")


def test_what_contradicts_the_number_leaves_no_match(ward: Ward) -> None:
    for other in ({"name": [{"text": "王小明"}]}, {"birthDate": "1990-01-01"}, {"gender": "male"}):
        assert ids(match(ward, DOCUMENT, **other)) == []
    both = [DOCUMENT, MR | {"value": "nobody's"}]
    assert ids(match(ward, *both)) == []
    assert ids(match(ward, MR | {"value": "a\x00"})) == []
    assert ids(match(ward, {"system": "urn:huren:id-type:01", "value": id_number(4)})) == []


def test_a_number_of_the_hospitals_own_matches_and_another_hospitals_does_not(service: Service) -> None:
    register(service, "B-77", {"id_type": "01", "id_number": id_number(2)}, hospital="B")
    own = {"system": "urn:huren:patient-id:B", "value": "B-77"}
    assert ids(match(service, own)) == []  # known, but nobody of B has a reason yet
    ask_about(service)
    (number,) = ids(match(service, own))
    assert ids(match(service, MR | {"value": "B-77"})) == [number]
    own_number = service.call("GET", f"/fhir/Patient/{number}").json()["identifier"][1]
    assert (own_number["system"], own_number["value"]) == ("urn:huren:patient-id:B", "B-77")
    foreign = match(service, {"system": "urn:huren:patient-id:A", "value": "A-2"})
    assert issue(foreign) == (422, "number_of_another_hospital")
    by_search = {"identifier": "urn:huren:patient-id:A|A-2"}
    assert search(service, "Patient", **by_search).json()["total"] == 0
    assert ids(search(service, "Patient", identifier="urn:huren:patient-id:B|B-77")) == [number]
    of_type = "http://terminology.hl7.org/CodeSystem/v2-0203|MR|B-77"
    assert ids(search(service, "Patient", **{"identifier:of-type": of_type})) == [number]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("[]", 400),
        ('{"resourceType": "Patient"}', 400),
        ('{"resourceType": "Parameters", "parameter": []}', 400),
        ('{"resourceType": "Parameters", "parameter": [{"name": "count", "valueInteger": 1}]}', 400),
        ('{"resourceType": "Parameters", "parameter": [{"name": "resource"}]}', 400),
    ],
)
def test_what_is_no_question_of_match_is_refused(ward: Ward, body: str, status: int) -> None:
    answer = ward.call("POST", "/fhir/Patient/$match", content=body)
    assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome")


# --- the audit and the limits ---------------------------------------------------------------------------


def records(service: Service) -> list[tuple[Any, ...]]:
    query = text("select action, person_id::text, detail->'shown' from audit_event order by id")
    with transaction(service.city.catalogue.engine) as session:
        return [tuple(row) for row in session.execute(query)]


def test_each_answer_leaves_one_record_of_whom_it_was_about_and_what_it_showed(ward: Ward) -> None:
    before = len(records(ward))
    search(ward, "ImagingStudy", patient=ward.patient, modality="MR")
    search(ward, "Observation", patient=ward.man["Patient"])
    ward.call("GET", f"/fhir/Patient/{ward.patient}")
    ward.call("GET", "/fhir/Patient/999999")
    search(ward, "ImagingStudy", patient=ward.patient, started="never")
    assert records(ward)[before:] == [
        ("imaging_study.search", ward.patient, [ward.ids["ImagingStudy"][0]]),
        ("observation.search", ward.man["Patient"], []),
        ("patient.read", ward.patient, [ward.patient]),
    ]


def test_whom_a_caller_is_shown_counts_towards_harvesting_once_by_whatever_name(ward: Ward) -> None:
    app: Any = ward.client.app
    narrow = ExchangeSettings(harvest_alarm_people=1, harvest_limit_people=1)
    kept, doctor = app.state.harvest, Caller("test doctor", "doctor", "B")
    try:
        app.state.harvest = Harvest(narrow)
        for _ in range(2):
            assert search(ward, "ImagingStudy", patient=ward.patient).status_code == 200
            assert ward.call("GET", f"/fhir/Patient/{ward.patient}").status_code == 200
            assert ids(search(ward, "Patient", identifier=HER)) == [ward.patient]
            assert ids(search(ward, "Patient", identifier=HIM)) == []  # not shown, not counted
        with pytest.raises(TooMany):
            app.state.harvest.take(ward.city.catalogue, doctor, "01", id_number(6))
        app.state.harvest = Harvest(narrow)
        app.state.harvest.take(ward.city.catalogue, doctor, "01", id_number(6))
        before = records(ward)
        for path in (f"Patient/{ward.patient}", f"ImagingStudy?patient={ward.patient}"):
            refused = ward.call("GET", f"/fhir/{path}")
            assert issue(refused) == (429, "harvesting")
            assert int(refused.headers["retry-after"]) > 0
        assert [each for each in records(ward)[len(before) :] if each[0] != "harvest.alarm"] == []
    finally:
        app.state.harvest = kept


def test_while_the_database_is_down_the_answer_is_an_error_and_never_nothing_found(
    ward: Ward, unreachable_database_url: str
) -> None:
    app: Any = ward.client.app
    kept = app.state.catalogue
    app.state.catalogue = replace(kept, engine=open_engine(unreachable_database_url))
    try:
        token = {"Authorization": f"Bearer {ward.token('doctor', 'B')}"}
        answer = ward.client.get(f"/fhir/ImagingStudy?patient={ward.patient}", headers=token)
    finally:
        app.state.catalogue = kept
    assert issue(answer) == (503, "database_down")


# --- what the service says of itself --------------------------------------------------------------------


def test_the_capability_statement_is_public_valid_and_true(ward: Ward) -> None:
    told = ward.call("GET", "/fhir/metadata", role="").json()
    CapabilityStatement.model_validate(told)
    assert told == capability_statement("http://testserver/fhir")
    assert (told["fhirVersion"], told["kind"]) == ("4.0.1", "instance")
    rest = {each["type"]: each for each in told["rest"][0]["resource"]}
    assert set(rest) == {*PARAMETERS, "AuditEvent"}
    values = {"date": "2026", "token": "1"}
    for kind in PARAMETERS:
        form = {
            each["name"]: values[each["type"]]
            for each in rest[kind]["searchParam"]
            if each["type"] in values and each["name"] != "identifier"
        }
        who = {"identifier": HER} if kind == "Patient" else {"patient": ward.patient}
        strict = {"Prefer": "handling=strict"}
        answer = ward.call("POST", f"/fhir/{kind}/_search", data=who | form, headers=strict)
        assert answer.status_code == 200
        for include in rest[kind].get("searchInclude", []):
            asked = who | {"_include": include}
            assert ward.call("POST", f"/fhir/{kind}/_search", data=asked, headers=strict).status_code == 200
