"""The sub-operations of C-MOVE and C-GET (PS3.4 §C.4.2, C.4.3): counted, cancelled, and stopped by what is taken back."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from catalog.errors import HurenError, IntegrityFault, NotFound, Unavailable
from catalog.objects import ObjectStore
from dicom_node.archive_index import Located
from dicom_node.carriers import Carrier, CarrierLost
from dicom_node.command import (
    CANCELLED,
    CANNOT_PERFORM,
    PENDING,
    SOME_FAILED,
    SUCCESS,
    SubOperations,
)
from dicom_node.dialogue import Dialogue
from dicom_node.identifier import encode_identifier, uid_list
from dicom_node.pack_stream import PackStream

_FAILED_UIDS: Final = "00080058"
# What is taken back ends within 5 s: asked again between instances, and inside one that takes long.
_BETWEEN_SECONDS: Final = 1.5
_WITHIN_SECONDS: Final = 3.0
_PIECE_BYTES: Final = 256 << 10
_LOG: Final = logging.getLogger("huren.dicom_node")


class Stopped(Exception):
    """Nothing more is sent; the argument says why, for the Error Comment."""


class BrokenOff(Stopped):
    """The same inside an instance: what carries it can only be aborted."""


@dataclass(slots=True)
class Permit:
    """That a study may be seen, asked for again as time goes by; `view` raises where it may not."""

    view: Callable[[str], object]
    _asked: dict[str, float] = field(default_factory=dict)

    def check(self, StudyInstanceUID: str, seconds: float) -> None:
        """Raise Stopped where a study may be seen no more, or that cannot be known; answers count for so long."""
        now = time.monotonic()
        if now - self._asked.get(StudyInstanceUID, -seconds) < seconds:
            return
        try:
            self.view(StudyInstanceUID)
        except NotFound:
            raise Stopped("no longer permitted") from None
        except HurenError as error:
            raise Stopped("permission cannot be checked now") from error
        self._asked = {StudyInstanceUID: now}


@dataclass(slots=True)
class Retrieval:
    """One retrieval from the first instance to its last response."""

    dialogue: Dialogue
    permit: Permit
    store: ObjectStore
    threads: Executor
    TransferSyntaxUID: str
    pending: dict[Located, None]
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list)
    why: str = ""
    cancelled: bool = False

    @property
    def is_over(self) -> bool:
        """Return whether nothing more is to be sent."""
        return self.cancelled or bool(self.why)

    def send(self, instances: Sequence[Located], carrier: Carrier) -> None:
        """Send instances by a carrier, as long as nothing stands against it.

        Raises CarrierLost and BrokenOff, when the carrier is over, and what the dialogue raises, when that is.
        """
        taken = [each for each in instances if carrier.accepts(each.context)]
        for each in instances:
            if not carrier.accepts(each.context):
                self._fail(each)
        stream = PackStream(self.store, self.threads, taken)
        try:
            for each in taken:
                if self.dialogue.is_cancelled():
                    self.cancelled = True
                    return
                self.dialogue.respond(PENDING, counts=self._counts())
                self._send_one(each, stream, carrier)
        except (Stopped, CarrierLost) as stopped:
            self.why = str(stopped)
            if not isinstance(stopped, Stopped) or isinstance(stopped, BrokenOff):
                raise
        finally:
            stream.close()

    def finish(self) -> None:
        """Send the last response."""
        if self.cancelled:
            counts = self._counts()
        else:
            self.failed += [each.SOPInstanceUID for each in self.pending]
            self.pending.clear()
            counts = SubOperations(self.completed, len(self.failed), self.warning)
        dataset = b""
        if self.failed:
            row = uid_list(_FAILED_UIDS, self.failed)
            dataset = encode_identifier(row, self.TransferSyntaxUID, "ISO_IR 192")
        self.dialogue.respond(self._status(), self.why, counts=counts, dataset=dataset)

    def _send_one(self, one: Located, stream: PackStream, carrier: Carrier) -> None:
        self.permit.check(one.StudyInstanceUID, _BETWEEN_SECONDS)
        pieces = stream.take(one.size_bytes)
        try:
            first = next(pieces, b"")  # before the command: what the store cannot give is not begun
        except (Unavailable, NotFound, IntegrityFault) as error:
            _LOG.error("an instance cannot be read for a retrieval: %s", error.code)
            raise Stopped("the object store does not give the images") from error
        status = carrier.store(one, self._permitted(one, chain((first,), pieces)))
        del self.pending[one]
        if status == SUCCESS:
            self.completed += 1
        elif status >> 12 == 0xB:  # stored, with a warning (PS3.4 Table B.2-1)
            self.warning += 1
        else:
            self.failed.append(one.SOPInstanceUID)

    def _permitted(self, one: Located, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for piece in pieces:
                for at in range(0, len(piece), _PIECE_BYTES):
                    self.permit.check(one.StudyInstanceUID, _WITHIN_SECONDS)
                    yield piece[at : at + _PIECE_BYTES]
        except Stopped as stopped:
            raise BrokenOff(str(stopped)) from stopped
        except (Unavailable, NotFound, IntegrityFault) as error:
            raise BrokenOff("the object store does not give the images") from error

    def _fail(self, one: Located) -> None:
        del self.pending[one]
        self.failed.append(one.SOPInstanceUID)

    def _counts(self) -> SubOperations:
        return SubOperations(self.completed, len(self.failed), self.warning, len(self.pending))

    def _status(self) -> int:
        if self.cancelled:
            return CANCELLED
        if self.why or (self.failed and not self.completed + self.warning):
            return CANNOT_PERFORM
        return SOME_FAILED if self.failed else SUCCESS
