"""Abuse of the DICOM port (N1 to N6, N14, N15), on a whole node of two workers, with a good peer beside it."""

import json
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from catalog.embedded_child import free_ports
from dicom_node.command import encode_echo_rq, encode_store_rq
from dicom_node.pdu import HEADER, PDV_HEADER, encode_p_data
from tests.certificates import Authority
from tests.dicom_node.node_process import REPOSITORY, NodeProcess
from tests.dicom_node.raw_peer import CT, IMPLICIT, VERIFICATION, RawPeer, request_pdu, store_pdus, wait_until
from tests.faults.good_peer import GoodPeer
from tests.faults.scale import SOAK, scaled
from tests.processes import Use, use

pytestmark = [pytest.mark.flow, pytest.mark.alone]

FREE_MACHINE_RATE = (
    1000.0  # instances per second of the good peer on two cores that nobody else uses, at least
)
CROWD = (("127.0.0.20", b"RAW"), ("127.0.0.21", b"DRIP1"), ("127.0.0.22", b"DRIP2"))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node over TLS too; its times are short so that the tests are, in a soak they are the defaults."""
    root = tmp_path_factory.mktemp("node")
    authority = Authority(root / "ca")
    server = authority.issue("server")
    times = {} if SOAK else {"association_seconds": 2.5, "grace_seconds": 2.0, "artim_seconds": 1.0}
    with NodeProcess(
        root,
        tls_port=free_ports(1)[0],
        tls_certificate=server.certificate,
        tls_key=server.key,
        tls_authorities=authority.certificate,
        **times,
    ) as running:
        yield running
        assert len(running.workers()) == 2, "a worker died"


@pytest.fixture
def process(node: NodeProcess) -> psutil.Process:
    return psutil.Process(node.process.pid)


def counted(node: NodeProcess) -> Counter[str]:
    """What became of associations, over both workers."""
    total: Counter[str] = Counter()
    for path in (node.root / "run" / "metrics").glob("*.json"):
        total.update(json.loads(path.read_text())["counters"].get("associations", {}))
    return total


def crowd(stack: ExitStack, count: int, port: int) -> list[socket.socket]:
    """So many connections."""
    return [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(count)]


def hundred(stack: ExitStack, port: int, *, associate: bool = True) -> list[RawPeer]:
    """A hundred connections of three addresses and three hospitals: no limit is reached."""
    peers = []
    for number in range(100):
        source, title = CROWD[number % len(CROWD)]
        peers.append(stack.enter_context(RawPeer(port, source)))
        if associate:
            assert peers[-1].associate(calling=title)[:1] == b"\x02"
    return peers


def seconds_until_all_closed(socks: list[socket.socket]) -> float:
    began = time.monotonic()
    for sock in socks:
        sock.settimeout(15)
        try:
            while sock.recv(4096):
                continue
        except ConnectionError:
            continue
    return time.monotonic() - began


def is_quiet(process: psutil.Process, before: Use) -> bool:
    """Are the threads of the crowd gone?"""
    return use(process).threads <= before.threads + 2


# --- N1, N2: who connects and then says little -------------------------------------------------------------


def test_a_thousand_half_open_connections_keep_nobody_out(node: NodeProcess, process: psutil.Process) -> None:
    said = [b"", b"\x01", b"\x01\x00\x00", b"\x01\x00\x00\x00\x00\xff", request_pdu()[:120]]
    before = use(process)
    with GoodPeer(node.port) as good, ExitStack() as stack:
        socks = crowd(stack, 1000, node.port)
        for number, sock in enumerate(socks):
            try:
                sock.sendall(said[number % len(said)])
            except ConnectionError:
                continue  # refused already
        assert use(process).threads < before.threads + 2 * 66 + 4
        assert seconds_until_all_closed(socks) < 10
    good.check(least_rounds=20)
    wait_until(lambda: is_quiet(process, before))


def test_two_hundred_slow_handshakes_keep_nobody_out(node: NodeProcess, process: psutil.Process) -> None:
    before = use(process)
    hello = client_hello()
    with GoodPeer(node.port) as good, ExitStack() as stack:
        socks = crowd(stack, 200, node.settings.tls_port)
        drip = threading.Thread(target=drip_all, args=(socks, hello))
        drip.start()
        assert seconds_until_all_closed(socks) < 10
        drip.join(20)
    good.check(least_rounds=20)
    wait_until(lambda: is_quiet(process, before))


def client_hello() -> bytes:
    """The first bytes of a real handshake."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1").do_handshake()
    return outgoing.read()


def drip_all(socks: list[socket.socket], data: bytes) -> None:
    """Send a byte on each, again and again, for as long as anybody listens."""
    left = list(socks)
    for at in range(len(data)):
        for sock in list(left):
            try:
                sock.send(data[at : at + 1])
            except OSError:
                left.remove(sock)
        if not left:
            return
        time.sleep(0.5)


# --- N3: lengths that lie ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_accepted", [False, True], ids=["before acceptance", "after acceptance"])
def test_a_hundred_lying_lengths_at_once_cost_no_memory(
    node: NodeProcess, process: psutil.Process, is_accepted: bool
) -> None:
    before = use(process)
    lies = [0xFFFFFFFF, 64 << 20, 0, 3]
    inner = struct.pack(">BxIIBB", 4, 6, 0xFFFFFFFF, 1, 3)
    kind = b"\x04" if is_accepted else b"\x01"
    wrong = [kind + b"\x00" + struct.pack(">I", lie) for lie in lies] + [inner]
    with ExitStack() as stack:
        peers = hundred(stack, node.port, associate=is_accepted)
        for number, peer in enumerate(peers):
            with suppress(ConnectionError):  # cut off while we speak
                peer.send(wrong[number % len(wrong)] + bytes(1 << 20))
        assert seconds_until_all_closed([peer.sock for peer in peers]) < 10
    assert use(process).rss_mib - before.rss_mib < 20
    wait_until(lambda: is_quiet(process, before))


# --- N4: a flood of associations -----------------------------------------------------------------------------


def test_a_flood_from_three_addresses_leaves_a_good_peer_its_half(
    node: NodeProcess, process: psutil.Process
) -> None:
    before, known = use(process), counted(node)
    # What else the machine does changes from second to second: a share counts if it was reached once.
    shares = [share_kept(node, process, before, seconds=60)]
    while max(shares) < 0.5 and len(shares) < 3:
        shares.append(share_kept(node, process, before, seconds=5))
    assert max(shares) >= 0.5, shares
    wait_until(lambda: (counted(node) - known)["rejected:limit_address"] > 0)


def share_kept(node: NodeProcess, process: psutil.Process, before: Use, seconds: int) -> float:
    """How much of its rate a good peer keeps in a flood, of 500 connections a second where nothing else runs here."""
    alone, threads = rate_alone(node), [0]
    per_second = 500 * min(1.0, alone / FREE_MACHINE_RATE)
    with GoodPeer(node.port, instances=20, pause_seconds=0) as beside:
        flood = start_flood(node.port, per_second, seconds)
        while flood.poll() is None:
            threads.append(use(process).threads)
            time.sleep(0.2)
    assert int(flood.communicate()[0]) > per_second * seconds / 2
    assert beside.failures == []
    assert max(threads) < before.threads + 2 * 3 * 66 + 4
    wait_until(lambda: is_quiet(process, before))
    return beside.rate / alone


def rate_alone(node: NodeProcess) -> float:
    """What a good peer reaches when it is alone, in instances per second."""
    with GoodPeer(node.port, instances=20, pause_seconds=0) as good:
        time.sleep(1.0)
    assert good.failures == []
    return good.rate


def start_flood(port: int, per_second: float, seconds: float) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.faults.flood", str(port), str(per_second), str(seconds)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)


# --- N5, N6: who sends too slowly, and who never waits -----------------------------------------------------------


def test_a_hundred_dripping_transfers_are_cut_and_slow_nobody_down(
    node: NodeProcess, process: psutil.Process
) -> None:
    known = counted(node)["aborted:too_slow"]
    with ExitStack() as stack:
        dripping = [peer.sock for peer in hundred(stack, node.port)]
        for sock in dripping:  # in the middle of a C-STORE
            sock.sendall(encode_p_data(1, 3, encode_store_rq(1, CT, "1.2.3")))
            sock.sendall(HEADER.pack(4, 100_006) + PDV_HEADER.pack(100_002, 1, 2))
        with GoodPeer(node.port, instances=20, pause_seconds=0) as beside:
            began, left = time.monotonic(), dripping
            while left and time.monotonic() - began < 60:
                left = [sock for sock in left if is_open_after_a_drop(sock)]
                time.sleep(0.1)
    assert left == []
    assert beside.failures == []
    assert beside.rate > 0.8 * 0.8 * rate_alone(node)  # the drippers' own work is done here too
    wait_until(lambda: counted(node)["aborted:too_slow"] - known == 100)


def is_open_after_a_drop(sock: socket.socket) -> bool:
    try:
        sock.send(b"x")
        sock.setblocking(False)
        return sock.recv(100)[:1] not in (b"", b"\x07")
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def test_a_gigabyte_of_requests_without_reading_an_answer_is_held_back(
    node: NodeProcess, process: psutil.Process
) -> None:
    before, block = use(process), encode_p_data(1, 3, encode_echo_rq(1)) * 10_000
    with RawPeer(node.port) as peer:
        assert peer.associate((1, VERIFICATION, IMPLICIT))[:1] == b"\x02"
        peer.sock.settimeout(1.0)
        sent = 0
        with suppress(TimeoutError):  # TCP holds us back
            while sent < 1 << 30:
                sent += peer.sock.send(block)
        assert sent < 64 << 20
        assert use(process).rss_mib - before.rss_mib < 64


def test_pipelined_instances_are_all_answered_in_flat_memory(
    node: NodeProcess, process: psutil.Process
) -> None:
    before, count = use(process), 1024
    pdus = store_pdus(bytes(1 << 20), "1.2.3")
    with RawPeer(node.port) as peer:
        assert peer.associate()[:1] == b"\x02"
        sending = threading.Thread(target=lambda: [peer.send(pdus) for _ in range(count)])
        sending.start()
        assert {peer.response().status for _ in range(count)} == {0}
        sending.join()
        assert use(process).rss_mib - before.rss_mib < 64


# --- N14, N15: who does nothing ---------------------------------------------------------------------------------


def test_health_checks_that_only_connect_leave_no_trace(node: NodeProcess, process: psutil.Process) -> None:
    for port in (node.port, node.settings.tls_port):
        connect_and_close(port, 500)
    before, descriptors = use(process), count_descriptors(node)
    for port in (node.port, node.settings.tls_port):
        connect_and_close(port, 50_000)
    wait_until(lambda: is_quiet(process, before))
    assert use(process).rss_mib - before.rss_mib < 2
    wait_until(lambda: count_descriptors(node) <= descriptors + 2)
    with GoodPeer(node.port) as good:
        wait_until(lambda: len(good.rounds) >= 5)
    good.check()


def connect_and_close(port: int, times: int) -> None:
    for _ in range(times):
        sock = socket.create_connection(("127.0.0.1", port), 10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no TIME_WAIT
        sock.close()


def count_descriptors(node: NodeProcess) -> int:
    return sum(worker.num_fds() for worker in node.workers())


def test_a_hundred_idle_associations_take_less_than_three_percent_of_a_core(tmp_path: Path) -> None:
    """On a node of its own with the times it ships with: none of them is ended for its idleness meanwhile."""
    seconds = scaled(3, 30)
    with NodeProcess(tmp_path) as node, ExitStack() as stack:
        peers = hundred(stack, node.port)
        process = psutil.Process(node.process.pid)
        before, began = use(process), time.monotonic()
        time.sleep(seconds)
        share = (use(process).cpu_seconds - before.cpu_seconds) / (time.monotonic() - began)
        ended, _, _ = select.select([peer.sock for peer in peers], [], [], 0)
    assert not ended
    assert share < 0.03
