"""The data sets of storage commitment, and the N-ACTION of peers that do not keep to the standard."""

import struct
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from catalog.commitments import Transaction
from catalog.instance_index import hash_instance, hash_instances
from dicom_node.command import Command
from dicom_node.commitment import CommitmentRequest, decode_request, encode_event
from dicom_node.commitment_asked import DATASET_LIMIT_BYTES, Refused
from dicom_node.pdu import encode_p_data
from tests.dicom_node.raw_peer import CT, EXPLICIT, IMPLICIT, MR, RawPeer, RunningNode, command_pdu
from tests.packs import encode

COMMITMENT = "1.2.840.10008.1.20.1"
INSTANCE = "1.2.840.10008.1.20.1.1"
SYNTAXES = pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])


def asked(*references: tuple[str, str], undefined_length: bool = False) -> Dataset:
    dataset = Dataset()
    dataset.TransactionUID = "2.25.1"
    dataset.ReferencedSOPSequence = []
    for SOPClassUID, SOPInstanceUID in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = SOPClassUID, SOPInstanceUID
        item.is_undefined_length_sequence_item = undefined_length
        dataset.ReferencedSOPSequence.append(item)
    dataset["ReferencedSOPSequence"].is_undefined_length = undefined_length
    return dataset


def decided(*failed: tuple[str, str, int]) -> Transaction:
    return Transaction(7, "2.25.1", 1, "RAW", None, None, ((CT, "1.2.3"), (MR, "1.2.4")), failed, 1, 0.0)


def read_back(dataset: bytes, syntax: str) -> Dataset:
    return read_dataset(BytesIO(dataset), is_implicit_VR=syntax == IMPLICIT, is_little_endian=True)


# --- data sets -----------------------------------------------------------------------------------------


@SYNTAXES
@pytest.mark.parametrize("undefined_length", [False, True])
def test_a_request_is_read_in_order_and_each_instance_once(syntax: str, undefined_length: bool) -> None:
    dataset = asked((CT, "1.2.3"), (MR, "1.2.4"), (CT, "1.2.3"), undefined_length=undefined_length)
    found = decode_request(encode(dataset, syntax), syntax)
    assert found == CommitmentRequest("2.25.1", ((CT, "1.2.3"), (MR, "1.2.4")))


@pytest.mark.parametrize("uid", ["", "1.2.x", "../../etc", "1" * 65, "1.2\\1.3"])
def test_a_uid_that_is_none_is_an_invalid_argument(uid: str) -> None:
    dataset = encode(asked((CT, "1.2.3")))
    old = struct.pack("<HH2sH", 0x0008, 0x1195, b"UI", 6) + b"2.25.1"
    value = uid.encode() + b"\0" * (len(uid) % 2)
    spoiled = dataset.replace(old, struct.pack("<HH2sH", 0x0008, 0x1195, b"UI", len(value)) + value)
    assert spoiled != dataset
    with pytest.raises(Refused) as caught:
        decode_request(spoiled, EXPLICIT)
    assert caught.value.status == 0x0115


@SYNTAXES
def test_a_data_set_cut_off_anywhere_is_never_read_as_another_request(syntax: str) -> None:
    whole = encode(asked((CT, "1.2.3"), (MR, "1.2.4")), syntax)
    for length in range(len(whole)):
        with pytest.raises(Refused) as caught:
            decode_request(whole[:length], syntax)
        assert caught.value.status in (0x0110, 0x0115)


def test_a_data_set_nested_too_deeply_is_refused() -> None:
    deep = b"\x08\x00\x99\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 2000
    with pytest.raises(Refused) as caught:
        decode_request(deep, EXPLICIT)
    assert caught.value.status == 0x0110


@given(st.binary(max_size=300), st.sampled_from([EXPLICIT, IMPLICIT]))
def test_no_bytes_do_worse_than_being_refused(data: bytes, syntax: str) -> None:
    with suppress(Refused):
        assert decode_request(data, syntax).referenced


@SYNTAXES
def test_a_report_lists_what_is_kept_and_what_is_not_with_its_reason(syntax: str) -> None:
    event_type, dataset = encode_event(decided((MR, "1.2.4", 0x0112)), syntax)
    told = read_back(dataset, syntax)
    assert (event_type, told.TransactionUID) == (2, "2.25.1")
    (kept,), (failed,) = told.ReferencedSOPSequence, told.FailedSOPSequence
    assert (kept.ReferencedSOPClassUID, kept.ReferencedSOPInstanceUID) == (CT, "1.2.3")
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.4", 0x0112)


@SYNTAXES
def test_a_report_without_failures_has_no_failed_sequence(syntax: str) -> None:
    event_type, dataset = encode_event(decided(), syntax)
    told = read_back(dataset, syntax)
    assert event_type == 1
    assert "FailedSOPSequence" not in told
    assert len(told.ReferencedSOPSequence) == 2


def test_a_report_of_failures_only_has_no_referenced_sequence() -> None:
    event_type, dataset = encode_event(decided((CT, "1.2.3", 0x0112), (MR, "1.2.4", 0x0119)), EXPLICIT)
    assert event_type == 2
    assert "ReferencedSOPSequence" not in read_back(dataset, EXPLICIT)


def test_the_hashes_of_a_pack_do_not_depend_on_the_order_of_its_instances() -> None:
    one, other = hash_instance("1.2.3"), hash_instance("1.2.4")
    assert hash_instances(["1.2.4", "1.2.3", "1.2.4"]) == b"".join(sorted((one, other)))


# --- on the wire ---------------------------------------------------------------------------------------


def action_pdu(context_id: int = 1, **changed: bytes | None) -> bytes:
    """An N-ACTION-RQ; elements by name replaced, or left out where None."""
    elements: dict[str, tuple[int, bytes | None]] = {
        "SOPClassUID": (0x0003, COMMITMENT.encode()),
        "field": (0x0100, b"\x30\x01"),
        "message_id": (0x0110, b"\x09\x00"),
        "has_dataset": (0x0800, b"\x01\x00"),
        "SOPInstanceUID": (0x1001, INSTANCE.encode()),
        "action_type": (0x1008, b"\x01\x00"),
    }
    told = [(tag, changed.get(name, value)) for name, (tag, value) in elements.items()]
    return command_pdu([(tag, value) for tag, value in told if value is not None], context_id)


def ask(peer: RawPeer, dataset: bytes, **changed: bytes | None) -> Command:
    peer.send(action_pdu(**changed))
    for at in range(0, max(len(dataset), 1), 16_000):
        piece = dataset[at : at + 16_000]
        peer.send(encode_p_data(1, 2 if at + 16_000 >= len(dataset) else 0, piece))
    return peer.response()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with RunningNode(tmp_path, database_url="postgresql://nobody@127.0.0.1:1/none") as running:
        yield running


@pytest.fixture
def peer(node: RunningNode) -> RawPeer:
    connected = node.connect()
    assert connected.associate((1, COMMITMENT, EXPLICIT), (3, CT, EXPLICIT))[:1] == b"\x02"
    return connected


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"SOPClassUID": b"1.2.840.10008.1.20.2"}, 0x0118),
        ({"SOPClassUID": None}, 0x0118),
        ({"SOPInstanceUID": b"1.2.3\0"}, 0x0112),
        ({"SOPInstanceUID": None}, 0x0112),
        ({"action_type": b"\x02\x00"}, 0x0123),
        ({"action_type": None}, 0x0123),
    ],
)
def test_an_action_that_is_not_this_one_is_refused(
    peer: RawPeer, changed: dict[str, bytes | None], status: int
) -> None:
    response = ask(peer, encode(asked((CT, "1.2.3"))), **changed)
    assert (response.field, response.message_id, response.status) == (0x8130, 9, status)


def test_bytes_that_are_no_data_set_are_a_processing_failure(peer: RawPeer) -> None:
    assert ask(peer, b"\x08\x00\x95\x11UI\xff\x00" + b"rubbish").status == 0x0110


def test_an_action_without_a_data_set_is_refused(peer: RawPeer) -> None:
    peer.send(action_pdu(has_dataset=b"\x01\x01"))
    assert peer.response().status == 0x0115


def test_a_request_over_the_limit_is_refused_and_the_association_goes_on(peer: RawPeer) -> None:
    assert ask(peer, bytes(DATASET_LIMIT_BYTES + 16_000)).status == 0x0213
    assert ask(peer, b"").status == 0x0115


def test_without_a_catalogue_nothing_is_promised(peer: RawPeer) -> None:
    response = ask(peer, encode(asked((CT, "1.2.3"))))
    assert response.status == 0x0213
    assert (response.SOPClassUID, response.SOPInstanceUID) == (COMMITMENT, INSTANCE)


def test_an_action_on_a_storage_context_is_no_operation_of_it(peer: RawPeer) -> None:
    peer.send(action_pdu(context_id=3, has_dataset=b"\x01\x01"))
    assert peer.response().status == 0x0211


def test_a_response_to_a_report_that_was_not_given_ends_the_association(peer: RawPeer) -> None:
    peer.send(report_response())
    assert peer.read_pdu()[:1] == b"\x07"


def report_response() -> bytes:
    return command_pdu(
        [(0x0100, b"\x00\x81"), (0x0120, b"\x01\x00"), (0x0800, b"\x01\x01"), (0x0900, b"\x00\x00")]
    )


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"]
)
def test_commitment_is_not_taken_in_a_syntax_that_is_not_read_here(node: RunningNode, syntax: str) -> None:
    with node.connect() as peer:
        answer = peer.associate((1, COMMITMENT, syntax))
        assert b"\x21\x00" in answer
        at = answer.index(b"\x21\x00\x00")
        assert answer[at + 4 : at + 7] == b"\x01\x00\x04"


def test_the_scp_role_is_not_given_away(node: RunningNode) -> None:
    with node.connect() as peer:
        answer = peer.associate((1, COMMITMENT, EXPLICIT), roles={COMMITMENT: (True, True)})
        uid = COMMITMENT.encode()
        assert struct.pack(">H", len(uid)) + uid + b"\x01\x00" in answer
