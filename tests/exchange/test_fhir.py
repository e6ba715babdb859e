"""FHIR R4: bundles and reports in, each once; precise refusals; what goes out is valid."""

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.operationoutcome import OperationOutcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from catalog import registry
from catalog.db import transaction
from catalog.tables import Person
from catalog.tables_reports import Observation, Report, ReportVersion
from exchange.fhir_reading import Place, read_report
from exchange.outcomes import Refused
from tests.exchange.conftest import Service
from tests.messages import BAD_BUNDLES, bundle, entry, observation, patient, report, spoiled_bundle
from tests.reports import count, evaluate_laboratory

pytestmark = pytest.mark.long

HOSPITAL = {"role": "hospital_system", "hospital": "A"}


def post(service: Service, content: Any, path: str = "/fhir", **more: Any) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content)
    return service.call("POST", path, content=body, **(HOSPITAL | {"told": False} | more))


def issue(answer: Any) -> dict[str, Any]:
    outcome = answer.json()
    OperationOutcome.model_validate(outcome)
    found: dict[str, Any] = outcome["issue"][0]
    return found


def candidates(service: Service, item: str, person: int = 2) -> list[dict[str, Any]]:
    doctor = service.city.doctors.setdefault("B", _doctor())
    answer = service.city.check(
        doctor, [{"order_number": f"o-{service.city.count}", "item_code": item}], person
    )
    service.city.count += 1
    found: list[dict[str, Any]] = answer["orders"][0]["candidates"]
    return found


def _doctor() -> Any:
    from catalog.context import Caller

    return Caller("dr.B", "doctor", "B")


def test_a_transaction_links_its_patient_and_makes_each_value_a_result(service: Service) -> None:
    evaluate_laboratory(service.city, "A")
    answer = post(service, bundle(2, "L-1"), told=True)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/fhir+json"
    responses = [each["response"] for each in answer.json()["entry"]]
    assert responses[-1]["status"] == "201 Created"
    assert responses[-1]["location"].startswith("DiagnosticReport/")
    found = candidates(service, "LB14")[0]
    assert (found["verdict"], found["hr_marks"]) == ("recognisable", ["重庆HR"])
    value = found["report"]["values"][0]
    assert (value["value"], value["unit"], value["reference_range"]) == ("4.1", "mmol/L", "3.5-5.3")
    assert (value["method"], value["abnormal_flag"]) == ("离子选择电极法", "N")


def test_the_same_transaction_again_makes_nothing_new(service: Service) -> None:
    post(service, bundle(2, "L-1"))
    again = post(service, bundle(2, "L-1"))
    assert again.json()["entry"][-1]["response"]["status"] == "200 OK"
    assert (count(service.city, ReportVersion), count(service.city, Observation)) == (1, 3)


@pytest.mark.parametrize("index", range(len(BAD_BUNDLES)), ids=[bad[0] for bad in BAD_BUNDLES])
def test_a_bad_transaction_is_refused_by_kind_and_place_and_leaves_nothing(
    quiet: Service, index: int
) -> None:
    people = count(quiet.city, Person)
    content, status, kind, expression = spoiled_bundle(index, "X-1")
    answer = post(quiet, content)
    found = issue(answer)
    assert (answer.status_code, found["code"], found["expression"]) == (status, kind, [expression])
    assert (count(quiet.city, Report), count(quiet.city, Person)) == (0, people)
    assert "林晓渝" not in answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"\xff", 400), (b"[" * 100_000, 400), (b"[]", 400), (b'{"resourceType":"Bundle"}', 400)],
)
def test_what_is_no_bundle_is_refused(quiet: Service, body: bytes, status: int) -> None:
    answer = post(quiet, body)
    assert (answer.status_code, bool(issue(answer))) == (status, True)


def test_only_a_hospitals_system_may_send_and_is_told_so_as_an_outcome(quiet: Service) -> None:
    answer = post(quiet, bundle(2, "L-1"), role="doctor")
    assert (answer.status_code, issue(answer)["code"]) == (403, "forbidden")
    without = quiet.call("POST", "/fhir", role="", content=b"{}")
    assert (without.status_code, issue(without)["code"]) == (401, "login")


def test_a_batch_takes_what_is_good_and_says_what_is_not(service: Service) -> None:
    subject = {"identifier": {"value": "A-2"}}
    good = report("R-1", subject=subject)
    bad = report("R-2", subject=subject, status="done")
    content = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [entry(good), entry(bad), entry(patient(4))],
    }
    responses = [each["response"] for each in post(service, content).json()["entry"]]
    assert [each["status"][:3] for each in responses] == ["201", "400", "200"]
    assert responses[1]["outcome"]["issue"][0]["expression"] == ["Bundle.entry[1].resource.status"]
    assert count(service.city, Report) == 1


def test_a_report_finds_its_study_by_uid_or_by_the_accession_number_of_its_order(service: Service) -> None:
    uid = service.city.study("A", AccessionNumber="ACC-7", days_ago=3)
    by_uid = report(
        "R-1", imagingStudy=[{"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}}]
    )
    assert post(service, by_uid, "/fhir/DiagnosticReport").status_code == 201
    order = {"type": {"coding": [{"code": "ACSN"}]}, "value": "ACC-7"}
    by_order = report("R-2", days_ago=1, conclusion="第二份", basedOn=[{"identifier": order}])
    assert post(service, by_order, "/fhir/DiagnosticReport").status_code == 201
    found = candidates(service, "CT07")
    assert found[0]["report"]["conclusion"] == "第二份"


def test_a_conditional_create_leaves_what_exists(service: Service) -> None:
    uid = {"imagingStudy": [{"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:2.25.1001"}}]}
    condition = {"headers": {"If-None-Exist": "identifier=R-1"}}
    first = post(service, report("R-1", **uid), "/fhir/DiagnosticReport", **condition)
    second = post(service, report("R-1", conclusion="另一版", **uid), "/fhir/DiagnosticReport", **condition)
    assert (first.status_code, second.status_code) == (201, 200)
    assert count(service.city, ReportVersion) == 1


def test_a_report_of_another_patient_under_the_same_number_is_a_conflict(service: Service) -> None:
    post(service, bundle(2, "L-1"))
    answer = post(service, bundle(4, "L-1"))
    found = issue(answer)
    assert (answer.status_code, found["code"]) == (409, "conflict")
    assert found["expression"] == ["Bundle.entry[4].resource.identifier"]
    assert count(service.city, ReportVersion) == 1


def test_a_withdrawn_report_withdraws_every_value_without_repeating_it(service: Service) -> None:
    post(service, bundle(2, "L-1"))
    withdrawn = report(
        "L-1",
        status="entered-in-error",
        days_ago=0,
        category=[{"coding": [{"code": "LAB"}]}],
        conclusion="撤回",
    )
    assert post(service, withdrawn, "/fhir/DiagnosticReport").status_code == 201
    found = candidates(service, "LB14")[0]
    assert found["reasons"][0]["code"] == "withdrawn"
    assert found["report"]["status"] == "entered-in-error"
    assert found["report"]["values"] == []


def test_a_report_goes_out_valid_to_whom_a_check_has_shown_it_and_to_nobody_else(service: Service) -> None:
    service.city.hospital("C")
    sent = post(service, bundle(2, "L-1")).json()["entry"][-1]["response"]["location"]
    path = "/fhir/" + sent.partition("/_history")[0]
    assert service.call("GET", path).status_code == 404
    candidates(service, "LB14")
    answer = service.call("GET", path)
    read = answer.json()
    DiagnosticReport.model_validate(read)
    assert [each["valueQuantity"]["value"] for each in read["contained"]] == [4.1, 4.1, 4.1]
    refused = service.call("GET", path, hospital="C")
    assert (refused.status_code, issue(refused)["code"]) == (404, "not-found")


def test_a_conclusion_goes_out_labelled(service: Service) -> None:
    uid = {"imagingStudy": [{"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:2.25.1001"}}]}
    location = post(service, report("R-1", **uid), "/fhir/DiagnosticReport").headers["location"]
    candidates(service, "CT07")
    read = service.call("GET", location.partition("/_history")[0]).json()
    DiagnosticReport.model_validate(read)
    assert read["conclusion"] == "【原诊断意见,仅供参考】未见明显异常。"


PDF = b"%PDF-1.4\n1 0 obj <</OpenAction <</S /JavaScript /JS (app.alert(1))>>>> endobj\n%%EOF"
CDA = b'<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"><script>alert(1)</script></ClinicalDocument>'


@pytest.mark.parametrize(
    ("content", "content_type", "ending"), [(PDF, "application/pdf", "pdf"), (CDA, "application/xml", "xml")]
)
def test_a_document_is_served_as_an_attachment_only_and_byte_for_byte(
    service: Service, s3_store: Any, content: bytes, content_type: str, ending: str
) -> None:
    service.client.app.state.store = s3_store  # type: ignore[attr-defined]
    form = {"contentType": content_type, "data": base64.b64encode(content).decode(), "title": "报告"}
    uid = {"imagingStudy": [{"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:2.25.1001"}}]}
    posted = post(service, report("R-1", presentedForm=[form], **uid), "/fhir/DiagnosticReport")
    assert posted.status_code == 201
    found = candidates(service, "CT07")[0]["report"]
    answer = service.call("GET", found["attachments"][0]["href"])
    assert answer.content == content
    assert answer.headers["content-type"].startswith(content_type)
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["content-disposition"].endswith(f'.{ending}"')
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    full = service.call("GET", f"/v1/reports/{found['report_id']}").json()
    assert full["versions"][0]["attachments"][0]["size_bytes"] == len(content)


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"contentType": "text/html", "data": "PGI+"}, "attachment_type"),
        ({"contentType": "application/pdf", "data": "PGI+"}, "attachment_content"),
        ({"contentType": "application/pdf", "data": "%%%"}, "base64_invalid"),
        ({"contentType": "application/pdf", "url": "http://inside.example/x"}, "attachment_by_url"),
    ],
)
def test_a_document_that_is_not_what_it_says_is_refused(quiet: Service, form: Any, code: str) -> None:
    answer = post(
        quiet,
        report("R-1", presentedForm=[form], subject={"identifier": {"value": "A-2"}}),
        "/fhir/DiagnosticReport",
    )
    found = issue(answer)
    assert (answer.status_code, found["details"]["coding"][0]["code"]) == (422, code)
    assert found["expression"][0].startswith("DiagnosticReport.presentedForm[0]")


def test_a_thousand_bundles_each_good_one_once_each_bad_one_refused_and_the_order_of_versions_kept(
    service: Service,
) -> None:
    """950 good ones: 300 reports of three versions, 50 of them sent twice; 50 bad in twenty ways; shuffled."""
    good = [
        bundle(100 + number % 60, f"L-{number}", value=4 + version / 10, status=status, days_ago=3 - version)
        for number in range(300)
        for version, status in enumerate(("preliminary", "final", "corrected"))
    ]
    good += [good[number * 7] for number in range(50)]
    sent: list[tuple[Any, int, str, str]] = [(each, 200, "", "") for each in good]
    sent += [spoiled_bundle(number, f"X-{number}") for number in range(50)]
    Random(20260630).shuffle(sent)
    token = {"Authorization": f"Bearer {service.token('hospital_system', 'A')}"}
    for content, status, kind, expression in sent:
        answer = service.client.post("/fhir", content=json.dumps(content), headers=token)
        assert answer.status_code == status
        if kind:
            found = answer.json()["issue"][0]
            assert (found["code"], found["expression"]) == (kind, [expression])
    with transaction(service.city.catalogue.engine) as session:
        standing = session.execute(
            select(Report.version_count, Report.standing_number, ReportVersion.status).join(
                ReportVersion, ReportVersion.id == Report.standing_version_id
            )
        ).all()
    assert len(standing) == 300
    assert {tuple(row) for row in standing} == {(3, 3, "corrected")}
    assert count(service.city, Observation) == 300 * 3 * 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "identifier",
                    "status",
                    "code",
                    "coding",
                    "value",
                    "reference",
                    "result",
                    "contained",
                    "subject",
                    "issued",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["identifier", "code", "subject", "result", "presentedForm", "issued"]), JSON
    )
)
def test_no_json_breaks_the_reader(changes: dict[str, Any]) -> None:
    place = Place("DiagnosticReport", "A", datetime(2026, 6, 30, tzinfo=UTC).date(), {})
    with suppress(Refused):
        read_report(report("R-1") | changes, place)


def test_a_panel_of_panels_and_values_with_a_comparator_are_read(service: Service) -> None:
    small = observation("2823-3", "钾", 0.5) | {"id": "k", "valueQuantity": {"value": 0.5, "comparator": "<"}}
    panel = {
        "resourceType": "Observation",
        "id": "panel",
        "status": "final",
        "code": {"text": "电解质"},
        "hasMember": [{"reference": "#k"}],
    }
    lab = report(
        "L-9",
        category=[{"coding": [{"code": "LAB"}]}],
        contained=[panel, small],
        result=[{"reference": "#panel"}],
        subject={"identifier": {"value": "A-2"}},
    )
    assert post(service, lab, "/fhir/DiagnosticReport").status_code == 201
    assert candidates(service, "LB14")[0]["report"]["values"][0]["value"] == "<0.5"


def test_the_examples_of_the_interface_are_taken_as_they_stand(service: Service) -> None:
    paths = service.client.app.openapi()["paths"]  # type: ignore[attr-defined]
    for path in ("/fhir", "/fhir/DiagnosticReport"):
        content = paths[path]["post"]["requestBody"]["content"]["application/fhir+json"]
        assert post(service, content["example"], path).status_code in (200, 201)
    shown = [
        paths["/v1/reports/{report_id}"]["get"],
        paths["/v1/admin/reports"]["get"],
        paths["/v1/admin/hospitals/{code}/laboratory-codes"]["get"],
        paths["/v1/admin/hospitals/{code}/laboratory-codes/remap"]["post"],
    ]
    assert all(each["responses"]["200"]["content"]["application/json"]["example"] for each in shown)


def test_a_curator_sees_what_waits_and_maps_codes_again(service: Service) -> None:
    own = observation("2823-3", "钾", 4.1)
    own["code"] = {"coding": [{"code": "K-1", "display": "钾"}]}
    own["id"] = "k"
    lab = report(
        "L-9",
        category=[{"coding": [{"code": "LAB"}]}],
        contained=[own],
        result=[{"reference": "#k"}],
        subject={"identifier": {"value": "A-2"}},
    )
    post(service, lab, "/fhir/DiagnosticReport")
    post(service, report("R-9", subject={"identifier": {"value": "A-2"}}), "/fhir/DiagnosticReport")
    waits = service.call("GET", "/v1/admin/reports", role="curator").json()["reports"]
    assert [each["number"] for each in waits] == ["R-9"]
    path = "/v1/admin/hospitals/A/laboratory-codes"
    (code,) = service.call("GET", path, role="curator").json()["codes"]
    assert (code["local_codes"], code["count"], code["reason"]) == (["K-1"], 1, "not_on_list")
    with transaction(service.city.catalogue.engine) as session:
        row = {"code": "K-1", "name": "钾", "item_code": "LB14", "laterality": None, "body_part": None}
        registry.map_local_codes(session, registry.hospital_by_code(session, "A"), [row])
    assert service.call("POST", f"{path}/remap", role="curator").json() == {"mapped": 1}
    assert candidates(service, "LB14")
