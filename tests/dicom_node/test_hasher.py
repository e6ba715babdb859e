"""The thread beside: same digests, one instance at a time, and nothing overwritten before it was read."""

import hashlib
import os
from pathlib import Path

import pytest

from dicom_node.command import C_STORE_RQ, Command
from dicom_node.hasher import Hasher
from dicom_node.intake import Intake
from dicom_node.pack import read_pack
from dicom_node.spool import Spool
from dicom_node.storage import Storing
from tests.dicom_node.test_spool import CT, EXPLICIT, ORIGIN


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool of this test's own."""
    return Spool(tmp_path, low_water_bytes=0)


def test_pieces_handed_over_give_the_same_digest_in_order() -> None:
    hasher, digest, content = Hasher(), hashlib.sha256(), os.urandom(3_000_000)
    hasher.enter()
    assert hasher.claim()
    for at in range(0, len(content), 70_001):
        hasher.update(digest, memoryview(content)[at : at + 70_001])
    hasher.wait()
    assert digest.hexdigest() == hashlib.sha256(content).hexdigest()


def test_only_an_instance_that_arrives_alone_gets_the_thread() -> None:
    hasher = Hasher()
    hasher.enter()
    assert hasher.claim()
    assert not hasher.claim()
    hasher.enter()
    hasher.leave(claimed=True)
    assert hasher.claim()
    hasher.enter()
    hasher.leave(claimed=True)
    hasher.enter()
    assert not hasher.claim()


def test_an_instance_that_breaks_off_gives_the_thread_back(spool: Spool) -> None:
    hasher = Hasher()
    request = Command(C_STORE_RQ, 1, has_dataset=True, SOPClassUID=CT, SOPInstanceUID="1.2.1")
    storing = Storing(request, 1, CT, EXPLICIT, spool.intake(ORIGIN, hasher))
    for _ in range(4):
        storing.write(memoryview(bytes(100_000)))
    assert not hasher.claim()
    storing.abandon()
    hasher.enter()
    assert hasher.claim()


def test_memory_that_was_recalled_may_be_used_again(spool: Spool) -> None:
    intake = spool.intake(ORIGIN, Hasher())
    sent = _store_through_one_buffer(intake, "1.2.1") + _store_through_one_buffer(intake, "1.2.2")
    intake.close()
    (pack,) = spool.sealed()
    assert [member.sha256 for member in read_pack(pack.path).members] == sent


def _store_through_one_buffer(intake: Intake, SOPInstanceUID: str) -> list[str]:
    buffer, digest = bytearray(400_000), hashlib.sha256()
    intake.begin(CT, SOPInstanceUID, EXPLICIT)
    for _ in range(9):
        buffer[:] = os.urandom(len(buffer))
        digest.update(buffer)
        intake.write(memoryview(buffer)[:150_000])
        intake.write(memoryview(buffer)[150_000:])
        intake.recall()
    intake.commit()
    return [digest.hexdigest()]
