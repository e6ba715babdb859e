"""Erasure by law, rulings on reports and withdrawals, all over HTTP; what was erased is refused when sent again."""

import base64
from typing import Any

import pytest
from sqlalchemy import select

from catalog import hl7_peers, registry
from catalog.context import Caller
from catalog.db import transaction
from catalog.tables import AuditEvent
from exchange.hl7_desk import Desk
from tests.city import City
from tests.exchange.conftest import Service
from tests.exchange.test_fhir import post
from tests.exchange.test_people_api import ONE, OTHER, REASON, curate, shown
from tests.messages import laboratory, patient, wire
from tests.reports import LABORATORY, evaluate_laboratory, of_person, take

UID = "2.25.1001"
LAW = {"basis": "个人信息保护法第四十七条"}


def erase(service: Service, path: str = "", role: str = "curator", **body: Any) -> Any:
    return service.call("POST", f"/v1/admin/erasures{path}", role=role, json=body)


def audited(city: City, action: str) -> list[dict[str, Any]]:
    with transaction(city.catalogue.engine) as session:
        return list(session.scalars(select(AuditEvent.detail).where(AuditEvent.action == action)))


def test_an_erasure_is_planned_confirmed_and_listed_by_http(service: Service) -> None:
    plan = erase(service, "/plan", patient=ONE).json()
    assert (plan["studies"], plan["objects"], plan["held"]) == (1, 2, 0)
    assert shown(service, ONE, "a") == [UID]
    wrong = erase(service, patient=ONE, confirm=plan["objects"] + 1, **LAW)
    assert (wrong.status_code, wrong.json()["code"]) == (409, "scope_changed")
    assert wrong.headers["content-type"] == "application/problem+json"
    assert shown(service, ONE, "b") == [UID]
    done = erase(service, patient=ONE, confirm=plan["objects"], **LAW)
    assert (done.status_code, done.json()["state"], done.json()["by"]) == (202, "open", "test curator")
    assert shown(service, ONE, "c") == []
    listed = service.call("GET", "/v1/admin/erasures", role="operator").json()
    assert listed == {"erasures": [done.json()]}
    assert erase(service, "/plan", patient=ONE).status_code == 404
    assert len(audited(service.city, "erasure")) == len(audited(service.city, "erasure.plan")) == 1


REFUSED: list[tuple[dict[str, Any], int]] = [
    ({}, 422),
    ({"StudyInstanceUID": UID, "patient": ONE, "confirm": 2, **LAW}, 422),
    ({"StudyInstanceUID": UID, "confirm": 2}, 422),
    ({"StudyInstanceUID": UID, "confirm": 2, "basis": " "}, 422),
    ({"StudyInstanceUID": "2.25.9", "confirm": 0, **LAW}, 404),
    ({"patient": OTHER, "confirm": 0, **LAW}, 404),
]


@pytest.mark.parametrize(("body", "status"), REFUSED)
def test_an_erasure_that_names_nothing_or_no_ground_is_refused(
    service: Service, body: dict[str, Any], status: int
) -> None:
    assert erase(service, **body).status_code == status
    assert shown(service, ONE, "a") == [UID]


@pytest.mark.parametrize("role", ["doctor", "hospital_system", "regulator", "auditor"])
def test_only_curators_and_operators_erase(service: Service, role: str) -> None:
    assert erase(service, role=role, StudyInstanceUID=UID, confirm=2, **LAW).status_code == 403


def test_a_curator_withdraws_a_study_for_its_hospital_and_takes_that_back(service: Service) -> None:
    body = {"StudyInstanceUID": UID, "reason": "患者信息录入错误"}

    def turn(act: str, code: str = "A") -> int:
        path = f"/v1/admin/hospitals/{code}/studies/{act}"
        return service.call("POST", path, role="curator", json=body).status_code

    assert (turn("withdraw", "B"), turn("withdraw"), turn("withdraw")) == (404, 200, 409)
    assert (turn("restore"), turn("restore")) == (200, 409)
    assert audited(service.city, "study.withdraw")[0]["reason"] == body["reason"]


def test_a_curator_rules_on_a_held_report_by_http_alone(service: Service) -> None:
    evaluate_laboratory(service.city, "A")
    his = Caller("his", "hospital_system", "A")
    service.city.link(his, "P-9", 2, name="林晓渝")
    take(service.city, "A", LABORATORY, PatientID="P-9", **of_person(2, name="张三丰"))
    (held,) = service.call("GET", "/v1/admin/people/queue", role="curator").json()["reports"]
    claim = {"person_id": held["person"]["person_id"], "report_id": held["report_id"], **REASON}

    def offered() -> int:
        order = {"order_id": "1", "item_code": "LB14"}
        answer = service.call("POST", "/v1/checks", json={"patient": ONE, "orders": [order]}).json()
        return len(answer["orders"][0]["candidates"])

    assert offered() == 0
    accepted = curate(service, "accept", **claim)
    assert (accepted.status_code, offered()) == (200, 1)
    assert curate(service, "undo", event_id=accepted.json()["event_id"], **REASON).status_code == 200
    assert offered() == 0
    assert curate(service, "reject", **claim).status_code == 200
    person = curate(service, "show", person_id=claim["person_id"]).json()
    assert [event["report_id"] for event in person["events"]] == [held["report_id"]] * 3


def test_an_erased_report_sent_again_by_hl7_is_refused_for_good_and_on_record(service: Service) -> None:
    with transaction(service.city.catalogue.engine) as session:
        hl7_peers.add(session, registry.hospital_by_code(session, "A"), "LIS", "A", ["127.0.0.0/8"])
    desk = Desk(service.city.catalogue, None)
    raw = wire(laboratory("1", 4, "F-1"), "utf-8")
    assert desk.take(raw, "127.0.0.1").code == "AA"
    assert erase(service, patient=OTHER, confirm=0, **LAW).status_code == 202
    answer = desk.take(raw, "127.0.0.1")
    assert answer.fault is not None
    assert (answer.code, answer.fault.number) == ("AE", "204")
    assert audited(service.city, "report.refused") == [{"code": "report_erased"}]


def test_an_erased_report_sent_again_by_fhir_is_refused_and_its_document_is_not_kept(
    service: Service,
) -> None:
    report: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "identifier": [{"value": "R-77"}],
        "status": "final",
        "category": [{"coding": [{"code": "RAD"}]}],
        "code": {"text": "胸部CT平扫"},
        "issued": "2026-06-25T12:00:00+08:00",
        "contained": [{**patient(4), "id": "p"}],
        "subject": {"reference": "#p"},
    }
    first = post(service, report, "/fhir/DiagnosticReport")
    assert first.status_code == 201, first.text
    assert erase(service, patient=OTHER, confirm=0, **LAW).status_code == 202
    form = {"contentType": "application/pdf", "data": base64.b64encode(b"%PDF-1.4 x").decode()}
    answer = post(service, {**report, "presentedForm": [form]}, "/fhir/DiagnosticReport")
    (issue,) = answer.json()["issue"]
    assert (answer.status_code, issue["code"]) == (
        409,
        "deleted",
    )  # without a store, keeping it would be a 503
    assert issue["details"]["coding"][0]["code"] == "report_erased"
    assert audited(service.city, "report.refused") == [{"code": "report_erased"}]
