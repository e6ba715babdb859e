"""A doctor's word on the images, and what a curator makes of it."""

from typing import Any

import pytest
from sqlalchemy import select

from catalog import quality
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.tables import AuditEvent
from tests.city import City

CT07 = {"order_number": "1", "item_code": "CT07"}
CURATOR = Caller("curator", "curator")
INSUFFICIENT = {"reason_code": "61", "explained_to_patient": True}


def shown(check: dict[str, Any]) -> tuple[str, list[str]]:
    (candidate,) = check["orders"][0]["candidates"]
    return candidate["verdict"], [reason["code"] for reason in candidate["reasons"]]


def states(city: City) -> list[tuple[str, str]]:
    found = [task for state in quality.STATES for task in quality.tasks(city.catalogue, CURATOR, state=state)]
    return [(task["kind"], task["state"]) for task in found]


def test_from_insufficient_images_to_reference_only_and_back(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B", tier=2, region="500107")
    uid = city.study("A")
    asked = city.check(doctor, [CT07])
    city.decide(doctor, asked, "1", "override", reason_text="运动伪影", **INSUFFICIENT)
    (task,) = quality.tasks(city.catalogue, CURATOR)
    assert (
        task["kind"],
        task["StudyInstanceUID"],
        task["hospital"],
        task["asked_by"],
        task["reason_text"],
    ) == (
        "image_quality",
        uid,
        "A",
        "B",
        "运动伪影",
    )
    again = [{"order_number": "2", "item_code": "CT07"}]
    assert shown(city.check(doctor, again)) == (
        "recognisable",
        [],
    )  # one doctor's word alone takes nothing away
    task_id = int(task["task_id"])
    quality.confirm(city.catalogue, CURATOR, task_id, "呼吸伪影")
    assert shown(city.check(doctor, again)) == ("reference", ["quality_flagged"])
    city.study("A", StudyInstanceUID=uid)
    assert shown(city.check(doctor, again)) == ("reference", ["quality_flagged"])  # more images heal nothing
    quality.reopen(city.catalogue, CURATOR, task_id)
    assert shown(city.check(doctor, again)) == ("recognisable", [])
    quality.dismiss(city.catalogue, CURATOR, task_id)
    assert states(city) == [("image_quality", "dismissed")]
    with pytest.raises(Conflict, match="dismissed"):
        quality.confirm(city.catalogue, CURATOR, task_id)
    with transaction(city.catalogue.engine) as session:
        done = session.scalars(select(AuditEvent.action).where(AuditEvent.action.like("quality.%"))).all()
    assert [action for action in done if action != "quality.list"] == [
        "quality.confirmed",
        "quality.reopen",
        "quality.dismissed",
    ]


def test_undoing_the_decision_closes_its_task_unless_a_curator_has_looked(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B", tier=2, region="500107")
    city.study("A")
    for number, looked in (("1", False), ("2", True)):
        asked = city.check(doctor, [{"order_number": number, "item_code": "CT07"}])
        city.decide(doctor, asked, number, "override", **INSUFFICIENT)
        if looked:
            (task,) = quality.tasks(city.catalogue, CURATOR)
            quality.confirm(city.catalogue, CURATOR, int(task["task_id"]))
        city.decide(doctor, asked, number, "undo")
    assert sorted(states(city)) == [("image_quality", "confirmed"), ("image_quality", "resolved")]


def test_other_reasons_open_no_task_and_unknown_ones_are_refused(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B", tier=2, region="500107")
    city.study("A")
    asked = city.check(doctor, [CT07])
    city.decide(doctor, asked, "1", "override", reason_code="1", explained_to_patient=True)
    assert states(city) == []
    with pytest.raises(NotFound):
        quality.confirm(city.catalogue, CURATOR, 4711)
    with pytest.raises(InvalidInput):
        quality.tasks(city.catalogue, CURATOR, state="lost")
