"""FHIR R4 read and `$match`: nobody sees whom he may not, and each answer leaves its record."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.patient import Patient
from sqlalchemy import text

from catalog.context import Caller
from catalog.db import open_engine, transaction
from catalog.embedded import Services
from catalog.errors import TooMany
from catalog.harvest import Harvest
from catalog.identity import normalise_document
from catalog.records import ReportStatus
from exchange.fhir_capability import capability_statement
from exchange.fhir_parameters import PARAMETERS
from exchange.settings import ExchangeSettings
from tests.city import id_number
from tests.exchange.conftest import Service
from tests.exchange.test_people_api import OTHER, curate, register
from tests.exchange.ward import HER, HIM, KINDS, Ward, ask_about, found, ids, issue, open_ward, search
from tests.reports import LABORATORY, evaluate_laboratory, of_person, take


@pytest.fixture(scope="module")
def ward(database_url: str, services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """Made once: the tests that use it change nothing but the audit."""
    with open_ward(database_url, services, tmp_path_factory.mktemp("keys")) as opened:
        yield opened


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
