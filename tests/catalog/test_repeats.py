"""Repeats on a real database: each class as it comes about, and what is learnt later."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from catalog import identity_events, repeats, sharing, withdrawals
from catalog.context import Caller
from catalog.db import transaction
from catalog.identity import Demographics, Document
from catalog.records import ReportStatus
from catalog.tables import Person
from catalog.tables_repeats import Repeat
from tests.city import City, id_number
from tests.reports import IMAGING, take

CURATOR = Caller("curator.wang", "curator")
CT07 = {"order_number": "o", "item_code": "CT07"}
OVERRIDE = {"explained_to_patient": True}


@pytest.fixture
def pair(city: City) -> tuple[City, Any]:
    """Hospital A examined the patient a week ago; hospital B, of the second tier, asks and examines."""
    city.doctors["A"] = city.hospital("A")
    doctor = city.doctors["B"] = city.hospital("B", tier=2)
    city.study("A")
    city.now += timedelta(hours=1)
    return city, doctor


def rows(city: City, *, standing: bool = True) -> list[Repeat]:
    with transaction(city.catalogue.engine) as session:
        query = select(Repeat).order_by(Repeat.id)
        return list(session.scalars(query.where(Repeat.superseded_at.is_(None)) if standing else query))


def kinds(city: City) -> list[str]:
    return [row.kind for row in rows(city)]


def done(city: City, hospital: str = "B", **header: Any) -> str:
    """Have a hospital examine the patient an hour from now, and send that at once."""
    city.now += timedelta(hours=1)
    return city.study(hospital, days_ago=0, **header)


def test_an_examination_without_a_check_is_a_repeat_at_the_price_of_who_did_it(pair: Any) -> None:
    city, _ = pair
    done(city)
    (row,) = rows(city)
    assert (row.kind, row.item_code, row.price_fen, row.own_hospital) == ("no_check", "CT07", 19800, False)
    assert (row.check_id, row.order_number, row.decision_id) == (None, None, None)
    assert row.prior_hospital_id != row.hospital_id
    assert row.prior_result_id < row.result_id
    assert row.exam_time == row.posted_at == city.now


def test_a_reminder_that_nobody_answered_is_behind_the_repeat(pair: Any) -> None:
    city, doctor = pair
    check = city.check(doctor, [CT07], urgency="emergency")
    done(city)
    (row,) = rows(city)
    assert (row.kind, str(row.check_id), row.order_number) == ("no_answer", check["check_id"], "o")
    assert row.emergency


@pytest.mark.parametrize(
    ("action", "given", "kind"),
    [
        ("recognise", {}, "recognised_and_done"),
        ("override", {"reason_code": "1", **OVERRIDE}, "refused"),
        ("override", {"reason_code": "98", **OVERRIDE}, "lawfully_repeated"),
    ],
)
def test_what_was_decided_says_what_the_repeat_is_until_it_is_undone(
    pair: Any, action: str, given: dict[str, Any], kind: str
) -> None:
    city, doctor = pair
    check = city.check(doctor, [CT07])
    city.decide(doctor, check, "o", action, **given)
    done(city)
    assert kinds(city) == [kind]
    city.decide(doctor, check, "o", "undo")
    assert kinds(city) == ["no_answer"]
    before, after = rows(city, standing=False)
    assert before.superseded_at == after.posted_at == city.now
    city.decide(doctor, check, "o", action, **given)
    assert kinds(city) == [kind]


def test_what_is_decided_after_the_examination_on_asking_again_says_what_the_repeat_is(pair: Any) -> None:
    city, doctor = pair
    city.check(doctor, [CT07])
    done(city)
    city.now += timedelta(hours=1)
    city.decide(doctor, city.check(doctor, [CT07]), "o", "override", reason_code="1", **OVERRIDE)
    assert kinds(city) == ["refused"]


def test_a_decision_is_told_of_an_examination_at_the_very_moment_of_its_check(pair: Any) -> None:
    city, doctor = pair
    check = city.check(doctor, [CT07])
    city.study("B", days_ago=0)
    assert kinds(city) == ["no_answer"]
    city.decide(doctor, check, "o", "override", reason_code="1", **OVERRIDE)
    assert kinds(city) == ["refused"]


def test_a_prior_that_came_after_the_examination_was_not_visible_in_time(city: City) -> None:
    city.hospital("A")
    city.hospital("B")
    done(city)
    assert rows(city) == []
    city.now += timedelta(hours=1)
    city.study("A")
    assert kinds(city) == ["not_visible"]


def test_a_prior_that_came_between_the_check_and_the_examination_was_not_visible_in_time(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    city.study("A", StudyDescription="头颅CT平扫", BodyPartExamined="HEAD")
    city.check(doctor, [CT07])
    city.study("A")
    done(city)
    (row,) = rows(city)
    assert (row.kind, row.order_number) == ("not_visible", "o")
    city.check(doctor, [{**CT07, "order_number": "later"}])
    assert kinds(city) == ["not_visible"], "a check after the examination changes nothing"


def test_an_examination_that_is_learnt_of_late_repeats_by_its_own_time(pair: Any) -> None:
    city, _ = pair
    city.now += timedelta(days=20)
    city.study("B", days_ago=19)
    (row,) = rows(city)
    assert row.posted_at - row.exam_time == timedelta(days=19)


@pytest.mark.parametrize("days", [30, 31])
def test_a_prior_counts_as_long_as_the_window_of_the_item_is_open(pair: Any, days: int) -> None:
    city, _ = pair
    city.now += timedelta(days=days - 7)
    city.study("B", days_ago=0)
    assert kinds(city) == (["no_check"] if days == 30 else [])


def test_what_no_check_would_offer_is_repeated_by_nobody(city: City) -> None:
    city.hospital("A", marked=False)
    city.hospital("B")
    city.study("A")
    city.now += timedelta(hours=1)
    done(city)
    done(city, StudyDescription="头颅CT平扫", BodyPartExamined="HEAD")
    assert rows(city) == []


def test_a_wider_examination_covers_and_one_of_the_own_hospital_stands_apart(pair: Any) -> None:
    city, _ = pair
    done(city, "B", StudyDescription="胸部CT增强", ContrastBolusAgent="Iohexol")
    assert rows(city) == [], "a plain examination does not answer for one with contrast"
    done(city, "B")
    (row,) = rows(city)
    assert not row.own_hospital, "another hospital's prior counts before the own"
    withdrawals.withdraw_study(city.catalogue, city.doctors["A"], "2.25.1001", "录入错误")
    (row,) = rows(city)
    assert row.own_hospital


def test_one_order_lies_behind_one_examination(pair: Any) -> None:
    city, doctor = pair
    check = city.check(doctor, [CT07])
    city.decide(doctor, check, "o", "override", reason_code="98", **OVERRIDE)
    done(city)
    done(city)
    assert kinds(city) == ["lawfully_repeated", "no_check"]


@pytest.mark.parametrize("hospital", ["A", "B"])
def test_a_withdrawal_of_either_takes_the_repeat_and_its_restoring_brings_it_back(
    pair: Any, hospital: str
) -> None:
    city, _ = pair
    uid = done(city)
    study = "2.25.1001" if hospital == "A" else uid
    withdrawals.withdraw_study(city.catalogue, city.doctors[hospital], study, "录入错误")
    assert rows(city) == []
    (gone,) = rows(city, standing=False)
    assert gone.superseded_at == city.now
    withdrawals.restore_study(city.catalogue, city.doctors[hospital], study, "已核对")
    assert kinds(city) == ["no_check"]


def test_a_withdrawn_prior_does_not_count_though_a_check_had_shown_it(pair: Any) -> None:
    city, doctor = pair
    city.check(doctor, [CT07])
    done(city)
    withdrawals.withdraw_study(city.catalogue, city.doctors["A"], "2.25.1001", "录入错误")
    assert rows(city) == []


def test_a_prior_whose_report_was_entered_in_error_does_not_count_either(pair: Any) -> None:
    city, doctor = pair
    city.check(doctor, [CT07])
    done(city)
    take(city, "A", IMAGING, StudyInstanceUID="2.25.1001", status=ReportStatus.ENTERED_IN_ERROR)
    assert rows(city) == []


def test_what_a_check_showed_counts_although_its_quality_is_doubted_since(pair: Any) -> None:
    city, doctor = pair
    city.check(doctor, [CT07])
    with transaction(city.catalogue.engine) as session:
        session.execute(text("update study set quality_flagged = true where uid = '2.25.1001'"))
    done(city)
    assert kinds(city) == ["no_answer"]


def test_a_link_that_is_made_late_makes_the_repeat(pair: Any) -> None:
    city, doctor = pair
    city.now += timedelta(hours=1)
    city.study("B", None, days_ago=0, PatientID="B-77")
    assert rows(city) == []
    city.link(doctor, "B-77", 2)
    assert kinds(city) == ["no_check"]


def test_a_merge_joins_what_two_numbers_had_and_its_undoing_parts_it(pair: Any) -> None:
    city, _ = pair
    city.now += timedelta(hours=1)
    city.study("B", 4, days_ago=0)
    with transaction(city.catalogue.engine) as session:
        both = session.scalars(select(Person.id).order_by(Person.id)).all()
    city.now += timedelta(hours=1)
    merged = identity_events.merge(city.catalogue, CURATOR, *both, "已核对")
    assert kinds(city) == ["not_visible"], "nobody could have found it under the other number"
    city.now += timedelta(hours=1)
    city.study("B", 4, days_ago=0)
    assert kinds(city) == ["not_visible", "no_check"]
    identity_events.undo(city.catalogue, CURATOR, merged["event_id"], "核对有误")
    (row,) = rows(city)
    assert row.own_hospital, "of his own he still has two"


def test_whoever_had_opted_out_was_shown_nothing_that_could_be_repeated(pair: Any) -> None:
    city, _ = pair
    document = Document("01", id_number(2))
    sharing.set_sharing(city.catalogue, CURATOR, document, Demographics(), shared=False)
    done(city)
    assert rows(city) == []
    city.now += timedelta(hours=1)
    sharing.set_sharing(city.catalogue, CURATOR, document, Demographics(), shared=True)
    done(city)
    assert [row.exam_time for row in rows(city)] == [city.now]


def test_settling_again_changes_nothing(pair: Any) -> None:
    city, _ = pair
    done(city)
    done(city)
    before = [row.id for row in rows(city, standing=False)]
    with transaction(city.catalogue.engine) as session:
        repeats.settle(session, city.catalogue, 1)
    assert [row.id for row in rows(city, standing=False)] == before
