"""How an association ended stands in the header of its last pack, and in no other."""

import os
from pathlib import Path

import pytest

from dicom_node.pack import PackIndex, global_header, read_global_header
from dicom_node.pdu import RELEASE_REQUEST, encode_abort
from dicom_node.spool import Spool, read_pack
from tests.dicom_node.raw_peer import CT, EXPLICIT, RunningNode

ORIGIN = PackIndex(Path(), "", "H-A", "A", "HUREN", "127.0.0.1", "")


def endings(packs: list[PackIndex]) -> list[tuple[int, str]]:
    assert len({pack.association for pack in packs}) == 1
    return [(pack.part, pack.ended) for pack in packs]


def put(spool: Spool, count: int, *, size_bytes: int = 100, released: bool = True) -> list[PackIndex]:
    intake = spool.intake(ORIGIN)
    for number in range(count):
        intake.begin(CT, f"1.2.{number}", EXPLICIT)
        intake.write(memoryview(bytes(size_bytes)))
        intake.commit()
    intake.close(released=released)
    return [read_pack(pack.path) for pack in spool.sealed()]


def test_an_association_that_was_released_says_so(node: RunningNode) -> None:
    with node.connect() as peer:
        peer.associate()
        assert peer.store(b"data").status == 0
        peer.send(RELEASE_REQUEST)
        assert peer.read_pdu()[:1] == b"\x06"
    assert endings(node.packs()) == [(1, "released")]


@pytest.mark.parametrize("how", ["abort", "cut"])
def test_an_association_that_broke_off_does_not(node: RunningNode, how: str) -> None:
    with node.connect() as peer:
        peer.associate()
        assert peer.store(b"data").status == 0
        if how == "abort":
            peer.send(encode_abort(0, 0))
            assert peer.is_closed_by_node()
    assert endings(node.packs()) == [(1, "broken")]


def test_an_association_in_which_an_instance_was_refused_is_not_believed_to_be_all(node: RunningNode) -> None:
    with node.connect() as peer:
        peer.associate()
        assert peer.store(b"data", "1.2.1").status == 0
        assert peer.store(b"", "1.2.2").status != 0
        peer.send(RELEASE_REQUEST)
        assert peer.read_pdu()[:1] == b"\x06"
    assert endings(node.packs()) == [(1, "broken")]


def test_only_the_last_pack_of_several_says_how_it_ended(tmp_path: Path) -> None:
    spool = Spool(tmp_path, pack_limit_bytes=20_000, low_water_bytes=0)
    assert endings(put(spool, 5, size_bytes=9000)) == [(1, "arriving"), (2, "arriving"), (3, "released")]


def test_one_instance_larger_than_a_pack_is_still_the_last(tmp_path: Path) -> None:
    spool = Spool(tmp_path, pack_limit_bytes=20_000, low_water_bytes=0)
    assert endings(put(spool, 1, size_bytes=50_000)) == [(1, "released")]


def test_a_pack_that_took_nothing_is_no_part(tmp_path: Path) -> None:
    spool = Spool(tmp_path, low_water_bytes=0)
    intake = spool.intake(ORIGIN)
    intake.begin(CT, "1.2.1", EXPLICIT)
    intake.discard()
    intake.close()
    intake.begin(CT, "1.2.2", EXPLICIT)
    intake.write(memoryview(b"data"))
    intake.commit()
    intake.close()
    assert endings([read_pack(pack.path) for pack in spool.sealed()]) == [(1, "broken")]


def test_the_word_is_written_in_its_place_and_nothing_else_moves(tmp_path: Path) -> None:
    (released,) = put(Spool(tmp_path / "a", low_water_bytes=0), 3)
    (broken,) = put(Spool(tmp_path / "b", low_water_bytes=0), 3, released=False)
    assert (released.ended, broken.ended) == ("released", "broken")
    assert [member.offset for member in released.members] == [member.offset for member in broken.members]


def test_a_header_torn_while_it_was_written_again_is_still_one_or_the_other(tmp_path: Path) -> None:
    (released,) = put(Spool(tmp_path, low_water_bytes=0), 1)
    content = released.path.read_bytes()
    header = global_header(released)
    before = header.replace(b"released", b"arriving")
    for cut in range(0, len(header) + 1, 512):
        torn = tmp_path / "torn.tar"
        torn.write_bytes(header[:cut] + before[cut:] + content[len(header) :])
        assert read_pack(torn).ended in ("arriving", "released")


def test_a_node_that_dies_leaves_the_end_open(tmp_path: Path) -> None:
    spool = Spool(tmp_path, low_water_bytes=0)
    intake = spool.intake(ORIGIN)
    intake.begin(CT, "1.2.1", EXPLICIT)
    intake.write(memoryview(b"data"))
    intake.commit()
    (path,) = (tmp_path / "open").iterdir()
    (tmp_path / "sealed" / path.name).write_bytes(path.read_bytes())  # as a recovery finds it
    with (tmp_path / "sealed" / path.name).open("rb") as pack:
        assert read_global_header(pack.fileno(), path)[0].ended == "arriving"
    intake.close()


def test_a_disk_that_refuses_the_word_leaves_the_pack_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, low_water_bytes=0)
    intake = spool.intake(ORIGIN)
    intake.begin(CT, "1.2.1", EXPLICIT)
    intake.write(memoryview(b"data"))
    intake.commit()

    def refuse(*_: object) -> int:
        raise OSError(5, "refused")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", refuse)
        intake.close(released=True)
    assert endings([read_pack(pack.path) for pack in spool.sealed()]) == [(1, "arriving")]
