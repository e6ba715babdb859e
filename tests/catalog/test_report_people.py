"""Whose reports are: by curators' rulings and merges, held where they contradict, and gone after an erasure."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from catalog import curation, erasures, identity_events, notices, people, report_views
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.records import ReportStatus
from catalog.tables import Alias, LedgerEntry, Result
from catalog.tables_people import ErasedReport
from catalog.tables_reports import Report
from tests.city import City
from tests.reports import (
    IMAGING,
    LABORATORY,
    POTASSIUM,
    count,
    document,
    evaluate_laboratory,
    of_person,
    take,
)

CURATOR = Caller("curator.zhou", "curator")
LB14 = {"order_number": "1", "item_code": "LB14"}
CT07 = {"order_number": "2", "item_code": "CT07"}


@pytest.fixture
def doctor(city: City) -> Caller:
    """Hospital A examines, the doctor of hospital B asks."""
    city.hospital("A")
    evaluate_laboratory(city, "A")
    return city.hospital("B", tier=2, region="500107")


def seen(city: City, doctor: Caller, order: dict[str, Any], person: int = 2) -> tuple[str, int]:
    check = city.check(doctor, [order], person=person)
    return check["answer"], len(check["orders"][0]["candidates"])


def person_id(city: City, person: int) -> int:
    with transaction(city.catalogue.engine) as session:
        found = people.find(session, city.catalogue, document(person))
        assert found is not None
        return found.id


def rule(city: City, kind: str, number: str, person: int) -> int:
    owner = person_id(city, person)
    with transaction(city.catalogue.engine) as session:
        query = select(Alias.id).where(Alias.number == number, Alias.person_id == owner)
        alias_id = session.scalars(query).one()
    done = identity_events.rule(city.catalogue, CURATOR, kind, owner, "核对无误", alias_id=alias_id)
    return int(done["event_id"])


def rule_report(city: City, kind: str, report_id: int, person: int) -> int:
    owner = person_id(city, person)
    done = identity_events.rule(city.catalogue, CURATOR, kind, owner, "核对无误", report_id=report_id)
    return int(done["event_id"])


def undo(city: City, event: int) -> None:
    identity_events.undo(city.catalogue, CURATOR, event, "误判")


def report_of(city: City, report_id: int) -> Report:
    with transaction(city.catalogue.engine) as session:
        return session.get_one(Report, report_id)


def merge(city: City, one: int, other: int) -> int:
    done = identity_events.merge(
        city.catalogue,
        CURATOR,
        person_id(city, one),
        person_id(city, other),
        "同一人",
        despite_conflicts=True,
    )
    return int(done["event_id"])


def test_a_report_under_a_number_of_two_people_waits_for_the_ruling_and_undoing_it_holds_it_again(
    city: City, doctor: Caller
) -> None:
    take(city, "A", LABORATORY, PatientID="P-9", **of_person(2))
    city.link(Caller("his", "hospital_system", "A"), "P-9", 4)
    assert seen(city, doctor, LB14, 2) == seen(city, doctor, LB14, 4) == ("incomplete", 0)
    event = rule(city, "accept", "P-9", 2)
    assert seen(city, doctor, LB14, 2) == ("complete", 1)
    assert seen(city, doctor, LB14, 4) == ("complete", 0)
    undo(city, event)
    assert seen(city, doctor, LB14, 2) == seen(city, doctor, LB14, 4) == ("incomplete", 0)


def test_a_number_accepted_for_another_does_not_outweigh_the_document_of_the_report_itself(
    city: City, doctor: Caller
) -> None:
    city.link(Caller("his", "hospital_system", "A"), "P-9", 4)
    rule(city, "accept", "P-9", 4)
    take(city, "A", LABORATORY, PatientID="P-9", **of_person(2))
    assert seen(city, doctor, LB14, 2) == seen(city, doctor, LB14, 4) == ("incomplete", 0)


def test_people_found_to_be_one_read_each_others_reports_until_that_is_undone(
    city: City, doctor: Caller
) -> None:
    taken = take(city, "A", LABORATORY, PatientID="P-9", **of_person(2))
    city.link(Caller("his", "hospital_system", "A"), "P-9", 4)
    assert len(curation.queue(city.catalogue, CURATOR)["numbers"]) == 2
    event = merge(city, 4, 2)
    assert curation.queue(city.catalogue, CURATOR)["numbers"] == []
    assert seen(city, doctor, LB14, 4) == ("complete", 1)
    assert report_views.read(city.catalogue, doctor, taken.report_id)["number"] == "L-1"
    undo(city, event)
    assert len(curation.queue(city.catalogue, CURATOR)["numbers"]) == 2
    with pytest.raises(NotFound):
        report_views.read(city.catalogue, doctor, taken.report_id)


def test_a_report_joins_the_study_of_a_merged_person_and_leaves_it_when_the_merge_is_undone(
    city: City, doctor: Caller
) -> None:
    uid = city.study("A", 4)
    taken = take(city, "A", IMAGING, StudyInstanceUID=uid, **of_person(2))
    held = report_of(city, taken.report_id)
    assert (held.identity, held.study_id) == ("doubtful", None)
    event = merge(city, 2, 4)
    joined = report_of(city, taken.report_id)
    assert (joined.identity, joined.study_id is not None) == ("linked", True)
    undo(city, event)
    again = report_of(city, taken.report_id)
    assert (again.identity, again.study_id, again.reasons) == ("doubtful", None, held.reasons)


@pytest.mark.parametrize("wrong", [{"name": "张三丰"}, {"sex": "male"}, {"birth_date": date(1950, 1, 1)}])
def test_a_report_whose_name_sex_or_birth_date_contradicts_its_person_offers_nothing_until_it_is_accepted(
    city: City, doctor: Caller, wrong: dict[str, Any]
) -> None:
    city.link(Caller("his", "hospital_system", "A"), "P-9", 2, name="林晓渝")
    taken = take(city, "A", LABORATORY, PatientID="P-9", **of_person(2, **wrong))
    assert seen(city, doctor, LB14) == ("incomplete", 0)
    (waiting,) = curation.queue(city.catalogue, CURATOR)["reports"]
    assert (waiting["report_id"], waiting["person"]["person_id"]) == (taken.report_id, person_id(city, 2))
    assert waiting["reasons"]
    event = rule_report(city, "accept", taken.report_id, 2)
    assert seen(city, doctor, LB14) == ("complete", 1)
    assert curation.queue(city.catalogue, CURATOR)["reports"] == []
    undo(city, event)
    assert seen(city, doctor, LB14) == ("incomplete", 0)
    rule_report(city, "reject", taken.report_id, 2)
    assert seen(city, doctor, LB14) == ("complete", 0)


def test_a_later_version_that_names_somebody_else_holds_the_report_and_a_right_one_frees_it(
    city: City, doctor: Caller
) -> None:
    city.link(Caller("his", "hospital_system", "A"), "P-9", 2, name="林晓渝")
    of = {"PatientID": "P-9"}
    take(city, "A", LABORATORY, **of)
    assert seen(city, doctor, LB14) == ("complete", 1)
    later = LABORATORY.reported_at + timedelta(hours=1)
    demographics = of_person(2, name="张三丰")["demographics"]
    take(city, "A", LABORATORY, reported_at=later, demographics=demographics, **of)
    assert seen(city, doctor, LB14) == ("incomplete", 0)
    demographics = of_person(2, name="林晓渝")["demographics"]
    take(city, "A", LABORATORY, reported_at=later + timedelta(hours=1), demographics=demographics, **of)
    assert seen(city, doctor, LB14) == ("complete", 1)


def test_a_ruling_on_a_report_outlasts_its_next_version(city: City, doctor: Caller) -> None:
    city.link(Caller("his", "hospital_system", "A"), "P-9", 2, name="林晓渝")
    about = {"PatientID": "P-9", **of_person(2, name="张三丰")}
    taken = take(city, "A", LABORATORY, **about)
    rule_report(city, "accept", taken.report_id, 2)
    take(city, "A", LABORATORY, title="电解质(复核)", **about)
    assert seen(city, doctor, LB14) == ("complete", 1)


def test_one_ruling_is_on_one_thing_and_no_second_person_is_accepted(city: City, doctor: Caller) -> None:
    taken = take(city, "A", LABORATORY, PatientID="P-9", **of_person(2))
    city.link(Caller("his", "hospital_system", "A"), "P-4", 4)
    rule_report(city, "accept", taken.report_id, 2)
    with pytest.raises(Conflict) as refused:
        rule_report(city, "accept", taken.report_id, 4)
    assert refused.value.code == "already_accepted"
    with pytest.raises(NotFound):
        rule_report(city, "accept", 10**9, 2)
    with pytest.raises(InvalidInput):
        identity_events.rule(city.catalogue, CURATOR, "accept", 1, "核对", study_id=1, report_id=1)


def test_a_rejected_report_takes_the_person_it_gave_its_study_with_it(city: City, doctor: Caller) -> None:
    city.study("A", None, PatientID="", AccessionNumber="", StudyInstanceUID="2.25.77")
    taken = take(city, "A", IMAGING, StudyInstanceUID="2.25.77", **of_person(2))
    assert seen(city, doctor, CT07) == ("complete", 1)
    event = rule_report(city, "reject", taken.report_id, 2)
    assert seen(city, doctor, CT07) == ("complete", 0)
    undo(city, event)
    assert seen(city, doctor, CT07) == ("complete", 1)


def test_an_erased_persons_reports_are_gone_and_do_not_come_back_while_the_books_stay(
    city: City, doctor: Caller
) -> None:
    uid = city.study("A", 2)
    imaging = {"PatientID": "A-2", "StudyInstanceUID": uid}
    take(city, "A", IMAGING, **imaging, **of_person(2))
    take(city, "A", LABORATORY, PatientID="A-2", **of_person(2))
    take(city, "A", LABORATORY, number="L-2", PatientID="A-4", **of_person(4))
    city.decide(doctor, city.check(doctor, [LB14]), "1", "recognise")
    saved = booked(city)
    erasures.erase(
        city.catalogue,
        Caller("ops", "operator"),
        lambda session: erasures.scope_of_person(session, city.catalogue, document(2)),
        "个人信息保护法第四十七条",
    )
    assert (booked(city), count(city, ErasedReport)) == (saved, 2)
    again = {"PatientID": "A-2", **of_person(2)}
    for message, changes, code in (
        (LABORATORY, again, "report_erased"),
        (IMAGING, again, "report_erased"),
        (IMAGING, {**imaging, "number": "R-9"}, "study_erased"),
        (LABORATORY, {"PatientID": "A-2", "status": ReportStatus.CORRECTED}, "report_erased"),
    ):
        with pytest.raises(Conflict) as refused:
            take(city, "A", message, **changes)
        assert refused.value.code == code
    city.hospital("C")
    assert take(city, "C", LABORATORY, PatientID="C-4", **of_person(4)).made  # a number is its hospital's own
    assert seen(city, doctor, LB14, 2) == ("complete", 0)


def booked(city: City) -> tuple[int, int]:
    with transaction(city.catalogue.engine) as session:
        amount = session.scalar(select(func.sum(LedgerEntry.amount_fen))) or 0
        return amount, count(city, Result)


def test_a_report_that_may_be_an_erased_persons_is_ruled_on_first(city: City, doctor: Caller) -> None:
    take(city, "A", LABORATORY, PatientID="P-9", **of_person(2))
    city.link(Caller("his", "hospital_system", "A"), "P-9", 4)
    with transaction(city.catalogue.engine) as session:
        assert erasures.scope_of_person(session, city.catalogue, document(4)).held == 1


def correct(city: City) -> None:
    value = replace(POTASSIUM, value="6.9")
    take(
        city,
        "A",
        LABORATORY,
        status=ReportStatus.CORRECTED,
        reported_at=LABORATORY.reported_at + timedelta(hours=1),
        PatientID="P-9",
        values=(value,),
    )


def news(city: City, doctor: Caller) -> list[tuple[str, str, str, Any]]:
    rows = notices.notices(city.catalogue, doctor)
    return [(row["kind"], row["order_id"], row["check_id"], row["decision_id"]) for row in rows]


@pytest.mark.parametrize("ruling", ["accept", "reject"])
def test_what_names_an_erased_person_by_mistake_and_was_ruled_to_be_anothers_stays(
    city: City, doctor: Caller, ruling: str
) -> None:
    city.link(Caller("his", "hospital_system", "A"), "P-9", 4)
    taken = take(
        city, "A", LABORATORY, PatientID="P-9", **of_person(2)
    )  # the number is 4's, the document 2's
    if ruling == "accept":
        rule_report(city, "accept", taken.report_id, 4)
    else:
        rule_report(city, "reject", taken.report_id, 2)
    assert report_of(city, taken.report_id).person_id == person_id(city, 4)
    erasures.erase(
        city.catalogue,
        CURATOR,
        lambda session: erasures.scope_of_person(session, city.catalogue, document(2)),
        "个人信息保护法第四十七条",
    )
    assert seen(city, doctor, LB14, 4)[1] == 1
    report = report_of(city, taken.report_id)
    assert (report.person_id, report.claimed_person_id) == (person_id(city, 4), None)
    assert report.number == LABORATORY.number


def test_undoing_the_ruling_that_alone_gave_a_report_its_person_takes_it_back(
    city: City, doctor: Caller
) -> None:
    take(city, "A", LABORATORY, number="L-0", PatientID="P-2", **of_person(2))
    taken = take(city, "A", LABORATORY, number="L-1", PatientID="P-7")
    event = rule_report(city, "accept", taken.report_id, 2)
    assert report_of(city, taken.report_id).person_id == person_id(city, 2)
    undo(city, event)
    assert report_of(city, taken.report_id).person_id is None
    assert seen(city, doctor, LB14) == ("complete", 1), "the other report of his stays"


def test_a_report_rejected_for_a_person_is_no_longer_shown_on_his_study(city: City, doctor: Caller) -> None:
    uid = city.study("A", 2)
    taken = take(city, "A", IMAGING, StudyInstanceUID=uid, **of_person(2))
    assert report_of(city, taken.report_id).study_id is not None
    event = rule_report(city, "reject", taken.report_id, 2)
    assert report_of(city, taken.report_id).study_id is None
    undo(city, event)
    assert report_of(city, taken.report_id).study_id is not None


def test_a_correction_between_the_check_that_showed_it_and_the_decision_is_news_to_who_asked(
    city: City, doctor: Caller
) -> None:
    take(city, "A", LABORATORY, PatientID="P-9", **of_person(2))
    other = city.hospital("C")
    city.check(doctor, [LB14])
    asked = city.check(doctor, [LB14])
    decided = city.check(doctor, [{**LB14, "order_number": "8"}])
    city.decide(doctor, decided, "8", "override", reason_code="1", explained_to_patient=True)
    correct(city)
    assert news(city, doctor) == [("report_corrected", "1", asked["check_id"], None)]
    assert news(city, other) == []
    (told,) = notices.notices(city.catalogue, doctor)
    assert (told["item_code"], told["decided_by"]) == ("LB14", None)
    assert notices.mark_read(city.catalogue, doctor, told["notice_id"])["read_at"]


def test_a_withdrawal_before_the_decision_is_news_and_none_after_the_time_to_decide(
    city: City, doctor: Caller
) -> None:
    uid = city.study("A", 2)
    take(city, "A", IMAGING, StudyInstanceUID=uid, **of_person(2))
    old = city.check(doctor, [{**CT07, "order_number": "7"}])
    city.now += timedelta(hours=25)
    asked = city.check(doctor, [CT07])
    assert old["check_id"] != asked["check_id"]
    take(
        city,
        "A",
        IMAGING,
        status=ReportStatus.ENTERED_IN_ERROR,
        reported_at=city.now,
        StudyInstanceUID=uid,
        **of_person(2),
    )
    assert news(city, doctor) == [("report_withdrawn", "2", asked["check_id"], None)]


def test_a_report_that_no_check_has_shown_is_no_news(city: City, doctor: Caller) -> None:
    uid = city.study("A", 2)
    city.check(doctor, [CT07])
    take(city, "A", IMAGING, StudyInstanceUID=uid, **of_person(2))
    take(
        city,
        "A",
        IMAGING,
        status=ReportStatus.CORRECTED,
        reported_at=city.now,
        StudyInstanceUID=uid,
        **of_person(2),
    )
    assert news(city, doctor) == []
