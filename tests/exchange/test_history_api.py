"""Looking through a patient's results over HTTP."""

from dataclasses import replace
from typing import Any

from catalog.db import open_engine
from exchange import history
from tests.city import id_number
from tests.exchange.conftest import Service
from tests.exchange.test_described import assert_alike

SEARCH: dict[str, Any] = {
    "patient": {"id_type": "01", "id_number": id_number(2), "name": "林晓渝"},
    "purpose": "TREAT",
    "reason": "门诊首诊,了解既往检查",
}


def search(service: Service, **more: Any) -> Any:
    return service.call("POST", "/v1/results/search", json={**SEARCH, **more})


def test_a_search_answers_in_the_shape_of_its_example_and_its_cursor_goes_on(service: Service) -> None:
    service.city.study("A", days_ago=3)
    page = search(service, limit=1).json()
    assert_alike(history._EXAMPLE, page)
    rest = search(service, limit=1, cursor=page["next_cursor"]).json()
    assert rest["next_cursor"] is None
    assert len({each["result_id"] for each in page["results"] + rest["results"]}) == 2


WRONG: tuple[dict[str, Any], ...] = (
    {"purpose": "HPAYMT"},
    {"purpose": None},
    {"reason": ""},
    {"reason": "   "},
    {"limit": 0},
    {"limit": 101},
    {"first_day": "9999-12-31"},
    {"last_day": "0001-01-01"},
    {"cursor": "x" * 300},
    {"cursor": "not one"},
    {"items": ["x" * 40]},
    {"hospital": ""},
    {"hospital": "\x00"},
    {"reason": "a\x00b"},
    {"items": ["\x00"]},
    {"everything": True},
)


def test_a_bad_search_is_refused_and_repeats_nothing_of_the_patient(service: Service) -> None:
    for wrong in WRONG:
        answer = search(service, **wrong)
        assert answer.status_code == 422, (wrong, answer.text)
        assert id_number(2)[:14] not in answer.text
        assert "林晓渝" not in answer.text


def test_a_name_of_a_field_that_is_not_ours_is_not_repeated(service: Service) -> None:
    for name, told in (("everything", "everything"), ("林晓渝", ""), (id_number(2), "")):
        answer = search(service, **{name: 1})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, told)


def test_a_nul_in_a_check_or_a_decision_is_refused_and_no_error(service: Service) -> None:
    patient = {"id_type": "01", "id_number": id_number(2)}
    order = {"order_id": "1", "item_code": "CT07"}
    for wrong in (
        {"department": "\x00"},
        {"orders": [{**order, "body_part": "\x00"}]},
        {"orders": [{"order_id": "1", "text": "a\x00"}]},
        {"orders": [{"order_id": "1", "local_code": "\x00"}]},
    ):
        body = {"patient": patient, "orders": [order], **wrong}
        assert service.call("POST", "/v1/checks", json=body).status_code == 422, wrong
    check = service.call("POST", "/v1/checks", json={"patient": patient, "orders": [order]}).json()
    told = {"reason_code": "6", "reason_text": "\x00a", "explained_to_patient": True}
    decision = {"order_id": "1", "action": "override", **told}
    path = f"/v1/checks/{check['check_id']}/decisions"
    answer = service.call("POST", path, json=decision, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 422


def test_days_at_the_edge_and_odd_filters_find_nothing_and_break_nothing(service: Service) -> None:
    for odd in (
        {"first_day": "2200-01-01"},
        {"last_day": "1900-01-01"},
        {"first_day": "2026-07-01", "last_day": "2026-01-01"},
        {"hospital": "' or 1=1"},
        {"modality": "%"},
        {"items": ["'"]},
    ):
        answer = search(service, **odd)
        assert (answer.status_code, answer.json()["results"]) == (200, []), odd


def test_only_those_who_care_for_patients_may_search(service: Service) -> None:
    for role in ("curator", "regulator", "operator", "auditor"):
        assert service.call("POST", "/v1/results/search", role=role, json=SEARCH).status_code == 403
    assert search(service).status_code == 200
    assert service.call("POST", "/v1/results/search", role="", json=SEARCH).status_code == 401


def test_while_the_database_is_down_the_answer_is_unknown_and_never_no_prior(
    service: Service, unreachable_database_url: str
) -> None:
    state = service.client.app.state  # type: ignore[attr-defined]
    state.catalogue = replace(service.city.catalogue, engine=open_engine(unreachable_database_url))
    answer = search(service)
    assert (answer.status_code, answer.json()["answer"]) == (503, "unknown")
    assert "results" not in answer.json()
