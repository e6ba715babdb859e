"""Slow, silent and crowding peers are bounded, and never stand in the way of a good one (N13 among them)."""

import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from catalog.errors import Unavailable
from dicom_node.admission import Admission
from dicom_node.command import encode_store_rq
from dicom_node.pdu import HEADER, PDV_HEADER, encode_p_data
from dicom_node.peers import Peer
from tests.dicom_node.raw_peer import (
    CT,
    RawPeer,
    RunningNode,
    Snapshotless,
    request_pdu,
    store_pdus,
    wait_until,
)
from tests.needs import need_descriptors

pytestmark = pytest.mark.alone


def echo_seconds(node: RunningNode) -> float:
    """How long a good peer takes from connecting to its first stored instance."""
    began = time.monotonic()
    with node.connect() as peer:
        assert peer.associate()[:1] == b"\x02"
        assert peer.store(b"good").status == 0
    return time.monotonic() - began


@pytest.mark.parametrize(
    "said", [b"", b"\x01", b"\x01\x00\x00", b"\x01\x00\x00\x00\x00\xff", request_pdu()[:100]]
)
def test_a_peer_that_stops_before_its_request_is_whole_is_dropped_in_time(
    tmp_path: Path, said: bytes
) -> None:
    with RunningNode(tmp_path, association_seconds=0.5) as node:
        silent = [node.connect() for _ in range(20)]
        for peer in silent:
            peer.send(said)
        assert echo_seconds(node) < 1
        began = time.monotonic()
        assert all(peer.is_closed_by_node() for peer in silent)
        assert time.monotonic() - began < 5
        assert node.stop.is_set() is False


def test_dripping_bytes_does_not_buy_time(tmp_path: Path) -> None:
    with RunningNode(tmp_path, grace_seconds=0.6, min_bytes_per_second=4096) as node, node.connect() as peer:
        peer.associate()
        peer.send(encode_p_data(1, 3, encode_store_rq(1, CT, "1.2.3")))
        peer.send(HEADER.pack(4, 100_006) + PDV_HEADER.pack(100_002, 1, 2))
        assert _seconds_until_cut(peer, b"x") < 5
        assert node.members() == []


def test_dripping_tiny_pdus_does_not_buy_time(tmp_path: Path) -> None:
    tiny = encode_p_data(1, 0, b"xx")
    with RunningNode(tmp_path, grace_seconds=0.6, min_bytes_per_second=4096) as node, node.connect() as peer:
        peer.associate()
        peer.send(encode_p_data(1, 3, encode_store_rq(1, CT, "1.2.3")))
        assert _seconds_until_cut(peer, tiny) < 5


def _seconds_until_cut(peer: RawPeer, drop: bytes) -> float:
    """Send a drop each 20 ms until the node has had enough."""
    began = time.monotonic()
    peer.sock.settimeout(0.02)
    while time.monotonic() - began < 10:
        try:
            peer.send(drop)
            if peer.sock.recv(100)[:1] in (b"", b"\x07"):
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - began


def test_an_idle_association_is_ended_after_its_time(tmp_path: Path) -> None:
    with RunningNode(tmp_path, idle_seconds=0.3) as node, node.connect() as peer:
        peer.associate()
        assert peer.read_pdu()[:1] == b"\x07"


@contextmanager
def limited(root: Path, **limits: int) -> Iterator[RunningNode]:
    peers = Snapshotless(Peer("RAW", "H-A"), Peer("RAW2", "H-B"))
    with RunningNode(root, peers, association_seconds=5.0, **limits) as node:
        yield node


@pytest.mark.parametrize(
    ("limits", "label"),
    [
        ({"max_associations": 2}, "rejected:limit_total"),
        ({"max_associations_per_address": 2}, "rejected:limit_address"),
        ({"max_associations_per_hospital": 2}, "rejected:limit_hospital"),
    ],
)
def test_one_association_too_many_is_rejected_for_now(
    tmp_path: Path, limits: dict[str, int], label: str
) -> None:
    with limited(tmp_path, **limits) as node:
        held = [node.connect() for _ in range(2)]
        assert [peer.associate()[:1] for peer in held] == [b"\x02", b"\x02"]
        with node.connect() as third:
            assert tuple(third.associate()[7:10]) == (2, 3, 2)
        if "hospital" in label:
            with node.connect() as other:
                assert other.associate(calling=b"RAW2")[:1] == b"\x02"
        held[0].sock.close()
        wait_until(lambda: _is_welcome(node))
        for peer in held:
            peer.sock.close()
    assert label in (tmp_path / "run" / "metrics" / f"{os.getpid()}.json").read_text()


def _is_welcome(node: RunningNode) -> bool:
    with node.connect() as peer:
        return peer.associate()[:1] == b"\x02"


def test_a_flood_of_connections_is_answered_and_a_good_peer_gets_in(tmp_path: Path) -> None:
    with limited(tmp_path, max_associations=20, max_associations_per_address=15) as node:
        before = threading.active_count()
        flood = [node.connect() for _ in range(300)]
        wait_until(lambda: threading.active_count() <= before + 20 + 64 + 1)
        for peer in flood:
            peer.sock.close()
        wait_until(lambda: _is_welcome(node), 20)
        wait_until(lambda: threading.active_count() <= before + 2)


def test_connecting_and_closing_again_costs_nothing(node: RunningNode) -> None:
    descriptors = psutil.Process().num_fds()
    for _ in range(300):
        node.connect().sock.close()
    assert echo_seconds(node) < 2
    wait_until(lambda: psutil.Process().num_fds() <= descriptors + 2)


def test_a_giant_pdu_is_refused_before_it_is_read(node: RunningNode) -> None:
    memory = psutil.Process().memory_info().rss
    peers = [node.connect() for _ in range(30)]
    for peer in peers:
        peer.send(b"\x01\x00\xff\xff\xff\xff" + bytes(60_000))
    assert all(peer.is_closed_by_node() for peer in peers)
    assert psutil.Process().memory_info().rss - memory < 20 << 20


def test_a_large_object_goes_through_in_flat_memory(node: RunningNode) -> None:
    block = os.urandom(1 << 20)
    count = 200
    body = HEADER.pack(4, len(block) + 6) + PDV_HEADER.pack(len(block) + 2, 1, 0) + block
    with node.connect() as peer:
        peer.associate()
        peer.send(encode_p_data(1, 3, encode_store_rq(1, CT, "1.2.3")))
        memory = psutil.Process().memory_info().rss
        for _ in range(count):
            peer.send(body)
        peer.send(encode_p_data(1, 2, b"end!"))
        assert peer.response().status == 0
        assert psutil.Process().memory_info().rss - memory < 16 << 20
    assert node.members()[0].dataset_size_bytes == count * len(block) + 4


def test_a_sender_that_reads_no_answers_is_held_back_by_tcp(node: RunningNode) -> None:
    request = store_pdus(os.urandom(1 << 20))
    memory = psutil.Process().memory_info().rss
    with node.connect() as peer:
        peer.associate()
        for _ in range(64):
            peer.send(request)
        assert psutil.Process().memory_info().rss - memory < 16 << 20
        assert [peer.response().status for _ in range(64)] == [0] * 64


def test_idle_associations_cost_almost_no_processor_time(node: RunningNode) -> None:
    peers = [node.connect() for _ in range(40)]
    assert all(peer.associate()[:1] == b"\x02" for peer in peers)
    process = psutil.Process()
    used, began = sum(process.cpu_times()[:2]), time.monotonic()
    threading.Event().wait(1.5)
    share = (sum(process.cpu_times()[:2]) - used) / (time.monotonic() - began)
    for peer in peers:
        peer.sock.close()
    assert share < 0.05


def test_without_file_descriptors_the_node_survives_and_serves_again(node: RunningNode) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [node.connect() for _ in range(3)]
    used = psutil.Process().num_fds()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 4, hard))
    try:
        crowd = _connect_until_refused(node.port)
        for sock in crowd:
            sock.close()
        for peer in held:
            peer.sock.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_until(lambda: _is_welcome(node))


def test_where_the_spare_descriptor_is_taken_as_well_the_node_survives_and_serves_again(
    node: RunningNode, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as waiting:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (3, hard)
        )  # nothing can be opened, not even what was just closed
        try:
            waiting.connect(("127.0.0.1", node.port))
            wait_until(lambda: caplog.text.count("no connection can be accepted") > 2)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        wait_until(lambda: _is_welcome(node))


def _connect_until_refused(port: int) -> list[socket.socket]:
    crowd: list[socket.socket] = []
    try:
        while True:
            crowd.append(socket.create_connection(("127.0.0.1", port)))
    except OSError:
        return crowd


def test_two_thousand_open_descriptors_of_4096_are_no_obstacle(tmp_path: Path) -> None:
    need_descriptors(4096)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(2000)]
    try:
        with RunningNode(tmp_path) as node:
            assert echo_seconds(node) < 2
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_stopping_ends_idle_associations_at_once_and_lets_a_transfer_finish(tmp_path: Path) -> None:
    with RunningNode(tmp_path, drain_seconds=5.0) as node:
        idle, busy = node.connect(), node.connect()
        idle.associate()
        busy.associate()
        pdus = store_pdus(b"x" * 100_000)
        busy.send(pdus[:50_000])
        wait_until(lambda: any((tmp_path / "spool/open").iterdir()))
        began = time.monotonic()
        node.stop.set()
        assert idle.read_pdu()[:1] == b"\x07"
        assert time.monotonic() - began < 2
        busy.send(pdus[50_000:])
        assert busy.response().status == 0
        assert busy.read_pdu()[:1] == b"\x07"
        node.thread.join(5)
        assert time.monotonic() - began < 4
        assert len(node.members()) == 1


def test_stopping_cuts_a_transfer_that_does_not_end(tmp_path: Path) -> None:
    with RunningNode(tmp_path, drain_seconds=0.5) as node, node.connect() as busy:
        busy.associate()
        assert busy.store(b"kept", "1.2.1").status == 0
        busy.send(store_pdus(b"x" * 600_000, "1.2.2")[:500_000])  # more than is written in one stretch
        (pack,) = (tmp_path / "spool/open").iterdir()
        wait_until(lambda: pack.stat().st_size > 190_000)
        began = time.monotonic()
        node.stop.set()
        node.thread.join(10)
        assert time.monotonic() - began < 4
        assert [member.SOPInstanceUID for member in node.members()] == ["1.2.1"]


def test_places_of_a_dead_worker_are_given_back(tmp_path: Path) -> None:
    table = Admission(tmp_path / "table", total=3, per_address=3, per_hospital=1)
    places = [table.enter("10.0.0.1") for _ in range(3)]
    with pytest.raises(Unavailable):
        table.enter("10.0.0.2")
    table.forget(os.getpid() + 1)
    assert table.count() == 3
    places[0].claim("H-A")
    with pytest.raises(Unavailable):
        places[1].claim("H-A")
    table.forget(os.getpid())
    assert table.count() == 0
    table.enter("10.0.0.1").leave()
    table.close()


def test_a_reset_right_after_connecting_is_nothing(node: RunningNode) -> None:
    for _ in range(50):
        peer = node.connect()
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.sock.close()
    assert echo_seconds(node) < 2
