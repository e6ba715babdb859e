"""The recount holds each repeat against what it follows from, and finds whichever of both was changed."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from catalog import erasures, settling
from catalog.context import Caller
from catalog.db import transaction
from catalog.tables_repeats import Repeat
from tests.catalog.tampering import found, kinds, tamper
from tests.city import City


@pytest.fixture
def told(city: City) -> City:
    """A city whose people were examined again: 2 unasked, 4 unanswered, 6 refused, 8 before the prior came.

    The rows of `repeat` have the numbers 1 to 4 in this order, the results 1 to 8 in pairs.
    """
    city.hospital("A")
    doctor = city.hospital("B", tier=2)
    for person in (2, 4, 6):
        city.study("A", person)
        city.now += timedelta(minutes=10)
        if person > 2:
            check = city.check(doctor, [{"order_number": f"o{person}", "item_code": "CT07"}], person)
        if person == 6:
            city.decide(doctor, check, "o6", "override", reason_code="1", explained_to_patient=True)
        city.now += timedelta(minutes=10)
        city.study("B", person, days_ago=0)
    city.study("B", 8, days_ago=0)
    city.now += timedelta(minutes=10)
    city.study("A", 8)
    return city


def test_repeats_that_nobody_touched_agree(told: City) -> None:
    answer = found(told)
    assert answer["agrees"], answer


TAMPERED: dict[str, tuple[str, set[str]]] = {
    "the hospital": (
        "update repeat set hospital_id = 1 where id = 1",
        {"repeat_differs_from_examination", "repeat_differs_from_prior"},
    ),
    "the day": (
        "update repeat set business_date = business_date - 40 where id = 1",
        {"repeat_differs_from_examination"},
    ),
    "the time of the examination": (
        "update result set exam_time = exam_time + interval '1 hour' where id = 2",
        {"repeat_differs_from_examination"},
    ),
    "the person": (
        "update repeat set person_id = 2 where id = 1",
        {"repeat_differs_from_examination", "repeat_differs_from_prior"},
    ),
    "the prior": (
        "update repeat set prior_result_id = 3 where id = 1",
        {"repeat_differs_from_prior", "repeat_of_what_came_later"},
    ),
    "whose the prior is": (
        "update repeat set own_hospital = true where id = 1",
        {"repeat_differs_from_prior"},
    ),
    "a prior turned away": (
        "update result set status = 'superseded' where id = 1",
        {"repeat_differs_from_prior"},
    ),
    "what it cost": ("update repeat set price_fen = 1 where id = 1", {"repeat_differs_from_price"}),
    "a check that was none": (
        "update repeat set check_id = (select id from order_check limit 1), order_number = 'o4' where id = 1",
        {"repeat_differs_from_check", "repeat_differs_from_decision"},
    ),
    "an emergency": ("update repeat set emergency = true where id = 2", {"repeat_differs_from_check"}),
    "an unanswered reminder made a repeat without a check": (
        "update repeat set kind = 'no_check', check_id = null, order_number = null where id = 2",
        {"repeat_was_asked_about"},
    ),
    "an unanswered reminder made one that showed nothing": (
        "update repeat set kind = 'not_visible' where id = 2",
        {"repeat_differs_from_what_was_shown"},
    ),
    "a refusal made lawful": (
        "update repeat set kind = 'lawfully_repeated' where id = 3",
        {"repeat_differs_from_decision"},
    ),
    "a repeat without a check made one of a prior that came late": (
        "update repeat set kind = 'not_visible' where id = 1",
        {"repeat_of_what_came_later"},
    ),
    "a prior that came late made one without a check": (
        "update repeat set kind = 'no_check' where id = 4",
        {"repeat_of_what_came_later"},
    ),
    "when the images of a prior came": (
        "update pack set received_at = received_at - interval '1 day' where study_id = 8",
        {"repeat_of_what_came_later"},
    ),
    "a refused repeat deleted": ("delete from repeat where id = 3", {"repeat_missing"}),
    "a refused repeat declared superseded": (
        "update repeat set superseded_at = posted_at where id = 3",
        {"repeat_missing"},
    ),
}


@pytest.mark.parametrize(("statement", "expected"), TAMPERED.values(), ids=TAMPERED)
def test_each_way_of_tampering_with_a_repeat_is_found(told: City, statement: str, expected: set[str]) -> None:
    tamper(told, statement)
    answer = found(told)
    assert kinds(answer) == expected
    assert all(value is not None for fault in answer["faults"] for value in fault.values())


def standing(city: City) -> list[int]:
    with transaction(city.catalogue.engine) as session:
        query = select(Repeat.id).where(Repeat.superseded_at.is_(None)).order_by(Repeat.id)
        return list(session.scalars(query))


@pytest.mark.parametrize("study", ["2.25.1001", "2.25.1002", "2.25.1005", "2.25.1007"])
def test_an_erasure_of_either_examination_changes_no_figure(told: City, study: str) -> None:
    before = standing(told)
    erasures.erase(
        told.catalogue,
        Caller("curator.wang", "curator"),
        lambda session: erasures.scope_of_study(session, study),
        "个人信息保护法第四十七条",
    )
    assert standing(told) == before
    answer = found(told)
    assert answer["agrees"], answer


def test_books_from_before_repeats_were_kept_are_settled_once_and_agree(told: City) -> None:
    with transaction(told.catalogue.engine) as session:
        before = session.execute(select(*_SAID).order_by(Repeat.result_id)).all()
    tamper(told, "delete from repeat")
    assert not found(told)["agrees"]
    heard: list[tuple[str, int, int]] = []
    assert settling.settle_everybody(told.catalogue, on_progress=lambda *each: heard.append(each)) == 4
    assert heard[-1][1] == heard[-1][2] > 0
    with transaction(told.catalogue.engine) as session:
        assert session.execute(select(*_SAID).order_by(Repeat.result_id)).all() == before
    assert found(told)["agrees"]


_SAID = (Repeat.result_id, Repeat.kind, Repeat.prior_result_id, Repeat.price_fen, Repeat.decision_id)
