"""Sealed packs become objects and rows, once each."""

import hashlib
import tarfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from sqlalchemy import select

from catalog import conflicts
from catalog.db import transaction
from catalog.errors import Conflict as ConflictError
from catalog.tables import Study
from dicom_node.ship import Shipper
from dicom_node.spool import Spool
from tests.flow.harbour import FAST, Harbour, running, series, wait_for
from tests.packs import ct, from_file, receive

pytestmark = pytest.mark.flow


def test_every_instance_of_a_pack_comes_back_byte_identical_by_its_offsets(harbour: Harbour) -> None:
    sent = series("2.25.100", 5)
    receive(harbour.spool, sent)
    assert harbour.ship() == 1
    assert harbour.stored() == {(one.SOPInstanceUID, "archive"): one.data for one in sent}
    assert harbour.rows() == (1, 1, 0)
    assert harbour.no_orphans()
    assert harbour.spool.sealed() == []
    assert len(harbour.spool.shipped()) == 1


def test_a_pack_of_one_study_is_the_object_itself_and_plain_tar_opens_it(harbour: Harbour) -> None:
    index = receive(harbour.spool, series("2.25.100"))
    content = index.path.read_bytes()
    harbour.ship()
    (sidecar,) = harbour.sidecars()
    assert harbour.store.digest(sidecar.pack.key) == (hashlib.sha256(content).hexdigest(), len(content))
    stored = harbour.store.read_range(sidecar.pack.key, 0, len(content))
    with tarfile.open(fileobj=BytesIO(stored)) as tar:
        member = tar.extractfile("2.25.100.1.2.dcm")
        assert member is not None
        assert pydicom.dcmread(BytesIO(member.read())).SOPInstanceUID == "2.25.100.1.2"


def test_frames_are_read_from_the_store_by_the_sidecar_alone(harbour: Harbour) -> None:
    receive(harbour.spool, series("2.25.100", 2))
    harbour.ship()
    (sidecar,) = harbour.sidecars()
    for number, one in enumerate(sidecar.instances, start=1):
        ((at, size),) = one.frames
        assert harbour.store.read_range(sidecar.pack.key, at, size) == bytes([number]) * 128
        assert one.record.metadata["00080018"]["Value"] == [f"2.25.100.1.{number}"]


def test_the_study_says_what_its_headers_say(harbour: Harbour) -> None:
    receive(harbour.spool, series("2.25.100", 2, AccessionNumber="ACC1"))
    harbour.ship()
    with transaction(harbour.catalogue.engine) as session:
        study = session.scalars(select(Study)).one()
        assert (study.patient_name, study.patient_id, study.accession_number) == (
            "测试^甲",
            "TEST-0001",
            "ACC1",
        )
        assert (study.instance_count, study.series_count, study.modalities) == (2, 1, ["CT"])
        assert study.exam_time == datetime(2025, 1, 2, 2, 15, tzinfo=UTC)
        assert study.facts["study_description"] == "胸部CT平扫"
        assert not study.quality_flagged


def test_two_studies_in_one_pack_become_two_packs(harbour: Harbour) -> None:
    sent = [*series("2.25.100"), *series("2.25.200", 2)]
    receive(harbour.spool, [sent[0], sent[3], sent[1], sent[4], sent[2]])
    harbour.ship()
    assert harbour.rows() == (2, 2, 0)
    assert harbour.stored() == {(one.SOPInstanceUID, "archive"): one.data for one in sent}
    assert [len({i.SeriesInstanceUID for i in s.pack.instances}) for s in harbour.sidecars()] == [1, 1]
    assert harbour.no_orphans()
    assert list((harbour.spool.root / "work").iterdir()) == []


def test_sending_everything_twice_changes_nothing(harbour: Harbour) -> None:
    sent = [*series("2.25.100"), *series("2.25.200")]
    receive(harbour.spool, sent)
    harbour.ship()
    before = harbour.rows(), harbour.objects(), harbour.stored()
    receive(harbour.spool, sent)
    receive(harbour.spool, list(reversed(sent)), hospital="H-B")
    assert harbour.ship() == 2
    assert (harbour.rows(), harbour.objects(), harbour.stored()) == before
    assert harbour.shipper.counters()["duplicates"] == 12


def test_a_study_grows_by_what_is_new_only(harbour: Harbour) -> None:
    sent = series("2.25.100", 4)
    receive(harbour.spool, sent[:2])
    harbour.ship()
    receive(harbour.spool, sent[1:])
    harbour.ship()
    assert harbour.rows() == (1, 2, 0)
    assert [len(sidecar.pack.instances) for sidecar in harbour.sidecars()] == [2, 2]
    assert harbour.stored() == {(one.SOPInstanceUID, "archive"): one.data for one in sent}


def test_the_same_uid_with_other_bytes_is_kept_apart_and_listed(harbour: Harbour) -> None:
    first, other = ct("2.25.100", 1), ct("2.25.100", 1, pixels=b"\xff" * 128)
    receive(harbour.spool, [first])
    harbour.ship()
    for _ in range(2):
        receive(harbour.spool, [other, ct("2.25.100", 2)])
        harbour.ship()
    assert harbour.stored() == {
        ("2.25.100.1.1", "archive"): first.data,
        ("2.25.100.1.2", "archive"): ct("2.25.100", 2).data,
        ("2.25.100.1.1", "conflict"): other.data,
    }
    with transaction(harbour.catalogue.engine) as session:
        (listed,) = conflicts.conflicts(session)
        assert session.scalars(select(Study)).one().uid_conflict
    assert (listed["kind"], listed["sha256"], listed["first_sha256"]) == (
        "other_bytes",
        other.sha256,
        first.sha256,
    )
    assert harbour.no_orphans()


def test_an_instance_for_another_hospitals_or_patients_study_is_kept_apart(harbour: Harbour) -> None:
    receive(harbour.spool, [ct("2.25.100", 1)])
    receive(harbour.spool, [ct("2.25.100", 2)], hospital="H-B")
    receive(harbour.spool, [ct("2.25.100", 3, PatientID="TEST-0002")])
    harbour.ship()
    assert harbour.rows() == (1, 3, 2)
    with transaction(harbour.catalogue.engine) as session:
        assert {row["kind"] for row in conflicts.conflicts(session)} == {"other_owner"}
    assert [sidecar.role for sidecar in harbour.sidecars()] == ["archive", "conflict", "conflict"]


def test_two_patients_under_one_new_study_are_never_joined(harbour: Harbour) -> None:
    receive(harbour.spool, [ct("2.25.100", 1), ct("2.25.100", 2, PatientID="TEST-0002")])
    harbour.ship()
    assert harbour.rows() == (1, 2, 1)


def test_an_instance_twice_in_one_pack_is_kept_once(harbour: Harbour) -> None:
    receive(harbour.spool, [ct("2.25.100", 1), ct("2.25.100", 1), ct("2.25.100", 1, pixels=b"\xff" * 128)])
    harbour.ship()
    assert harbour.rows() == (1, 2, 1)
    assert len(harbour.stored()) == 2


def test_real_ct_and_mr_files_are_kept_as_they_are(harbour: Harbour) -> None:
    files = Path(pydicom.__file__).parent / "data" / "test_files"
    sent = [
        from_file(files / name) for name in ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "image_dfl.dcm")
    ]
    receive(harbour.spool, sent)
    harbour.ship()
    assert harbour.stored() == {(one.SOPInstanceUID, "archive"): one.data for one in sent}


def test_a_study_in_many_packs_is_shipped_by_several_workers_without_loss(harbour: Harbour) -> None:
    sent = [ct("2.25.100", number) for number in range(1, 41)]
    for start in range(0, 40, 2):
        receive(harbour.spool, sent[start : start + 2])
    shipper = Shipper(harbour.spool, harbour.store, harbour.catalogue, replace(FAST, workers=4))
    with running(shipper):
        wait_for(lambda: shipper.backlog()[0] == 0)
    assert harbour.stored() == {(one.SOPInstanceUID, "archive"): one.data for one in sent}
    assert harbour.rows() == (1, 20, 0)
    assert harbour.no_orphans()


def test_two_nodes_that_send_one_study_at_once_keep_it_once(harbour: Harbour, tmp_path: Path) -> None:
    sent = series("2.25.100", 20)
    spools = [Spool(tmp_path / name, low_water_bytes=0) for name in ("one", "two")]
    for spool in spools:
        for start in range(0, 20, 4):
            receive(spool, sent[start : start + 4])
    shippers = [Shipper(spool, harbour.store, harbour.catalogue, FAST) for spool in spools]
    with running(shippers[0]), running(shippers[1]):
        wait_for(lambda: sum(shipper.backlog()[0] for shipper in shippers) == 0)
    archived = [one.SOPInstanceUID for sidecar in harbour.sidecars() for one in sidecar.pack.instances]
    assert sorted(archived) == sorted(one.SOPInstanceUID for one in sent)
    assert harbour.no_orphans()
    assert [spool.quarantined() for spool in spools] == [[], []]
    assert [shipper.counters().get("retries", 0) for shipper in shippers] == [0, 0]


@pytest.mark.alone
def test_a_study_is_visible_within_two_seconds_of_being_sealed(harbour: Harbour) -> None:
    shipper = Shipper(harbour.spool, harbour.store, harbour.catalogue)
    with running(shipper):
        receive(harbour.spool, series("2.25.1", 1))
        wait_for(lambda: harbour.rows()[0] == 1)
        began = time.monotonic()
        receive(harbour.spool, series("2.25.100", 10))
        wait_for(lambda: harbour.rows()[0] == 2, seconds=2)
        assert time.monotonic() - began < 2


def test_one_spool_has_one_shipper(harbour: Harbour) -> None:
    with running(harbour.shipper):
        other = Shipper(harbour.spool, harbour.store, harbour.catalogue)
        receive(harbour.spool, series("2.25.100"))
        wait_for(lambda: harbour.rows()[0] == 1)
        with pytest.raises(ConflictError):
            other.ship_once()
