"""D4: the spool's volume runs out of bytes and of inodes: refused with 0xA700, and taken again once there is room."""

import random
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from dicom_node.pdu import RELEASE_REQUEST
from dicom_node.spool import Spool
from tests.dicom_node.raw_peer import RawPeer, wait_until
from tests.faults.history import History, kept_in
from tests.faults.run_record import RunRecord
from tests.faults.victim import Victim, receive
from tests.faults.volumes import no_bytes, no_inodes

CYCLES = 25
OUT_OF_RESOURCES = 0xA700
VOLUME_MIB, INODES = 24, 100


@pytest.mark.parametrize("fill", [no_bytes, no_inodes])
def test_without_room_everything_is_refused_with_its_status_and_taken_again_at_once_afterwards(
    small_volume: Callable[[Path, int], Path],
    tmp_path: Path,
    fill: Callable[[Path], AbstractContextManager[None]],
    record: RunRecord,
) -> None:
    volume = small_volume(tmp_path / "volume", VOLUME_MIB)
    subprocess.run(["mount", "-o", f"remount,nr_inodes={INODES}", str(volume)], check=True)
    history, kept = History(), dict[str, list[str]]()
    spool = Spool(volume / "spool", low_water_bytes=0, low_water_inodes=0)
    with Victim(receive, volume, {"low_water_inodes": 0}) as node:
        for cycle in range(CYCLES):
            with RawPeer(node.said) as peer:
                peer.associate()
                assert store(history, peer, f"1.{cycle}.1") == 0
                with fill(volume):
                    with RawPeer(node.said) as other:
                        other.associate()
                        assert store(history, other, f"1.{cycle}.2") == OUT_OF_RESOURCES
                    assert store(history, peer, f"1.{cycle}.3", 2_000_000) in (0, OUT_OF_RESOURCES)
                assert store(history, peer, f"1.{cycle}.4") == 0
                peer.send(RELEASE_REQUEST)
                assert peer.read_pdu()[:1] == b"\x06"
            wait_until(lambda: not any((volume / "spool/open").iterdir()))
            kept |= kept_in(spool)
            for pack in spool.sealed():
                pack.path.unlink()
    history.check(kept)
    record.note(cycles=CYCLES, acknowledged=len(history.acknowledged), refused=history.refused.total())
    assert history.refused[OUT_OF_RESOURCES] >= CYCLES
    assert set(history.refused) == {OUT_OF_RESOURCES}
    assert (list(spool.root.rglob("*.part")), spool.quarantined()) == ([], [])


def store(history: History, peer: RawPeer, uid: str, size_bytes: int = 5_000) -> int:
    return history.store(peer, uid, random.Random(uid).randbytes(size_bytes))
