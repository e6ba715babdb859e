"""A peer is known by title and address, and changes of the registry take effect at once."""

import ipaddress
from pathlib import Path

import pytest

from catalog.errors import InvalidInput, NotAllowed, Unavailable
from dicom_node.peers import Peer, PeerDirectory, read_snapshot, write_snapshot

WARD = Peer("CT1", "H-A", (ipaddress.ip_network("10.1.0.0/16"),))
ELSEWHERE = Peer("CT1", "H-B", (ipaddress.ip_network("10.2.0.0/16"), ipaddress.ip_network("fd00::/8")))


def test_a_snapshot_is_read_back(tmp_path: Path) -> None:
    peers = [WARD, ELSEWHERE, Peer("放射科", "H-C")]
    write_snapshot(tmp_path / "run" / "peers.json", peers)
    assert read_snapshot(tmp_path / "run" / "peers.json") == peers
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["peers.json"]


def test_the_same_title_in_two_hospitals_is_told_apart_by_address(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "peers.json", [WARD, ELSEWHERE])
    directory = PeerDirectory(tmp_path / "peers.json")
    assert directory.find("CT1", "10.1.2.3").hospital_code == "H-A"
    assert directory.find("CT1", "10.2.2.3").hospital_code == "H-B"
    assert directory.find("CT1", "::ffff:10.2.2.3").hospital_code == "H-B"
    assert directory.find("CT1", "fd00::1%eth0").hospital_code == "H-B"


def test_an_unknown_title_and_a_wrong_address_are_not_allowed(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "peers.json", [WARD])
    directory = PeerDirectory(tmp_path / "peers.json")
    with pytest.raises(NotAllowed) as unknown:
        directory.find("CT2", "10.1.2.3")
    with pytest.raises(NotAllowed) as misplaced:
        directory.find("CT1", "10.9.2.3")
    assert (unknown.value.code, misplaced.value.code) == ("calling_ae_unknown", "calling_address_unknown")


def test_a_change_of_the_registry_takes_effect_at_the_next_association(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    directory = PeerDirectory(path)
    with pytest.raises(NotAllowed):
        directory.find("CT1", "10.1.0.1")
    write_snapshot(path, [WARD])
    assert directory.find("CT1", "10.1.0.1") == WARD
    write_snapshot(path, [])
    with pytest.raises(NotAllowed):
        directory.find("CT1", "10.1.0.1")


def test_a_broken_snapshot_does_not_replace_a_good_one(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    write_snapshot(path, [WARD])
    directory = PeerDirectory(path)
    directory.find("CT1", "10.1.0.1")
    path.write_text('{"peers": [{"ae_title": "X"}]}')
    assert directory.find("CT1", "10.1.0.1") == WARD
    with pytest.raises(InvalidInput):
        read_snapshot(path)
    with pytest.raises(Unavailable):
        PeerDirectory(path).find("CT1", "10.1.0.1")


def test_who_is_not_in_the_snapshot_is_looked_up(tmp_path: Path) -> None:
    asked: list[str] = []

    def look_up(title: str) -> Peer | None:
        asked.append(title)
        return ELSEWHERE if title == "CT1" else None

    directory = PeerDirectory(tmp_path / "none.json", look_up)
    assert directory.find("CT1", "10.2.0.1") == ELSEWHERE
    with pytest.raises(NotAllowed):
        directory.find("CT1", "10.1.0.1")
    with pytest.raises(NotAllowed):
        directory.find("CT9", "10.1.0.1")
    assert asked == ["CT1", "CT1", "CT9"]
