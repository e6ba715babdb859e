"""Storage commitment on the association that asks for it: the N-ACTION is queued, and its report given there too
where the answer comes at once (PS3.4 J.3). Who does not wait gets it on an association of ours.
"""

import logging
import time
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Engine

from catalog import commitments
from catalog.commitments import Transaction
from catalog.db import transaction
from catalog.errors import Conflict, NotFound, Unavailable
from dicom_node.command import (
    INVALID_ARGUMENT,
    N_EVENT_REPORT_RQ,
    NO_SUCH_ACTION,
    NO_SUCH_CLASS,
    NO_SUCH_INSTANCE,
    NOT_AUTHORIZED,
    RESOURCE_LIMITATION,
    RESPONSE,
    SUCCESS,
    Command,
    encode_event_report_rq,
)
from dicom_node.commitment import (
    DATASET_LIMIT_BYTES,
    REQUEST_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
    CommitmentRequest,
    MalformedRequest,
    decode_request,
    encode_event,
)
from dicom_node.negotiation import STORAGE_COMMITMENT
from dicom_node.pdu import encode_command, encode_dataset
from dicom_node.storage import Reception

LOOK_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 1.0
_LOG: Final = logging.getLogger("huren.dicom_node")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that its association may still be told about, until a monotonic time."""

    commitment_id: int
    context_id: int
    TransferSyntaxUID: str
    until: float


@dataclass(slots=True)
class Commitments:
    """What one association asks to have committed to; without a catalogue nothing can be asked."""

    catalogue: Engine | None
    hospital_code: str
    calling_ae: str
    _asked: list[_Asked] = field(default_factory=list)
    _reported: int | None = None  # the commitment whose report waits for its response
    _message_id: int = 0

    def queue(self, request: CommitmentRequest, context_id: int, TransferSyntaxUID: str) -> None:
        """Put a request down, durable. Raises Unavailable, NotFound, Conflict."""
        with transaction(self._engine()) as session:
            commitment_id = commitments.queue(
                session,
                hospital_code=self.hospital_code,
                calling_ae=self.calling_ae,
                TransactionUID=request.TransactionUID,
                referenced=request.referenced,
            )
        until = time.monotonic() + _PATIENCE_SECONDS
        self._asked.append(_Asked(commitment_id, context_id, TransferSyntaxUID, until))

    def is_awaited(self) -> bool:
        """Is there an answer to look for now? One report at a time: the window is 1/1 (PS3.7 D.3.3.3)."""
        now = time.monotonic()
        self._asked = [asked for asked in self._asked if asked.until > now]
        return bool(self._asked) and self._reported is None

    def next_report(self, peer_max_length: int) -> bytes:
        """Give the PDUs of the report that is ready, or nothing."""
        for asked in self._asked:
            found = self._claim(asked.commitment_id)
            if found is not None:
                self._asked.remove(asked)
                self._reported = found.commitment_id
                return self._encode(asked, found, peer_max_length)
        return b""

    def take_response(self, response: Command) -> bool:
        """Take an N-EVENT-REPORT-RSP; False where it answers nothing that was reported."""
        expected = (N_EVENT_REPORT_RQ | RESPONSE, self._message_id)
        if self._reported is None or (response.field, response.message_id) != expected:
            return False
        if response.status == SUCCESS:
            self._end_report(taken=True)
        else:
            _LOG.warning("a commitment report was answered %04x", response.status)
            self._end_report(taken=False)
        return True

    def close(self) -> None:
        """The association is over: a report without a response is given elsewhere."""
        self._asked.clear()
        if self._reported is not None:
            self._end_report(taken=False)

    def _engine(self) -> Engine:
        if self.catalogue is None:
            raise Unavailable("目录不可用", "there is no catalogue")
        return self.catalogue

    def _claim(self, commitment_id: int) -> Transaction | None:
        try:
            with transaction(self._engine()) as session:
                return commitments.claim(session, "answered", commitment_id)
        except Unavailable:
            self._asked.clear()
            return None

    def _encode(self, asked: _Asked, found: Transaction, peer_max_length: int) -> bytes:
        self._message_id = self._message_id % 65_535 + 1
        event_type_id, dataset = encode_event(found, asked.TransferSyntaxUID)
        command = encode_event_report_rq(
            self._message_id, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, event_type_id
        )
        return encode_command(asked.context_id, command, peer_max_length) + encode_dataset(
            asked.context_id, dataset, peer_max_length
        )

    def _end_report(self, *, taken: bool) -> None:
        commitment_id, self._reported = self._reported, None
        if commitment_id is None:
            return
        try:
            with transaction(self._engine()) as session:
                if taken:
                    commitments.mark_reported(session, commitment_id)
                else:
                    commitments.postpone(session, commitment_id, "answered", 0)
        except Unavailable:
            _LOG.warning("a commitment report will be given once more: the catalogue does not answer")


class Asking(Reception):
    """An N-ACTION request while its data set arrives; `SOPClassUID` and the syntax are those of its context."""

    def __init__(
        self, request: Command, context_id: int, TransferSyntaxUID: str, commitments_: Commitments
    ) -> None:
        super().__init__(request, context_id, *_judge(request))
        self._syntax = TransferSyntaxUID
        self._commitments = commitments_
        self._dataset = bytearray()

    def write(self, fragment: memoryview) -> None:
        """Keep what comes, up to the limit."""
        if self.status != SUCCESS:
            return
        if len(self._dataset) + len(fragment) > DATASET_LIMIT_BYTES:
            self._dataset.clear()
            self.status, self.comment = RESOURCE_LIMITATION, "too many instances in one request"
        else:
            self._dataset += fragment

    def finish(self) -> int:
        """Queue the request; only then the status stays Success."""
        if self.status == SUCCESS:
            self.status, self.comment = self._queue()
        return 0

    def _queue(self) -> tuple[int, str]:
        try:
            request = decode_request(bytes(self._dataset), self._syntax)
            self._commitments.queue(request, self.context_id, self._syntax)
        except MalformedRequest as error:
            return error.status, error.comment
        except Conflict:
            return INVALID_ARGUMENT, "the Transaction UID stands for other instances"
        except NotFound:
            return NOT_AUTHORIZED, "the hospital is not registered"
        except Unavailable as error:
            _LOG.warning("a commitment cannot be queued: %s", error.code)
            return RESOURCE_LIMITATION, "the catalogue does not answer now"
        return SUCCESS, ""


def _judge(request: Command) -> tuple[int, str]:
    """Judge the command before its data set comes (PS3.7 §10.1.4.1.10, PS3.4 J.3.2)."""
    if request.SOPClassUID != STORAGE_COMMITMENT:
        return NO_SUCH_CLASS, "not the class of the context"
    if request.SOPInstanceUID != STORAGE_COMMITMENT_INSTANCE:
        return NO_SUCH_INSTANCE, "not the well-known instance"
    if request.type_id != REQUEST_COMMITMENT:
        return NO_SUCH_ACTION, "action type is not 1"
    if not request.has_dataset:
        return INVALID_ARGUMENT, "no action information"
    return SUCCESS, ""
