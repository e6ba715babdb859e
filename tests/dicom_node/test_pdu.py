"""Our codec and pynetdicom's read each other; what is malformed is named, never a crash."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import build_context

from dicom_node.command import Command, MalformedCommand, decode_command, encode_response, encode_store_rq
from dicom_node.negotiation import negotiate
from dicom_node.part10 import encode_file_meta, read_file_meta
from dicom_node.pdu import (
    AssociateRequest,
    MalformedPDU,
    ae_text,
    decode_associate_ac,
    decode_associate_rq,
    encode_associate_ac,
    encode_command,
)
from dicom_node.sop_classes import STORAGE_CLASSES, TRANSFER_SYNTAXES
from tests.dicom_node.raw_peer import CT, EXPLICIT, IMPLICIT, MR, VERIFICATION, request_pdu

UIDS = st.from_regex(r"[1-9][0-9]{0,5}(\.(0|[1-9][0-9]{0,7})){1,6}", fullmatch=True)


def pynetdicom_request(roles: dict[str, tuple[bool, bool]] | None = None) -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "PACS", "HUREN"
    contexts = [build_context(CT, [EXPLICIT, IMPLICIT]), build_context(VERIFICATION)]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 32_768
    implementation.implementation_class_uid = "1.2.3.4"
    window, identity = AsynchronousOperationsWindowNegotiation(), UserIdentityNegotiation()
    window.maximum_number_operations_invoked = 5
    identity.user_identity_type, identity.primary_field = 1, b"somebody"
    identity.positive_response_requested = True
    primitive.user_information = [length, implementation, window, identity]
    for uid, (scu, scp) in (roles or {}).items():
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = uid, scu, scp
        primitive.user_information.append(role)
    return A_ASSOCIATE_RQ(primitive).encode()


def answer(request: AssociateRequest) -> A_ASSOCIATE_AC:
    contexts, roles = negotiate(request)
    pdu = A_ASSOCIATE_AC()
    pdu.decode(encode_associate_ac(request, contexts, roles, 65_536))
    return pdu


def test_a_request_of_pynetdicom_is_read() -> None:
    request = decode_associate_rq(pynetdicom_request()[6:])
    assert (ae_text(request.calling), ae_text(request.called)) == ("PACS", "HUREN")
    assert request.max_length == 32_768
    assert request.proposes_async
    first = request.contexts[0]
    assert (first.context_id, first.abstract_syntax, first.transfer_syntaxes) == (1, CT, (EXPLICIT, IMPLICIT))


def test_pynetdicom_reads_our_answer() -> None:
    pdu = answer(decode_associate_rq(pynetdicom_request()[6:]))
    contexts = {item.presentation_context_id: item for item in pdu.presentation_context}
    assert {number: item.result_reason for number, item in contexts.items()} == {1: 0, 3: 0}
    assert contexts[1].transfer_syntax == EXPLICIT
    assert pdu.user_information.maximum_length == 65_536
    assert pdu.user_information.async_ops_window.maximum_number_operations_invoked == 1
    assert pdu.user_information.user_identity is None


@pytest.mark.parametrize(
    ("proposed", "result", "granted"),
    [
        ((True, False), 0, (True, False)),
        ((True, True), 0, (True, False)),
        ((False, True), 1, (False, False)),
    ],
)
def test_only_the_scu_role_is_granted(
    proposed: tuple[bool, bool], result: int, granted: tuple[bool, bool]
) -> None:
    pdu = answer(decode_associate_rq(pynetdicom_request({CT: proposed})[6:]))
    assert pdu.presentation_context[0].result_reason == result
    role = pdu.user_information.role_selection[CT]
    assert (bool(role.scu_role), bool(role.scp_role)) == granted


def test_private_classes_and_unknown_syntaxes_are_refused_each_with_its_result() -> None:
    request = decode_associate_rq(
        request_pdu(
            (1, "1.3.12.2.1107.5.9.1", EXPLICIT), (3, CT, "1.2.3.4"), (5, CT, IMPLICIT), (7, MR, IMPLICIT)
        )[6:]
    )
    answers, _ = negotiate(request)
    assert [answer.result for answer in answers] == [3, 4, 0, 0]


def test_the_requestors_first_supported_syntax_is_chosen() -> None:
    jpeg = "1.2.840.10008.1.2.4.70"
    request = decode_associate_rq(request_pdu((1, CT, jpeg))[6:])
    object.__setattr__(request.contexts[0], "transfer_syntaxes", ("1.2.3", jpeg, EXPLICIT))
    assert negotiate(request)[0][0].transfer_syntax == jpeg


def test_the_standard_classes_and_syntaxes_are_supported() -> None:
    for uid in (
        "1.2.840.10008.5.1.4.1.1.2.1",
        "1.2.840.10008.5.1.4.1.1.88.59",
        "1.2.840.10008.5.1.4.1.1.104.1",
    ):
        assert uid in STORAGE_CLASSES
    for syntax in ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.201"):
        assert syntax in TRANSFER_SYNTAXES
    assert "1.2.840.10008.1.20.1" not in STORAGE_CLASSES  # storage commitment is no storage class
    assert "1.2.840.10008.1.2.6.2" not in TRANSFER_SYNTAXES


def test_unknown_sub_items_of_the_user_information_are_skipped() -> None:
    pdu = bytearray(request_pdu())
    user = pdu.index(b"\x50\x00", 74)
    extra = b"\x7f\x00\x00\x03abc" + b"\x5a\x00\x00\x00"
    length = struct.unpack_from(">H", pdu, user + 2)[0]
    struct.pack_into(">H", pdu, user + 2, length + len(extra))
    body = bytes(pdu[6:]) + extra
    assert decode_associate_rq(body).max_length == 16_384


@given(st.integers(0, 400), st.binary(max_size=12))
def test_a_request_with_bytes_overwritten_is_read_or_named_malformed(at: int, noise: bytes) -> None:
    body = bytearray(request_pdu((1, CT, EXPLICIT), (3, VERIFICATION, IMPLICIT))[6:])
    body[at : at + len(noise)] = noise
    for decode in (decode_associate_rq, decode_associate_ac):
        with contextlib.suppress(MalformedPDU):
            decode(bytes(body))


@given(st.integers(0, 300))
def test_a_request_cut_short_is_never_taken(cut: int) -> None:
    body = request_pdu((1, CT, EXPLICIT))[6:]
    if cut < len(body):
        try:
            request = decode_associate_rq(body[:cut])
        except MalformedPDU:
            return
        assert request.max_length == 0  # only the user information, which is last, may be missing


@pytest.mark.parametrize("ids", [(1, 1), (2,), (1, 3, 3), ()])
def test_context_identifiers_are_odd_and_used_once(ids: tuple[int, ...]) -> None:
    pdu = request_pdu(*((number, CT, EXPLICIT) for number in ids)) if ids else request_pdu()[: 6 + 68]
    with pytest.raises(MalformedPDU):
        decode_associate_rq(pdu[6:])


@pytest.mark.parametrize(
    ("title", "text"),
    [
        (b"HUREN           ", "HUREN"),
        (b"  HUREN \0\0\0", "HUREN"),
        ("放射科".encode("gbk"), "放射科"),
        (b"A\r\nB\x1b[31m", "A??B?[31m"),
        (b"\xff\xfe\xfd", "???"),
        (b" " * 16, ""),
    ],
)
def test_an_ae_title_of_any_bytes_becomes_text_that_is_safe_to_log(title: bytes, text: str) -> None:
    shown = ae_text(title).replace("\ufffd", "?")
    assert shown == text
    assert shown.isprintable()


@given(UIDS, UIDS, st.integers(0, 0xFFFF))
def test_a_command_set_is_read_back(SOPClassUID: str, SOPInstanceUID: str, message_id: int) -> None:
    command = decode_command(encode_store_rq(message_id, SOPClassUID, SOPInstanceUID))
    assert command == Command(1, message_id, True, SOPClassUID, SOPInstanceUID)
    response = decode_command(encode_response(command, 0xA700, "no room"))
    assert response == Command(0x8001, message_id, False, SOPClassUID, SOPInstanceUID, 0xA700, "no room")


@given(st.binary(max_size=200))
def test_noise_is_a_malformed_command(noise: bytes) -> None:
    with pytest.raises(MalformedCommand):
        decode_command(noise)


def test_a_response_fits_the_smallest_pdu_a_peer_takes() -> None:
    command = encode_store_rq(1, CT, "1.2.3")
    pdus, pieces = encode_command(1, command, 30), b""
    while pdus:
        length = struct.unpack(">I", pdus[2:6])[0]
        assert length <= 30
        pieces += pdus[12 : 6 + length]
        pdus = pdus[6 + length :]
    assert pieces == command


@given(UIDS, UIDS, UIDS, st.text(max_size=18))
def test_file_meta_is_read_back(SOPClassUID: str, SOPInstanceUID: str, syntax: str, title: str) -> None:
    frame = encode_file_meta(SOPClassUID, SOPInstanceUID, syntax, title)
    meta = read_file_meta(frame + b"\x08\x00\x05\x00CS\x00\x00")
    assert (meta.SOPClassUID, meta.SOPInstanceUID) == (SOPClassUID, SOPInstanceUID)
    assert (meta.TransferSyntaxUID, meta.dataset_offset) == (syntax, len(frame))
