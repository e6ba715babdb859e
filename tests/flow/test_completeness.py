"""From what a PACS sends to what a doctor is told of it: whole, still coming, or in doubt."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from catalog import quality
from catalog.context import Caller
from catalog.db import transaction
from catalog.embedded import Embedded
from catalog.tables import Study
from dicom_node.rebuild import Rebuild
from dicom_node.repair import Repair
from dicom_node.scrub import Scrub
from tests.city import City, id_number
from tests.flow.archived import Archived, open_archived
from tests.packs import Sent, ct, receive

pytestmark = pytest.mark.flow
CURATOR = Caller("curator", "curator")
DOCTOR = Caller("dr", "doctor", "H-B")


@pytest.fixture(scope="module")
def archived(
    embedded: Embedded, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archived]:
    with open_archived(embedded, database_url, tmp_path_factory.mktemp("archive")) as opened:
        yield opened


def slices(study: str, numbers: Any, **more: object) -> list[Sent]:
    """Slices of a thorax 1.25 mm apart, of a person with the study's number."""
    person = id_number(int(study.rpartition(".")[2]))
    told = {
        "PatientID": person,
        "PatientBirthDate": "19800517",
        "PatientSex": "",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    } | more
    return [
        ct(
            study,
            number,
            InstanceNumber=number,
            ImagePositionPatient=[-180.0, -180.0, 1.25 * number],
            **told,
        )
        for number in numbers
    ]


def told(archived: Archived, study: str) -> list[str]:
    """The reasons a doctor of another hospital is given."""
    number = int(study.rpartition(".")[2])
    city = City(archived.catalogue)
    answer = city.check(DOCTOR, [{"order_number": f"{study}", "item_code": "CT07"}], number)
    (candidate,) = answer["orders"][0]["candidates"]
    return [reason["code"] for reason in candidate["reasons"]]


def evidence(archived: Archived, study: str) -> dict[str, list[str]]:
    found = quality.tasks(archived.catalogue, CURATOR, limit=1000)
    return {task["kind"]: task["evidence"] for task in found if task["StudyInstanceUID"] == study}


def test_what_was_sent_and_released_is_complete_when_it_is_registered(archived: Archived) -> None:
    archived.ship(*slices("2.25.12", range(1, 21)))
    assert told(archived, "2.25.12") == []


def test_what_broke_off_is_incomplete_and_its_repetition_completes_it(archived: Archived) -> None:
    receive(archived.spool, slices("2.25.14", range(1, 15)), released=False)
    archived.shipper.ship_once()
    assert told(archived, "2.25.14") == ["images_incomplete"]
    archived.ship(*slices("2.25.14", range(1, 21)))
    assert told(archived, "2.25.14") == []


def test_a_study_in_several_packs_is_complete_with_the_last(archived: Archived) -> None:
    spool = archived.spool
    limit, spool.pack_limit_bytes = spool.pack_limit_bytes, 10_000
    try:
        receive(spool, slices("2.25.16", range(1, 21)))
    finally:
        spool.pack_limit_bytes = limit
    assert len(spool.sealed()) > 3
    archived.shipper.ship_once()
    assert told(archived, "2.25.16") == []
    with transaction(archived.catalogue.engine) as session:
        assert session.scalars(select(Study.instance_count).where(Study.uid == "2.25.16")).one() == 20


def test_what_broke_off_after_its_last_instance_is_completed_by_sending_the_same_again(
    archived: Archived,
) -> None:
    receive(archived.spool, slices("2.25.18", range(1, 21)), released=False)
    archived.shipper.ship_once()
    archived.ship(*slices("2.25.18", range(1, 21)))
    assert told(archived, "2.25.18") == []


def test_gaps_damage_and_short_counts_are_told_with_their_places(archived: Archived) -> None:
    archived.ship(*slices("2.25.22", [n for n in range(1, 31) if n not in (11, 12)]))
    assert told(archived, "2.25.22") == ["quality_flagged"]
    assert evidence(archived, "2.25.22") == {"missing_slices": ["2.25.22.1:11-12"]}
    whole = slices("2.25.24", range(1, 9))
    archived.ship(*whole[:7], replace(whole[7], data=whole[7].data[:-40]))
    assert told(archived, "2.25.24") == ["quality_flagged"]
    assert evidence(archived, "2.25.24") == {"flawed": ["2.25.24.1.8"]}
    archived.ship(*slices("2.25.26", range(1, 9), NumberOfSeriesRelatedInstances=12))
    assert told(archived, "2.25.26") == ["images_incomplete"]


def test_what_cannot_be_read_is_put_aside_and_held_against_the_study_it_came_with(archived: Archived) -> None:
    sent = slices("2.25.28", range(1, 9))
    archived.ship(*sent[:7], replace(sent[7], data=b"\0" * 64))
    assert told(archived, "2.25.28") == ["quality_flagged"]
    assert evidence(archived, "2.25.28") == {"unreadable": ["2.25.28.1.8"]}
    archived.ship(sent[7])
    assert told(archived, "2.25.28") == []


def test_an_unreadable_instance_among_several_studies_is_held_against_none(archived: Archived) -> None:
    one, two = slices("2.25.32", range(1, 9)), slices("2.25.34", range(1, 9))
    archived.ship(*one, *two, replace(ct("2.25.32", 9), data=b"\0" * 64))
    assert told(archived, "2.25.32") == told(archived, "2.25.34") == []


def test_localizers_phases_and_reconstructions_raise_no_alarm(archived: Archived) -> None:
    localizers = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    archived.ship(
        *slices("2.25.36", [1, 2, 3, 4, 5, 6, 8, 9], ImageType=localizers),
        *slices("2.25.36", range(10, 30), AcquisitionNumber=1, ImagesInAcquisition=20),
        *slices("2.25.36", range(50, 70), SeriesInstanceUID="2.25.36.2", ImagesInAcquisition=40),
        *slices("2.25.36", range(90, 110), SeriesInstanceUID="2.25.36.3", ImagesInAcquisition=40),
    )
    assert told(archived, "2.25.36") == []


def test_the_facts_come_back_from_the_bucket_alone_and_from_a_repaired_sidecar(
    embedded: Embedded, fresh_database_url: str, tmp_path: Path
) -> None:
    with open_archived(embedded, fresh_database_url, tmp_path) as own:
        own.ship(*slices("2.25.42", [n for n in range(1, 31) if n != 9]))
        sent = slices("2.25.44", range(1, 9), NumberOfSeriesRelatedInstances=12)
        own.ship(*sent[:7], replace(sent[7], data=b"\0" * 64))
        before = [evidence(own, "2.25.42"), evidence(own, "2.25.44"), told(own, "2.25.44")]
        sidecars = [pack.sidecar_key for pack in own.packs()]
        contents = {key: own.content(key) for key in sidecars}
        for key in sidecars:
            own.store.delete(key)
        with Repair(own.spool, own.store, own.catalogue) as repair:
            Scrub(own.store, own.catalogue, repair).run(threading.Event())
        assert {key: own.content(key) for key in sidecars} == contents
        own.empty_catalogue()
        Rebuild(own.store, own.catalogue).run(threading.Event())
        assert [evidence(own, "2.25.42"), evidence(own, "2.25.44"), told(own, "2.25.44")] == before
