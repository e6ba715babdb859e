"""The sidecar serves a pack without the DICOM in it, and remakes its rows."""

import gzip
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from catalog.errors import IntegrityFault
from catalog.records import PackRecord
from catalog.studies import Contradiction
from dicom_node.facts import study_header
from dicom_node.header import HeaderReader, ReadInstance
from dicom_node.sidecar import PackObject, pack_record, read_sidecar, write_sidecar
from dicom_node.spool import Spool
from tests.packs import ct, receive

STUDY = "2.25.4711"
RECEIVED = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def kept(tmp_path: Path) -> tuple[PackRecord, list[ReadInstance], bytes]:
    """A pack of three instances: its record, what was read of it, and its bytes."""
    index = receive(Spool(tmp_path, low_water_bytes=0), [ct(STUDY, number) for number in (1, 2, 3)])
    with HeaderReader() as reader:
        instances = [one for one in reader.read(index) if isinstance(one, ReadInstance)]
    content = index.path.read_bytes()
    pack = PackObject(index, hashlib.sha256(content).hexdigest(), len(content))
    header = study_header([instance.facts for instance in instances], RECEIVED)
    return pack_record(pack, header, instances), instances, content


def test_a_sidecar_read_back_is_the_record_that_was_written(
    kept: tuple[PackRecord, list[ReadInstance], bytes],
) -> None:
    record, instances, _ = kept
    contradiction = Contradiction("2.25.1", "a" * 64, None, "other_owner")
    content = write_sidecar(
        "P1", record, instances, role="conflict", revision=7, contradictions=[contradiction]
    )
    found = read_sidecar(content)
    bare = tuple(replace(instance.record, metadata={}) for instance in found.instances)
    assert replace(found.pack, instances=bare) == record
    assert (found.role, found.revision, found.contradictions) == ("conflict", 7, (contradiction,))
    assert found.instances[0].record.metadata["00081030"] == {"vr": "LO", "Value": ["胸部CT平扫"]}


def test_a_sidecar_from_before_codes_were_read_has_none(
    kept: tuple[PackRecord, list[ReadInstance], bytes],
) -> None:
    values = json.loads(gzip.decompress(write_sidecar("P1", kept[0], kept[1])))
    del values["study"]["procedure_codes"], values["study"]["anatomic_regions"]
    header = read_sidecar(gzip.compress(json.dumps(values).encode(), 6, mtime=0)).pack.header
    assert (header.procedure_codes, header.anatomic_regions) == ((), ())


def test_every_position_in_a_sidecar_is_absolute_in_the_pack(
    kept: tuple[PackRecord, list[ReadInstance], bytes],
) -> None:
    record, instances, content = kept
    for number, one in enumerate(read_sidecar(write_sidecar("P1", record, instances)).instances, start=1):
        data = content[one.record.dataset_offset :][: one.record.dataset_size_bytes]
        assert hashlib.sha256(data).hexdigest() == one.record.sha256
        assert content[one.record.offset + 128 :][:4] == b"DICM"
        ((at, size),) = one.frames
        assert content[at : at + size] == bytes([number]) * 128
        assert one.bulk == {"7FE00010": (at, size)}


def test_the_same_pack_gives_the_same_bytes(kept: tuple[PackRecord, list[ReadInstance], bytes]) -> None:
    record, instances, _ = kept
    content = write_sidecar("P1", record, instances)
    assert content == write_sidecar("P1", record, instances)
    assert content[4:8] == bytes(4)  # the time in a gzip header


@pytest.mark.parametrize("damage", ["cut", "not gzip", "other format", "no instances"])
def test_a_damaged_sidecar_is_refused(
    kept: tuple[PackRecord, list[ReadInstance], bytes], damage: str
) -> None:
    record, instances, _ = kept
    content = write_sidecar("P1", record, instances)
    values = json.loads(gzip.decompress(content))
    damaged = {
        "cut": content[:-20],
        "not gzip": b"{}",
        "other format": gzip.compress(json.dumps({**values, "format": 2}).encode()),
        "no instances": gzip.compress(json.dumps({**values, "instances": None}).encode()),
    }[damage]
    with pytest.raises(IntegrityFault):
        read_sidecar(damaged)
