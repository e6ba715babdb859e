"""The HTTP service: who may call, what is refused and how, and one story from check to savings."""

import time
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from catalog import errors
from exchange.auth import ACCESS, PUBLIC
from exchange.problems import STATUS, status_of
from exchange.tokens import ROLES
from tests.city import id_number
from tests.exchange.conftest import Service

PATIENT = {
    "id_type": "01",
    "id_number": id_number(2),
    "name": "林晓渝",
    "birth_date": "1980-05-17",
    "sex": "female",
}
CHECK: dict[str, Any] = {
    "patient": PATIENT,
    "orders": [{"order_id": "1", "item_code": "CT07"}],
    "department": "呼吸内科",
    "urgency": "routine",
}


def decide(service: Service, check: dict[str, Any], body: dict[str, Any], key: str) -> Any:
    path = f"/v1/checks/{check['check_id']}/decisions"
    return service.call("POST", path, json={"order_id": "1", **body}, headers={"Idempotency-Key": key})


def test_from_a_check_to_the_regulators_figures(service: Service) -> None:
    check = service.call("POST", "/v1/checks", json=CHECK).json()
    candidate = check["orders"][0]["candidates"][0]
    assert (check["answer"], candidate["verdict"], candidate["saving_fen"]) == (
        "complete",
        "recognisable",
        19800,
    )
    made = decide(service, check, {"action": "recognise", "result_id": candidate["result_id"]}, "k1")
    assert (made.status_code, made.json()["standing_fen"]) == (200, 19800)
    report = service.call("GET", "/v1/savings?from=2026-06&to=2026-06", role="regulator").json()
    assert [(r["hospital"], r["item"], r["month"], r["net_fen"], r["rate"]) for r in report["rows"]] == [
        ("B", "CT07", "2026-06", 19800, 1.0)
    ]
    recount = service.call("POST", "/v1/savings/verify", role="regulator").json()
    assert (recount["agrees"], recount["net_fen"]) == (True, 19800)
    kept = service.call("GET", f"/v1/checks/{check['check_id']}").json()
    assert (kept["orders"], kept["decisions"][0]["action"]) == (check["orders"], "recognise")


@pytest.mark.parametrize(("hospital", "fen"), [("A", 0), ("B", 19800)])
def test_a_hospitals_own_auditor_is_shown_and_recounts_the_figures_of_that_hospital_alone(
    service: Service, hospital: str, fen: int
) -> None:
    check = service.call("POST", "/v1/checks", json=CHECK).json()
    candidate = check["orders"][0]["candidates"][0]
    decide(service, check, {"action": "recognise", "result_id": candidate["result_id"]}, "k1")
    own = {"Authorization": f"Bearer {service.token('auditor', hospital)}"}
    report = service.call("GET", "/v1/savings?from=2026-06&to=2026-06", role="", headers=own).json()
    assert report["total"]["net_fen"] == fen
    assert [row["hospital"] for row in report["rows"]] == ["B"] * bool(fen)
    recount = service.call("POST", "/v1/savings/verify", role="", headers=own).json()
    assert (recount["agrees"], recount["net_fen"]) == (True, fen)


@pytest.mark.parametrize(("method", "path"), sorted(ACCESS))
def test_no_token_no_answer(quiet: Service, method: str, path: str) -> None:
    answer = quiet.call(method, path.replace("{check_id}", "x"), role="")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    kinds = {"/fhir": "application/fhir+json", "/look": "text/html; charset=utf-8"}
    expected = kinds.get(path[:5], "application/problem+json")
    assert answer.headers["content-type"] == expected


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [(m, p, r) for (m, p), ok in sorted(ACCESS.items()) for r in ROLES if r not in ok.roles],
)
def test_a_role_that_is_not_in_the_table_is_refused(
    quiet: Service, method: str, path: str, role: str
) -> None:
    assert quiet.call(method, path.replace("{check_id}", "x"), role=role).status_code == 403


def test_the_access_table_and_the_public_routes_do_not_overlap() -> None:
    assert not set(ACCESS) & set(PUBLIC)


def test_tokens_that_cannot_be_trusted_are_refused(service: Service) -> None:
    claims = {"iss": "huren", "aud": "huren", "sub": "x", "role": "doctor", "hospital": "B", "jti": "1"}
    now = int(time.time())
    timed = claims | {"iat": now, "exp": now + 600}
    mine, other = service.key.private, Ed25519PrivateKey.generate()
    bad = {
        "other key": jwt.encode(timed, other, "EdDSA"),
        "none": jwt.encode(timed, None, "none"),
        "hmac": jwt.encode(timed, "0" * 64, "HS256"),
        "expired": jwt.encode(timed | {"exp": now - 120}, mine, "EdDSA"),
        "no expiry": jwt.encode(claims | {"iat": now}, mine, "EdDSA"),
        "other audience": jwt.encode(timed | {"aud": "else"}, mine, "EdDSA"),
        "other issuer": jwt.encode(timed | {"iss": "else"}, mine, "EdDSA"),
        "unknown role": jwt.encode(timed | {"role": "root"}, mine, "EdDSA"),
        "role of another kind": jwt.encode(timed | {"role": ["doctor"]}, mine, "EdDSA"),
        "no hospital": jwt.encode({k: v for k, v in timed.items() if k != "hospital"}, mine, "EdDSA"),
        "not yet": jwt.encode(timed | {"nbf": now + 600}, mine, "EdDSA"),
        "garbage": "a.b.c",
        "huge": "x" * 20_000,
    }
    for name, token in bad.items():
        answer = service.client.post("/v1/checks", json=CHECK, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401, name
    good = jwt.encode(timed, mine, "EdDSA")
    answer = service.client.post("/v1/checks", json=CHECK, headers={"Authorization": f"Bearer {good}"})
    assert answer.status_code == 200


WRONG_BODIES = {
    "no orders": {**CHECK, "orders": []},
    "order without an item": {**CHECK, "orders": [{"order_id": "1"}]},
    "side of another alphabet": {
        **CHECK,
        "orders": [{"order_id": "1", "item_code": "XR12", "laterality": "left"}],
    },
    "field nobody knows": {**CHECK, "quantity": 3},
    "urgency nobody knows": {**CHECK, "urgency": "asap"},
    "number with a wrong check digit": {**CHECK, "patient": {**PATIENT, "id_number": "999999198005170021"}},
    "number of letters": {**CHECK, "patient": {**PATIENT, "id_number": "ABC'; drop table person;--"}},
    "document type nobody knows": {**CHECK, "patient": {**PATIENT, "id_type": "77"}},
    "date that is none": {**CHECK, "patient": {**PATIENT, "birth_date": "1980-02-30"}},
    "same order twice": {**CHECK, "orders": CHECK["orders"] * 2},
    "control characters": {**CHECK, "orders": [{"order_id": "1\n2", "item_code": "CT07"}]},
    "a list": [],
}


@pytest.mark.parametrize("name", WRONG_BODIES)
def test_a_bad_check_is_refused_clearly_and_repeats_nothing_of_the_patient(
    service: Service, name: str
) -> None:
    answer = service.call("POST", "/v1/checks", json=WRONG_BODIES[name])
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "99999919800517" not in answer.text
    assert "drop table" not in answer.text
    assert "林晓渝" not in answer.text


def test_what_is_no_json_is_a_bad_request(service: Service) -> None:
    answer = service.call("POST", "/v1/checks", content=b"{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_beyond_the_limit_is_refused_whether_or_not_it_says_so(
    service: Service, declared: bool
) -> None:
    body = b" " * (2 << 20)
    content = body if declared else iter([body])
    answer = service.call("POST", "/v1/checks", content=content)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("body", "key", "status", "code"),
    [
        ({"action": "recognise", "result_id": "1"}, "", 422, "idempotency_key_required"),
        ({"action": "recognise"}, "k", 422, "not_a_candidate"),
        ({"action": "recognise", "result_id": "999"}, "k", 422, "not_a_candidate"),
        ({"action": "recognise", "result_id": "1 or 1=1"}, "k", 422, "invalid_input"),
        ({"action": "forget"}, "k", 422, "invalid_input"),
        ({"action": "override", "reason_code": "1"}, "k", 422, "explanation_required"),
        ({"action": "undo"}, "k", 409, "nothing_to_undo"),
        ({"action": "undo", "order_id": "9"}, "k", 404, "unknown_order"),
    ],
)
def test_a_bad_decision_is_refused_and_changes_nothing(
    service: Service, body: dict[str, Any], key: str, status: int, code: str
) -> None:
    check = service.call("POST", "/v1/checks", json=CHECK).json()
    answer = decide(service, check, body, key)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    total = service.call("GET", "/v1/savings", role="regulator").json()["total"]
    assert (total["recognised"], total["refused"], total["net_fen"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("role", "path"),
    [
        ("curator", "/v1/admin/item-lists/proposal-1?region=%00"),
        ("curator", "/v1/admin/studies?after=-17798636998200816478427423663194112"),
        ("curator", "/v1/admin/hospitals/%00/local-codes"),
    ],
)
def test_what_no_column_can_hold_is_the_callers_fault(service: Service, role: str, path: str) -> None:
    answer = service.call("GET", path, role=role)
    assert answer.status_code == 422, answer.text


def test_time_that_has_run_out_is_gone(service: Service) -> None:
    check = service.call("POST", "/v1/checks", json=CHECK).json()
    service.city.now += timedelta(hours=25)
    result = check["orders"][0]["candidates"][0]["result_id"]
    answer = decide(service, check, {"action": "recognise", "result_id": result}, "k")
    assert (answer.status_code, answer.json()["code"]) == (410, "check_expired")


def test_unknown_addresses_methods_and_checks_are_problems_too(service: Service) -> None:
    assert service.call("GET", "/nothing").json()["code"] == "not_found"
    assert service.call("DELETE", "/v1/checks").json()["code"] == "method_not_allowed"
    unknown = service.call("GET", "/v1/checks/6b3c4a34-0000-4000-8000-000000000000")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_check")
    assert service.call("GET", "/v1/checks/not-a-uuid").status_code == 422


@pytest.mark.parametrize("query", ["from=2026-13", "from=soon", "group_by=doctor", "from=2026-07&to=2026-01"])
def test_a_bad_range_or_grouping_of_savings_is_refused(service: Service, query: str) -> None:
    assert service.call("GET", f"/v1/savings?{query}", role="regulator").status_code == 422


def test_a_patient_link_is_made_and_a_second_claim_is_held(service: Service) -> None:
    link = {**PATIENT, "patient_id": "B-1"}
    made = service.call("POST", "/v1/patients", role="hospital_system", json=link)
    assert (made.status_code, made.json()["state"]) == (201, "linked")
    other = {"id_number": id_number(4), "patient_id": "B-1"}
    held = service.call("POST", "/v1/patients", role="hospital_system", json=other)
    assert (held.status_code, held.json()["state"]) == (202, "doubtful")


def test_sexes_are_taken_in_the_codes_hospitals_use(service: Service) -> None:
    for sex in ("2", "F", "女", "female"):
        answer = service.call("POST", "/v1/checks", json={**CHECK, "patient": {**PATIENT, "sex": sex}}).json()
        assert answer["answer"] == "complete"
    answer = service.call("POST", "/v1/checks", json={**CHECK, "patient": {**PATIENT, "sex": "男"}}).json()
    assert answer["answer"] == "incomplete"


def test_lists_can_be_read_by_everyone_who_is_signed_in(service: Service) -> None:
    found = service.call("GET", "/v1/items", role="auditor").json()
    assert (len(found["items"]), found["status"]) == (112, "proposal")
    reasons = service.call("GET", "/v1/reasons").json()["reasons"]
    assert [r["code"] for r in reasons if not r["parent"]] == ["1", "2", "3", "4", "5", "6"]


def test_curators_see_names_as_they_were_meant_and_what_is_on_no_list(service: Service) -> None:
    service.city.study("A", 4, StudyDescription="会诊资料", modalities=("OT",), BodyPartExamined="")
    rows = service.call("GET", "/v1/admin/studies", role="curator").json()["studies"]
    assert [(r["PatientName"], r["items"]) for r in rows] == [("林晓渝", ["CT07"]), ("林晓渝", [])]
    unmapped = service.call("GET", "/v1/admin/unmapped", role="curator").json()["studies"]
    assert [u["StudyInstanceUID"] for u in unmapped] == [rows[1]["StudyInstanceUID"]]


def test_alive_ready_and_counters_are_public(service: Service) -> None:
    assert service.call("GET", "/healthz", role="").json() == {"status": "ok"}
    deadline = time.monotonic() + 10
    while not (answer := service.call("GET", "/readyz", role="").json())["ready"]:
        assert time.monotonic() < deadline
    assert answer["components"]["database"]["state"] == "up"
    assert service.call("GET", "/metrics", role="").status_code == 200


@pytest.mark.alone
def test_with_the_database_gone_a_check_is_unknown_within_two_seconds_never_no_prior(
    service: Service, unreachable_database_url: str
) -> None:
    from catalog.db import open_engine

    service.client.app.state.catalogue = _with_engine(service, open_engine(unreachable_database_url))
    started = time.monotonic()
    answer = service.call("POST", "/v1/checks", json=CHECK)
    assert time.monotonic() - started < 2
    assert (answer.status_code, answer.json()["answer"]) == (503, "unknown")
    assert answer.json()["code"] == "database_down"
    assert answer.headers["retry-after"] == "2"


def test_every_error_of_the_tree_has_a_status() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.HurenError)
    ]
    assert len(kinds) > 8
    for kind in kinds:
        assert status_of(kind("中", "en")) in STATUS.values()


def _with_engine(service: Service, engine: Any) -> Any:
    from dataclasses import replace

    return replace(service.city.catalogue, engine=engine)
