"""The contract of CDS Hooks 2.0.1, case by case: discovery, request, response, feedback.

Each test names the section of the specification that it holds the service to.
"""

import re
import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import func, select

from catalog.db import transaction
from catalog.tables import Decision, Result, Study
from exchange.cds_cards import MOST_CARDS, MOST_SUGGESTIONS
from exchange.cds_types import SERVICES
from tests.cds_client import SELECT, SIGN, CdsClient, accepted, call, filled, order, overridden, patient
from tests.exchange.conftest import Service

pytestmark = pytest.mark.long

# --- Discovery ------------------------------------------------------------------------------------------


@pytest.fixture
def listed(service: Service) -> list[dict[str, Any]]:
    answer = service.client.get("/cds-services")
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["services"]
    return found


def test_discovery_is_open_and_gives_an_object_with_services(listed: list[dict[str, Any]]) -> None:
    assert [(each["id"], each["hook"]) for each in listed] == list(SERVICES.items())


def test_each_service_has_the_required_and_recommended_fields_and_none_is_empty(
    listed: list[dict[str, Any]],
) -> None:
    for each in listed:
        assert all(isinstance(each[name], str) for name in ("hook", "title", "description", "id"))
        assert_no_empties(each)


def test_prefetch_templates_use_tokens_of_the_context_and_the_recommended_queries_only(
    listed: list[dict[str, Any]],
) -> None:
    context = {"userId": "Practitioner/7", "patientId": "p1", "encounterId": "e1"}
    for each in listed:
        assert {"patient", "draftOrders"} <= set(each["prefetch"])
        for template in each["prefetch"].values():
            query = filled(template, context)
            assert query
            assert "{" not in query
            assert re.fullmatch(r"[A-Za-z]+(/[A-Za-z0-9.-]+|\?[a-z_]+=[\w.-]+(&[a-z_]+=[\w.-]+)*)", query)


def test_discovery_speaks_english_when_asked(service: Service) -> None:
    answer = service.client.get("/cds-services", headers={"Accept-Language": "en-US,zh;q=0.5"})
    assert answer.json()["services"][0]["title"] == "Mutual recognition of results"
    assert answer.headers["content-language"] == "en"
    assert "Accept-Language" in answer.headers["vary"]


# --- Calling a CDS Service ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hook", "hookInstance", "context"])
def test_a_required_field_that_is_missing_is_named_in_a_400(cds: CdsClient, name: str) -> None:
    body = call()
    del body[name]
    answer = cds.call(body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == name


@pytest.mark.parametrize("name", ["userId", "patientId", "draftOrders"])
def test_a_required_field_of_the_context_that_is_missing_is_named_in_a_400(cds: CdsClient, name: str) -> None:
    body = call()
    del body["context"][name]
    answer = cds.call(body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, f"context.{name}")


def test_order_select_needs_selections(cds: CdsClient) -> None:
    body = call(hook="order-select")
    del body["context"]["selections"]
    answer = cds.call(body, SELECT)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "context.selections")


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b'{"hook": NaN}', 400), (b"[" * 9000, 400)],
)
def test_what_is_no_call_is_a_400(cds: CdsClient, body: bytes, status: int) -> None:
    assert cds.call(body).status_code == status


def test_a_hook_instance_is_a_uuid(cds: CdsClient) -> None:
    assert cds.call(call(hookInstance="1")).status_code == 400


def test_a_service_is_called_on_its_own_hook(cds: CdsClient) -> None:
    answer = cds.call(call(hook="order-select"), SIGN)
    assert (answer.status_code, answer.json()["code"]) == (400, "wrong_hook")


def test_a_service_that_is_not_listed_is_a_404(cds: CdsClient) -> None:
    assert cds.call(call(), "huren-patient-view").status_code == 404
    assert cds.report({}, service="nothing").status_code == 404


def test_without_a_token_it_is_a_401(cds: CdsClient) -> None:
    answer = cds.call(call(), token="")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    "prefetch",
    [
        {},
        {"patient": None},
        {"patient": {"resourceType": "OperationOutcome", "issue": []}},
        {"patient": {"resourceType": "Bundle", "type": "searchset"}},
    ],
)
def test_without_the_patient_it_is_a_412(cds: CdsClient, prefetch: dict[str, Any]) -> None:
    """§Prefetch Template: what a service needs, was not sent and cannot be fetched is a Precondition Failed."""
    body = call()
    body["prefetch"] = prefetch
    answer = cds.call(body)
    assert (answer.status_code, answer.json()["code"]) == (412, "prefetch_required")


def test_unknown_fields_extensions_and_other_resources_are_left_aside(cds: CdsClient) -> None:
    medication = {"resourceType": "MedicationRequest", "id": "m1", "status": "draft"}
    body = call(order(), medication, extension={"com.example.x": 1}, somethingNew=[1])
    assert len(cds.cards(body)) == 1


def test_order_select_concerns_the_selected_orders_only(cds: CdsClient, service: Service) -> None:
    service.city.study("A", StudyDescription="头颅CT平扫", BodyPartExamined="HEAD")
    body = call(order("1"), order("2", "CT01"), hook="order-select")
    assert len(cds.cards(body, SELECT)) == 2
    body["context"]["selections"] = ["ServiceRequest/draft-2"]
    assert "头颅CT平扫" in cds.cards(body, SELECT)[0]["summary"]
    assert len(cds.cards(body, SELECT)) == 1


def test_a_selection_is_also_found_among_the_prefetched_drafts(cds: CdsClient) -> None:
    body = call(hook="order-select")
    body["prefetch"]["draftOrders"] = body["context"]["draftOrders"]
    body["context"]["draftOrders"] = {"resourceType": "Bundle"}
    assert len(cds.cards(body, SELECT)) == 1


def test_a_patient_or_an_order_of_somebody_else_is_refused(cds: CdsClient) -> None:
    for body in (
        call(prefetch={"patient": patient(id="p2")}),
        call(order(subject={"reference": "Patient/p2"})),
    ):
        assert cds.call(body).json()["code"] == "patient_mismatch"


# --- CDS Service Response -------------------------------------------------------------------------------


def test_a_card_keeps_every_invariant(cds: CdsClient) -> None:
    """§Card Attributes, §Source, §Suggestion, §Action, §Reasons for rejecting a card."""
    (card,) = cds.cards(call())
    assert_card(card)
    assert uuid.UUID(card["uuid"])
    assert (card["indicator"], card["selectionBehavior"]) == ("warning", "at-most-one")
    assert card["suggestions"][0]["actions"] == [
        {"type": "delete", "description": "删除尚未签署的医嘱", "resourceId": "ServiceRequest/draft-MZ1"}
    ]


def test_the_same_call_gives_the_same_cards_in_the_same_order(cds: CdsClient, service: Service) -> None:
    for days in (1, 2, 3):
        service.city.study("A", days_ago=days)
    body = call(order("1"), order("2", "CT08"), order("3", "XR12"))
    first, second = (without_ids(cds.cards(body)) for _ in range(2))
    assert first == second
    assert [card["indicator"] for card in first] == ["warning", "warning", "info"]


def test_nothing_to_say_is_an_empty_array(cds: CdsClient) -> None:
    answer = cds.call(call(order(code="MR01")))
    assert (answer.status_code, answer.json()) == (200, {"cards": []})
    bundle = {"resourceType": "Bundle"}
    assert cds.cards(call(context={"draftOrders": bundle})) == []


def test_cards_and_suggestions_are_bounded_and_say_what_is_left_out(cds: CdsClient, service: Service) -> None:
    for days in range(1, MOST_SUGGESTIONS + 3):
        service.city.study("A", days_ago=days)
    cards = cds.cards(call(*(order(str(number)) for number in range(MOST_CARDS + 4))))
    assert len(cards) == MOST_CARDS + 1
    assert all(len(card["suggestions"]) == MOST_SUGGESTIONS for card in cards[:-1])
    assert cards[-1]["summary"] == "另有 4 条医嘱未在此列出"
    assert [each.get("isRecommended") for each in cards[0]["suggestions"]] == [True, *[None] * 4]


def test_more_orders_than_a_check_takes_are_counted_not_dropped(cds: CdsClient) -> None:
    cards = cds.cards(call(*(order(str(number)) for number in range(53))))
    assert cards[-1]["summary"] == "另有 43 条医嘱未在此列出"


def test_a_prior_that_is_only_for_reference_is_information_without_a_suggestion(
    cds: CdsClient, service: Service
) -> None:
    service.city.now += timedelta(days=60)
    (card,) = cds.cards(call())
    assert_card(card)
    assert card["indicator"] == "info"
    assert "suggestions" not in card
    assert "超出" in card["detail"]


@pytest.mark.parametrize("urgency", [{"priority": "stat"}, {"priority": "asap"}])
def test_an_emergency_is_never_intrusive_and_offers_its_reason_first(
    cds: CdsClient, urgency: dict[str, str]
) -> None:
    (card,) = cds.cards(call(order(**urgency)))
    assert (card["indicator"], card["overrideReasons"][0]["code"]) == ("info", "4")


def test_an_emergency_encounter_is_an_emergency(cds: CdsClient) -> None:
    encounter = {"resourceType": "Encounter", "id": "e1", "class": {"code": "EMER"}}
    assert cds.cards(call(prefetch={"encounter": encounter}))[0]["indicator"] == "info"


def test_override_reasons_are_the_national_words_and_say_that_the_patient_was_told(cds: CdsClient) -> None:
    (card,) = cds.cards(call())
    shown = {each["code"]: each["display"] for each in card["overrideReasons"]}
    assert shown["2"] == "检查检验结果在疾病发展演变过程中变化较快的(已向患者或家属说明复检的目的及必要性)"
    assert list(shown)[:6] == ["1", "2", "3", "4", "5", "6"]


def test_cards_are_in_english_when_asked(cds: CdsClient) -> None:
    cds.language = "en"
    (card,) = cds.cards(call())
    assert card["summary"].startswith("CT chest")
    assert card["overrideReasons"][1]["display"].startswith("The result changes fast")


def test_a_patient_without_a_document_is_unknown_and_not_without_priors(cds: CdsClient) -> None:
    for identifier in ([], [{"value": "MRN1"}], [{"system": "urn:huren:id-type:01", "value": "123"}]):
        (card,) = cds.cards(call(prefetch={"patient": patient(identifier=identifier)}))
        assert_card(card)
        assert "尚不清楚" in card["summary"]


def test_a_contradicting_patient_gets_no_prior(cds: CdsClient) -> None:
    (card,) = cds.cards(call(prefetch={"patient": patient(birthDate="1999-01-01")}))
    assert "可能不全" in card["summary"]


def test_a_missing_side_is_asked_for_when_signing(cds: CdsClient) -> None:
    (card,) = cds.cards(call(order(code="XR12")))
    assert "须注明左、右或双侧" in card["summary"]
    assert cds.cards(call(order(code="XR12"), hook="order-select"), SELECT) == []


def test_a_text_that_may_mean_several_items_goes_back_with_them_when_signing(cds: CdsClient) -> None:
    several = order(code={"text": "头颅胸部CT平扫"})
    (card,) = cds.cards(call(several))
    assert_card(card)
    assert "请选定" in card["summary"]
    assert card["detail"].splitlines() == ["1. 头颅CT平扫", "2. 胸部CT平扫"]
    assert cds.cards(call(several, hook="order-select"), SELECT) == []


HOSTILE = [
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "![x](http://evil.test/x.png)",
    "# h\n\n- item\n\n```\ncode\n```",
    "http://evil.test www.evil.test a@evil.test",
    "**bold** _em_ ~~gone~~ `code` | table |",
    "\u202egnp.exe \x00\x1b[31m\r\nheader: x",
    "&lt;img src=x onerror=1&gt;",
    '"><b>{{7*7}}=cmd|',
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_shows_as_text_and_nothing_else(
    cds: CdsClient, service: Service, text: str
) -> None:
    """F7: markup in descriptions reaches a card as words."""
    service.city.study("A", StudyDescription="胸部CT平扫", days_ago=2)
    _spoil(service, text)
    (card,) = cds.cards(call())
    assert_card(card)
    detail = card["detail"]
    assert not re.search(r"[<>\x00-\x09\x0b-\x1f\u202a-\u202e]", detail)
    assert not re.search(r"(?<!\\)[\[\]`#|_~]|(?<!\\)!|www\.|://|@", detail)
    assert len(detail.splitlines()) == len(card["suggestions"]) + 4


# --- Feedback -------------------------------------------------------------------------------------------


def test_an_accepted_suggestion_recognises_its_result(cds: CdsClient, service: Service) -> None:
    service.city.study("A", days_ago=2)
    (card,) = cds.cards(call())
    answer = cds.report(accepted(card, 1))
    assert answer.status_code == 200
    (decision,) = decisions(service)
    assert answer.json()["feedback"] == [
        {"card": card["uuid"], "outcome": "accepted", "decision": str(decision.id)}
    ]
    assert (decision.action, decision.order_number, decision.price_fen) == ("recognise", "MZ1", 19800)
    assert decision.caller.startswith("Practitioner/7")
    assert (service.city.now - timedelta(days=7)).date() == exam_day(service, decision)


def test_an_override_with_a_reason_of_the_card_is_a_decision(cds: CdsClient, service: Service) -> None:
    (card,) = cds.cards(call())
    assert "decision" in cds.report(overridden(card, "6", "术前须复查")).json()["feedback"][0]
    (decision,) = decisions(service)
    assert (decision.action, decision.reason_code, decision.reason_text, decision.explained_to_patient) == (
        "override",
        "6",
        "术前须复查",
        True,
    )


PLAIN = {"code": "2", "system": "urn:huren:override-reason"}


@pytest.mark.parametrize(
    ("reason", "comment", "code"),
    [
        (None, "", "reason_required"),
        (None, "没有理由", "reason_required"),
        (PLAIN, "", "explanation_outstanding"),
        (PLAIN, "已说明", "explanation_outstanding"),
        ({"code": "2", "system": "http://else.test"}, "", "reason_required"),
        ({"code": "no", "system": "urn:huren:override-reason:patient-told"}, "", "reason_required"),
        ("6", "", "reason_text_required"),
    ],
)
def test_an_override_that_lacks_something_is_reported_and_no_decision(
    cds: CdsClient, service: Service, reason: Any, comment: str, code: str
) -> None:
    """An explanation is never invented: without the statement that the patient was told nothing is decided."""
    (card,) = cds.cards(call())
    answer = cds.report(overridden(card, reason, comment))
    assert (answer.status_code, answer.json()["feedback"][0]["code"]) == (200, code)
    assert decisions(service) == []
    assert "decision" in cds.report(accepted(card)).json()["feedback"][0]


def test_the_extension_says_that_the_patient_was_told(cds: CdsClient, service: Service) -> None:
    (card,) = cds.cards(call())
    for told in (False, "true", 1):
        item = overridden(card, PLAIN, extension={"org.huren.explained-to-patient": told})
        assert cds.report(item).json()["feedback"][0]["code"] == "explanation_outstanding"
    cds.report(overridden(card, PLAIN, extension={"org.huren.explained-to-patient": True}))
    assert [each.reason_code for each in decisions(service)] == ["2"]


def test_feedback_sent_again_changes_nothing_and_answers_the_same(cds: CdsClient, service: Service) -> None:
    (card,) = cds.cards(call())
    first, second = (cds.report(accepted(card)).json() for _ in range(2))
    assert first == second
    assert len(decisions(service)) == 1


def test_another_outcome_of_a_decided_order_is_reported_and_the_decision_stands(
    cds: CdsClient, service: Service
) -> None:
    (card,) = cds.cards(call())
    cds.report(accepted(card))
    assert cds.report(overridden(card, "2")).json()["feedback"][0]["code"] == "already_decided"
    assert [each.action for each in decisions(service)] == ["recognise"]


def test_feedback_may_concern_several_cards_at_once(cds: CdsClient, service: Service) -> None:
    one, two = cds.cards(call(order("1"), order("2", "CT08")))
    answer = cds.report(accepted(one), overridden(two, "2")).json()["feedback"]
    assert [each["outcome"] for each in answer] == ["accepted", "overridden"]
    assert {each.action for each in decisions(service)} == {"recognise", "override"}


def test_feedback_that_comes_too_late_is_reported(cds: CdsClient, service: Service) -> None:
    (card,) = cds.cards(call())
    service.city.now += timedelta(hours=25)
    assert cds.report(accepted(card)).json()["feedback"][0]["code"] == "check_expired"


@pytest.mark.parametrize("name", ["card", "outcome", "outcomeTimestamp"])
def test_a_required_field_of_feedback_that_is_missing_is_named(cds: CdsClient, name: str) -> None:
    (card,) = cds.cards(call())
    item = accepted(card)
    del item[name]
    answer = cds.report(item)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, f"feedback.0.{name}")


@pytest.mark.parametrize(
    "spoiled",
    [
        {"acceptedSuggestions": []},
        {"acceptedSuggestions": [{"id": "other"}]},
        {"acceptedSuggestions": None},
        {"outcome": "ignored"},
        {"outcomeTimestamp": "2026-06-30"},
        {"outcomeTimestamp": "2026-06-30T04:03:00"},
        {"outcomeTimestamp": 1},
        {"card": "1"},
    ],
)
def test_feedback_that_is_not_as_specified_is_a_400(
    cds: CdsClient, service: Service, spoiled: dict[str, Any]
) -> None:
    (card,) = cds.cards(call())
    assert cds.report(accepted(card) | spoiled).status_code == 400
    assert cds.report().status_code == 400
    assert decisions(service) == []


def test_feedback_for_a_card_that_was_never_given_or_by_another_service_is_a_404(
    cds: CdsClient, service: Service
) -> None:
    (card,) = cds.cards(call())
    assert cds.report(accepted(card), service=SELECT).status_code == 404
    unknown = accepted(card) | {"card": str(uuid.uuid4())}
    assert cds.report(accepted(card), unknown).status_code == 404
    assert decisions(service) == []


# --- helpers --------------------------------------------------------------------------------------------


def decisions(service: Service) -> list[Decision]:
    with transaction(service.city.catalogue.engine) as session:
        return list(session.scalars(select(Decision).order_by(Decision.id)))


def exam_day(service: Service, decision: Decision) -> Any:
    with transaction(service.city.catalogue.engine) as session:
        return session.scalar(select(func.date(Result.exam_time)).where(Result.id == decision.result_id))


def _spoil(service: Service, text: str) -> None:
    """Put a hostile description where a study already has its item."""
    with transaction(service.city.catalogue.engine) as session:
        for study in session.scalars(select(Study)):
            study.description = text.replace("\x00", "")


def without_ids(cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what is new in every answer."""
    for card in cards:
        card.pop("uuid", None)
        for suggestion in card.get("suggestions", ()):
            suggestion.pop("uuid")
    return cards


def assert_no_empties(value: Any) -> None:
    """§Null and empty JSON elements."""
    assert value not in (None, "", [], {})
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        assert_no_empties(part)


def assert_card(card: dict[str, Any]) -> None:
    """Fail where a card breaks an invariant of the specification."""
    assert_no_empties(card)
    assert {"summary", "indicator", "source"} <= set(card)
    assert len(card["summary"]) < 140
    assert "\n" not in card["summary"]
    assert card["indicator"] in ("info", "warning", "critical")
    assert card["source"]["label"]
    assert urlsplit(card["source"]["url"]).scheme == "https"
    assert {"system", "code", "display"} == set(card["source"]["topic"])
    assert ("suggestions" in card) == ("selectionBehavior" in card)
    for suggestion in card.get("suggestions", ()):
        assert uuid.UUID(suggestion["uuid"])
        assert suggestion["label"]
        for action in suggestion.get("actions", ()):
            assert action["type"] == "delete"
            assert action["description"]
            assert re.fullmatch(r"ServiceRequest/[A-Za-z0-9.-]{1,64}", action["resourceId"])
    assert all({"system", "code", "display"} == set(each) for each in card.get("overrideReasons", ()))
    for link in card.get("links", ()):
        assert urlsplit(link["url"]).scheme == "https"
        assert link["type"] in ("absolute", "smart")
        assert ("appContext" in link) <= (link["type"] == "smart")
