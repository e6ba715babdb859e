"""Looking through a person's results for a stated purpose: what is shown, to whom, and what is kept of it."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from catalog import erasures, history, sharing, withdrawals
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import InvalidInput, NotFound
from catalog.history import SearchRequest
from catalog.identity import Demographics, Document
from catalog.tables import AuditEvent
from catalog.tables_asking import StatedPurpose
from tests.city import City, id_number

ASKED = SearchRequest(Document("01", id_number(2)), Demographics(), "TREAT", "门诊首诊,了解既往检查")


@pytest.fixture
def ward(city: City) -> Any:
    """A did a chest CT 7 days ago and one 70 days ago, C an XR of the left knee and a head MR; B looks."""
    city.hospital("A")
    doctor = city.hospital("B", tier=2, region="500107")
    city.hospital("C", marked=False)
    city.study("A", days_ago=7)
    city.study("A", days_ago=70)
    knee = {"StudyDescription": "左膝关节正侧位", "modalities": ("DX",), "BodyPartExamined": "KNEE"}
    city.study("C", days_ago=3, Laterality="L", **knee)
    head = {"StudyDescription": "头颅MR平扫", "modalities": ("MR",), "BodyPartExamined": "HEAD"}
    city.study("C", days_ago=1, **head)
    return doctor


def look(city: City, doctor: Caller, **more: Any) -> dict[str, Any]:
    return history.search(city.catalogue, doctor, replace(ASKED, **more))


def items(answer: dict[str, Any]) -> list[str]:
    return [each["item_code"] for each in answer["results"]]


def test_every_listed_result_is_shown_newest_first_with_its_verdict_as_if_ordered_now(
    city: City, ward: Any
) -> None:
    answer = look(city, ward)
    assert (answer["answer"], answer["purpose"]) == ("complete", "TREAT")
    assert answer["patient"]["name"] == "林晓渝"
    found = [
        (each["item_code"], each["verdict"], [reason["code"] for reason in each["reasons"]])
        for each in answer["results"]
    ]
    assert found == [
        ("MR01", "reference", ["no_hr_mark"]),
        ("XR12", "reference", ["no_hr_mark"]),
        ("CT07", "recognisable", []),
        ("CT07", "reference", ["out_of_window"]),
    ]


def test_a_result_is_described_as_a_check_of_its_item_describes_it(city: City, ward: Any) -> None:
    check = city.check(ward, [{"order_number": "1", "item_code": "CT07"}])
    assert look(city, ward, items=("CT07",))["results"] == check["orders"][0]["candidates"]


@pytest.mark.parametrize(
    ("narrowed", "expected"),
    [
        ({"items": ("MR01", "XR12")}, ["MR01", "XR12"]),
        ({"items": ("ZZ99",)}, []),
        ({"modality": "CT"}, ["CT07", "CT07"]),
        ({"category": "laboratory"}, []),
        ({"category": "imaging", "modality": "MR"}, ["MR01"]),
        ({"hospital": "C"}, ["MR01", "XR12"]),
        ({"hospital": "nobody"}, []),
        ({"first_day": date(2026, 6, 23)}, ["MR01", "XR12", "CT07"]),
        ({"first_day": date(2026, 6, 23), "last_day": date(2026, 6, 23)}, ["CT07"]),
        ({"last_day": date(2026, 6, 22)}, ["CT07"]),
    ],
)
def test_what_is_shown_can_be_narrowed(
    city: City, ward: Any, narrowed: dict[str, Any], expected: list[str]
) -> None:
    assert items(look(city, ward, **narrowed)) == expected


def test_pages_follow_each_other_without_a_gap_or_a_repeat_though_something_new_arrives(
    city: City, ward: Any
) -> None:
    whole = [each["result_id"] for each in look(city, ward)["results"]]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = look(city, ward, limit=1, cursor=cursor)
        seen += [each["result_id"] for each in page["results"]]
        city.study("A", days_ago=0.1)
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == whole


@pytest.mark.parametrize("cursor", ["x", "W10=", "bnVsbA==", "WzEsMiwzXQ==", "AAAA", "é", "W25hbiwxLCJhIl0="])
def test_a_cursor_that_is_none_is_refused(city: City, ward: Any, cursor: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        look(city, ward, cursor=cursor)
    assert refused.value.code == "invalid_cursor"


def test_a_cursor_of_another_search_is_refused(city: City, ward: Any) -> None:
    cursor = look(city, ward, limit=1)["next_cursor"]
    with pytest.raises(InvalidInput):
        look(city, ward, limit=1, cursor=cursor, modality="CT")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"purpose": "HMARKT"}, "unknown_purpose"),
        ({"purpose": "BTG"}, "unknown_purpose"),
        ({"purpose": ""}, "unknown_purpose"),
        ({"reason": " \u3000"}, "reason_required"),
    ],
)
def test_without_a_purpose_of_treatment_and_a_reason_nothing_is_shown(
    city: City, ward: Any, changed: dict[str, str], code: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        look(city, ward, **changed)
    assert refused.value.code == code


def test_who_opted_out_looks_like_nobody(city: City, ward: Any) -> None:
    nobody = look(city, ward, document=Document("01", id_number(4)), limit=1)
    clerk = Caller("a", "hospital_system", "A")
    sharing.set_sharing(city.catalogue, clerk, ASKED.document, Demographics(), shared=False)
    hidden = look(city, ward, limit=1)
    for volatile in ("search_id", "asked_at"):
        nobody.pop(volatile), hidden.pop(volatile)
    assert nobody == hidden
    assert (hidden["answer"], hidden["patient"], hidden["results"]) == ("complete", None, [])


def test_another_name_for_the_same_number_shows_nothing_and_says_incomplete(city: City, ward: Any) -> None:
    answer = look(city, ward, demographics=Demographics(name="王大明"), limit=1)
    assert (answer["answer"], answer["patient"], answer["results"]) == ("incomplete", None, [])
    assert answer["next_cursor"] is None


def test_what_is_held_for_review_is_not_shown_and_makes_the_answer_incomplete(city: City, ward: Any) -> None:
    city.study("A", days_ago=2, PatientBirthDate=date(1999, 1, 1))
    answer = look(city, ward)
    assert (answer["answer"], len(answer["results"])) == ("incomplete", 4)


def test_a_withdrawn_result_is_shown_as_withdrawn(city: City, ward: Any) -> None:
    issuer = Caller("a", "hospital_system", "A")
    withdrawals.withdraw_study(city.catalogue, issuer, "2.25.1001", "录入错误")
    found = look(city, ward, items=("CT07",))["results"][0]
    assert (found["verdict"], [r["code"] for r in found["reasons"]]) == ("reference", ["withdrawn"])


def test_a_search_is_no_reminder_and_leaves_the_figures_alone(city: City, ward: Any) -> None:
    look(city, ward)
    with transaction(city.catalogue.engine) as session:
        assert session.scalar(text("select count(*) from monthly")) == 0
        assert session.scalar(text("select count(*) from ordered_item")) == 0


def test_the_purpose_is_kept_whoever_was_found_and_the_audit_says_what_was_shown_without_the_reason(
    city: City, ward: Any
) -> None:
    shown = look(city, ward)
    look(city, ward, document=Document("01", id_number(4)))
    with transaction(city.catalogue.engine) as session:
        stated = session.scalars(select(StatedPurpose).order_by(StatedPurpose.stated_at)).all()
        events = session.scalars(select(AuditEvent).filter_by(action="results.search")).all()
    by_id = {str(row.id): row for row in stated}
    kept = by_id[shown["search_id"]]
    assert (kept.purpose, kept.reason, kept.caller) == ("TREAT", ASKED.reason, "dr.B")
    assert sorted(row.person_id is None for row in stated) == [False, True]
    assert len(events) == 2
    assert events[0].detail["shown"] == [each["result_id"] for each in shown["results"]]
    assert not any(ASKED.reason in str(event.detail) for event in events)


def test_a_stated_purpose_is_never_changed_and_an_erasure_empties_its_reason_only(
    city: City, ward: Any
) -> None:
    look(city, ward)
    for change in (
        "update stated_purpose set purpose = 'COC'",
        "update stated_purpose set reason = ''",
        "delete from stated_purpose",
        "truncate stated_purpose",
    ):
        with pytest.raises(IntegrityError), transaction(city.catalogue.engine) as session:
            session.execute(text(change))
    curator = Caller("c", "curator")
    erasures.erase(
        city.catalogue,
        curator,
        lambda session: erasures.scope_of_person(session, city.catalogue, ASKED.document),
        "依法删除",
    )
    with transaction(city.catalogue.engine) as session:
        kept = session.scalars(select(StatedPurpose)).one()
    assert (kept.purpose, kept.reason) == ("TREAT", "")


def test_a_hospital_that_is_not_registered_sees_nothing(city: City, ward: Any) -> None:
    with pytest.raises(NotFound):
        look(city, Caller("x", "doctor", "nobody"))


def test_an_answer_nobody_waits_for_any_more_leaves_nothing_behind(city: City, ward: Any) -> None:
    with pytest.raises(TimeoutError):
        history.search(city.catalogue, ward, ASKED, still_wanted=lambda: False)
    with transaction(city.catalogue.engine) as session:
        assert session.scalars(select(StatedPurpose)).all() == []
        assert session.scalars(select(AuditEvent).filter_by(action="results.search")).all() == []
