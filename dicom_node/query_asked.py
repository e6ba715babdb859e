"""Query/retrieve on the association that asks: the request with its identifier, and the archive that answers it.

What the archive imports is more than the rest of a worker, so it is opened when first asked.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from catalog.errors import HurenError
from dicom_node.command import (
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    CANNOT_COUNT,
    CANNOT_UNDERSTAND,
    OUT_OF_RESOURCES,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    Command,
)
from dicom_node.dialogue import Dialogue
from dicom_node.negotiation import FIND_CLASSES, GET_CLASSES, MOVE_CLASSES
from dicom_node.storage import Reception

CLASSES_OF: Final = {C_FIND_RQ: FIND_CLASSES, C_MOVE_RQ: MOVE_CLASSES, C_GET_RQ: GET_CLASSES}
IDENTIFIER_LIMIT_BYTES: Final = 64 << 10


class Refusal(Exception):
    """A request that is answered with nothing but this status and this comment."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment


@dataclass(frozen=True, slots=True)
class Asker:
    """The peer that asks, and the AE title it calls us by."""

    hospital_code: str
    ae_title: str
    called: str


class Archive(Protocol):
    """Who answers."""

    def answer(self, asker: Asker, dialogue: Dialogue, dataset: bytes, TransferSyntaxUID: str) -> None:
        """Answer a request to its last response. Raises as Dialogue does, when the association is over."""

    def close(self) -> None:
        """Close what is open."""


class LateArchive:
    """The archive of a worker, opened when first asked; it stays closed where `opener` raises HurenError."""

    def __init__(self, opener: Callable[[], Archive] | None) -> None:
        self._opener = opener
        self._lock = threading.Lock()
        self._archive: Archive | None = None

    def answer(self, asker: Asker, dialogue: Dialogue, dataset: bytes, TransferSyntaxUID: str) -> None:
        """As Archive."""
        try:
            archive = self._open()
        except HurenError:
            archive = None
        if archive is None:
            dialogue.respond(busy_status(dialogue.request), "no archive can be asked here now")
            return
        archive.answer(asker, dialogue, dataset, TransferSyntaxUID)

    def close(self) -> None:
        """As Archive."""
        if self._archive is not None:
            self._archive.close()

    def _open(self) -> Archive | None:
        with self._lock:
            if self._archive is None and self._opener is not None:
                self._archive = self._opener()
            return self._archive


class Inquiry(Reception):
    """A C-FIND, C-MOVE or C-GET request while its identifier arrives; the class and syntax are its context's."""

    def __init__(
        self, request: Command, context_id: int, SOPClassUID: str, TransferSyntaxUID: str, archive: Archive
    ) -> None:
        super().__init__(request, context_id, *_judge(request, SOPClassUID))
        self._syntax = TransferSyntaxUID
        self._archive = archive
        self._dataset = bytearray()

    def write(self, fragment: memoryview) -> None:
        """Keep what comes, up to the limit."""
        if self.status != SUCCESS:
            return
        if len(self._dataset) + len(fragment) > IDENTIFIER_LIMIT_BYTES:
            self._dataset.clear()
            self.status, self.comment = CANNOT_UNDERSTAND, "the identifier is too long"
        else:
            self._dataset += fragment

    def answer(self, asker: Asker, dialogue: Dialogue) -> None:
        """Answer it. Raises as Dialogue does, when the association is over."""
        if self.status != SUCCESS:
            dialogue.respond(self.status, self.comment)
        else:
            self._archive.answer(asker, dialogue, bytes(self._dataset), self._syntax)


def busy_status(request: Command) -> int:
    """Return the status that says that a request cannot be served now (PS3.4 Tables C.4-1 to C.4-3)."""
    return OUT_OF_RESOURCES if request.field == C_FIND_RQ else CANNOT_COUNT


def _judge(request: Command, SOPClassUID: str) -> tuple[int, str]:
    if request.SOPClassUID != SOPClassUID:
        return SOP_CLASS_NOT_SUPPORTED, "SOP class is not that of the context"
    if not request.has_dataset:
        return CANNOT_UNDERSTAND, "no identifier"
    return SUCCESS, ""
