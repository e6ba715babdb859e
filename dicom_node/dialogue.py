"""One operation that answers more than once: its responses, and what the peer says meanwhile (PS3.7 §9.3.2 to 9.3.4)."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from dicom_node.command import (
    C_CANCEL_RQ,
    C_STORE_RQ,
    RESPONSE,
    Command,
    MalformedCommand,
    SubOperations,
    decode_command,
    encode_response,
    encode_store_rq,
)
from dicom_node.pdu import (
    ABORT,
    COMMAND_FRAGMENT,
    INVALID_PARAMETER,
    LAST_FRAGMENT,
    P_DATA_TF,
    PDV_HEADER,
    PDV_HEADER_BYTES,
    UNEXPECTED_PARAMETER,
    UNEXPECTED_PDU,
    MalformedPDU,
    encode_command,
    encode_dataset,
    encode_fragments,
)
from dicom_node.wire import ConnectionLost, Wire

_MOST_BYTES: Final = 65_536  # of a PDU, and of a command set: a peer says little while it is being answered
_FRAGMENT_BYTES: Final = 262_144


@dataclass(slots=True)
class Dialogue:
    """The association while one of its requests is answered; one blocking thread, no message is queued.

    `outbound` are the contexts on which the peer takes C-STORE, by class and transfer syntax; `take_other` hears
    responses to what was sent before, and says whether it knew them. Every method raises ConnectionLost,
    DeadlinePassed and MalformedPDU: the association is over then.
    """

    wire: Wire
    request: Command
    context_id: int
    peer_max_length: int
    patience_seconds: float
    stopping: threading.Event
    outbound: dict[tuple[str, str], int]
    take_other: Callable[[Command], bool]
    last_status: int = 0
    _cancelled: bool = False
    _command: bytearray = field(default_factory=bytearray)
    _message_id: int = 0
    _stored: Command | None = None

    def respond(
        self,
        status: int,
        comment: str = "",
        *,
        counts: SubOperations | None = None,
        dataset: bytes = b"",
    ) -> None:
        """Send one response, with its data set if there is one."""
        command = encode_response(self.request, status, comment, counts=counts, has_dataset=bool(dataset))
        content = encode_command(self.context_id, command, self.peer_max_length)
        if dataset:
            content += encode_dataset(self.context_id, dataset, self.peer_max_length)
        self.wire.send(content)
        self.last_status = status

    def is_cancelled(self) -> bool:
        """Take what the peer has said, without waiting, and say whether it has cancelled the request."""
        if self.stopping.is_set():
            raise ConnectionLost("stopping")
        while not self._cancelled and self.wire.has_input(0):
            self.wire.expect("a message", self.patience_seconds, leased=False)
            self._take()
        return self._cancelled

    def store(self, context: tuple[str, str], SOPInstanceUID: str, pieces: Iterable[bytes]) -> int:
        """Send an instance on this association (C-GET); return the status of its response."""
        self._message_id = self._message_id % 65_535 + 1
        context_id = self.outbound[context]
        command = encode_store_rq(self._message_id, context[0], SOPInstanceUID)
        self.wire.send(encode_command(context_id, command, self.peer_max_length))
        limit = min(self.peer_max_length or _FRAGMENT_BYTES, _FRAGMENT_BYTES)
        for pdu in encode_fragments(context_id, pieces, limit):
            self.wire.send(pdu)
        self._stored = None
        while self._stored is None:
            if self.stopping.is_set():
                raise ConnectionLost("stopping")
            self.wire.expect("a response", self.patience_seconds, leased=False)
            self._take()
        return self._stored.status

    def _take(self) -> None:
        """Read one PDU: commands without data sets, or an abort."""
        pdu_type, left = self.wire.read_header(_MOST_BYTES)
        if pdu_type == ABORT:
            raise ConnectionLost("aborted by the peer")
        if pdu_type != P_DATA_TF:
            raise MalformedPDU("PDU while a request is answered", reason=UNEXPECTED_PDU)
        body = self.wire.read(left)
        while body:
            length, _, flags = PDV_HEADER.unpack_from(body.ljust(PDV_HEADER_BYTES, b"\0"))
            if not 2 <= length <= len(body) - 4 or not flags & COMMAND_FRAGMENT:
                raise MalformedPDU("no command set while a request is answered", reason=UNEXPECTED_PARAMETER)
            self._command += body[PDV_HEADER_BYTES : 4 + length]
            body = body[4 + length :]
            if len(self._command) > _MOST_BYTES:
                raise MalformedPDU("command set too long", reason=INVALID_PARAMETER)
            if flags & LAST_FRAGMENT:
                self._hear()

    def _hear(self) -> None:
        try:
            command = decode_command(self._command)
        except MalformedCommand as error:
            raise MalformedPDU(str(error), reason=INVALID_PARAMETER) from None
        self._command.clear()
        if command.has_dataset:
            raise MalformedPDU("data set while a request is answered", reason=UNEXPECTED_PARAMETER)
        if command.field == C_CANCEL_RQ:
            self._cancelled = self._cancelled or command.message_id == self.request.message_id
        elif (command.field, command.message_id) == (C_STORE_RQ | RESPONSE, self._message_id):
            self._stored = command
        elif not self.take_other(command):
            raise MalformedPDU("message while a request is answered", reason=UNEXPECTED_PARAMETER)
