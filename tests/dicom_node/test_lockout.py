"""Guessing titles leads nowhere: an address that tries too often is shut out, and those who belong are not (N10)."""

import json
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.lockout import Lockout
from dicom_node.peers import Peer, PeerDirectory, write_snapshot
from dicom_node.refusals import Refusal, Refusals, waiting_refusals
from tests.dicom_node.node_process import NodeProcess
from tests.dicom_node.raw_peer import RawPeer, RunningNode, wait_until

GUESSER, NEIGHBOUR = "127.0.0.5", "127.0.0.6"
HERE = (ip_network("127.0.0.5"),)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[RunningNode]:
    """A node that knows a device bound to the guesser's address and two that may call from anywhere."""
    peers = tmp_path / "peers.json"
    write_snapshot(peers, [Peer("BOUND", "H-A", HERE), Peer("ROAMING", "H-B"), Peer("SEEN", "H-C")])
    with RunningNode(tmp_path, PeerDirectory(peers), lockout_seconds=1.5) as node:
        yield node


def answer(node: RunningNode, calling: bytes, source: str = GUESSER, called: bytes = b"HUREN") -> bytes:
    """The answer to a request: 02, or the three numbers of a rejection."""
    with RawPeer(node.port, source) as peer:
        pdu = peer.associate(calling=calling, called=called)
        return pdu[:1] if pdu[:1] == b"\x02" else pdu[7:10]


def guess(node: RunningNode, times: int = 20) -> None:
    for number in range(times):
        assert answer(node, f"GUESS{number}".encode()) == b"\x01\x01\x03"


def labels(node: RunningNode) -> dict[str, dict[str, int]]:
    """What the node has counted."""
    for path in (node.root / "run" / "metrics").glob("*.json"):
        found: dict[str, dict[str, int]] = json.loads(path.read_text())["counters"]
        return found
    return {}


def test_after_twenty_wrong_titles_a_right_one_is_refused_like_a_wrong_one(guarded: RunningNode) -> None:
    guess(guarded, 19)
    assert answer(guarded, b"ROAMING") == b"\x02"
    guess(guarded, 1)
    assert answer(guarded, b"SEEN") == b"\x01\x01\x03"
    assert answer(guarded, b"ROAMING") == b"\x02"  # let in from there before


def test_the_lock_out_ends_and_does_not_reach_those_who_belong_there_or_elsewhere(
    guarded: RunningNode,
) -> None:
    guess(guarded)
    assert answer(guarded, b"ROAMING") == b"\x01\x01\x03"
    assert answer(guarded, b"BOUND") == b"\x02"
    assert answer(guarded, b"ROAMING", NEIGHBOUR) == b"\x02"
    wait_until(lambda: answer(guarded, b"ROAMING") == b"\x02", 5)  # asking again has not prolonged it


def test_guessing_our_own_title_is_shut_out_too_and_a_stranger_learns_nothing_of_it(
    guarded: RunningNode,
) -> None:
    assert answer(guarded, b"STRANGER", called=b"HUREN") == answer(guarded, b"STRANGER", called=b"OTHER")
    for number in range(18):  # and the two before
        assert answer(guarded, b"SEEN", called=f"PACS{number}".encode()) == b"\x01\x01\x07"
    assert answer(guarded, b"ROAMING") == b"\x01\x01\x03"


def test_a_lock_out_is_counted_and_its_refusals_wait_for_the_audit(guarded: RunningNode) -> None:
    guess(guarded, 25)
    wait_until(lambda: labels(guarded).get("lockouts") == {"begun": 1})
    wait_until(lambda: sum(entry.count for entry in noted(guarded.root)) == 25)
    assert {(entry.address, entry.reason) for entry in noted(guarded.root)} == {
        (GUESSER, "calling_ae_unknown")
    }


def noted(root: Path) -> list[Refusal]:
    return [entry for _, entries in waiting_refusals(root / "run" / "refusals") for entry in entries]


def test_tries_over_all_workers_count_together(tmp_path: Path) -> None:
    with NodeProcess(tmp_path) as node:
        for number in range(20):
            with RawPeer(node.port, GUESSER) as peer:
                assert peer.associate(calling=f"GUESS{number}".encode())[:1] == b"\x03"
        with RawPeer(node.port, GUESSER) as peer:
            assert peer.associate(calling=b"RAW")[:1] == b"\x03"
        with RawPeer(node.port, NEIGHBOUR) as peer:
            assert peer.associate(calling=b"RAW")[:1] == b"\x02"


def test_a_dictionary_of_titles_finds_nothing(guarded: RunningNode) -> None:
    """The titles of nmap's dicom-brute, most of which are somebody's; here the device ROAMING is among them."""
    words = ["ANY-SCP", "DCM4CHEE", "ORTHANC", "STORESCP", "PACS", "CONQUESTSRV1", "OSIRIX", "DICOM"]
    words += [f"CT{number}" for number in range(1, 20)] + ["ROAMING", "SEEN", *(f"MR{n}" for n in range(50))]
    assert {answer(guarded, word.encode()) for word in words} == {b"\x01\x01\x03"}


# --- the table -------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Lockout]:
    lockout = Lockout(tmp_path / "table", tries=3, seconds=60)
    yield lockout
    lockout.close()


def test_the_third_refusal_begins_the_lock_out_once(table: Lockout) -> None:
    assert [table.count("10.0.0.1") for _ in range(5)] == [False, False, True, False, False]
    assert table.is_out("10.0.0.1")
    assert not table.is_out("10.0.0.2")


def test_refusals_that_lie_far_apart_do_not_add_up(tmp_path: Path) -> None:
    table = Lockout(tmp_path / "table", tries=2, seconds=0.05)
    assert not table.count("10.0.0.1")
    time.sleep(0.06)
    assert not table.count("10.0.0.1")
    assert table.count("10.0.0.1")
    table.close()


def test_without_a_number_of_tries_nobody_is_locked_out(tmp_path: Path) -> None:
    table = Lockout(tmp_path / "table", tries=0, seconds=60)
    assert not any(table.count("10.0.0.1") for _ in range(100))
    assert not table.is_out("10.0.0.1")
    table.close()


def test_all_of_an_ipv6_network_is_one_address_and_a_mapped_one_is_itself(table: Lockout) -> None:
    for host in range(3):
        table.count(f"2001:db8::{host:x}")
    assert table.is_out("2001:db8::ffff")
    assert not table.is_out("2001:db8:0:1::1")
    for _ in range(3):
        table.count("::ffff:10.0.0.1")
    assert not table.is_out("::ffff:10.0.0.2")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20_000)), max_size=300))
def test_the_table_never_takes_one_key_for_another(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[bool, int]]
) -> None:
    table = Lockout(tmp_path_factory.mktemp("table") / "table", tries=3, seconds=60)
    refused: dict[int, int] = {}
    let_in = set()
    for is_refusal, number in acts:
        address = f"10.0.{number >> 8}.{number & 255}"
        if is_refusal:
            table.count(address)
            refused[number] = refused.get(number, 0) + 1
        else:
            table.remember("PACS", address)
            let_in.add(number)
    for number in {number for _, number in acts}:
        address = f"10.0.{number >> 8}.{number & 255}"
        assert not table.is_out(address) or refused.get(number, 0) >= 3
        assert not table.knows("PACS", address) or number in let_in
    table.close()


def test_counting_from_many_threads_loses_nothing(table: Lockout, tmp_path: Path) -> None:
    other = Lockout(tmp_path / "table", tries=3, seconds=60)  # another worker's view of the same file
    begun: list[bool] = []
    threads = [
        threading.Thread(target=lambda t=t: begun.extend(t.count("10.0.0.1") for _ in range(50)))
        for t in (table, other) * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(begun) == 1
    other.close()


# --- what waits for the audit ------------------------------------------------------------------------------------


def test_equal_refusals_are_one_entry_and_a_flood_of_titles_stays_small(tmp_path: Path) -> None:
    refusals = Refusals(tmp_path)
    for number in range(5_000):
        refusals.note("10.0.0.1", "SAME", "rejected:calling_ae_unknown")
        refusals.note("10.0.0.1", f"T{number}", "rejected:calling_ae_unknown")
    refusals.write()
    ((_, entries),) = waiting_refusals(tmp_path)
    assert len(entries) <= 1025
    assert sum(entry.count for entry in entries) == 10_000
    assert next(entry for entry in entries if entry.calling_ae == "SAME").count == 5_000


def test_while_nobody_takes_the_files_they_do_not_pile_up(tmp_path: Path) -> None:
    refusals = Refusals(tmp_path)
    for _ in range(100):
        refusals.note("10.0.0.1", "SAME", "rejected:calling_ae_unknown")
        refusals.write()
    assert len(list(tmp_path.iterdir())) == 64
    for path in tmp_path.iterdir():
        path.unlink()
    refusals.note("10.0.0.1", "SAME", "rejected:calling_ae_unknown")
    refusals.write()
    ((_, (entry,)),) = waiting_refusals(tmp_path)
    assert entry.count == 37
