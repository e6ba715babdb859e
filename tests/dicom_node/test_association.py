"""The loop on real sockets: what good peers get, and what everything else gets."""

import hashlib
import resource
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.filereader import dcmread
from pynetdicom import AE

from catalog.errors import InvalidInput, Unavailable
from dicom_node.command import encode_echo_rq, encode_store_rq
from dicom_node.part10 import read_file_meta
from dicom_node.pdu import RELEASE_REQUEST, encode_abort, encode_p_data
from dicom_node.peers import Peer, PeerDirectory
from dicom_node.sop_classes import STORAGE_CLASSES
from tests.dicom_node.raw_peer import (
    CT,
    EXPLICIT,
    IMPLICIT,
    MR,
    VERIFICATION,
    RunningNode,
    command_pdu,
    request_pdu,
    store_pdus,
    wait_until,
)

DATA = Path(pydicom.__file__).parent / "data"


def storable_files() -> dict[Path, bytes]:
    """pydicom's Part 10 files of storage classes, each with its data set's bytes."""
    found = {}
    for path in sorted(DATA.rglob("*.dcm")):
        content = path.read_bytes()
        try:
            meta = read_file_meta(content)
        except InvalidInput:
            continue
        if meta.SOPClassUID in STORAGE_CLASSES and len(content) > meta.dataset_offset:
            found[path] = content[meta.dataset_offset :]
    return found


def test_pynetdicom_stores_and_the_bytes_are_those_it_sent(node: RunningNode) -> None:
    path = DATA / "test_files" / "CT_small.dcm"
    scu = AE("RAW")
    scu.add_requested_context(CT, EXPLICIT)
    scu.add_requested_context(VERIFICATION)
    association = scu.associate("127.0.0.1", node.port, ae_title="HUREN")
    assert association.is_established
    assert association.send_c_echo().Status == 0
    assert association.send_c_store(path).Status == 0
    association.release()
    (member,) = node.members()
    sent = dcmread(path)
    assert (member.SOPInstanceUID, member.TransferSyntaxUID) == (sent.SOPInstanceUID, EXPLICIT)
    with node.spool.sealed()[0].path.open("rb") as pack:
        pack.seek(member.offset)
        assert dcmread(pack).PixelData == sent.PixelData


def test_every_test_file_is_kept_byte_for_byte_in_its_own_syntax(node: RunningNode) -> None:
    files = storable_files()
    expected = {}
    for number, (path, data) in enumerate(files.items()):
        meta = read_file_meta(path.read_bytes())
        uid = f"2.25.{number + 1}"
        with node.connect() as peer:
            peer.associate((1, meta.SOPClassUID, meta.TransferSyntaxUID))
            assert peer.store(data, uid, SOPClassUID=meta.SOPClassUID).status == 0, path.name
            peer.send(RELEASE_REQUEST)
            assert peer.read_pdu()[:1] == b"\x06"
        expected[uid] = (hashlib.sha256(data).hexdigest(), meta.TransferSyntaxUID, meta.SOPClassUID)
    kept = {
        member.SOPInstanceUID: (member.sha256, member.TransferSyntaxUID, member.SOPClassUID)
        for member in node.members()
    }
    assert kept == expected
    assert len({syntax for _, syntax, _ in kept.values()}) > 10


def test_storescu_sends_every_syntax_it_can_propose(
    node: RunningNode, require_tool: Callable[[str], str]
) -> None:
    storescu = require_tool("storescu")
    options = {"-xe": "", "-xi": IMPLICIT, "-xb": "1.2.840.10008.1.2.2", "-xd": "1.2.840.10008.1.2.1.99"}
    options |= {
        "-xs": "1.2.840.10008.1.2.4.70",
        "-xy": "1.2.840.10008.1.2.4.50",
        "-xr": "1.2.840.10008.1.2.5",
    }
    options |= {"-xt": "1.2.840.10008.1.2.4.80", "-xv": "1.2.840.10008.1.2.4.90"}
    files = {option: _file_of(syntax or EXPLICIT) for option, syntax in options.items()}
    for option, path in files.items():
        # Uncompressed files are converted by storescu as proposed; compressed ones go as they are.
        source = path or DATA / "test_files" / "CT_small.dcm"
        command = [storescu, option, "-aec", "HUREN", "127.0.0.1", str(node.port), str(source)]
        subprocess.run(command, check=True, capture_output=True)
    assert len(node.members()) == len(files)


def _file_of(syntax: str) -> Path | None:
    for path in storable_files():
        if read_file_meta(path.read_bytes()).TransferSyntaxUID == syntax and path.parent.name == "test_files":
            return path
    return None


def test_one_association_carries_many_instances_on_several_contexts(node: RunningNode) -> None:
    with node.connect() as peer:
        peer.associate((1, CT, EXPLICIT), (3, MR, IMPLICIT), (5, VERIFICATION, IMPLICIT))
        for number in range(20):
            SOPClassUID, context_id = ((CT, 1), (MR, 3))[number % 2]
            response = peer.store(
                bytes([number]) * 50_000, f"1.2.{number}", context_id=context_id, SOPClassUID=SOPClassUID
            )
            assert (response.status, response.message_id, response.SOPInstanceUID) == (0, 7, f"1.2.{number}")
        peer.send(encode_p_data(5, 3, encode_echo_rq(9)))
        assert peer.response().status == 0
    assert len(node.members()) == 20


def test_requests_sent_without_waiting_are_all_answered_in_order(node: RunningNode) -> None:
    with node.connect() as peer:
        peer.associate()
        peer.send(b"".join(store_pdus(b"x" * 3000, f"1.2.{number}") for number in range(50)))
        assert [peer.response().SOPInstanceUID for _ in range(50)] == [f"1.2.{n}" for n in range(50)]
    assert len(node.members()) == 50


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000])
def test_it_does_not_matter_how_the_stream_is_cut(node: RunningNode, piece_bytes: int) -> None:
    data = bytes(range(256)) * 8
    stream = request_pdu() + store_pdus(data)
    with node.connect() as peer:
        for at in range(0, len(stream), piece_bytes):
            peer.send(stream[at : at + piece_bytes])
        assert peer.read_pdu()[:1] == b"\x02"
        assert peer.response().status == 0
    assert node.members()[0].sha256 == hashlib.sha256(data).hexdigest()


def test_command_and_data_set_may_share_a_pdu_and_be_in_fragments(node: RunningNode) -> None:
    command = encode_store_rq(1, CT, "1.2.3")
    values = [(1, command[:10]), (3, command[10:]), (0, b"a" * 10), (0, b""), (2, b"b" * 10)]
    body = b"".join(struct.pack(">IBB", len(data) + 2, 1, flags) + data for flags, data in values)
    with node.connect() as peer:
        peer.associate()
        peer.send(struct.pack(">BxI", 4, len(body)) + body)
        assert peer.response().status == 0
    assert node.members()[0].sha256 == hashlib.sha256(b"a" * 10 + b"b" * 10).hexdigest()


# who may come in


@pytest.mark.parametrize(
    ("pdu", "answer"),
    [
        (request_pdu(calling=b"NOBODY"), (1, 1, 3)),
        (request_pdu(calling="放射科".encode("gbk")), (1, 1, 3)),
        (request_pdu(calling=b" " * 16), (1, 1, 3)),
        (request_pdu(called=b"OTHER"), (1, 1, 7)),
        (request_pdu().replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9"), (1, 1, 2)),
        (request_pdu()[:6] + b"\x00\x02" + request_pdu()[8:], (1, 2, 2)),
    ],
)
def test_a_request_that_is_refused_is_told_why(
    node: RunningNode, pdu: bytes, answer: tuple[int, int, int]
) -> None:
    with node.connect() as peer:
        peer.send(pdu)
        assert tuple(peer.read_pdu()[7:10]) == answer
        assert peer.is_closed_by_node()
    assert node.members() == []


def test_a_registered_title_in_chinese_is_welcome(tmp_path: Path) -> None:
    class Directory(PeerDirectory):
        def __init__(self) -> None:
            super().__init__(None, lambda title: Peer(title, "H-A") if title == "放射科" else None)

    with RunningNode(tmp_path, Directory()) as node, node.connect() as peer:
        assert peer.associate(calling="放射科".encode("gbk"))[:1] == b"\x02"
        assert peer.store(b"data").status == 0
        peer.sock.close()
        (index,) = node.packs()
        assert index.calling_ae == "放射科"


def test_while_the_registry_is_down_the_refusal_is_transient(tmp_path: Path) -> None:
    def down(title: str) -> Peer | None:
        raise Unavailable("停机", "down")

    with RunningNode(tmp_path, PeerDirectory(None, down)) as node, node.connect() as peer:
        assert tuple(peer.associate()[7:10]) == (2, 3, 1)


# messages that are wrong


@pytest.mark.parametrize(
    ("SOPClassUID", "uid", "status"),
    [
        (MR, "1.2.3", 0xA900),
        ("1.2.3.4", "1.2.3", 0x0122),
        (VERIFICATION, "1.2.3", 0x0122),
        (CT, "1." + "2" * 64, 0x0117),
        (CT, "../../../../etc/x", 0x0117),
        (CT, "1.2.3\0/../x", 0x0117),
        (CT, "", 0xC000),
        ("", "1.2.3", 0xC000),
    ],
)
def test_a_wrong_request_gets_its_status_and_the_next_one_is_served(
    node: RunningNode, SOPClassUID: str, uid: str, status: int
) -> None:
    with node.connect() as peer:
        peer.associate()
        assert peer.store(b"x" * 40_000, uid, SOPClassUID=SOPClassUID).status == status
        assert peer.store(b"good", "1.2.9").status == 0
    assert [member.SOPInstanceUID for member in node.members()] == ["1.2.9"]
    assert {path.parent.name for path in node.root.rglob("*.tar")} == {"sealed"}


def test_an_empty_data_set_and_a_missing_one_are_not_understood(node: RunningNode) -> None:
    with node.connect() as peer:
        peer.associate()
        assert peer.store(b"").status == 0xC000
        absent = encode_store_rq(1, CT, "1.2.3").replace(
            b"\x00\x08\x02\0\0\0\x01\0", b"\x00\x08\x02\0\0\0\x01\x01"
        )
        peer.send(encode_p_data(1, 3, absent))
        assert peer.response().status == 0xC000
        assert peer.store(b"good").status == 0


def test_an_operation_nobody_knows_is_unrecognized(node: RunningNode) -> None:
    number = struct.pack("<H", 5)
    with node.connect() as peer:
        peer.associate()
        peer.send(command_pdu([(0x0100, b"\x20\x00"), (0x0110, number), (0x0800, b"\x01\x00")]))
        peer.send(encode_p_data(1, 2, b"identifier"))
        response = peer.response()
        assert (response.field, response.status, response.message_id) == (0x8020, 0x0211, 5)
        peer.send(
            command_pdu([(0x0100, b"\xff\x0f"), (0x0120, number), (0x0800, b"\x01\x01"), (0x0110, number)])
        )
        assert peer.store(b"good").status == 0


GOOD_COMMAND = encode_store_rq(1, CT, "1.2.3")


@pytest.mark.parametrize(
    "pdus",
    [
        store_pdus(b"x", context_id=3),
        encode_p_data(1, 3, GOOD_COMMAND) + encode_p_data(5, 2, b"data set on another context"),
        encode_p_data(1, 1, GOOD_COMMAND[:9]) + encode_p_data(5, 3, GOOD_COMMAND[9:]),
        encode_p_data(1, 2, b"data set first"),
        encode_p_data(1, 3, GOOD_COMMAND) + encode_p_data(1, 3, GOOD_COMMAND),
        encode_p_data(1, 3, b"\x01" * 30),
        encode_p_data(1, 3, b""),
        encode_p_data(1, 3, GOOD_COMMAND[:-3]),
        command_pdu([(0x0002, b"1.2.3\0"), (0x0100, b"\x01\x00"), (0x0800, b"\x01\x00")]),
        command_pdu([(0x0100, b"\x01\x80"), (0x0120, b"\x01\x00"), (0x0800, b"\x01\x01"), (0x0900, b"\0\0")]),
        encode_p_data(1, 1, b"x" * 60_000) + encode_p_data(1, 1, b"x" * 60_000),
        b"\x04\x00\x00\x00\x00\x00",
        b"\x04\x00\x00\x00\x00\x03abc",
        struct.pack(">BxIIBB", 4, 6, 1, 1, 3),
        struct.pack(">BxIIBB", 4, 6, 0xFFFFFFFF, 1, 3),
        struct.pack(">BxIIBB", 4, 20, 12, 1, 2) + bytes(14),
        b"\x04\x00\xff\xff\xff\xff",
        b"\x04\x00" + struct.pack(">I", (8 << 20) + 1),
        b"\x05\x00\xff\xff\xff\xff",
        b"\x06\x00\x00\x00\x00\x04\0\0\0\0",
        request_pdu(),
        b"\x99\x00\x00\x00\x00\x04\0\0\0\0",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_cannot_be_answered_is_aborted_and_stores_nothing(node: RunningNode, pdus: bytes) -> None:
    with node.connect() as peer:
        assert peer.associate((1, CT, EXPLICIT), (5, MR, EXPLICIT))[:1] == b"\x02"
        peer.send(pdus)
        abort = peer.read_pdu()
        assert (abort[0], abort[8]) == (7, 2), abort
        assert peer.is_closed_by_node()
    assert node.members() == []


@pytest.mark.parametrize(
    "first",
    [
        b"\x04\x00\x00\x00\x00\x06" + bytes(6),
        b"\x01\x00\xff\xff\xff\xff",
        b"\x01\x00\x00\x00\x00\x00",
        b"\x01\x00\x00\x00\x00\x44" + bytes(68),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        RELEASE_REQUEST,
        request_pdu().replace(b"\x51\x00\x00\x04", b"\x51\x00\xff\xff"),
    ],
)
def test_what_is_no_association_request_is_aborted(node: RunningNode, first: bytes) -> None:
    with node.connect() as peer:
        peer.send(first)
        answer = peer.read_pdu()
        assert answer[:1] in (b"\x07", b"\x03")
        assert peer.is_closed_by_node()


# how associations end


def test_a_transfer_cut_off_anywhere_leaves_only_whole_instances(node: RunningNode) -> None:
    stream = store_pdus(b"whole" * 1000, "1.2.1") + store_pdus(b"cut" * 20_000, "1.2.2")
    first = len(store_pdus(b"whole" * 1000, "1.2.1"))
    for step in range(1, 10):
        with node.connect() as peer:
            peer.associate()
            peer.send(stream[: first + (len(stream) - first) * step // 10])
            assert peer.response().status == 0
            if step % 2:  # RST instead of FIN
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: len(node.spool.sealed()) == 9)
    assert [member.SOPInstanceUID for member in node.members()] == ["1.2.1"] * 9


def test_a_release_is_answered_and_the_peer_closes(node: RunningNode) -> None:
    with node.connect() as peer:
        peer.associate()
        peer.send(RELEASE_REQUEST)
        assert peer.read_pdu() == b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"
        assert peer.is_closed_by_node()


def test_a_peer_that_half_closes_still_gets_its_answers(node: RunningNode) -> None:
    with node.connect() as peer:
        peer.associate()
        peer.send(store_pdus(b"data"))
        peer.sock.shutdown(socket.SHUT_WR)
        assert peer.response().status == 0
    assert len(node.members()) == 1


def test_an_abort_of_the_peer_keeps_what_was_acknowledged(node: RunningNode) -> None:
    with node.connect() as peer:
        peer.associate()
        assert peer.store(b"data").status == 0
        peer.send(encode_abort(0, 0))
        assert peer.is_closed_by_node()
    assert len(node.members()) == 1


# a spool in trouble


def test_without_room_the_answer_is_a700_and_the_sender_may_come_back(tmp_path: Path) -> None:
    with RunningNode(tmp_path, pack_limit_bytes=1 << 20) as node, node.connect() as peer:
        peer.associate()
        assert peer.store(b"before", "1.2.1").status == 0
        _limit_file_size(30_000)
        try:
            response = peer.store(b"x" * 200_000, "1.2.2")
        finally:
            _limit_file_size(None)
        assert (response.status, response.comment) == (0xA700, "the spool cannot take it now")
        assert peer.store(b"after", "1.2.3").status == 0
        peer.sock.close()
        assert [member.SOPInstanceUID for member in node.members()] == ["1.2.1", "1.2.3"]


def _limit_file_size(size_bytes: int | None) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    soft = resource.RLIM_INFINITY if size_bytes is None else size_bytes
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
