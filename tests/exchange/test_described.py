"""The description of the interface: every route with an example, and examples that look like the real answers."""

import html
import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.imagingstudy import ImagingStudy
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.operationoutcome import OperationOutcome
from fhir.resources.R4B.patient import Patient

from catalog import supply_refresh
from catalog.identity import normalise_document
from exchange import (
    examples,
    fhir_examples,
    fhir_search_examples,
    form_examples,
    repeat_examples,
    savings_examples,
)
from exchange.auth import ACCESS, PUBLIC
from exchange.cli_api import openapi
from exchange.outcomes import FHIR_JSON
from exchange.tokens import ROLES
from tests.city import id_number
from tests.exchange.conftest import Service
from tests.exchange.test_api import decide
from tests.exchange.test_people_api import CHECK, ONE, OTHER, REASON, curate, register
from tests.reports import LABORATORY, of_person, take

RESOURCES = {
    "AuditEvent": AuditEvent,
    "Bundle": Bundle,
    "CapabilityStatement": CapabilityStatement,
    "DiagnosticReport": DiagnosticReport,
    "ImagingStudy": ImagingStudy,
    "Observation": Observation,
    "OperationOutcome": OperationOutcome,
    "Patient": Patient,
}
NUMBER = re.compile(r"(?<!\d)\d{17}[\dX](?!\d)")


@pytest.fixture(scope="module")
def described(quiet: Service) -> dict[str, Any]:
    told: dict[str, Any] = quiet.client.app.openapi()  # type: ignore[attr-defined]
    return told


def routes_below(start: str, described: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """The described routes below an address: all that may be called, and no others."""
    routes = {
        (method.upper(), path): operation
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
        if path.startswith(start)
    }
    assert set(routes) == {key for key in {**ACCESS, **PUBLIC} if key[1].startswith(start)}
    return routes


def test_every_route_of_the_interface_shows_an_example_of_each_good_answer(
    described: dict[str, Any],
) -> None:
    routes = routes_below("/v1/", described)
    for route, operation in routes.items():
        good = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
        assert good, route
        for answer in good:
            assert all("example" in shown for shown in answer["content"].values()), route


def test_every_fhir_route_shows_an_example_of_each_good_answer_and_of_a_refusal_and_each_is_valid_r4(
    described: dict[str, Any],
) -> None:
    routes = routes_below("/fhir", described)
    for route, operation in routes.items():
        told = {status: answer["content"] for status, answer in operation["responses"].items()}
        shown = {status: content[FHIR_JSON]["example"] for status, content in told.items()}
        assert all(list(told[status]) == [FHIR_JSON] for status in shown), route
        assert {status[0] for status in shown} == {"2", "4", "5"}, route
        for example in shown.values():
            RESOURCES[example["resourceType"]].model_validate(example)


def test_the_fhir_examples_are_taken_as_they_stand_and_answered_as_they_say(service: Service) -> None:
    def send(body: Any, path: str = "/fhir", *, told: bool = True) -> Any:
        return service.call("POST", path, role="hospital_system", hospital="A", json=body, told=told)

    taken = send(fhir_examples.BUNDLE)
    assert_alike(fhir_examples.BUNDLE_TAKEN, taken.json())
    location = taken.json()["entry"][-1]["response"]["location"].partition("/_history")[0]
    shown = service.call("GET", f"/fhir/{location}", role="hospital_system", hospital="A")
    assert_alike(fhir_search_examples.SHOWN["DiagnosticReport"], shown.json())
    for status in (201, 200):
        answer = send(fhir_examples.REPORT, "/fhir/DiagnosticReport", told=status == 201)
        assert (answer.status_code, answer.json()) == (status, fhir_examples.REPORT_TAKEN)
    refused = send({**fhir_examples.REPORT, "identifier": []}, "/fhir/DiagnosticReport")
    assert (refused.status_code, refused.json()) == (400, fhir_examples.REFUSED)
    missing = service.call("GET", "/fhir/DiagnosticReport/999")
    assert (missing.status_code, missing.json()) == (404, fhir_search_examples.NO_REPORT)


def test_the_examples_of_the_audit_look_like_its_answers(service: Service) -> None:
    check = service.call("POST", "/v1/checks", json=CHECK).json()
    service.call("GET", f"/v1/checks/{check['check_id']}")
    found = service.call("GET", "/fhir/AuditEvent?_count=1", role="auditor").json()
    told = {**found, "link": found["link"][:1]}
    assert_alike(fhir_examples.AUDIT_FOUND, told)
    one = service.call("GET", f"/fhir/AuditEvent/{found['entry'][0]['resource']['id']}", role="auditor")
    assert_alike(fhir_examples.AUDIT_EVENT, one.json())
    bad = service.call("GET", "/fhir/AuditEvent?_count=x", role="auditor")
    assert (bad.status_code, bad.json()) == (400, fhir_examples.BAD_COUNT)
    missing = service.call("GET", f"/fhir/AuditEvent/{1 << 40}", role="auditor")
    assert (missing.status_code, missing.json()) == (404, fhir_examples.NO_RECORD)


def test_the_description_is_for_operators_who_are_signed_in_and_for_nobody_else(quiet: Service) -> None:
    for path in ("/openapi.json", "/docs"):
        answers = {
            role: quiet.call("GET", path, role=role, hospital="A").status_code for role in ("", *ROLES)
        }
        assert answers == {"": 401, **dict.fromkeys(ROLES, 403), "operator": 200}
    told = quiet.call("GET", "/openapi.json", role="operator")
    assert told.headers["cache-control"] == "no-store"
    assert set(told.json()["paths"]) == {path for _, path in (*ACCESS, *PUBLIC)}
    assert quiet.call("GET", "/redoc", role="operator").status_code == 404


def test_the_page_of_the_description_tells_every_route_with_its_rule_and_loads_nothing(
    quiet: Service, described: dict[str, Any]
) -> None:
    answer = quiet.call("GET", "/docs", role="operator")
    told = html.unescape(answer.text)
    for (method, path), rule in {**ACCESS, **PUBLIC}.items():
        (part,) = re.findall(rf"<b>{method}</b> <code>{re.escape(path)}</code>.*?</details>", told, re.S)
        assert {rule.scope, rule.audit, *rule.roles} <= {*re.split(r"</?dd>|, ", part), ""}
        assert all(
            f"<dt>{status}</dt>" in part for status in described["paths"][path][method.lower()]["responses"]
        )
    assert json.dumps(examples.RECOUNT, indent=1) in told
    assert not re.search(r"https?://[^\s<\"]+\.(js|css)|<script|<link|src=|@import", answer.text)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_the_command_prints_what_the_service_serves(
    quiet: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    openapi()
    assert json.loads(capsys.readouterr().out) == quiet.call("GET", "/openapi.json", role="operator").json()


def test_the_documents_in_the_examples_are_valid_and_nobodys(described: dict[str, Any]) -> None:
    shown = NUMBER.findall(str(described))
    assert len(set(shown)) >= 2
    for number in shown:
        assert number.startswith("999999")
        assert normalise_document("01", number, date(2026, 6, 30)).number == number


def test_the_examples_have_the_shape_of_the_real_answers(service: Service) -> None:
    for example, answer in answered(service):
        assert_alike(example, answer)


def answered(service: Service) -> Iterator[tuple[Any, Any]]:
    """Yield each example beside what the service really says."""
    yield examples.LINKED, register(service, "P1", ONE).json()
    service.city.study("A", None, PatientID="X1")
    service.city.study("A", None, PatientID="Z", StudyDescription="不知道", BodyPartExamined="")
    register(service, "X1", ONE)
    yield examples.DOUBTFUL, register(service, "X1", OTHER).json()
    yield from care(service)
    yield from curation(service)
    repeated(service)
    supply_refresh.refresh(service.city.catalogue)
    for role, method, path, example in (
        ("regulator", "GET", "/v1/savings", examples.SAVINGS),
        ("operator", "GET", "/v1/savings/supply", savings_examples.SUPPLY),
        ("regulator", "GET", "/v1/savings/axes", savings_examples.AXES),
        ("regulator", "GET", "/v1/savings/entries", savings_examples.ENTRIES),
        ("regulator", "GET", "/v1/savings/entries/1", savings_examples.CHAIN),
        ("regulator", "GET", "/v1/savings/repeats", repeat_examples.REPEATS),
        ("regulator", "GET", "/v1/savings/repeats/entries", repeat_examples.ENTRIES),
        ("regulator", "GET", "/v1/savings/reasons", repeat_examples.REASONS),
        ("regulator", "POST", "/v1/savings/verify", examples.RECOUNT),
        ("regulator", "GET", "/v1/savings/forms", form_examples.FORMS),
        ("regulator", "GET", "/v1/savings/forms/institution", form_examples.FILLED),
        ("curator", "GET", "/v1/reasons", examples.REASONS),
        ("curator", "GET", "/v1/admin/studies", examples.STUDIES),
        ("curator", "GET", "/v1/admin/unmapped", examples.UNMAPPED),
    ):
        yield example, service.call(method, path, role=role).json()


def repeated(service: Service) -> None:
    """Have hospital B examine somebody again, for a reason, whom A had examined."""
    service.city.study("A", 8)
    service.city.now += timedelta(minutes=1)
    asked = {
        **CHECK,
        "patient": {"id_number": id_number(8)},
        "orders": [{"order_id": "8", "item_code": "CT07"}],
    }
    check = service.call("POST", "/v1/checks", json=asked).json()
    body = {"order_id": "8", "action": "override", "reason_code": "61", "explained_to_patient": True}
    assert decide(service, check, body, "k8").status_code == 200
    service.city.now += timedelta(minutes=1)
    service.city.study("B", 8, days_ago=0)


def care(service: Service) -> Iterator[tuple[Any, Any]]:
    check = service.call("POST", "/v1/checks", json=CHECK).json()
    yield examples.CHECK, check
    candidate = check["orders"][0]["candidates"][0]
    path = f"/v1/checks/{check['check_id']}"
    decision = {"order_id": "1", "action": "recognise", "result_id": candidate["result_id"]}
    made = service.call("POST", f"{path}/decisions", json=decision, headers={"Idempotency-Key": "k"})
    yield examples.DECISION, made.json()
    yield examples.CHECK_READ, service.call("GET", path).json()
    yield examples.CHECKS, service.call("GET", "/v1/checks").json()
    turn = {"StudyInstanceUID": candidate["images"]["StudyInstanceUID"], "reason": "录入错误"}
    service.call("POST", "/v1/studies/withdraw", role="hospital_system", hospital="A", json=turn)
    (notice,) = service.call("GET", "/v1/notices").json()["notices"]
    yield examples.NOTICE, notice
    yield examples.NOTICE_READ, service.call("POST", f"/v1/notices/{notice['notice_id']}/read").json()


def curation(service: Service) -> Iterator[tuple[Any, Any]]:
    take(service.city, "A", LABORATORY, PatientID="X1", **of_person(2, sex="male"))
    queue = service.call("GET", "/v1/admin/people/queue", role="curator").json()
    yield examples.QUEUE, queue
    claim = queue["numbers"][0]
    person = claim["person"]["person_id"]
    yield (
        examples.RULED,
        curate(service, "accept", person_id=person, alias_id=claim["alias_id"], **REASON).json(),
    )
    yield examples.PERSON, curate(service, "show", person_id=person).json()


def assert_alike(example: Any, answer: Any) -> None:
    """Fail where keys, or kinds of values, differ; a null stands for any kind."""
    if isinstance(example, dict):
        assert isinstance(answer, dict)
        assert set(example) == set(answer)
        for name, value in example.items():
            assert_alike(value, answer[name])
    elif isinstance(example, list):
        assert isinstance(answer, list)
        if example and isinstance(example[0], dict):
            assert answer, example
        for one in answer[:1] if example else ():
            assert_alike(example[0], one)
    elif example is not None and answer is not None:
        assert type(example) is type(answer), (example, answer)
