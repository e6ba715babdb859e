"""Blank packs: a large pack goes on where syncing is cheap, and nothing acknowledged depends on it."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dicom_node import spool as spool_module
from dicom_node.blanks import Blanks
from dicom_node.intake import Intake
from dicom_node.pack import PackIndex, read_pack
from dicom_node.spool import Spool
from tests.dicom_node.raw_peer import RunningNode, wait_until

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
ORIGIN = PackIndex(Path(), "", "H-A", "CT1", "HUREN", "10.0.0.7", "")
LARGE = os.urandom(5 << 20)  # an association that has sent so much is worth a blank
LIMIT_BYTES = 8 << 20


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return filled(tmp_path)


def filled(root: Path) -> Spool:
    spool = Spool(root / "spool", pack_limit_bytes=LIMIT_BYTES, low_water_bytes=0, blank_packs=2)
    spool.blanks.refill(lambda: True)
    return spool


def put(intake: Intake, uid: str, data: bytes) -> None:
    intake.begin(CT, uid, EXPLICIT)
    intake.write(memoryview(data))
    intake.commit()


def inodes(folder: Path) -> set[int]:
    return {path.stat().st_ino for path in folder.iterdir()}


def kept(spool: Spool) -> list[str]:
    return [member.SOPInstanceUID for pack in spool.sealed() for member in read_pack(pack.path).members]


def test_a_large_pack_goes_on_in_a_blank_and_holds_everything(spool: Spool) -> None:
    blank = inodes(spool.blanks.root)
    intake = spool.intake(ORIGIN)
    put(intake, "1.2.1", LARGE)
    (before,) = (spool.root / "open").iterdir()
    assert not inodes(spool.root / "open") & blank
    put(intake, "1.2.2", b"two")
    assert list((spool.root / "open").iterdir()) == [before]
    assert inodes(spool.root / "open") < blank
    assert spool.blanks.count() == 1
    put(intake, "1.2.3", b"three")
    intake.close(released=True)
    (pack,) = spool.sealed()
    index = read_pack(pack.path)
    assert [member.SOPInstanceUID for member in index.members] == ["1.2.1", "1.2.2", "1.2.3"]
    assert index.ended == "released"
    assert pack.size_bytes == index.members[-1].end + 1024  # no zeros are shipped
    first = index.members[0]
    assert pack.path.read_bytes()[first.dataset_offset :][: len(LARGE)] == LARGE


def test_a_small_pack_takes_no_blank(spool: Spool) -> None:
    intake = spool.intake(ORIGIN)
    for number in range(5):
        put(intake, f"1.2.{number}", b"small")
    intake.close()
    assert spool.blanks.count() == 2


def test_the_next_pack_of_a_long_association_begins_in_a_blank(spool: Spool) -> None:
    blank = inodes(spool.blanks.root)
    intake = spool.intake(ORIGIN)
    put(intake, "1.2.1", LARGE * 2)
    put(intake, "1.2.2", b"two")
    assert inodes(spool.root / "open") < blank
    intake.close()
    assert kept(spool) == ["1.2.1", "1.2.2"]


def test_without_blanks_the_pack_stays_where_it_is(tmp_path: Path) -> None:
    spool = Spool(tmp_path, low_water_bytes=0)
    intake = spool.intake(ORIGIN)
    put(intake, "1.2.1", LARGE)
    put(intake, "1.2.2", b"two")
    intake.close()
    assert kept(spool) == ["1.2.1", "1.2.2"]


@pytest.mark.parametrize("torn", [b"", b"half an instance"])
def test_recovery_of_a_pack_in_a_blank_keeps_what_was_acknowledged_and_cuts_the_rest(
    spool: Spool, torn: bytes
) -> None:
    intake = spool.intake(ORIGIN)
    put(intake, "1.2.1", LARGE)
    put(intake, "1.2.2", b"two")
    (path,) = (spool.root / "open").iterdir()
    left = path.read_bytes()  # as a killed node leaves it: no lock, zeros behind the last member
    assert len(left) == LIMIT_BYTES
    at = len(left.rstrip(b"\0")) + 4096
    intake.close()
    spool.release(spool.sealed()[0])
    path.write_bytes(left[:at] + torn + left[at + len(torn) :])
    assert spool.recover() == 1
    assert kept(spool) == ["1.2.1", "1.2.2"]
    assert spool.sealed()[0].size_bytes < LIMIT_BYTES


def test_a_move_whose_name_is_not_durable_gives_the_pack_up_and_loses_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = spool.intake(ORIGIN)
    put(intake, "1.2.1", LARGE)

    def fails(_: Path) -> None:
        monkeypatch.undo()
        raise OSError("the disk")

    monkeypatch.setattr(spool_module, "sync_directory", fails)
    with pytest.raises(OSError, match="the disk"):
        intake.begin(CT, "1.2.2", EXPLICIT)
    intake.discard()
    put(intake, "1.2.3", b"three")
    intake.close()
    assert sorted(kept(spool)) == ["1.2.1", "1.2.3"]
    assert len(spool.quarantined()) == 1


def test_a_rename_that_fails_after_it_was_done_gives_the_pack_up_and_loses_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fails(path: Path, target: Path) -> Path:
        monkeypatch.undo()
        rename(path, target)
        raise OSError("the disk")

    intake = spool.intake(ORIGIN)
    put(intake, "1.2.1", LARGE)
    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="the disk"):
        intake.begin(CT, "1.2.2", EXPLICIT)
    intake.discard()
    put(intake, "1.2.3", b"three")
    intake.close()
    assert sorted(kept(spool)) == ["1.2.1", "1.2.3"]


def test_a_blank_that_cannot_be_used_leaves_the_pack_as_it_is(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        raise OSError("the disk")

    intake = spool.intake(ORIGIN)
    put(intake, "1.2.1", LARGE)
    monkeypatch.setattr(os, "copy_file_range", fails)
    put(intake, "1.2.2", b"two")
    intake.close()
    assert kept(spool) == ["1.2.1", "1.2.2"]


def test_a_blank_somebody_began_to_use_or_of_another_size_is_thrown_away(spool: Spool) -> None:
    used, short = (spool.blanks.root / name for name in ("0", "1"))
    with used.open("r+b") as file:
        file.write(b"the header of a node that was killed")
    os.truncate(short, LIMIT_BYTES - 1)
    assert spool.blanks.take() is None
    assert list(spool.blanks.root.iterdir()) == []


def test_nobody_is_given_the_blank_of_another(tmp_path: Path) -> None:
    blanks = Blanks(tmp_path, 1 << 20, 8)
    blanks.refill(lambda: True)
    with ThreadPoolExecutor(16) as pool:
        taken = [one for one in pool.map(lambda _: blanks.take(), range(16)) if one]
    paths = {path for _, path in taken}
    assert len(paths) == len(taken) == 8
    blanks.clear()
    assert blanks.count() == 8  # what is taken is not removed either
    for fd, _ in taken:
        os.close(fd)


def test_writing_blanks_stops_as_soon_as_somebody_connects(tmp_path: Path) -> None:
    blanks = Blanks(tmp_path, 3 << 20, 2)
    answers = iter([True] * 4 + [False])
    blanks.refill(lambda: next(answers))
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


def test_what_a_kill_left_half_named_is_never_written_again(spool: Spool) -> None:
    os.link(spool.blanks.root / "0", spool.blanks.root / ".part")
    intake = spool.intake(ORIGIN)
    put(intake, "1.2.1", LARGE)
    put(intake, "1.2.2", b"two")
    intake.close()
    spool.blanks.refill(lambda: True)
    assert kept(spool) == ["1.2.1", "1.2.2"]
    assert not inodes(spool.blanks.root) & inodes(spool.root / "sealed")


def test_blanks_leave_most_of_a_small_disk_alone(tmp_path: Path) -> None:
    volume = os.statvfs(tmp_path)
    blanks = Blanks(tmp_path, volume.f_bavail * volume.f_frsize // 16, 2)
    blanks.refill(lambda: True)
    assert list(tmp_path.iterdir()) == []


def test_an_idle_node_writes_its_blanks_and_a_large_association_takes_one(tmp_path: Path) -> None:
    with RunningNode(tmp_path, blank_idle_seconds=0, pack_limit_bytes=LIMIT_BYTES, blank_packs=2) as node:
        folder = tmp_path / "spool/blank"
        wait_until(lambda: {path.name for path in folder.iterdir()} == {"0", "1"})
        with node.connect() as peer:
            peer.associate()
            blank = inodes(folder)
            assert peer.store(LARGE, "1.2.1").status == 0
            assert peer.store(b"two", "1.2.2").status == 0
            assert inodes(tmp_path / "spool/open") < blank
        assert len(node.packs()[0].members) == 2
        wait_until(lambda: {path.name for path in folder.iterdir()} == {"0", "1"})


def test_a_node_with_little_room_gives_its_blanks_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunningNode(tmp_path, blank_idle_seconds=0, pack_limit_bytes=LIMIT_BYTES, blank_packs=1):
        folder = tmp_path / "spool/blank"
        wait_until(lambda: any(path.name == "0" for path in folder.iterdir()))
        monkeypatch.setattr(Spool, "is_below_marks", lambda _, times=1: times > 1)
        wait_until(lambda: not any(folder.iterdir()))
