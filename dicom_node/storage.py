"""C-STORE: one instance from its command to its status (PS3.7 §9.1.1, PS3.4 Annex B)."""

import logging

from catalog.errors import InvalidInput, Unavailable
from catalog.uids import check_uid
from dicom_node.command import (
    CANNOT_UNDERSTAND,
    DATA_SET_DOES_NOT_MATCH,
    INVALID_SOP_INSTANCE,
    OUT_OF_RESOURCES,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    Command,
)
from dicom_node.intake import Intake
from dicom_node.sop_classes import STORAGE_CLASSES

_LOG = logging.getLogger("huren.dicom_node")


class Reception:
    """A request while its data set arrives. Once a status is set the rest is taken off the wire and dropped."""

    def __init__(self, request: Command, context_id: int, status: int = SUCCESS, comment: str = "") -> None:
        self.request = request
        self.context_id = context_id
        self.status = status
        self.comment = comment

    def write(self, fragment: memoryview) -> None:
        """Take bytes of the data set."""

    def recall(self) -> None:
        """Let go of the fragments given so far: their memory is about to be used again."""

    def finish(self) -> int:
        """End of the data set; gives the bytes stored. `status` says what to answer."""
        return 0

    def abandon(self) -> None:
        """The data set will not end."""


class Storing(Reception):
    """A C-STORE request; `SOPClassUID` and `TransferSyntaxUID` are those of its presentation context."""

    def __init__(
        self, request: Command, context_id: int, SOPClassUID: str, TransferSyntaxUID: str, intake: Intake
    ) -> None:
        super().__init__(request, context_id, *_judge(request, SOPClassUID))
        self._intake = intake
        self._received = 0
        if self.status == SUCCESS:
            self._begin(TransferSyntaxUID)

    def write(self, fragment: memoryview) -> None:
        """Append to the spool; any trouble there becomes 0xA700."""
        if self.status != SUCCESS:
            return
        try:
            self._intake.write(fragment)
            self._received += len(fragment)
        except (OSError, Unavailable) as error:
            self._fail(error)

    def recall(self) -> None:
        """Have what is lent written and digested; any trouble becomes 0xA700."""
        if self.status != SUCCESS:
            return
        try:
            self._intake.recall()
        except (OSError, Unavailable) as error:
            self._fail(error)

    def finish(self) -> int:
        """Make it durable; only then the status stays Success."""
        if self.status == SUCCESS and self._received == 0:
            self._intake.discard()
            self.status, self.comment = CANNOT_UNDERSTAND, "empty data set"
        if self.status != SUCCESS:
            return 0
        try:
            return self._intake.commit()
        except (OSError, Unavailable) as error:
            self._fail(error)
            return 0

    def abandon(self) -> None:
        """Take back what was written of the instance."""
        if self.status == SUCCESS:
            self._intake.discard()

    def _begin(self, TransferSyntaxUID: str) -> None:
        try:
            uid = check_uid(self.request.SOPInstanceUID, field="AffectedSOPInstanceUID")
            self._intake.begin(self.request.SOPClassUID, uid, TransferSyntaxUID)
        except (OSError, Unavailable) as error:
            self._fail(error)

    def _fail(self, error: OSError | Unavailable) -> None:
        self.status, self.comment = OUT_OF_RESOURCES, "the spool cannot take it now"
        what = error.code if isinstance(error, Unavailable) else error.strerror
        _LOG.error("an instance is answered 0xA700: %s", what)
        self._intake.discard()


def _judge(request: Command, SOPClassUID: str) -> tuple[int, str]:
    """Judge the command before its data set comes (statuses of PS3.7 §9.1.1.1.9 and PS3.4 Table B.2-1)."""
    if not request.SOPClassUID or not request.SOPInstanceUID:
        return CANNOT_UNDERSTAND, "SOP Class or Instance UID is missing"
    if request.SOPClassUID not in STORAGE_CLASSES:
        return SOP_CLASS_NOT_SUPPORTED, "not a storage SOP class"
    if request.SOPClassUID != SOPClassUID:
        return DATA_SET_DOES_NOT_MATCH, "SOP class is not that of the context"
    if not request.has_dataset:
        return CANNOT_UNDERSTAND, "no data set"
    try:
        check_uid(request.SOPInstanceUID, field="AffectedSOPInstanceUID")
    except InvalidInput:
        return INVALID_SOP_INSTANCE, "SOP Instance UID is not valid"
    return SUCCESS, ""
