"""Who takes instances to where they are wanted: the asking association itself (C-GET), or one of ours (C-MOVE)."""

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from catalog.destinations import Destination
from catalog.errors import NotAllowed, Unavailable
from dicom_node.archive_index import Located
from dicom_node.command import CANNOT_PERFORM
from dicom_node.dialogue import Dialogue
from dicom_node.pdu import MalformedPDU
from dicom_node.query_asked import Asker, Refusal
from dicom_node.sender import MAX_CONTEXTS, Requestor
from dicom_node.tls import OutboundTls
from dicom_node.wire import ConnectionLost, DeadlinePassed

_ANSWER_SECONDS: Final = 30.0
_MIN_BYTES_PER_SECOND: Final = 4096.0  # as of senders


class CarrierLost(Exception):
    """Nothing more can be sent by a carrier; the argument says why. The asking association goes on."""


class Carrier(Protocol):
    """Takes instances one by one."""

    def accepts(self, context: tuple[str, str]) -> bool:
        """Say whether an instance of this class and transfer syntax is taken."""

    def store(self, instance: Located, pieces: Iterable[bytes]) -> int:
        """Send an instance; return the status of its response. Raises CarrierLost, or as Dialogue does."""


@dataclass(frozen=True, slots=True)
class HereCarrier:
    """Sends on the association that asks."""

    dialogue: Dialogue

    def accepts(self, context: tuple[str, str]) -> bool:
        """As Carrier."""
        return context in self.dialogue.outbound

    def store(self, instance: Located, pieces: Iterable[bytes]) -> int:
        """As Carrier."""
        return self.dialogue.store(instance.context, instance.SOPInstanceUID, pieces)


@dataclass(frozen=True, slots=True)
class ThereCarrier:
    """Sends on an association of ours; `originator` is who asked, and by which message."""

    requestor: Requestor
    originator: tuple[str, int]

    def accepts(self, context: tuple[str, str]) -> bool:
        """As Carrier."""
        return self.requestor.accepts(context)

    def store(self, instance: Located, pieces: Iterable[bytes]) -> int:
        """As Carrier."""
        one = (instance.context, instance.SOPInstanceUID, pieces, self.originator)
        try:
            return self.requestor.store_pieces(*one).status
        except (ConnectionLost, DeadlinePassed, MalformedPDU):
            raise CarrierLost("the destination has ended the association") from None


def batches(instances: Iterable[Located]) -> Iterator[list[Located]]:
    """Cut instances where one association would have more than 128 contexts, in the order given."""
    batch: list[Located] = []
    contexts: set[tuple[str, str]] = set()
    for each in instances:
        if each.context not in contexts and len(contexts) == MAX_CONTEXTS:
            yield batch
            batch, contexts = [], set()
        batch.append(each)
        contexts.add(each.context)
    if batch:
        yield batch


@contextmanager
def opened(
    destination: Destination, asker: Asker, message_id: int, batch: list[Located], tls: OutboundTls | None
) -> Iterator[ThereCarrier]:
    """Yield a carrier to a destination; its association is released at the end, aborted where something is raised.

    Raises Refusal (0xA702) where it cannot be had.
    """
    contexts = list(dict.fromkeys(each.context for each in batch))
    try:
        requestor = Requestor(
            destination.host,
            destination.port,
            destination.ae_title,
            asker.called,
            contexts,
            answer_seconds=_ANSWER_SECONDS,
            min_bytes_per_second=_MIN_BYTES_PER_SECOND,
            secure=_secure(destination, tls) if destination.tls else None,
        )
    except (NotAllowed, Unavailable) as error:
        raise Refusal(CANNOT_PERFORM, f"the destination gives no association: {error.code}") from None
    with requestor:
        yield ThereCarrier(requestor, (asker.ae_title, message_id))


def _secure(destination: Destination, tls: OutboundTls | None) -> Callable[[socket.socket], socket.socket]:
    if tls is None:
        raise Refusal(CANNOT_PERFORM, "the destination listens with TLS, not set up here")
    return lambda sock: tls.secure(sock, destination.host, destination.certificates)
