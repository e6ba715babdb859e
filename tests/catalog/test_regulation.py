"""Rules of the Measures of 2022 (国卫医发〔2022〕6号) that no other file of tests holds, numbered as in the domain notes.

Rows 5 to 7, 10 and 15 stand in test_marks, row 1 in test_reports, row 4 in test_item_lists, row 12 in test_reasons.
"""

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from catalog import qc, recognition, registry, savings
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.reasons import NATIONAL_CODES
from catalog.tables import Decision, Hospital, Result
from tests.city import City, open_catalogue

TIERS = {"三级": 3, "二级": 2, "社区卫生服务中心": 1}


@pytest.fixture(scope="module")
def city(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    """Hospital A did a chest CT of person 2; hospital B asks. Each test orders under its own numbers."""
    folder: Path = tmp_path_factory.mktemp("keys")
    made: list[City] = []
    catalogue = open_catalogue(database_url, folder, lambda: made[0].now)
    made.append(City(catalogue))
    made[0].hospital("A")
    made[0].hospital("B", tier=2, region="500107")
    made[0].study("A")
    yield made[0]
    catalogue.engine.dispose()


@pytest.fixture
def doctor() -> Caller:
    return Caller("dr.B", "doctor", "B")


def ask(city: City, doctor: Caller, order: str) -> dict[str, Any]:
    return city.check(doctor, [{"order_number": order, "item_code": "CT07"}])


def prior(check: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = check["orders"][0]["candidates"][0]
    return found


def figures(city: City) -> dict[str, Any]:
    with transaction(city.catalogue.engine) as session:
        told = savings.report(session, city.catalogue.items, first=date(2026, 1, 1), last=date(2026, 12, 1))
    total: dict[str, Any] = told["total"]
    return total


@pytest.mark.parametrize("kind", TIERS)
def test_row_2_institutions_of_every_tier_and_primary_care_issue_and_recognise(
    city: City, doctor: Caller, kind: str
) -> None:
    code, person = f"T{TIERS[kind]}", 10 + 2 * TIERS[kind]
    asker = city.hospital(code, tier=TIERS[kind])
    assert prior(ask(city, asker, f"{code}-1"))["verdict"] == "recognisable"
    city.study(code, person)
    issued = city.check(doctor, [{"order_number": f"{code}-2", "item_code": "CT07"}], person=person)
    assert (prior(issued)["verdict"], prior(issued)["hospital"]["code"]) == ("recognisable", code)


@pytest.mark.parametrize("reason", NATIONAL_CODES)
def test_row_3_the_doctor_decides_and_may_examine_again_for_each_of_the_six_reasons(
    city: City, doctor: Caller, reason: str
) -> None:
    check = ask(city, doctor, f"six-{reason}")
    assert prior(check)["verdict"] == "recognisable"
    made = city.decide(
        doctor,
        check,
        f"six-{reason}",
        "override",
        reason_code=reason,
        reason_text="复查说明",
        explained_to_patient=True,
    )
    assert (made["action"], made["standing_fen"]) == ("override", 0)


def test_row_3_an_order_left_undecided_is_never_blocked_its_examination_is_taken_in(
    city: City, doctor: Caller
) -> None:
    city.study("A", 20)
    asked = city.check(doctor, [{"order_number": "free", "item_code": "CT07"}], person=20)
    assert prior(asked)["verdict"] == "recognisable"
    own = city.study("B", 20, days_ago=0)
    again = city.check(doctor, [{"order_number": "free", "item_code": "CT07"}], person=20)
    assert own in [c["images"]["StudyInstanceUID"] for c in again["orders"][0]["candidates"]]


def test_row_8_the_mark_of_the_issuer_stands_in_the_answer_and_in_the_check_as_it_is_kept(
    city: City, doctor: Caller
) -> None:
    check = ask(city, doctor, "mark")
    assert prior(check)["hr_marks"] == ["重庆HR"]
    kept = recognition.read(city.catalogue, doctor, _id(check))
    assert prior(kept)["hr_marks"] == ["重庆HR"]


def test_row_9_the_mark_of_an_institution_can_be_looked_up_with_its_items_and_days(city: City) -> None:
    (found,) = qc.evaluations(city.catalogue, hospital_code="A", after=0, limit=10)
    assert (found["mark"], found["item"], found["passed"]) == ("重庆HR", "[imaging]", True)
    assert (str(found["from"]), str(found["to"])) == ("2025-01-01", "2027-12-31")


def test_row_11_an_eligible_prior_asks_for_one_explicit_choice_recognise_or_a_listed_reason(
    city: City, doctor: Caller
) -> None:
    before = figures(city)
    check = ask(city, doctor, "choice")
    open_order = figures(city)
    assert open_order["reminders"] == before["reminders"] + 1
    assert [open_order[name] - before[name] for name in ("recognised", "refused", "excused")] == [0, 0, 0]
    for reason in (None, "", "7", "复查"):
        with pytest.raises(InvalidInput) as refused:
            city.decide(doctor, check, "choice", "override", reason_code=reason, explained_to_patient=True)
        assert refused.value.code == "reason_required"
    assert figures(city) == open_order
    city.decide(doctor, check, "choice", "recognise")
    assert figures(city)["recognised"] == before["recognised"] + 1


def test_row_12_the_sixth_reason_is_refused_without_its_text_and_kept_with_it(
    city: City, doctor: Caller
) -> None:
    check = ask(city, doctor, "sixth")
    told = {"reason_code": "6", "explained_to_patient": True}
    with pytest.raises(InvalidInput) as refused:
        city.decide(doctor, check, "sixth", "override", reason_text="  ", **told)
    assert refused.value.code == "reason_text_required"
    made = city.decide(doctor, check, "sixth", "override", reason_text="术前需明确病灶", **told)
    assert _decision(city, made)[0].reason_text == "术前需明确病灶"


def test_row_13_not_recognising_needs_the_patient_told_and_records_that_by_whom_and_when(
    city: City, doctor: Caller
) -> None:
    check = ask(city, doctor, "told")
    for told in (None, False):
        with pytest.raises(InvalidInput) as refused:
            city.decide(doctor, check, "told", "override", reason_code="1", explained_to_patient=told)
        assert refused.value.code == "explanation_required"
    made = city.decide(doctor, check, "told", "override", reason_code="1", explained_to_patient=True)
    kept, _ = _decision(city, made)
    assert (kept.explained_to_patient, kept.caller, kept.decided_at) == (True, "dr.B", city.now)


def test_row_14_a_recognition_records_which_prior_of_which_institution_and_day_by_whom_and_when(
    city: City, doctor: Caller
) -> None:
    check = ask(city, doctor, "cited")
    made = city.decide(doctor, check, "cited", "recognise")
    kept, issuer = _decision(city, made)
    shown = prior(check)
    assert (str(kept.result_id), issuer) == (shown["result_id"], shown["hospital"]["code"])
    assert (kept.caller, kept.decided_at, kept.order_number) == ("dr.B", city.now, "cited")
    with transaction(city.catalogue.engine) as session:
        exam_time = session.get_one(Result, kept.result_id).exam_time
        asker = registry.hospital_by_code(session, "B").id
    assert (exam_time.isoformat(), kept.hospital_id) == (_utc(shown["exam_time"]), asker)


def test_row_16_what_one_hospital_archived_is_found_by_every_other_of_the_region(
    city: City, doctor: Caller
) -> None:
    uid = city.study("A", 30)
    for asker in (doctor, city.hospital("T9", tier=1, region="500151")):
        answer = city.check(asker, [{"order_number": "net", "item_code": "CT07"}], person=30)
        images = prior(answer)["images"]
        assert (images["StudyInstanceUID"], images["series"], images["instances"]) == (uid, 1, 1)


def _decision(city: City, made: dict[str, Any]) -> tuple[Decision, str | None]:
    """Return the decision as it is kept, and the code of the hospital that issued the prior."""
    with transaction(city.catalogue.engine) as session:
        kept = session.get_one(Decision, int(made["decision_id"]))
        issuer = session.scalar(select(Hospital.code).where(Hospital.id == kept.issuing_hospital_id))
        session.expunge(kept)
    return kept, issuer


def _id(check: dict[str, Any]) -> uuid.UUID:
    return uuid.UUID(check["check_id"])


def _utc(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone(UTC).isoformat()
