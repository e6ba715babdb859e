"""Messages that contradict themselves or the standard: each has one answer, and the next peer is served (N9)."""

import struct

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.command import encode_store_rq
from dicom_node.pdu import encode_p_data
from tests.dicom_node.raw_peer import CT, EXPLICIT, RunningNode, command_pdu, request_pdu
from tests.packs import encode

CLASS = (0x0002, CT.encode() + b"\0" * (len(CT) % 2))
STORE, NUMBER, HAS_DATA = (0x0100, b"\x01\x00"), (0x0110, b"\x07\x00"), (0x0800, b"\x01\x00")
INSTANCE = (0x1000, b"1.2.3\0")
DATA = encode_p_data(1, 2, b"data")
LONG = b"1." + b"2" * 70


@pytest.mark.parametrize("count", [128, 129, 300, 5000])
def test_more_contexts_than_there_are_identifiers_cannot_be_proposed(node: RunningNode, count: int) -> None:
    contexts = [((2 * number + 1) % 256, CT, EXPLICIT) for number in range(count)]
    with node.connect() as peer:
        answer = peer.associate(*contexts)
        assert answer[:1] == (b"\x02" if count == 128 else b"\x07")
    with node.connect() as peer:
        assert peer.associate()[:1] == b"\x02"


@pytest.mark.parametrize("context_id", [0, 2, 254])
def test_a_context_of_an_even_identifier_is_no_context(node: RunningNode, context_id: int) -> None:
    with node.connect() as peer:
        assert peer.associate((context_id, CT, EXPLICIT))[:1] == b"\x07"


@pytest.mark.parametrize(
    "elements",
    [
        [CLASS, STORE, NUMBER, (0x0700, b"\0\0"), HAS_DATA, INSTANCE],  # no group length
        [(0x0000, struct.pack("<I", 9999)), CLASS, STORE, NUMBER, HAS_DATA, INSTANCE],  # a wrong one
        [INSTANCE, HAS_DATA, NUMBER, STORE, CLASS],  # out of order
        [CLASS, STORE, NUMBER, HAS_DATA, INSTANCE, (0x1030, b"MOVER   "), (0x1031, b"\x01\x00")],
        [CLASS, STORE, NUMBER, HAS_DATA, INSTANCE, (0xFFFE, b"unknown!")],
    ],
)
def test_a_command_set_that_says_everything_is_answered_however_it_is_put(
    node: RunningNode, elements: list[tuple[int, bytes]]
) -> None:
    with node.connect() as peer:
        peer.associate()
        peer.send(command_pdu(elements) + DATA)
        assert peer.response().status == 0
    assert [member.SOPInstanceUID for member in node.members()] == ["1.2.3"]


@pytest.mark.parametrize(
    ("elements", "status"),
    [
        ([CLASS, STORE, NUMBER, HAS_DATA], 0xC000),
        ([STORE, NUMBER, HAS_DATA, INSTANCE], 0xC000),
        ([CLASS, STORE, NUMBER, HAS_DATA, (0x1000, LONG)], 0x0117),
        ([CLASS, STORE, NUMBER, HAS_DATA, (0x1000, "1.2.٣".encode())], 0x0117),
        ([(0x0002, LONG), STORE, NUMBER, HAS_DATA, INSTANCE], 0x0122),
        ([(0x0002, b"1.2.840.10008.5.1.4.1.2.2.1\0"), STORE, NUMBER, HAS_DATA, INSTANCE], 0x0122),
        ([CLASS, (0x0100, b"\x50\x01"), NUMBER, HAS_DATA, INSTANCE], 0x0211),
        ([CLASS, (0x0100, b"\xfe\x7f"), NUMBER, HAS_DATA, INSTANCE], 0x0211),
    ],
)
def test_a_command_set_that_cannot_be_obeyed_gets_its_status(
    node: RunningNode, elements: list[tuple[int, bytes]], status: int
) -> None:
    with node.connect() as peer:
        peer.associate()
        peer.send(command_pdu(elements) + DATA)
        assert peer.response().status == status
        assert peer.store(b"good", "1.2.9").status == 0


def test_a_data_set_with_another_uid_than_its_command_is_kept_as_it_came(node: RunningNode) -> None:
    """The data set is not read before the answer (2.6 of the conformance statement); shipping sees the difference."""
    other = Dataset()
    other.SOPClassUID, other.SOPInstanceUID = CT, "1.2.4"
    with node.connect() as peer:
        peer.associate()
        assert peer.store(encode(other, ExplicitVRLittleEndian), "1.2.3").status == 0
    assert [member.SOPInstanceUID for member in node.members()] == ["1.2.3"]


@pytest.mark.parametrize("cut", range(0, len(request_pdu()), 12))
def test_a_request_cut_anywhere_and_said_to_be_whole_is_aborted_or_refused(
    node: RunningNode, cut: int
) -> None:
    body = request_pdu()[6:][:cut]
    with node.connect() as peer:
        peer.send(b"\x01\x00" + struct.pack(">I", len(body)) + body)
        assert peer.read_pdu()[:1] in (b"\x03", b"\x07", b"\x02")
    assert node.members() == []


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.3" + "\0" * 59, "2.25." + "9" * 38])
def test_padding_of_a_uid_is_not_part_of_it(node: RunningNode, uid: str) -> None:
    with node.connect() as peer:
        peer.associate()
        peer.send(encode_p_data(1, 3, encode_store_rq(7, CT, uid)) + DATA)
        assert peer.response().SOPInstanceUID == uid.rstrip("\0")
