"""People, sharing, withdrawals and notices over HTTP."""

import logging
from typing import Any

import pytest

from catalog.identity import Document
from tests.city import id_number
from tests.exchange.conftest import Service

ONE = {"id_type": "01", "id_number": id_number(2)}
OTHER = {"id_type": "01", "id_number": id_number(4)}
CHECK: dict[str, Any] = {"patient": ONE, "orders": [{"order_id": "1", "item_code": "CT07"}]}
REASON = {"reason": "已与医院核对"}


def curate(service: Service, act: str, **body: Any) -> Any:
    return service.call("POST", f"/v1/admin/people/{act}", role="curator", json=body)


def register(service: Service, patient_id: str, patient: dict[str, Any], hospital: str = "A") -> Any:
    body = {**patient, "patient_id": patient_id}
    return service.call("POST", "/v1/patients", role="hospital_system", hospital=hospital, json=body)


def shown(service: Service, patient: dict[str, Any], order: str) -> list[str]:
    body = {"patient": patient, "orders": [{"order_id": order, "item_code": "CT07"}]}
    candidates = service.call("POST", "/v1/checks", json=body).json()["orders"][0]["candidates"]
    return [candidate["images"]["StudyInstanceUID"] for candidate in candidates]


def test_a_curator_rules_merges_and_undoes_by_http_alone(service: Service) -> None:
    uid = service.city.study("A", None, PatientID="X1")
    register(service, "X1", ONE)
    assert register(service, "X1", OTHER).status_code == 202
    queue = service.call("GET", "/v1/admin/people/queue", role="curator").json()
    claims = {row["person"]["person_id"]: row["alias_id"] for row in queue["numbers"]}
    other = curate(service, "show", patient=OTHER).json()["person_id"]
    accepted = curate(service, "accept", person_id=other, alias_id=claims[other], **REASON).json()
    assert (accepted["studies_changed"], shown(service, OTHER, "a")) == (1, [uid])
    assert curate(service, "undo", event_id=accepted["event_id"], **REASON).status_code == 200
    assert shown(service, OTHER, "b") == []
    one = curate(service, "show", patient=ONE).json()["person_id"]
    merged = curate(service, "merge", person_id=one, into_person_id=other, **REASON).json()
    assert len(shown(service, OTHER, "c")) == len(shown(service, ONE, "d")) == 2
    assert curate(service, "merge", person_id=one, into_person_id=other, **REASON).status_code == 409
    curate(service, "undo", event_id=merged["event_id"], **REASON)
    rejected = curate(service, "reject", person_id=other, alias_id=claims[other], **REASON)
    assert rejected.status_code == 200
    assert (len(shown(service, ONE, "e")), shown(service, OTHER, "f")) == (2, [])


def test_a_curator_registers_for_a_hospital_that_cannot_as_it_would_itself(service: Service) -> None:
    uid = service.city.study("A", None, PatientID="X1")
    made = curate(service, "register", hospital="A", patient_id="X1", **ONE)
    assert (made.status_code, made.json()["studies_changed"]) == (201, 1)
    assert uid in shown(service, ONE, "r")
    assert curate(service, "register", hospital="A", patient_id="X1", **OTHER).status_code == 202
    assert curate(service, "register", hospital="Z", patient_id="X1", **ONE).status_code == 404
    asked = {"hospital": "A", "patient_id": "X2", **ONE}
    path = "/v1/admin/people/register"
    for role in ("doctor", "hospital_system", "operator"):
        assert service.call("POST", path, role=role, hospital="B", json=asked).status_code == 403


REFUSED: list[tuple[str, dict[str, Any], int]] = [
    ("show", {}, 422),
    ("show", {"person_id": 10**9}, 404),
    ("show", {"patient": OTHER}, 404),
    ("merge", {"person_id": 1, "into_person_id": 1, **REASON}, 409),
    ("merge", {"person_id": 1, "into_person_id": 10**9, **REASON}, 404),
    ("merge", {"person_id": 1, "into_person_id": 2}, 422),
    ("accept", {"person_id": 1, **REASON}, 422),
    ("accept", {"person_id": 1, "alias_id": 10**9, **REASON}, 404),
    ("reject", {"person_id": 10**9, "study_id": 1, **REASON}, 404),
    ("undo", {"event_id": 10**9, **REASON}, 404),
    ("undo", {"event_id": 1 << 64, **REASON}, 422),
]


def test_what_a_curator_cannot_mean_is_refused(service: Service) -> None:
    for act, body, status in REFUSED:
        answer = curate(service, act, **body)
        assert answer.status_code == status, (act, answer.text)


def test_no_answer_or_log_carries_a_number_in_clear(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    register(service, "X2", OTHER)
    register(service, "X2", ONE)
    answers = [
        service.call("GET", "/v1/admin/people/queue", role="curator").text,
        curate(service, "show", patient=ONE).text,
        curate(service, "merge", person_id=1, into_person_id=10**9, **REASON).text,
    ]
    assert not any(number["id_number"] in text for number in (ONE, OTHER) for text in answers)
    assert id_number(2)[:14] not in caplog.text


def test_opting_out_hides_at_once_and_answers_alike_for_somebody_nobody_knows(service: Service) -> None:
    def wish(patient: dict[str, Any], *, shared: bool) -> Any:
        body = {**patient, "shared": shared}
        return service.call("POST", "/v1/patients/sharing", role="hospital_system", json=body)

    known, unknown = wish(ONE, shared=False), wish(OTHER, shared=False)
    assert (
        (known.status_code, known.json()) == (unknown.status_code, unknown.json()) == (200, {"shared": False})
    )
    assert shown(service, ONE, "1") == []
    wish(ONE, shared=True)
    assert len(shown(service, ONE, "2")) == 1


def test_a_withdrawn_study_is_news_to_the_hospital_that_relied_on_it(service: Service) -> None:
    check = service.call("POST", "/v1/checks", json=CHECK).json()
    candidate = check["orders"][0]["candidates"][0]
    decision = {"order_id": "1", "action": "recognise", "result_id": candidate["result_id"]}
    path = f"/v1/checks/{check['check_id']}/decisions"
    service.call("POST", path, json=decision, headers={"Idempotency-Key": "k"})
    turn = {"StudyInstanceUID": candidate["images"]["StudyInstanceUID"], "reason": "录入错误"}
    system = {"role": "hospital_system", "json": turn}
    assert service.call("POST", "/v1/studies/withdraw", hospital="B", **system).status_code == 404
    assert service.call("POST", "/v1/studies/withdraw", hospital="A", **system).json()["notices"] == 1
    assert service.call("POST", "/v1/studies/withdraw", hospital="A", **system).status_code == 409
    found = service.call("GET", "/v1/notices?unread=true").json()["notices"]
    assert [(row["kind"], row["order_id"]) for row in found] == [("study_withdrawn", "1")]
    read = f"/v1/notices/{found[0]['notice_id']}/read"
    assert service.call("POST", read, hospital="A").status_code == 404
    assert service.call("POST", read).json()["read_at"] is not None
    assert service.call("GET", "/v1/notices?unread=true").json() == {"notices": []}
    assert service.call("POST", "/v1/studies/restore", hospital="A", **system).status_code == 200


@pytest.fixture
def newborn() -> dict[str, Any]:
    return {"id_type": "95", "mother": ONE, "birth_date": "2026-06-20", "birth_order": 1}


def test_a_newborn_is_registered_by_the_mother_and_the_order_of_birth(
    service: Service, newborn: dict[str, Any]
) -> None:
    uid = service.city.study("A", None, PatientID="N1", PatientName="林晓渝之女", PatientBirthDate=None)
    assert register(service, "N1", {**newborn, "name": "林晓渝之女"}).json()["state"] == "linked"
    assert shown(service, newborn, "1") == [uid]
    assert shown(service, {**newborn, "birth_order": 2}, "2") == []
    assert uid not in shown(service, ONE, "3")
    for missing in ("birth_date", "birth_order"):
        lacking = {key: value for key, value in newborn.items() if key != missing}
        answer = register(service, "N2", lacking)
        assert (answer.status_code, answer.json()["code"]) == (422, "newborn_incomplete")


def test_a_passport_needs_its_country(service: Service) -> None:
    passport = {"id_type": "03", "id_number": "E12345678"}
    assert register(service, "P1", passport).json()["code"] == "id_country_required"
    assert register(service, "P1", {**passport, "country": "KOR"}).status_code == 201
    assert register(service, "P2", {**passport, "country": "USA"}).status_code == 201
    assert Document("03", "KOR:E12345678") != Document("03", "USA:E12345678")
