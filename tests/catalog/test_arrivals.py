"""Studies that are waited for: who must not wait, who waits for how long, and what is in doubt at the end."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from catalog import arrivals, quality, studies
from catalog.completeness import summarise
from catalog.context import Caller
from catalog.db import transaction
from catalog.records import Placed
from catalog.tables import Study
from catalog.tables_quality import ArrivalPart, QualityTask
from tests.city import START, City, id_number, open_catalogue, pack_of

CURATOR = Caller("curator", "curator")
QUIET = timedelta(minutes=10)
LIMIT = timedelta(hours=24)
CT07 = {"order_number": "1", "item_code": "CT07"}


@dataclass
class Town:
    """A module's city: every test takes a study and a person of its own."""

    city: City
    doctor: Caller
    people: int = 0

    def arrival(self) -> "Arriving":
        self.people += 2
        self.city.now = START
        return Arriving(self, f"2.25.77{self.people}", self.people)


@dataclass
class Arriving:
    """One study as it comes in."""

    town: Town
    uid: str
    person: int

    def register(
        self,
        numbers: Any = (1,),
        *,
        arriving: bool = False,
        declared: int = 0,
        flaws: tuple[str, ...] = (),
        unreadable: tuple[str, ...] = (),
    ) -> None:
        """Register a pack of slices 1 mm apart."""
        city = self.town.city
        known = studies.known_study(city.catalogue, self.uid)
        base = replace(
            city.header,
            StudyInstanceUID=self.uid,
            PatientID=f"P{self.person}",
            exam_time=START - timedelta(days=7),
            identifiers=(id_number(self.person),),
        )
        city.count += 1
        record = pack_of("A", base, city.count, city.now)
        (one,) = record.instances
        placed = [
            Placed(f"{self.uid}.0", n, n * 1000, (0, 0, 1000), study_instances=declared) for n in numbers
        ]
        record = replace(
            record,
            instances=tuple(replace(one, SOPInstanceUID=f"{self.uid}.{n}", flaws=flaws) for n in numbers),
            completeness=summarise(placed),
            unreadable=unreadable,
        )
        revision = known.revision if known else 0
        assert studies.register_pack(city.catalogue, record, expected_revision=revision, arriving=arriving)

    def part(
        self, part: int, ended: arrivals.Ended = "arriving", *, association: str = "", hospital: str = "A"
    ) -> None:
        arrivals.note_part(
            self.town.city.catalogue,
            association or self.uid,
            part,
            [self.uid],
            hospital_code=hospital,
            ended=ended,
        )

    def reasons(self, after: timedelta = timedelta()) -> list[str]:
        """What a check says against the study, so much later than START."""
        city = self.town.city
        city.now = START + after
        (candidate,) = city.check(self.town.doctor, [CT07], self.person)["orders"][0]["candidates"]
        return [reason["code"] for reason in candidate["reasons"]]

    def tasks(self, state: str = "open") -> list[dict[str, Any]]:
        found = quality.tasks(self.town.city.catalogue, CURATOR, state=state, limit=1000)
        return [task for task in found if task["StudyInstanceUID"] == self.uid]

    def row(self) -> Study:
        with transaction(self.town.city.catalogue.engine) as session:
            return session.scalars(select(Study).where(Study.uid == self.uid)).one()


@pytest.fixture(scope="module")
def town(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    made: list[City] = []
    keys: Path = tmp_path_factory.mktemp("keys")
    catalogue = open_catalogue(database_url, keys, lambda: made[0].now)
    made.append(City(catalogue))
    made[0].hospital("A")
    yield Town(made[0], made[0].hospital("B", tier=2, region="500107"))
    catalogue.engine.dispose()


# who must not wait


def test_a_study_whose_association_was_released_does_not_wait(town: Town) -> None:
    study = town.arrival()
    study.register(range(1, 21))
    assert study.reasons() == []


def test_a_study_whose_declared_count_has_come_does_not_wait(town: Town) -> None:
    study = town.arrival()
    study.register(range(1, 21), declared=20)
    assert study.reasons() == []


def test_a_study_in_several_packs_waits_only_for_the_last_of_them_in_whatever_order(town: Town) -> None:
    study = town.arrival()
    for part in (2, 3, 1):
        study.register([part], arriving=True)
        assert study.reasons() == ["images_incomplete"]
        study.part(part, "released" if part == 3 else "arriving")
    assert study.reasons() == []
    with transaction(town.city.catalogue.engine) as session:
        left = select(func.count()).select_from(ArrivalPart).where(ArrivalPart.association == study.uid)
        assert session.scalar(left) == 0


def test_noting_a_part_again_changes_nothing(town: Town) -> None:
    study = town.arrival()
    study.register([1], arriving=True)
    study.part(1)
    study.part(1)
    assert study.reasons() == ["images_incomplete"]
    study.register([2], arriving=True)
    study.part(2, "released")
    assert study.reasons() == []


def test_another_hospital_cannot_complete_a_study_by_naming_it(town: Town) -> None:
    study = town.arrival()
    study.register([1], arriving=True)
    study.part(1, "released", association="theirs", hospital="B")
    assert study.reasons() == ["images_incomplete"]


# who waits, and how long


def test_a_broken_association_waits_for_the_quiet_time_and_no_longer(town: Town) -> None:
    study = town.arrival()
    study.register(range(1, 21), arriving=True)
    assert study.reasons(QUIET - timedelta(seconds=1)) == ["images_incomplete"]
    assert study.reasons(QUIET) == []


def test_a_study_reopens_while_more_arrives(town: Town) -> None:
    study = town.arrival()
    study.register(range(1, 11))
    assert study.reasons() == []
    study.register(range(11, 21), arriving=True)
    assert study.reasons() == ["images_incomplete"]
    study.part(1)
    study.part(2, "released")
    assert study.reasons() == []


def test_one_whole_association_does_not_complete_a_study_of_which_another_is_still_coming(town: Town) -> None:
    study = town.arrival()
    study.register([1], arriving=True)
    study.part(1)
    study.register([2])
    assert study.reasons() == ["images_incomplete"]
    assert study.reasons(QUIET) == []


def test_a_declared_count_is_waited_for_up_to_the_limit_and_then_flagged(town: Town) -> None:
    study = town.arrival()
    study.register(range(1, 21), declared=25)
    assert study.reasons() == ["images_incomplete"]
    assert study.tasks() == []
    assert study.reasons(LIMIT) == ["quality_flagged"]
    assert [(task["kind"], task["evidence"]) for task in study.tasks()] == [("count_short", ["study:25"])]


def test_what_was_declared_completes_the_study_when_it_comes(town: Town) -> None:
    study = town.arrival()
    study.register(range(1, 21), declared=25)
    study.register(range(21, 26), declared=25)
    assert study.reasons() == []
    assert study.reasons(LIMIT) == []
    assert [task["kind"] for task in study.tasks("resolved")] == ["count_short"]


def test_a_wrong_declared_count_a_curator_dismisses_is_not_asked_about_again(town: Town) -> None:
    study = town.arrival()
    study.register(range(1, 21), declared=25)
    assert study.reasons(LIMIT) == ["quality_flagged"]
    quality.dismiss(town.city.catalogue, CURATOR, int(study.tasks()[0]["task_id"]))
    assert study.reasons(LIMIT) == []
    study.register([21], declared=25)
    assert study.reasons(LIMIT) == []
    task = int(study.tasks("dismissed")[0]["task_id"])
    quality.reopen(town.city.catalogue, CURATOR, task)
    assert study.reasons(2 * LIMIT) == ["quality_flagged"]


def test_a_larger_count_than_the_one_dismissed_opens_the_task_again(town: Town) -> None:
    study = town.arrival()
    study.register(range(1, 21), declared=25)
    town.city.now = START + LIMIT
    quality.dismiss(town.city.catalogue, CURATOR, int(study.tasks()[0]["task_id"]))
    study.register([21], declared=30)
    assert study.reasons(LIMIT) == ["images_incomplete"]


def test_a_broken_association_sent_again_whole_is_not_waited_for(town: Town) -> None:
    study = town.arrival()
    study.register(range(1, 11), arriving=True)
    study.part(1)
    study.register(range(11, 15), arriving=True)
    study.part(2, "broken")
    assert study.reasons() == ["images_incomplete"]
    study.register(range(15, 21))
    assert study.reasons() == []


# what is in doubt


def test_missing_slices_make_a_study_reference_only_until_they_come(town: Town) -> None:
    study = town.arrival()
    study.register([n for n in range(1, 31) if n not in (7, 8, 20)])
    assert study.reasons() == ["quality_flagged"]
    (task,) = study.tasks()
    assert task["evidence"] == [f"{study.uid}.0:20-20", f"{study.uid}.0:7-8"]
    study.register([20])
    assert study.tasks()[0]["evidence"] == [f"{study.uid}.0:7-8"]
    study.register([7, 8])
    assert study.reasons() == []


def test_a_flawed_instance_makes_a_study_reference_only_until_a_curator_dismisses_it(town: Town) -> None:
    study = town.arrival()
    study.register([1], flaws=("truncated",))
    assert study.reasons() == ["quality_flagged"]
    quality.dismiss(town.city.catalogue, CURATOR, int(study.tasks()[0]["task_id"]))
    assert study.reasons() == []
    study.register([2])
    assert study.reasons() == []
    study.register([3], flaws=("truncated",))
    assert study.reasons() == ["quality_flagged"]
    assert study.tasks()[0]["evidence"] == [f"{study.uid}.1", f"{study.uid}.3"]


def test_what_could_not_be_read_counts_until_it_is_sent_again(town: Town) -> None:
    study = town.arrival()
    study.register([1, 2], unreadable=(f"{study.uid}.3",))
    assert study.reasons() == ["quality_flagged"]
    study.register([3])
    assert study.reasons() == []


def test_a_confirmed_doubt_stays_until_what_it_was_about_is_gone(town: Town) -> None:
    study = town.arrival()
    study.register([n for n in range(1, 31) if n != 9])
    quality.confirm(town.city.catalogue, CURATOR, int(study.tasks()[0]["task_id"]))
    study.register([31])
    assert study.reasons() == ["quality_flagged"]
    study.register([9])
    assert study.reasons() == []


def test_a_study_has_one_task_of_each_kind_however_often_it_grows(town: Town) -> None:
    study = town.arrival()
    for number in (1, 2, 3):
        study.register([number], flaws=("truncated",), declared=9)
    with transaction(town.city.catalogue.engine) as session:
        query = select(QualityTask.kind).where(QualityTask.study_id == study.row().id)
        assert sorted(session.scalars(query)) == ["count_short", "flawed"]
