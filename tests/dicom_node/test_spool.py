"""Packs are tar files; what was committed survives whatever happens to the rest."""

import fcntl
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.errors import IntegrityFault, Unavailable
from dicom_node.intake import Intake
from dicom_node.pack import MEMBER_HEADER_BYTES, PackIndex, member_header
from dicom_node.spool import PackFile, Spool, read_pack, write_pack

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
ORIGIN = PackIndex(Path(), "", "H-A", "放射科", "HUREN", "10.0.0.7", "")


def put(intake: Intake, uid: str, data: bytes) -> None:
    intake.begin(CT, uid, EXPLICIT)
    for at in range(0, len(data), 1000):
        intake.write(memoryview(data)[at : at + 1000])
    intake.commit()


def sealed_pack(spool: Spool, contents: dict[str, bytes]) -> PackFile:
    intake = spool.intake(ORIGIN)
    for uid, data in contents.items():
        put(intake, uid, data)
    intake.close()
    return spool.sealed()[-1]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", low_water_bytes=0)


def test_a_pack_tells_where_it_came_from_and_what_it_holds(spool: Spool) -> None:
    data = os.urandom(5001)
    index = read_pack(sealed_pack(spool, {"1.2.3": data}).path)
    (member,) = index.members
    assert (index.hospital, index.calling_ae, index.called_ae) == ("H-A", "放射科", "HUREN")
    assert (index.peer_address, index.part_of) == ("10.0.0.7", "")
    assert (member.name, member.SOPInstanceUID) == ("1.2.3.dcm", "1.2.3")
    assert (member.SOPClassUID, member.TransferSyntaxUID) == (CT, EXPLICIT)
    assert member.sha256 == hashlib.sha256(data).hexdigest()
    pack = index.path.read_bytes()
    assert pack[member.dataset_offset :][: member.dataset_size_bytes] == data
    assert pack[member.offset + 128 :][:4] == b"DICM"
    assert member.offset + member.size_bytes == member.dataset_offset + member.dataset_size_bytes


def test_tar_lists_and_unpacks_a_pack_without_complaint(
    spool: Spool, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    pack = sealed_pack(spool, {"1.2.3": b"a" * 700, "1.2.4": b"b" * 512})
    tar = require_tool("tar")
    listed = subprocess.run([tar, "tf", str(pack.path)], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == ["1.2.3.dcm", "1.2.4.dcm"]
    assert listed.stderr == ""
    subprocess.run([tar, "xf", str(pack.path), "-C", str(tmp_path)], check=True)
    assert (tmp_path / "1.2.4.dcm").read_bytes().endswith(b"b" * 512)
    with tarfile.open(pack.path) as archive:
        assert archive.pax_headers["HUREN.hospital"] == "H-A"


def test_the_same_uid_twice_in_one_pack_keeps_both(spool: Spool) -> None:
    intake = spool.intake(ORIGIN)
    for data in (b"first", b"second", b"third"):
        put(intake, "1.2.3", data)
    intake.close()
    members = read_pack(spool.sealed()[0].path).members
    assert [member.name for member in members] == ["1.2.3.dcm", "1.2.3~2.dcm", "1.2.3~3.dcm"]
    assert {member.SOPInstanceUID for member in members} == {"1.2.3"}


def test_a_pack_is_cut_when_it_passes_its_limit(tmp_path: Path) -> None:
    spool = Spool(tmp_path, pack_limit_bytes=20_000, low_water_bytes=0)
    intake = spool.intake(ORIGIN)
    for number in range(5):
        put(intake, f"1.2.{number}", bytes(9000))
    intake.close()
    assert [len(read_pack(pack.path).members) for pack in spool.sealed()] == [2, 2, 1]


def test_an_association_that_stores_nothing_leaves_nothing(spool: Spool) -> None:
    intake = spool.intake(ORIGIN)
    intake.close()
    intake.begin(CT, "1.2.3", EXPLICIT)
    intake.write(memoryview(b"half"))
    intake.discard()
    intake.close()
    assert [path for path in spool.root.rglob("*") if path.is_file()] == []


def test_a_discarded_instance_leaves_no_trace_between_the_others(spool: Spool) -> None:
    intake = spool.intake(ORIGIN)
    put(intake, "1.2.1", b"one")
    intake.begin(CT, "1.2.2", EXPLICIT)
    intake.write(memoryview(b"\xff" * 9000))
    intake.discard()
    put(intake, "1.2.3", b"three")
    intake.close()
    pack = spool.sealed()[0]
    assert [member.SOPInstanceUID for member in read_pack(pack.path).members] == ["1.2.1", "1.2.3"]
    assert b"\xff" * 100 not in pack.path.read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_an_open_pack_cut_anywhere_keeps_exactly_its_complete_members(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 3000), min_size=1, max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder), low_water_bytes=0)
        pack = sealed_pack(spool, {f"1.2.{n}": os.urandom(size) for n, size in enumerate(sizes)})
        members = read_pack(pack.path).members
        cut = data.draw(st.integers(0, pack.size_bytes))
        stale = spool.root / "open" / pack.path.name
        pack.path.rename(stale)
        os.truncate(stale, cut)
        assert spool.recover() == 1
        expected = [member for member in members if member.offset + member.size_bytes <= cut]
        kept = [member for found in spool.sealed() for member in read_pack(found.path).members]
        assert kept == expected
        assert not any((spool.root / "open").iterdir())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_byte_that_rots_in_an_open_pack_costs_no_member_before_it(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder), low_water_bytes=0)
        pack = sealed_pack(spool, {f"1.2.{n}": os.urandom(600) for n in range(3)})
        members = read_pack(pack.path).members
        at = data.draw(st.integers(members[0].offset - MEMBER_HEADER_BYTES, members[-1].end - 1))
        content = bytearray(pack.path.read_bytes())
        content[at] ^= data.draw(st.integers(1, 255))
        (spool.root / "open" / pack.path.name).write_bytes(content)
        pack.path.unlink()
        spool.recover()
        kept = [member for found in spool.sealed() for member in read_pack(found.path).members]
        assert kept == list(members[: len(kept)])
        assert len(kept) >= sum(1 for member in members if member.end <= at)
        for member in kept:
            sealed = spool.sealed()[0].path.read_bytes()
            dataset = sealed[member.dataset_offset :][: member.dataset_size_bytes]
            assert hashlib.sha256(dataset).hexdigest() == member.sha256


def test_recovery_leaves_a_pack_alone_that_a_living_process_holds(spool: Spool) -> None:
    intake = spool.intake(ORIGIN)
    put(intake, "1.2.3", b"held")
    assert spool.recover() == 0
    assert spool.sealed() == []
    intake.close()
    assert len(spool.sealed()) == 1


def test_recovery_is_done_once_when_two_recover_at_the_same_time(spool: Spool) -> None:
    pack = sealed_pack(spool, {"1.2.3": b"x"})
    stale = spool.root / "open" / pack.path.name
    pack.path.rename(stale)
    with stale.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert spool.recover() == 0
    assert spool.recover() == 1
    assert spool.recover() == 0


def test_a_pack_with_a_damaged_first_record_goes_to_quarantine(spool: Spool) -> None:
    pack = sealed_pack(spool, {"1.2.3": bytes(9000)})
    content = bytearray(pack.path.read_bytes())
    content[600] ^= 0xFF
    (spool.root / "open" / pack.path.name).write_bytes(content)
    pack.path.unlink()
    spool.recover()
    (found,) = spool.quarantined()
    assert '"header_damaged"' in found.path.with_suffix(".reason").read_text()


def test_a_sealed_pack_that_is_damaged_is_not_read(spool: Spool) -> None:
    pack = sealed_pack(spool, {"1.2.3": bytes(100)})
    for cut in (pack.size_bytes - 1, 700, 0):
        os.truncate(pack.path, cut)
        with pytest.raises(IntegrityFault):
            read_pack(pack.path)


def test_a_chosen_part_of_a_pack_becomes_a_pack_with_the_same_bytes(spool: Spool, tmp_path: Path) -> None:
    contents = {f"1.2.{n}": os.urandom(n * 100 + 1) for n in range(4)}
    index = read_pack(sealed_pack(spool, contents).path)
    chosen = (index.members[3], index.members[1])
    path = write_pack(tmp_path, "part-1", index, chosen)
    again = write_pack(tmp_path, "part-1", index, chosen)
    part = read_pack(again)
    assert path.read_bytes() == again.read_bytes()
    assert (part.pack_id, part.part_of, part.hospital) == ("part-1", index.pack_id, "H-A")
    assert [member.sha256 for member in part.members] == [member.sha256 for member in chosen]
    listed = subprocess.run(["tar", "tf", str(path)], capture_output=True, text=True, check=True)
    assert (listed.stdout.split(), listed.stderr) == (["1.2.3.dcm", "1.2.1.dcm"], "")
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["part-1.tar"]


def test_a_whole_pack_copied_under_its_own_id_differs_only_in_its_first_record(spool: Spool) -> None:
    index = read_pack(sealed_pack(spool, {"1.2.3": b"abc", "1.2.4": b"def"}).path)
    copy = read_pack(write_pack(spool.root, "copy", index, index.members))
    start, copied = index.members[0].offset, copy.members[0].offset
    assert index.path.read_bytes()[start:] == copy.path.read_bytes()[copied:]


def test_sizes_from_8_gib_on_are_written_in_base_256() -> None:
    size_bytes = 9 << 30
    block = member_header("1.2.3.dcm", size_bytes, "0" * 64, b"frame", 0)[-512:]
    assert tarfile.TarInfo.frombuf(block, "ascii", "strict").size == size_bytes


def test_packs_move_from_sealed_to_shipped_to_gone(spool: Spool) -> None:
    packs = [sealed_pack(spool, {f"1.2.{n}": bytes(n + 1)}) for n in range(3)]
    assert [pack.pack_id for pack in spool.sealed()] == [pack.pack_id for pack in packs]
    count, size_bytes, oldest = spool.backlog()
    assert (count, size_bytes) == (3, sum(pack.size_bytes for pack in packs))
    assert 0 <= oldest < 60
    shipped = spool.mark_shipped(packs[0])
    spool.quarantine(packs[1], "no_study")
    assert [pack.pack_id for pack in spool.sealed()] == [packs[2].pack_id]
    assert [pack.pack_id for pack in spool.shipped()] == [shipped.pack_id]
    spool.release(shipped)
    assert spool.shipped() == []


def test_below_the_low_water_mark_nothing_is_begun(tmp_path: Path) -> None:
    spool = Spool(tmp_path, low_water_bytes=1)
    spool.intake(ORIGIN).begin(CT, "1.2.3", EXPLICIT)
    spool.low_water_inodes = 1 << 62
    volume = os.statvfs(tmp_path)
    if volume.f_favail > volume.f_files // 50:
        spool.check_room()  # a fiftieth of the volume is the most the mark can be
    spool.root = Path("/proc")  # a volume without a free byte or inode, and without any
    spool.check_room()


def test_a_full_volume_refuses_keeps_what_it_has_and_recovers(
    small_volume: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    volume = small_volume(tmp_path / "small", 1)
    spool = Spool(volume / "spool", low_water_bytes=0)
    intake = spool.intake(ORIGIN)
    put(intake, "1.2.1", bytes(300_000))
    (volume / "ballast").write_bytes(bytes(600_000))
    with pytest.raises(OSError, match="No space"):
        put(intake, "1.2.2", os.urandom(400_000))
    intake.discard()
    (volume / "ballast").unlink()
    put(intake, "1.2.3", bytes(1000))
    intake.close()
    (pack,) = spool.sealed()
    assert [member.SOPInstanceUID for member in read_pack(pack.path).members] == ["1.2.1", "1.2.3"]
    marked = Spool(volume / "spool", low_water_bytes=1 << 40)
    marked.check_room()
    (volume / "ballast").write_bytes(bytes(shutil.disk_usage(volume).free - 8192))
    with pytest.raises(Unavailable):
        marked.check_room()


def test_a_write_refused_by_a_file_size_limit_loses_only_its_own_instance(spool: Spool) -> None:
    intake = spool.intake(ORIGIN)
    put(intake, "1.2.1", bytes(1000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            put(intake, "1.2.2", bytes(100_000))
        intake.discard()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    intake.close()
    assert [member.SOPInstanceUID for member in read_pack(spool.sealed()[0].path).members] == ["1.2.1"]


FAILING_FSYNC = """
import os, sys
from pathlib import Path
from dicom_node.pack import PackIndex
from dicom_node.spool import Spool
spool = Spool(Path(sys.argv[1]), low_water_bytes=0)
intake = spool.intake(PackIndex(Path(), "", "H-A", "A", "HUREN", "127.0.0.1", ""))
for number in range(6):
    try:
        intake.begin("1.2.840.10008.5.1.4.1.1.2", f"1.2.{number}", "1.2.840.10008.1.2.1")
        intake.write(memoryview(bytes([number]) * 3000))
        intake.commit()
    except OSError:
        intake.discard()
        print("refused", number)
    else:
        print("kept", number)
intake.close()
"""


@pytest.mark.parametrize("nth", [1, 2, 4, 6])
def test_a_failed_fdatasync_is_never_success_and_its_file_is_put_aside(
    spool: Spool, nth: int, require_tool: Callable[[str], str]
) -> None:
    inject = f"inject=fdatasync:error=EIO:when={nth}"
    command = [require_tool("strace"), "-f", "-qq", "-e", "trace=fdatasync", "-e", inject, "-o", "/dev/null"]
    script = [sys.executable, "-c", FAILING_FSYNC, str(spool.root)]
    said = subprocess.run([*command, *script], capture_output=True, text=True, check=True).stdout.split("\n")
    kept = {line.split()[1] for line in said if line.startswith("kept")}
    assert f"refused {nth - 1}" in said
    assert len(kept) == 5
    members = [member for pack in spool.sealed() for member in read_pack(pack.path).members]
    assert {member.SOPInstanceUID.removeprefix("1.2.") for member in members} >= kept
    (aside,) = spool.quarantined()
    assert '"fsync_failed"' in aside.path.with_suffix(".reason").read_text()
    assert not any((spool.root / "open").iterdir())
