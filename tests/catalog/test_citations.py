"""Citing a prior: the record refers to it; no order is replaced, nothing is saved, it is counted apart."""

import uuid
from datetime import date, timedelta
from typing import Any

import pytest

from catalog import notices, recognition, recount, savings, withdrawals
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import Conflict, Expired, InvalidInput
from tests.city import City

CT07 = {"order_number": "1", "item_code": "CT07"}


def total(city: City) -> dict[str, Any]:
    with transaction(city.catalogue.engine) as session:
        counted = savings.report(
            session, city.catalogue.items, first=date(2026, 1, 1), last=date(2026, 12, 1)
        )
        assert recount.verify(session)["agrees"]
    return dict(counted["total"])


@pytest.fixture
def pair(city: City) -> tuple[City, Any]:
    city.hospital("A")
    city.study("A")
    return city, city.hospital("B", tier=2, region="500107")


def first(check: dict[str, Any]) -> str:
    return str(check["orders"][0]["candidates"][0]["result_id"])


def test_a_citation_saves_nothing_is_counted_apart_and_leaves_the_order_open(pair: Any) -> None:
    city, doctor = pair
    check = city.check(doctor, [CT07])
    cited = city.decide(doctor, check, "1", "cite", result_id=first(check))
    assert (cited["action"], cited["saving_fen"], cited["standing_fen"]) == ("cite", 0, 0)
    counted = total(city)
    assert (counted["cited"], counted["recognised"], counted["reminders"], counted["net_fen"]) == (1, 0, 1, 0)
    with pytest.raises(Conflict):
        city.decide(doctor, check, "1", "undo")
    city.decide(doctor, check, "1", "recognise")
    counted = total(city)
    assert (counted["cited"], counted["recognised"], counted["net_fen"]) == (1, 1, 19800)


def test_what_was_recognised_or_examined_again_may_be_cited_as_well(pair: Any) -> None:
    city, doctor = pair
    orders = [CT07, {"order_number": "2", "item_code": "CT07"}]
    check = city.check(doctor, orders)
    city.decide(doctor, check, "1", "recognise")
    city.decide(doctor, check, "2", "override", reason_code="1", explained_to_patient=True)
    for order in ("1", "2"):
        city.decide(doctor, check, order, "cite", result_id=first(check))
    counted = total(city)
    assert (counted["cited"], counted["recognised"], counted["refused"]) == (2, 1, 1)
    city.decide(doctor, check, "1", "undo")
    assert (total(city)["cited"], total(city)["recognised"]) == (2, 0)


def test_a_prior_is_cited_once_for_an_order(pair: Any) -> None:
    city, doctor = pair
    check = city.check(doctor, [CT07])
    made = city.decide(doctor, check, "1", "cite", result_id=first(check), key="same")
    assert city.decide(doctor, check, "1", "cite", result_id=first(check), key="same") == made
    with pytest.raises(Conflict) as refused:
        city.decide(doctor, check, "1", "cite", result_id=first(check))
    assert refused.value.code == "already_cited"
    assert total(city)["cited"] == 1


def test_a_citation_names_its_prior_takes_no_reason_and_has_the_time_of_its_check(pair: Any) -> None:
    city, doctor = pair
    check = city.check(doctor, [CT07])
    with pytest.raises(InvalidInput) as refused:
        city.decide(doctor, check, "1", "cite")
    assert refused.value.code == "not_a_candidate"
    with pytest.raises(InvalidInput):
        city.decide(doctor, check, "1", "cite", result_id=first(check), reason_code="1")
    city.now += timedelta(hours=25)
    with pytest.raises(Expired):
        city.decide(doctor, check, "1", "cite", result_id=first(check))
    assert total(city)["cited"] == 0


def test_a_withdrawn_prior_is_not_cited_and_who_cited_it_is_told(pair: Any) -> None:
    city, doctor = pair
    check = city.check(doctor, [CT07])
    city.decide(doctor, check, "1", "cite", result_id=first(check))
    issuer = Caller("a", "hospital_system", "A")
    withdrawals.withdraw_study(city.catalogue, issuer, "2.25.1001", "录入错误")
    (news,) = notices.notices(city.catalogue, doctor)
    assert (news["kind"], news["order_id"]) == ("study_withdrawn", "1")
    later = city.check(doctor, [{"order_number": "2", "item_code": "CT07"}])
    with pytest.raises(Conflict) as refused:
        city.decide(doctor, later, "2", "cite", result_id=first(later))
    assert refused.value.code == "prior_withdrawn"


def test_an_order_that_only_cites_is_still_to_be_decided_and_hears_of_what_else_it_was_shown(
    pair: Any,
) -> None:
    city, doctor = pair
    other = city.study("A", days_ago=3)
    check = city.check(doctor, [CT07])
    cited = check["orders"][0]["candidates"][1]["result_id"]
    city.decide(doctor, check, "1", "cite", result_id=cited)
    issuer = Caller("a", "hospital_system", "A")
    for study in ("2.25.1001", other):
        withdrawals.withdraw_study(city.catalogue, issuer, study, "录入错误")
    told = notices.notices(city.catalogue, doctor)
    assert [(news["decision_id"] is None, news["result_id"]) for news in told] == [
        (False, cited),
        (True, first(check)),
    ]


def test_a_citation_stands_in_the_check_it_was_made_on(pair: Any) -> None:
    city, doctor = pair
    check = city.check(doctor, [CT07])
    city.decide(doctor, check, "1", "cite", result_id=first(check))
    kept = recognition.read(city.catalogue, doctor, uuid.UUID(check["check_id"]))
    assert [event["action"] for event in kept["decisions"]] == ["cite"]


def test_any_of_several_candidates_may_be_the_one_recognised(pair: Any) -> None:
    city, doctor = pair
    city.study("A", days_ago=3)
    check = city.check(doctor, [CT07])
    older = check["orders"][0]["candidates"][1]["result_id"]
    made = city.decide(doctor, check, "1", "recognise", result_id=older)
    assert (made["result_id"], made["standing_fen"]) == (older, 19800)
    with pytest.raises(Conflict):
        city.decide(doctor, check, "1", "recognise", result_id=first(check))
    assert total(city)["net_fen"] == 19800


def test_a_decision_after_the_check_expired_is_refused_but_an_earlier_one_can_still_be_undone(
    pair: Any,
) -> None:
    city, doctor = pair
    check = city.check(doctor, [CT07, {"order_number": "2", "item_code": "CT07"}])
    city.decide(doctor, check, "1", "recognise")
    city.now += timedelta(days=2)
    for late in ("recognise", "override"):
        with pytest.raises(Expired):
            city.decide(doctor, check, "2", late, result_id=first(check), **LATE[late])
    city.decide(doctor, check, "1", "undo")
    assert total(city)["net_fen"] == 0


LATE: dict[str, dict[str, Any]] = {
    "recognise": {},
    "override": {"reason_code": "1", "explained_to_patient": True},
}
