"""N8: transfers cut at each tenth by FIN and by RST, and slowed down: nothing half stays, and the next try succeeds."""

import hashlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.pdu import RELEASE_REQUEST
from tests.dicom_node.raw_peer import RawPeer, RunningNode, request_pdu, store_pdus, wait_until
from tests.faults.history import BROKEN, History, kept_in
from tests.faults.run_record import RunRecord
from tests.faults.tcp_proxy import TCPProxy, Trouble, open_tcp_proxy

SIZE = 50_000


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with RunningNode(tmp_path) as running:
        yield running


@pytest.fixture
def proxy(node: RunningNode) -> Iterator[TCPProxy]:
    with open_tcp_proxy(("127.0.0.1", node.port)) as opened:
        yield opened


def test_a_transfer_cut_at_each_tenth_leaves_nothing_and_the_next_try_succeeds(
    node: RunningNode, proxy: TCPProxy, record: RunRecord
) -> None:
    rounds = 50
    history = History()
    cuts = list(itertools.product(range(rounds), range(1, 11), ("FIN", "RST")))
    for number, (_, tenth, by) in enumerate(cuts):
        uid, data = f"1.2.{number}", random.Random(number).randbytes(SIZE)
        whole_bytes = len(request_pdu()) + len(store_pdus(data, uid))
        proxy.trouble = Trouble(cut_after_bytes=whole_bytes * tenth // 10, by=by)  # type: ignore[arg-type]
        assert not stores(proxy.port, history, uid, data) or tenth == 10
        proxy.trouble = Trouble()
        assert stores(proxy.port, history, uid, data)
        record.progress(cuts=number + 1)
    wait_until(lambda: not any((node.root / "spool/open").iterdir()))
    assert proxy.cuts == len(cuts)
    kept = kept_in(node.spool)
    assert set(kept) == set(history.acknowledged) == set(history.sent)
    assert all(set(digests) == {history.sent[uid]} for uid, digests in kept.items())
    # Cut after its last byte a transfer is whole, and only its answer is lost: such an instance is there twice.
    assert sum(len(digests) for digests in kept.values()) <= len(cuts) + rounds * 2
    record.note(acknowledged=len(history.acknowledged), kept=len(kept))


def stores(port: int, history: History, uid: str, data: bytes) -> bool:
    try:
        with RawPeer(port) as peer:
            peer.associate()
            return history.store(peer, uid, data) == 0
    except BROKEN:
        return False


def test_a_slow_line_and_a_late_one_carry_everything(node: RunningNode, proxy: TCPProxy) -> None:
    data = random.Random(1).randbytes(SIZE)
    for number, trouble in enumerate([Trouble(delay_seconds=0.02), Trouble(bytes_per_second=500_000)]):
        proxy.trouble = trouble
        with RawPeer(proxy.port) as peer:
            peer.associate()
            assert peer.store(data, f"1.2.{number}").status == 0
            peer.send(RELEASE_REQUEST)
            assert peer.read_pdu()[:1] == b"\x06"
    assert [member.sha256 for member in node.members()] == [hashlib.sha256(data).hexdigest()] * 2


def test_a_black_hole_costs_its_association_and_nothing_else(tmp_path: Path) -> None:
    with (
        RunningNode(tmp_path, grace_seconds=0.3) as node,
        open_tcp_proxy(("127.0.0.1", node.port)) as proxy,
        RawPeer(proxy.port) as lost,
    ):
        lost.associate()
        assert lost.store(b"kept", "1.2.1").status == 0
        lost.send(store_pdus(bytes(SIZE), "1.2.2")[: SIZE // 2])
        wait_until(lambda: proxy.from_clients_bytes > SIZE // 4)
        proxy.trouble = Trouble(swallow=True)
        with node.connect() as good:
            good.associate()
            assert good.store(b"good", "1.2.3").status == 0
        wait_until(lambda: len(node.spool.sealed()) == 2)
        assert {member.SOPInstanceUID for member in node.members()} == {"1.2.1", "1.2.3"}
