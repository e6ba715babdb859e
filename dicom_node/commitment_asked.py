"""Storage commitment on the association that asks for it: the N-ACTION is queued, and its report given there too
where the answer comes at once (PS3.4 J.3). Who does not wait gets it on an association of ours.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from catalog.errors import Unavailable
from dicom_node.command import (
    INVALID_ARGUMENT,
    N_EVENT_REPORT_RQ,
    NO_SUCH_ACTION,
    NO_SUCH_CLASS,
    NO_SUCH_INSTANCE,
    RESOURCE_LIMITATION,
    RESPONSE,
    SUCCESS,
    Command,
    encode_event_report_rq,
)
from dicom_node.counters import Counters
from dicom_node.negotiation import STORAGE_COMMITMENT
from dicom_node.pdu import encode_command, encode_dataset
from dicom_node.storage import Reception

if TYPE_CHECKING:
    from dicom_node.commitment_desk import CatalogueDesk

LOOK_SECONDS: Final = 0.05
STORAGE_COMMITMENT_INSTANCE: Final = "1.2.840.10008.1.20.1.1"  # well known (PS3.4 J.3.5)
REQUEST_COMMITMENT: Final = 1  # action type (J.3.2.1.1)
DATASET_LIMIT_BYTES: Final = 1 << 20
_PATIENCE_SECONDS: Final = 1.0
_LOG: Final = logging.getLogger("huren.dicom_node")


class Refused(Exception):
    """A request that is not queued; `status` and `comment` are those of the N-ACTION-RSP."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment


class Desk(Protocol):
    """Where requests are put down and decisions found."""

    def queue(self, hospital_code: str, calling_ae: str, dataset: bytes, TransferSyntaxUID: str) -> int:
        """Put a request down, durable, and return its number. Raises Refused."""

    def decision(self, commitment_id: int, TransferSyntaxUID: str) -> tuple[int, bytes] | None:
        """Claim the decision: its event type and data set, or None so far. Raises Unavailable."""

    def end_report(self, commitment_id: int, *, taken: bool) -> None:
        """Note what became of a report. Raises Unavailable."""


class LateDesk:
    """The catalogue's desk, opened when first asked: what it imports is more than the rest of a worker."""

    def __init__(self, database_url: str, counters: Counters) -> None:
        self._database_url = database_url
        self._counters = counters
        self._lock = threading.Lock()
        self._desk: CatalogueDesk | None = None

    def queue(self, hospital_code: str, calling_ae: str, dataset: bytes, TransferSyntaxUID: str) -> int:
        """As Desk."""
        return self._open().queue(hospital_code, calling_ae, dataset, TransferSyntaxUID)

    def decision(self, commitment_id: int, TransferSyntaxUID: str) -> tuple[int, bytes] | None:
        """As Desk."""
        return self._open().decision(commitment_id, TransferSyntaxUID)

    def end_report(self, commitment_id: int, *, taken: bool) -> None:
        """As Desk."""
        self._open().end_report(commitment_id, taken=taken)

    def close(self) -> None:
        """Close the connections, if any were opened."""
        if self._desk is not None:
            self._desk.close()

    def _open(self) -> "CatalogueDesk":
        with self._lock:
            if self._desk is None:
                from catalog.db import open_engine
                from dicom_node.commitment_desk import CatalogueDesk

                engine = open_engine(self._database_url, pool_size=2, statement_timeout_ms=2_000)
                self._desk = CatalogueDesk(engine, self._counters)
            return self._desk


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

    desk: Desk | None
    hospital_code: str
    calling_ae: str
    _asked: list[_Asked] = field(default_factory=list)
    _reported: int | None = None  # the commitment whose report waits for its response
    _message_id: int = 0

    def queue(self, dataset: bytes, context_id: int, TransferSyntaxUID: str) -> None:
        """Put a request down, durable. Raises Refused."""
        if self.desk is None:
            raise Refused(RESOURCE_LIMITATION, "the catalogue does not answer now")
        commitment_id = self.desk.queue(self.hospital_code, self.calling_ae, dataset, TransferSyntaxUID)
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
            found = self._decision(asked)
            if found is not None:
                self._asked.remove(asked)
                self._reported = asked.commitment_id
                return self._encode(asked.context_id, *found, peer_max_length)
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

    def _decision(self, asked: _Asked) -> tuple[int, bytes] | None:
        if self.desk is None:
            return None
        try:
            return self.desk.decision(asked.commitment_id, asked.TransferSyntaxUID)
        except Unavailable:
            self._asked.clear()
            return None

    def _encode(self, context_id: int, event_type_id: int, dataset: bytes, peer_max_length: int) -> bytes:
        self._message_id = self._message_id % 65_535 + 1
        command = encode_event_report_rq(
            self._message_id, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, event_type_id
        )
        return encode_command(context_id, command, peer_max_length) + encode_dataset(
            context_id, dataset, peer_max_length
        )

    def _end_report(self, *, taken: bool) -> None:
        commitment_id, self._reported = self._reported, None
        if commitment_id is None or self.desk is None:
            return
        try:
            self.desk.end_report(commitment_id, taken=taken)
        except Unavailable:
            _LOG.warning("a commitment report will be given once more: the catalogue does not answer")


class Asking(Reception):
    """An N-ACTION request while its data set arrives; `SOPClassUID` and the syntax are those of its context."""

    def __init__(
        self, request: Command, context_id: int, TransferSyntaxUID: str, commitments: Commitments
    ) -> None:
        super().__init__(request, context_id, *_judge(request))
        self._syntax = TransferSyntaxUID
        self._commitments = commitments
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
            try:
                self._commitments.queue(bytes(self._dataset), self.context_id, self._syntax)
            except Refused as refusal:
                self.status, self.comment = refusal.status, refusal.comment
        return 0


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
