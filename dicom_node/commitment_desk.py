"""Where associations put commitment requests down and find what was decided: the queue in the catalogue."""

import logging
from typing import Final

from sqlalchemy import Engine

from catalog import commitments
from catalog.db import transaction
from catalog.errors import Conflict, NotFound, Unavailable
from dicom_node.command import INVALID_ARGUMENT, NOT_AUTHORIZED, RESOURCE_LIMITATION
from dicom_node.commitment import decode_request, encode_event
from dicom_node.commitment_asked import Refused
from dicom_node.counters import Counters

_LOG: Final = logging.getLogger("huren.dicom_node")


class CatalogueDesk:
    """The desk of a worker that has the catalogue."""

    def __init__(self, engine: Engine, counters: Counters) -> None:
        self._engine = engine
        self._counters = counters

    def queue(self, hospital_code: str, calling_ae: str, dataset: bytes, TransferSyntaxUID: str) -> int:
        """Put a request down, durable, and return its number. Raises Refused."""
        try:
            number = self._queue(hospital_code, calling_ae, dataset, TransferSyntaxUID)
        except Refused as refusal:
            self._counters.add("commitments", f"refused:{refusal.status:04x}")
            raise
        self._counters.add("commitments", "asked")
        return number

    def decision(self, commitment_id: int, TransferSyntaxUID: str) -> tuple[int, bytes] | None:
        """Claim the decision: its event type and data set, or None so far. Raises Unavailable."""
        with transaction(self._engine) as session:
            found = commitments.claim(session, "answered", commitment_id)
        return None if found is None else encode_event(found, TransferSyntaxUID)

    def end_report(self, commitment_id: int, *, taken: bool) -> None:
        """Note what became of a report. Raises Unavailable."""
        with transaction(self._engine) as session:
            if taken:
                commitments.mark_reported(session, commitment_id)
            else:
                commitments.postpone(session, commitment_id, "answered", 0)
        self._counters.add("commitments", "reported" if taken else "not_taken")

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _queue(self, hospital_code: str, calling_ae: str, dataset: bytes, TransferSyntaxUID: str) -> int:
        request = decode_request(dataset, TransferSyntaxUID)
        try:
            with transaction(self._engine) as session:
                return commitments.queue(
                    session,
                    hospital_code=hospital_code,
                    calling_ae=calling_ae,
                    TransactionUID=request.TransactionUID,
                    referenced=request.referenced,
                )
        except Conflict:
            raise Refused(INVALID_ARGUMENT, "the Transaction UID stands for other instances") from None
        except NotFound:
            raise Refused(NOT_AUTHORIZED, "the hospital is not registered") from None
        except Unavailable as error:
            _LOG.warning("a commitment cannot be queued: %s", error.code)
            raise Refused(RESOURCE_LIMITATION, "the catalogue does not answer now") from None
