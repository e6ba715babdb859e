"""From an order to candidates, decisions and money, on a real database."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from catalog import recognition, recount, registry, savings
from catalog.db import transaction
from catalog.errors import Conflict, Expired, InvalidInput, NotFound
from catalog.identity import Demographics, Document
from catalog.orders import OrderRequest
from catalog.pricing import PriceRow
from catalog.records import Policy
from catalog.tables import AuditEvent, LedgerEntry, OrderCheck, Person, Study
from tests.city import City, id_number

CT07 = {"order_number": "1", "item_code": "CT07"}
PLAIN_CHEST_FEN = 19800  # tier 2


def report(city: City, **more: Any) -> dict[str, Any]:
    with transaction(city.catalogue.engine) as session:
        return savings.report(
            session, city.catalogue.items, first=date(2026, 1, 1), last=date(2026, 12, 1), **more
        )


def assert_recount_agrees(city: City) -> None:
    with transaction(city.catalogue.engine) as session:
        found = recount.verify(session)
    assert found["agrees"], found
    assert found["net_fen"] == report(city)["total"]["net_fen"]


def first(check: dict[str, Any], order: int = 0) -> dict[str, Any]:
    candidate: dict[str, Any] = check["orders"][order]["candidates"][0]
    return candidate


def reasons(candidate: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in candidate["reasons"]]


@pytest.fixture
def pair(city: City) -> tuple[City, Any, Any]:
    """Hospital A did a chest CT seven days ago; hospital B asks."""
    doctor_a = city.hospital("A")
    doctor_b = city.hospital("B", tier=2, region="500107")
    city.study("A")
    return city, doctor_a, doctor_b


def test_a_prior_of_another_hospital_is_recognisable_with_its_mark_and_saving(pair: Any) -> None:
    city, _, doctor = pair
    answer = city.check(doctor, [CT07])
    assert answer["answer"] == "complete"
    found = first(answer)
    assert found["verdict"] == "recognisable"
    assert found["hr_marks"] == ["重庆HR"]
    assert found["hospital"]["code"] == "A"
    assert found["saving_fen"] == PLAIN_CHEST_FEN
    assert found["valid_until"] == "2026-07-23"
    assert answer["patient"]["name"] == "林晓渝"


def test_an_unknown_item_fails_its_order_and_not_the_call(pair: Any) -> None:
    city, _, doctor = pair
    answer = city.check(doctor, [CT07, {"order_number": "2", "item_code": "ZZ99"}])
    assert [bool(order["candidates"]) for order in answer["orders"]] == [True, False]
    assert answer["orders"][1]["error"]["code"] == "unknown_item"


def test_a_paired_item_without_a_side_and_ct17_without_a_part_are_refused_for_their_order(pair: Any) -> None:
    city, _, doctor = pair
    orders = [
        {"order_number": "1", "item_code": "XR12"},
        {"order_number": "2", "item_code": "CT17", "laterality": "L"},
    ]
    answer = city.check(doctor, orders)
    assert [order["error"]["code"] for order in answer["orders"]] == [
        "laterality_required",
        "body_part_required",
    ]


def test_an_order_may_be_free_text_or_the_hospitals_own_code(pair: Any) -> None:
    city, _, doctor = pair
    with transaction(city.catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, "B")
        row = {"code": "K-17", "name": "胸平扫", "item_code": "CT07", "laterality": None, "body_part": None}
        registry.map_local_codes(session, hospital, [row])
    orders = [{"order_number": "1", "local_code": "K-17"}, {"order_number": "2", "text": "胸部CT平扫"}]
    answer = city.check(doctor, orders)
    assert [order["item"]["code"] for order in answer["orders"]] == ["CT07", "CT07"]
    assert city.check(doctor, [{"order_number": "3", "local_code": "nobody"}])["orders"][0]["error"]


def test_nothing_known_is_a_complete_answer_without_candidates_and_says_nothing_of_a_person(
    city: City,
) -> None:
    answer = city.check(city.hospital("B"), [CT07])
    assert (answer["answer"], answer["patient"], answer["orders"][0]["candidates"]) == ("complete", None, [])


def test_another_name_for_the_same_number_shows_nothing_and_says_incomplete(pair: Any) -> None:
    city, _, doctor = pair
    answer = city.check(doctor, [CT07], demographics=Demographics(name="王建国"))
    assert (answer["answer"], answer["patient"], answer["orders"][0]["candidates"]) == (
        "incomplete",
        None,
        [],
    )


def test_who_opted_out_of_sharing_looks_like_nobody(pair: Any) -> None:
    city, _, doctor = pair
    with transaction(city.catalogue.engine) as session:
        session.scalars(select(Person)).one().opted_out = True
    answer = city.check(doctor, [CT07])
    assert (answer["answer"], answer["orders"][0]["candidates"]) == ("complete", [])


def test_a_study_whose_header_contradicts_the_number_is_held_and_makes_answers_incomplete(pair: Any) -> None:
    city, _, doctor = pair
    city.study("A", PatientBirthDate=date(1999, 1, 1), StudyDescription="头颅CT平扫", BodyPartExamined="HEAD")
    answer = city.check(doctor, [CT07, {"order_number": "2", "item_code": "CT01"}])
    assert answer["answer"] == "incomplete"
    assert [len(order["candidates"]) for order in answer["orders"]] == [1, 0]


def test_the_same_patient_id_in_two_hospitals_is_never_one_person(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    city.study("A", None, PatientID="1")
    city.link(doctor, "1", 2)
    assert city.check(doctor, [CT07])["orders"][0]["candidates"] == []


def test_a_late_link_makes_earlier_studies_findable(city: City) -> None:
    doctor_a, doctor = city.hospital("A"), city.hospital("B")
    city.study("A", None, PatientID="77")
    assert city.check(doctor, [CT07])["orders"][0]["candidates"] == []
    assert city.link(doctor_a, "77", 2, name="林晓渝")["studies_changed"] == 1
    assert first(city.check(doctor, [CT07]))["verdict"] == "recognisable"


def test_a_patient_id_claimed_for_a_second_person_is_held_for_both(pair: Any) -> None:
    city, doctor_a, doctor = pair
    assert city.link(doctor_a, "A-2", 4)["state"] == "doubtful"
    for person in (2, 4):
        answer = city.check(doctor, [CT07], person=person)
        assert (answer["answer"], answer["orders"][0]["candidates"]) == ("incomplete", [])


def test_fifty_registrations_at_once_make_one_person(city: City) -> None:
    doctor = city.hospital("A")
    with ThreadPoolExecutor(16) as pool:
        states = list(pool.map(lambda n: city.link(doctor, f"P{n}", 2)["state"], range(50)))
    assert states == ["linked"] * 50
    with transaction(city.catalogue.engine) as session:
        assert session.scalar(select(func.count()).select_from(Person)) == 1


def test_an_id_number_is_kept_encrypted_and_found_by_its_keyed_hash(pair: Any) -> None:
    city, *_ = pair
    with transaction(city.catalogue.engine) as session:
        dump = str(session.execute(text("select * from person")).all())
        person = session.scalars(select(Person)).one()
        assert "99999919800517" not in dump
        assert city.catalogue.vault.open("01", person.number_cipher).startswith("99999919800517")


def test_recognise_then_undo_nets_to_nothing_and_both_stay_in_the_books(pair: Any) -> None:
    city, _, doctor = pair
    check = city.check(doctor, [CT07])
    made = city.decide(doctor, check, "1", "recognise")
    assert (made["saving_fen"], made["standing_fen"]) == (PLAIN_CHEST_FEN, PLAIN_CHEST_FEN)
    assert report(city)["total"]["net_fen"] == PLAIN_CHEST_FEN
    undone = city.decide(doctor, check, "1", "undo")
    assert undone["standing_fen"] == 0
    total = report(city)["total"]
    assert (total["saved_fen"], total["reversed_fen"], total["net_fen"]) == (
        PLAIN_CHEST_FEN,
        PLAIN_CHEST_FEN,
        0,
    )
    assert (total["reminders"], total["recognised"], total["undone"], total["rate"]) == (1, 0, 1, 0.0)
    assert_recount_agrees(city)


def test_an_override_needs_a_reason_its_text_and_the_explanation(pair: Any) -> None:
    city, _, doctor = pair
    check = city.check(doctor, [CT07])
    for wrong, code in (
        ({}, "reason_required"),
        ({"reason_code": "42"}, "reason_required"),
        ({"reason_code": "6", "explained_to_patient": True}, "reason_text_required"),
        ({"reason_code": "1"}, "explanation_required"),
        ({"reason_code": "1", "explained_to_patient": False}, "explanation_required"),
        ({"reason_code": "1", "explained_to_patient": True, "result_id": "999"}, "not_a_candidate"),
    ):
        with pytest.raises(InvalidInput) as refused:
            city.decide(doctor, check, "1", "override", **wrong)
        assert refused.value.code == code
    city.decide(doctor, check, "1", "override", reason_code="1", explained_to_patient=True)
    total = report(city)["total"]
    assert (total["reminders"], total["refused"], total["rate"]) == (1, 1, 0.0)
    assert_recount_agrees(city)


def test_a_reason_that_is_no_refusal_leaves_the_order_out_of_the_rate(pair: Any) -> None:
    city, _, doctor = pair
    check = city.check(doctor, [CT07])
    excused = next(r.code for r in city.catalogue.override_reasons.values() if not r.counts_as_refusal)
    city.decide(
        doctor, check, "1", "override", reason_code=excused, reason_text="说明", explained_to_patient=True
    )
    total = report(city)["total"]
    assert (total["reminders"], total["excused"], total["rate"]) == (1, 1, None)
    assert_recount_agrees(city)


def test_one_decision_stands_per_order_until_it_is_undone(pair: Any) -> None:
    city, _, doctor = pair
    check = city.check(doctor, [CT07])
    city.decide(doctor, check, "1", "recognise")
    again = city.check(doctor, [CT07])
    with pytest.raises(Conflict) as refused:
        city.decide(doctor, again, "1", "recognise")
    assert refused.value.code == "already_decided"
    city.decide(doctor, again, "1", "undo")
    city.decide(doctor, again, "1", "recognise")
    total = report(city)["total"]
    assert (total["reminders"], total["recognised"], total["net_fen"]) == (1, 1, PLAIN_CHEST_FEN)
    assert_recount_agrees(city)


def test_the_same_key_and_body_give_the_same_answer_and_another_body_is_refused(pair: Any) -> None:
    city, _, doctor = pair
    check = city.check(doctor, [CT07])
    once = city.decide(doctor, check, "1", "recognise", key="k")
    assert city.decide(doctor, check, "1", "recognise", key="k") == once
    with pytest.raises(Conflict) as refused:
        city.decide(doctor, check, "1", "undo", key="k")
    assert refused.value.code == "idempotency_key_reused"
    assert report(city)["total"]["saved_fen"] == PLAIN_CHEST_FEN


def test_twenty_decisions_at_once_on_one_order_save_once(pair: Any) -> None:
    city, _, doctor = pair
    check = city.check(doctor, [CT07])

    def attempt(number: int) -> str:
        try:
            city.decide(doctor, check, "1", "recognise", key=f"k{number}")
        except Conflict as error:
            return error.code
        return "made"

    with ThreadPoolExecutor(10) as pool:
        outcome = list(pool.map(attempt, range(20)))
    assert sorted(outcome) == ["already_decided"] * 19 + ["made"]
    assert_recount_agrees(city)


def test_a_check_can_be_decided_for_a_day_and_a_decision_undone_for_thirty(pair: Any) -> None:
    city, _, doctor = pair
    check = city.check(doctor, [CT07])
    city.now += timedelta(hours=24)
    city.decide(doctor, check, "1", "recognise")
    city.now += timedelta(seconds=1)
    late = city.check(doctor, [{"order_number": "2", "item_code": "CT07"}])
    city.now += timedelta(hours=24, seconds=1)
    with pytest.raises(Expired):
        city.decide(doctor, late, "2", "recognise")
    city.now += timedelta(days=29)
    with pytest.raises(Expired):
        city.decide(doctor, check, "1", "undo")
    assert_recount_agrees(city)


def test_a_prior_withdrawn_after_the_check_cannot_be_recognised_any_more(pair: Any) -> None:
    city, _, doctor = pair
    check = city.check(doctor, [CT07])
    with transaction(city.catalogue.engine) as session:
        session.scalars(select(Study)).one().withdrawn = True
    with pytest.raises(Conflict) as refused:
        city.decide(doctor, check, "1", "recognise")
    assert refused.value.code == "prior_withdrawn"
    assert reasons(first(city.check(doctor, [CT07]))) == ["withdrawn"]


def test_recognising_a_reference_saves_and_stands_outside_the_rate(city: City) -> None:
    city.hospital("A", marked=False)
    doctor = city.hospital("B", tier=2)
    city.study("A")
    check = city.check(doctor, [CT07])
    assert reasons(first(check)) == ["no_hr_mark"]
    assert city.decide(doctor, check, "1", "recognise")["beyond_duty"] is True
    total = report(city)["total"]
    assert (total["reminders"], total["recognised"], total["beyond_duty"], total["rate"]) == (0, 0, 1, None)
    assert total["net_fen"] == PLAIN_CHEST_FEN
    assert_recount_agrees(city)


def test_an_examination_done_anyway_reverses_the_saving_whenever_it_is_learnt(pair: Any) -> None:
    city, _, doctor = pair
    check = city.check(doctor, [CT07])
    city.decide(doctor, check, "1", "recognise")
    city.now += timedelta(days=40)
    city.study("B", days_ago=38)
    total = report(city)["total"]
    assert (total["saved_fen"], total["reversed_fen"], total["net_fen"]) == (
        PLAIN_CHEST_FEN,
        PLAIN_CHEST_FEN,
        0,
    )
    assert (total["recognised"], total["rate"]) == (1, 1.0)
    with transaction(city.catalogue.engine) as session:
        entry = session.scalars(select(LedgerEntry).order_by(LedgerEntry.id.desc())).first()
        assert entry is not None
        assert (entry.kind, entry.business_date, entry.posted_at) == ("reversal", date(2026, 6, 30), city.now)
    assert_recount_agrees(city)


def test_an_examination_linked_to_someone_else_after_all_reinstates_the_saving(pair: Any) -> None:
    city, _, doctor = pair
    city.decide(doctor, city.check(doctor, [CT07]), "1", "recognise")
    city.now += timedelta(days=2)
    city.study("B", days_ago=1, PatientID="77")
    assert report(city)["total"]["net_fen"] == 0
    city.link(doctor, "77", 4)
    total = report(city)["total"]
    assert (total["reversed_fen"], total["net_fen"]) == (0, PLAIN_CHEST_FEN)
    with transaction(city.catalogue.engine) as session:
        kinds = session.scalars(select(LedgerEntry.kind).order_by(LedgerEntry.id)).all()
    assert list(kinds) == ["saving", "reversal", "reinstatement"]
    assert_recount_agrees(city)


def test_the_price_is_the_askers_at_that_moment_and_a_missing_one_is_a_gap(pair: Any) -> None:
    city, _, doctor = pair
    with transaction(city.catalogue.engine) as session:
        own = PriceRow("hospital", "B", "CT07", 23000, date(2026, 6, 30), date(2026, 6, 30), "")
        registry.add_prices(session, [own], source="test")
    assert first(city.check(doctor, [CT07]))["saving_fen"] == 23000
    city.now += timedelta(days=1)
    assert first(city.check(doctor, [{**CT07, "order_number": "2"}]))["saving_fen"] == PLAIN_CHEST_FEN
    with transaction(city.catalogue.engine) as session:
        session.execute(text("delete from price where item_code = 'CT07'"))
    check = city.check(doctor, [{**CT07, "order_number": "3"}])
    city.decide(doctor, check, "3", "recognise")
    answer = report(city)
    assert (answer["total"]["net_fen"], answer["total"]["unpriced"]) == (0, 1)
    assert answer["unpriced"] == [{"hospital": "B", "item": "CT07", "recognised": 1}]
    assert_recount_agrees(city)


def test_own_hospital_priors_are_offered_and_counted_apart(pair: Any) -> None:
    city, doctor_a, _ = pair
    check = city.check(doctor_a, [CT07])
    assert first(check)["own_hospital"] is True
    city.decide(doctor_a, check, "1", "recognise")
    total = report(city)["total"]
    assert total["rate"] is None
    assert total["own_hospital"]["recognised"] == 1
    assert_recount_agrees(city)


def test_an_emergency_is_answered_and_its_figures_shown_apart(pair: Any) -> None:
    city, _, doctor = pair
    check = city.check(doctor, [CT07], urgency="emergency")
    city.decide(doctor, check, "1", "override", reason_code="4", explained_to_patient=True)
    total = report(city)["total"]
    assert (total["reminders"], total["emergency"]["reminders"]) == (1, 1)
    assert_recount_agrees(city)


def test_candidates_come_recognisable_first_exact_before_covering_newest_first(pair: Any) -> None:
    city, _, doctor = pair
    city.study("A", days_ago=2, StudyDescription="胸部CT增强")
    city.study("A", days_ago=3)
    city.study("A", days_ago=60)
    found = city.check(doctor, [CT07])["orders"][0]["candidates"]
    assert [c["item_code"] for c in found] == ["CT07", "CT07", "CT09", "CT07"]
    assert [c["verdict"] for c in found] == ["recognisable"] * 3 + ["reference"]
    assert found[0]["exam_time"] > found[1]["exam_time"]


def test_what_a_check_showed_is_kept_as_it_was_shown(pair: Any) -> None:
    city, _, doctor = pair
    check = city.check(doctor, [CT07])
    with transaction(city.catalogue.engine) as session:
        session.execute(text("update study set uid_conflict = true"))
    kept = recognition.read(city.catalogue, doctor, uuid.UUID(check["check_id"]))
    assert kept["orders"] == check["orders"]
    assert reasons(first(city.check(doctor, [CT07]))) == ["uid_conflict"]


def test_another_hospitals_check_looks_like_none(pair: Any) -> None:
    city, doctor_a, doctor = pair
    check = city.check(doctor, [CT07])
    with pytest.raises(NotFound):
        recognition.read(city.catalogue, doctor_a, uuid.UUID(check["check_id"]))
    with pytest.raises(NotFound):
        city.decide(doctor_a, check, "1", "recognise")


def test_an_order_with_nothing_to_decide_on_is_refused(pair: Any) -> None:
    city, _, doctor = pair
    check = city.check(doctor, [{"order_number": "1", "item_code": "CT01"}])
    with pytest.raises(InvalidInput) as refused:
        city.decide(doctor, check, "1", "override", reason_code="1", explained_to_patient=True)
    assert refused.value.code == "no_candidate"


def test_every_check_and_decision_is_audited_in_its_own_transaction(pair: Any) -> None:
    city, _, doctor = pair
    city.decide(doctor, city.check(doctor, [CT07]), "1", "recognise")
    with transaction(city.catalogue.engine) as session:
        actions = session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)).all()
    assert list(actions) == ["check", "decision.recognise"]
    with transaction(city.catalogue.engine) as session:
        session.execute(text("alter table audit_event rename to gone"))
    with pytest.raises(Exception, match="审计记录无法写入"):
        city.check(doctor, [{**CT07, "order_number": "9"}])


def test_an_answer_nobody_waits_for_any_more_is_not_kept(pair: Any) -> None:
    city, _, doctor = pair
    request = recognition.CheckRequest(
        Document("01", id_number(2)), Demographics(), (OrderRequest("1", item_code="CT07"),)
    )
    with pytest.raises(TimeoutError):
        recognition.check(city.catalogue, doctor, request, still_wanted=lambda: False)
    with transaction(city.catalogue.engine) as session:
        assert session.scalar(select(func.count()).select_from(OrderCheck)) == 0
    assert report(city)["total"]["reminders"] == 0


def test_the_books_and_the_audit_cannot_be_changed_only_added_to(pair: Any) -> None:
    city, _, doctor = pair
    city.decide(doctor, city.check(doctor, [CT07]), "1", "recognise")
    for table in ("order_check", "decision", "ledger", "audit_event"):
        for statement in (f"delete from {table}", f"update {table} set hospital_id = hospital_id"):  # noqa: S608
            with pytest.raises(IntegrityError), transaction(city.catalogue.engine) as session:
                session.execute(text(statement))


def test_a_changed_sum_is_found_by_the_recount(pair: Any) -> None:
    city, _, doctor = pair
    city.decide(doctor, city.check(doctor, [CT07]), "1", "recognise")
    with transaction(city.catalogue.engine) as session:
        session.execute(text("update monthly set saved_fen = saved_fen + 1"))
    with transaction(city.catalogue.engine) as session:
        found = recount.verify(session)
    assert not found["agrees"]
    assert found["differing"][0]["kept"]["saved_fen"] == PLAIN_CHEST_FEN + 1


def test_own_results_hidden_by_policy_are_not_shown(pair: Any) -> None:
    city, doctor_a, doctor_b = pair
    strict = replace(city.catalogue, policy=Policy(own_hospital="hide"))
    city.catalogue = strict
    assert city.check(doctor_a, [CT07])["orders"][0]["candidates"] == []
    assert city.check(doctor_b, [CT07])["orders"][0]["candidates"]
