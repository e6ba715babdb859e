"""What is not certain waits for a curator; his answer holds for the hospital, before and after."""

from typing import Any

import pytest
from sqlalchemy import select

from catalog import hospital_codes, mapping_reviews, registry, remapping, results, reviews
from catalog.coded_mapping import Answered
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.local_codes import LocalMeaning
from catalog.tables import AuditEvent, Result
from tests.city import City

CURATOR = Caller("curator", "curator")
UNCLEAR = {"StudyDescription": "胸特(CT)", "BodyPartExamined": "CHEST"}


def tasks(city: City, **asked: Any) -> list[dict[str, Any]]:
    with transaction(city.catalogue.engine) as session:
        return reviews.tasks(session, **asked)


def active(city: City) -> list[tuple[str, str | None, str]]:
    with transaction(city.catalogue.engine) as session:
        query = select(Result).where(Result.status == "active").order_by(Result.id)
        return [(r.item_code, r.laterality, r.rule) for r in session.scalars(query)]


def answer(city: City, task: dict[str, Any], *items: Answered) -> dict[str, Any]:
    return mapping_reviews.answer(city.catalogue, CURATOR, task["id"], items)


def local_codes(city: City, hospital: str, *rows: tuple[str, str]) -> None:
    with transaction(city.catalogue.engine) as session:
        hospital_codes.import_codes(
            session,
            city.catalogue,
            CURATOR,
            registry.hospital_by_code(session, hospital),
            [LocalMeaning(code, "", item) for code, item in rows],
        )


def test_the_same_doubtful_header_is_asked_once_for_a_hospital(city: City) -> None:
    for code in ("A", "B"):
        city.hospital(code)
    for hospital in ("A", "A", "B"):
        city.study(hospital, **UNCLEAR)
    found = tasks(city, kind="mapping")
    assert [(each["hospital"], each["details"]["reason"]["code"]) for each in found] == [
        ("A", "unknown_words"),
        ("B", "unknown_words"),
    ]
    assert found[0]["details"]["facts"]["study_description"] == "胸特(CT)"


@pytest.mark.parametrize(
    "header",
    [
        {"StudyDescription": "胸部CT平扫"},
        {"StudyDescription": "颈部CT增强", "BodyPartExamined": "NECK"},
        {"StudyDescription": "CT引导下肺穿刺活检"},
        {"modalities": ("US",), "StudyDescription": "腹部彩超"},
    ],
)
def test_what_is_certain_listed_or_not_asks_nobody(city: City, header: dict[str, Any]) -> None:
    city.hospital("A")
    city.study("A", **header)
    assert tasks(city) == []


def test_an_answer_is_applied_to_earlier_studies_and_remembered_for_later_ones(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B", tier=2, region="500107")
    for person in (2, 4):
        city.study("A", person, **UNCLEAR)
    assert answer(city, tasks(city)[0], Answered("CT07"), Answered("CT10")) == {
        "task": tasks(city, state="decided")[0]["id"],
        "studies": 2,
        "changed": 2,
    }
    city.study("A", 6, **UNCLEAR)
    assert active(city) == [("CT07", None, "curator"), ("CT10", None, "curator")] * 3
    assert tasks(city) == []
    seen = city.check(doctor, [{"order_number": "1", "item_code": "CT10"}], 4)["orders"][0]["candidates"]
    assert [each["verdict"] for each in seen] == ["recognisable"]


def test_an_answer_holds_for_its_hospital_alone(city: City) -> None:
    for code in ("A", "B"):
        city.hospital(code)
        city.study(code, **UNCLEAR)
    answer(city, tasks(city, hospital="A")[0], Answered("CT07"))
    assert active(city) == [("CT07", None, "curator")]
    assert [each["hospital"] for each in tasks(city)] == ["B"]


def test_nothing_on_the_list_is_an_answer_too(city: City) -> None:
    city.hospital("A")
    city.study("A", **UNCLEAR)
    answer(city, tasks(city)[0])
    city.study("A", 4, **UNCLEAR)
    with transaction(city.catalogue.engine) as session:
        reasons = [each["reason"]["code"] for each in results.unmapped(session)]
    assert (active(city), tasks(city), reasons) == ([], [], ["said_unlisted"] * 2)


def test_a_question_is_answered_once_and_audited(city: City) -> None:
    city.hospital("A")
    city.study("A", **UNCLEAR)
    task = tasks(city)[0]
    answer(city, task, Answered("CT07"))
    with pytest.raises(Conflict):
        answer(city, task, Answered("CT10"))
    with pytest.raises(NotFound):
        answer(city, {"id": 99}, Answered("CT10"))
    (decided,) = tasks(city, state="decided")
    assert (decided["decided_by"], decided["answer"]["items"][0]["item_code"]) == ("curator", "CT07")
    with transaction(city.catalogue.engine) as session:
        assert session.scalars(select(AuditEvent.caller).where(AuditEvent.action == "review.decide")).all() == ["curator"]  # fmt: skip


@pytest.mark.parametrize("items", [(Answered("ZZ99"),), (Answered("CT07", "L"),), (Answered("CT17", "L"),)])
def test_an_answer_the_list_does_not_know_is_refused_and_the_question_stays(
    city: City, items: tuple[Answered, ...]
) -> None:
    city.hospital("A")
    city.study("A", **UNCLEAR)
    with pytest.raises(InvalidInput):
        answer(city, tasks(city)[0], *items)
    assert len(tasks(city)) == 1


def test_a_question_that_more_images_settle_is_dropped(city: City) -> None:
    city.hospital("A")
    uid = city.study("A", StudyDescription="", BodyPartExamined="CHEST")
    assert len(tasks(city)) == 1
    city.study("A", StudyInstanceUID=uid, StudyDescription="胸部CT平扫")
    assert (tasks(city), active(city)) == ([], [("CT07", None, "study_text")])
    assert [each["state"] for each in tasks(city, state="dropped")] == ["dropped"]
    with transaction(city.catalogue.engine) as session:
        assert results.unmapped(session) == []


def test_a_hospital_s_own_code_decides_and_an_unknown_one_is_asked_about_until_the_table_has_it(
    city: City,
) -> None:
    city.hospital("A")
    local_codes(city, "A", ("K-17", "CT10"))
    city.study("A", procedure_codes=("99HIS|K-17", "99HIS|K-55"))
    assert active(city) == [("CT10", None, "local_code")]
    assert [each["subject"] for each in tasks(city, kind="local_code")] == ["K-55"]
    local_codes(city, "A", ("K-55", "CT12"))
    assert tasks(city) == []
    remapping.remap(city.catalogue)
    assert active(city) == [("CT10", None, "local_code"), ("CT12", None, "local_code")]


def test_another_hospital_s_code_means_nothing_here(city: City) -> None:
    for code in ("A", "B"):
        city.hospital(code)
    local_codes(city, "A", ("K-17", "CT10"))
    city.study("B", procedure_codes=("99HIS|K-17",))
    assert active(city) == [("CT07", None, "study_text")]
