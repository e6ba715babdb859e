"""One association as acceptor, in one blocking thread: the state machine of PS3.8 §9.2, written as a straight line.

    Sta2   awaiting A-ASSOCIATE-RQ        → _negotiate
    Sta6   established                    → _serve_messages
    Sta13  awaiting the end of transport  → Wire.drain (ARTIM)

Nothing is queued: a fragment goes from the socket's buffer to the open pack before the next one is read, so a
sender is held back by TCP, and memory does not depend on the size of what is sent.
"""

import logging
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field

from catalog.errors import NotAllowed, Unavailable
from dicom_node.admission import Admission, Place
from dicom_node.command import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_STORE_RQ,
    N_ACTION_RQ,
    RESPONSE,
    SUCCESS,
    UNRECOGNIZED_OPERATION,
    Command,
    MalformedCommand,
    decode_command,
    encode_response,
)
from dicom_node.commitment_asked import LOOK_SECONDS, Asking, Commitments, Desk
from dicom_node.counters import Counters
from dicom_node.dialogue import Dialogue
from dicom_node.gate import Gate
from dicom_node.hasher import Hasher
from dicom_node.intake import Intake
from dicom_node.negotiation import ACCEPTED, STORAGE_COMMITMENT, negotiate
from dicom_node.pack import PackIndex
from dicom_node.pdu import (
    ABORT,
    APPLICATION_CONTEXT,
    ASSOCIATE_RQ,
    COMMAND_FRAGMENT,
    INVALID_PARAMETER,
    LAST_FRAGMENT,
    P_DATA_TF,
    PDV_HEADER,
    PDV_HEADER_BYTES,
    RELEASE_REPLY,
    RELEASE_RQ,
    UNEXPECTED_PARAMETER,
    UNEXPECTED_PDU,
    UNRECOGNIZED_PDU,
    AssociateRequest,
    MalformedPDU,
    ae_text,
    decode_associate_rq,
    encode_abort,
    encode_associate_ac,
    encode_associate_rj,
    encode_command,
)
from dicom_node.peers import Peer
from dicom_node.query_asked import CLASSES_OF, Archive, Asker, Inquiry, LateArchive
from dicom_node.settings import NodeSettings
from dicom_node.spool import Spool
from dicom_node.storage import Reception, Storing
from dicom_node.tls import secure
from dicom_node.wire import ConnectionLost, DeadlinePassed, Wire

_LOG = logging.getLogger("huren.dicom_node")
_COMMAND_LIMIT_BYTES = 65_536
_CONTROL_PDU_LIMIT_BYTES = 1024
_OVER_LIMIT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Node:
    """What every association of a worker shares; `desk` is where commitments are asked for, if anywhere.

    `archive` answers queries and retrievals.
    """

    settings: NodeSettings
    gate: Gate
    spool: Spool
    admission: Admission
    counters: Counters
    stopping: threading.Event
    desk: Desk | None = None
    hasher: Hasher = field(default_factory=Hasher)
    archive: Archive = field(default_factory=lambda: LateArchive(None))


class Rejection(Exception):
    """The association is not accepted; result, source and reason of PS3.8 Table 9-21, and a label to count."""

    def __init__(self, result: int, source: int, reason: int, label: str) -> None:
        super().__init__(label)
        self.pdu = encode_associate_rj(result, source, reason)
        self.label = label


class _NoHandshake(Exception):
    """The peer did not prove itself, or was too slow at it; the argument says how."""


class _Stopping(Exception):
    """The node is going down."""


class Association:
    """A connection from its first byte to its last; `run` is the thread's whole life and raises nothing."""

    def __init__(
        self, sock: socket.socket, address: str, node: Node, tls: ssl.SSLContext | None = None
    ) -> None:
        settings = node.settings
        self.waiting = False  # between messages, so it may be cut when the node goes down
        self.is_placed = False  # the table of associations knows of it, or has no room
        self._node = node
        self._address = address
        self._tls = tls
        self._certificate: str | None = None
        self._wire = Wire(
            sock,
            grace_seconds=settings.grace_seconds,
            min_bytes_per_second=settings.min_bytes_per_second,
        )
        self._calling = "?"
        self._place: Place | None = None
        self._intake: Intake | None = None
        self._commitments = Commitments(None, "", "")
        self._asker = Asker("", "", "")
        self._inquiry: Inquiry | None = None  # its identifier is complete
        self._outbound: dict[tuple[str, str], int] = {}  # contexts on which the peer takes C-STORE
        self._contexts: dict[int, tuple[str, str]] = {}  # id → SOP class, transfer syntax
        self._only_outbound: set[int] = set()
        self._peer_max_length = 0
        self._command = bytearray()
        self._command_context = 0
        self._reception: Reception | None = None
        self._stored = 0

    def run(self) -> None:
        """Live."""
        began = time.monotonic()
        try:
            outcome = self._live()
        except Exception as error:
            _LOG.exception("an association failed: %s", type(error).__name__)
            outcome = "aborted:internal_error"
            self._end_with(encode_abort(2, 0))
        finally:
            self._leave()
        self._node.counters.add("associations", outcome)
        _LOG.info(
            "association of %s from %s: %s, %d instances, %d bytes, %.2f s",
            self._calling,
            self._address,
            outcome,
            self._stored,
            self._wire.bytes_received,
            time.monotonic() - began,
        )

    def wake(self) -> None:
        """Cut the association if it is between messages; from another thread, while the node goes down."""
        if self.waiting:
            self.cut(socket.SHUT_RD)

    def cut(self, how: int = socket.SHUT_RDWR) -> None:
        """End a blocked read, or with the default the whole connection; from another thread."""
        try:
            self._wire.sock.shutdown(how)
        except OSError:
            return  # it is closed already

    def _live(self) -> str:
        try:
            self._negotiate()
            self._node.counters.add("associations", "accepted")
            return self._serve_messages()
        except Rejection as rejection:
            _LOG.warning("rejected %s from %s: %s", self._calling, self._address, rejection.label)
            outcome = f"rejected:{rejection.label}"
            self._node.gate.note(outcome, self._address, self._calling)
            self._end_with(rejection.pdu)
            return outcome
        except MalformedPDU as error:
            _LOG.warning("aborting %s from %s: %s", self._calling, self._address, error)
            self._end_with(encode_abort(error.source, error.reason))
            return "aborted:protocol"
        except DeadlinePassed as error:
            _LOG.warning("aborting %s from %s: too slow at %s", self._calling, self._address, error)
            self._end_with(encode_abort(2, 0))
            return "aborted:too_slow"
        except _NoHandshake as failure:
            _LOG.warning("no TLS with %s: %s", self._address, failure)
            outcome = f"refused:tls_{'certificate' if 'certificate' in str(failure) else 'handshake'}"
            self._node.gate.note(outcome, self._address, self._calling)
            return outcome
        except ConnectionLost:
            if self._node.stopping.is_set():
                self._end_with(encode_abort(2, 0))
                return "aborted:stopping"
            return "lost"
        except _Stopping:
            self._end_with(encode_abort(2, 0))
            return "aborted:stopping"

    # Sta2: negotiation

    def _negotiate(self) -> None:
        over_limit = self._take_place()
        settings = self._node.settings
        seconds = (
            min(_OVER_LIMIT_SECONDS, settings.association_seconds)
            if over_limit
            else settings.association_seconds
        )
        self._shake_hands(seconds)
        self._wire.expect("A-ASSOCIATE-RQ", seconds, leased=False)
        pdu_type, length = self._wire.read_header(settings.pdu_limit_before_acceptance_bytes)
        if pdu_type == ABORT:
            raise ConnectionLost("aborted by the peer")
        if pdu_type != ASSOCIATE_RQ:
            # AA-1: the abort before acceptance is the service user's (PS3.8 Table 9-9).
            raise MalformedPDU("not an A-ASSOCIATE-RQ", reason=0, source=0)
        if over_limit:
            raise Rejection(2, 3, 2, over_limit)
        request = decode_associate_rq(self._wire.read(length))
        self._calling = ae_text(request.calling)
        peer = self._admit(request)
        self._accept(request, peer)

    def _shake_hands(self, seconds: float) -> None:
        """Secure the connection, in this thread: a peer that is slow at it holds up nobody else."""
        if self._tls is None:
            return
        try:
            self._wire.sock, self._certificate = secure(self._wire.sock, self._tls, seconds)
        except OSError as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise _NoHandshake(str(reason).lower()) from None

    def _take_place(self) -> str:
        try:
            self._place = self._node.admission.enter(self._address)
        except Unavailable as limit:
            return limit.code
        finally:
            self.is_placed = True
        return ""

    def _admit(self, request: AssociateRequest) -> Peer:
        """Check everything of the request but its contexts."""
        if not request.protocol_version & 1:
            raise Rejection(1, 2, 2, "protocol_version")
        if request.application_context != APPLICATION_CONTEXT:
            raise Rejection(1, 1, 2, "application_context")
        if self._node.stopping.is_set():
            raise Rejection(2, 3, 1, "stopping")
        try:
            peer = self._node.gate.find(self._calling, self._address, self._certificate)
        except NotAllowed as refusal:
            raise Rejection(1, 1, 3, refusal.code) from None
        except Unavailable:
            raise Rejection(2, 3, 1, "registry_unavailable") from None
        if ae_text(request.called) not in self._node.settings.called_ae_titles:
            # Only now: to a stranger every called title must look alike, or ours could be guessed.
            raise Rejection(1, 1, 7, "called_ae_unknown")
        try:
            if self._place is not None:
                self._place.claim(peer.hospital_code)
        except Unavailable as limit:
            raise Rejection(2, 3, 2, limit.code) from None
        return peer

    def _accept(self, request: AssociateRequest, peer: Peer) -> None:
        answers, roles = negotiate(request)
        proposed = {context.context_id: context.abstract_syntax for context in request.contexts}
        self._contexts = {
            answer.context_id: (proposed[answer.context_id], answer.transfer_syntax)
            for answer in answers
            if answer.result == ACCEPTED
        }
        storing = {uid for uid, (scu, _) in roles.items() if not scu}
        self._only_outbound = {number for number, (uid, _) in self._contexts.items() if uid in storing}
        self._outbound = {
            context: number
            for number, context in self._contexts.items()
            if roles.get(context[0], (True, False))[1]
        }
        self._peer_max_length = request.max_length
        self._asker = Asker(peer.hospital_code, self._calling, ae_text(request.called))
        origin = PackIndex(
            path=self._node.spool.root,
            pack_id="",
            hospital=peer.hospital_code,
            calling_ae=self._calling,
            called_ae=ae_text(request.called),
            peer_address=self._address,
            received="",
        )
        self._intake = self._node.spool.intake(origin, self._node.hasher)
        self._commitments = Commitments(self._node.desk, peer.hospital_code, self._calling)
        self._wire.send(encode_associate_ac(request, answers, roles, self._node.settings.max_pdu_bytes))

    # Sta6: messages

    def _serve_messages(self) -> str:
        while True:
            pdu_type, length = self._next_pdu()
            if pdu_type == P_DATA_TF:
                self._take_p_data(length)
                continue
            if length > _CONTROL_PDU_LIMIT_BYTES:
                raise MalformedPDU("control PDU too long", reason=INVALID_PARAMETER)
            self._wire.read(length)
            if pdu_type == RELEASE_RQ:
                self._wire.send(RELEASE_REPLY)
                self._close_intake(released=True)
                self._wire.drain(self._node.settings.artim_seconds)
                return "released"
            if pdu_type == ABORT:
                return "aborted:by_peer"
            known = pdu_type < ABORT
            raise MalformedPDU("PDU out of place", reason=UNEXPECTED_PDU if known else UNRECOGNIZED_PDU)

    def _next_pdu(self) -> tuple[int, int]:
        if self._reception is None and not self._command:
            self._wire.expect("the next message", self._node.settings.idle_seconds, leased=True)
            self.waiting = True
            if self._node.stopping.is_set():
                raise _Stopping
            self._report_commitments()
        header = self._wire.read_header(self._node.settings.pdu_limit_bytes)
        self.waiting = False
        return header

    def _report_commitments(self) -> None:
        """Tell what was decided, for as long as the peer waits for it and says nothing else."""
        while self._commitments.is_awaited() and not self._wire.has_input(LOOK_SECONDS):
            self._wire.send(self._commitments.next_report(self._peer_max_length))

    def _take_p_data(self, left: int) -> None:
        if left < PDV_HEADER_BYTES:
            raise MalformedPDU("P-DATA-TF without a value", reason=INVALID_PARAMETER)
        while left:
            if left < PDV_HEADER_BYTES:
                raise MalformedPDU("rest of a P-DATA-TF", reason=INVALID_PARAMETER)
            length, context_id, flags = PDV_HEADER.unpack(self._wire.unpack_header(PDV_HEADER_BYTES))
            left -= length + 4
            if length < 2 or left < 0:
                raise MalformedPDU("length of a presentation data value", reason=INVALID_PARAMETER)
            if context_id not in self._contexts:
                raise MalformedPDU("context that was not accepted", reason=INVALID_PARAMETER)
            if self._inquiry is not None:
                raise MalformedPDU("more after the whole of a request", reason=UNEXPECTED_PARAMETER)
            if flags & COMMAND_FRAGMENT:
                self._take_command(context_id, length - 2, bool(flags & LAST_FRAGMENT))
            else:
                self._take_dataset(context_id, length - 2, bool(flags & LAST_FRAGMENT))
        self._answer_inquiry()

    def _take_command(self, context_id: int, length: int, is_last: bool) -> None:
        if self._reception is not None or (self._command and context_id != self._command_context):
            raise MalformedPDU("command inside another message", reason=UNEXPECTED_PARAMETER)
        if len(self._command) + length > _COMMAND_LIMIT_BYTES:
            raise MalformedPDU("command set too long", reason=INVALID_PARAMETER)
        self._command_context = context_id
        for piece in self._wire.stream(length):
            self._command += piece
        if not is_last:
            return
        try:
            request = decode_command(self._command)
        except MalformedCommand as error:
            raise MalformedPDU(str(error), reason=INVALID_PARAMETER) from None
        self._command.clear()
        self._dispatch(context_id, request)

    def _dispatch(self, context_id: int, request: Command) -> None:
        if request.field & RESPONSE:
            if self._commitments.take_response(request) and not request.has_dataset:
                return
            raise MalformedPDU("response to nothing", reason=UNEXPECTED_PARAMETER)
        if request.field == C_CANCEL_RQ:
            return  # what it cancels has been answered already (PS3.7 §9.3.2.3)
        reception = self._reception_of(context_id, request)
        if request.has_dataset:
            self._reception = reception
            self._wire.recall = reception.recall
        else:
            self._answer(reception, 0)

    def _reception_of(self, context_id: int, request: Command) -> Reception:
        SOPClassUID, TransferSyntaxUID = self._contexts[context_id]
        if SOPClassUID in CLASSES_OF.get(request.field, ()):
            return Inquiry(request, context_id, SOPClassUID, TransferSyntaxUID, self._node.archive)
        is_inbound = context_id not in self._only_outbound
        if request.field == C_STORE_RQ and self._intake is not None and is_inbound:
            return Storing(request, context_id, SOPClassUID, TransferSyntaxUID, self._intake)
        if request.field == N_ACTION_RQ and SOPClassUID == STORAGE_COMMITMENT:
            self._seal()
            return Asking(request, context_id, TransferSyntaxUID, self._commitments)
        if request.field == C_ECHO_RQ:
            self._node.counters.add("echoes", "answered")
            return Reception(request, context_id)
        return Reception(request, context_id, UNRECOGNIZED_OPERATION, "operation is not supported")

    def _seal(self) -> None:
        """What a commitment is asked for may lie in the open pack, and the peer may wait before it goes."""
        try:
            if self._intake is not None:
                self._intake.close(released=True)  # it asks about what it has sent: that is all of it
        except OSError as error:
            _LOG.error("a pack cannot be sealed yet: %s", error.strerror)

    def _take_dataset(self, context_id: int, length: int, is_last: bool) -> None:
        reception = self._reception
        if reception is None or reception.context_id != context_id:
            raise MalformedPDU("data set without its command", reason=UNEXPECTED_PARAMETER)
        for piece in self._wire.stream(length):
            reception.write(piece)
        if is_last:
            stored_bytes = reception.finish()
            self._reception = self._wire.recall = None
            if isinstance(reception, Inquiry):
                self._inquiry = reception
            else:
                self._answer(reception, stored_bytes)

    def _answer_inquiry(self) -> None:
        """Answer the request whose identifier is complete; nothing else is received meanwhile."""
        inquiry, self._inquiry = self._inquiry, None
        if inquiry is None:
            return
        settings = self._node.settings
        dialogue = Dialogue(
            wire=self._wire,
            request=inquiry.request,
            context_id=inquiry.context_id,
            peer_max_length=self._peer_max_length,
            patience_seconds=settings.grace_seconds,
            stopping=self._node.stopping,
            outbound=self._outbound,
            take_other=self._commitments.take_response,
        )
        inquiry.answer(self._asker, dialogue)

    def _answer(self, reception: Reception, stored_bytes: int) -> None:
        response = encode_response(reception.request, reception.status, reception.comment)
        self._wire.send(encode_command(reception.context_id, response, self._peer_max_length))
        if reception.request.field == C_STORE_RQ:
            self._node.counters.add("instances", f"{reception.status:04x}")
            self._node.counters.add("bytes", "stored", stored_bytes)
            self._stored += reception.status == SUCCESS

    # the end

    def _end_with(self, pdu: bytes) -> None:
        try:
            self._wire.send(pdu)
        except (ConnectionLost, DeadlinePassed):
            return
        self._close_intake()
        self._wire.drain(
            min(self._node.settings.artim_seconds, 1.0 if self._node.stopping.is_set() else 60.0)
        )

    def _close_intake(self, *, released: bool = False) -> None:
        intake, self._intake = self._intake, None
        if intake is None:
            return
        if self._reception is not None:
            self._reception.abandon()
            self._reception = None
        intake.close(released=released)

    def _leave(self) -> None:
        self._close_intake()
        self._commitments.close()
        self._wire.close()
        if self._place is not None:
            self._place.leave()
