"""The data sets of storage commitment (PS3.4 Annex J): asked by N-ACTION, answered by N-EVENT-REPORT."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from catalog.commitments import Failure, Reference, Transaction
from catalog.errors import InvalidInput
from catalog.uids import is_uid
from dicom_node.command import INVALID_ARGUMENT, PROCESSING_FAILURE
from dicom_node.commitment_asked import Refused
from dicom_node.dataset import Unreadable, Window, encoding_of
from dicom_node.metadata import read_metadata

ALL_COMMITTED: Final = 1  # event types (J.3.3.1.1)
FAILURES_EXIST: Final = 2

_TRANSACTION_UID: Final = 0x00081195
_FAILED_SOP_SEQUENCE: Final = 0x00081198
_REFERENCED_SOP_SEQUENCE: Final = 0x00081199
_REFERENCED_SOP_CLASS_UID: Final = 0x00081150
_REFERENCED_SOP_INSTANCE_UID: Final = 0x00081155
_FAILURE_REASON: Final = 0x00081197
_ITEM: Final = 0xFFFEE000


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """What is asked for: the instances in the order given, each once."""

    TransactionUID: str
    referenced: tuple[Reference, ...]


def decode_request(dataset: bytes, TransferSyntaxUID: str) -> CommitmentRequest:
    """Decode the action information of Table J.3-1.

    Raises:
        Refused: 0x0110 where it cannot be read as a data set, 0x0115 where a UID or the list is
            missing or wrong.
    """
    values = _read(dataset, TransferSyntaxUID)
    items = _values(values, _REFERENCED_SOP_SEQUENCE)
    if not items:
        raise Refused(INVALID_ARGUMENT, "ReferencedSOPSequence is missing or empty")
    referenced = [
        (_uid(item, _REFERENCED_SOP_CLASS_UID), _uid(item, _REFERENCED_SOP_INSTANCE_UID)) for item in items
    ]
    return CommitmentRequest(_uid(values, _TRANSACTION_UID), tuple(dict.fromkeys(referenced)))


def encode_event(transaction: Transaction, TransferSyntaxUID: str) -> tuple[int, bytes]:
    """Give the event type and the event information of Table J.3-2, in implicit or explicit little endian."""
    write = _Writer(encoding_of(TransferSyntaxUID).implicit)
    refused = {(failure[0], failure[1]) for failure in transaction.failed}
    kept = [write.item(reference) for reference in transaction.referenced if reference not in refused]
    failed = [write.item(failure[:2], failure[2]) for failure in transaction.failed]
    parts = [write.uid(_TRANSACTION_UID, transaction.TransactionUID)]
    if failed:
        parts.append(write.sequence(_FAILED_SOP_SEQUENCE, failed))
    if kept:
        parts.append(write.sequence(_REFERENCED_SOP_SEQUENCE, kept))
    return FAILURES_EXIST if failed else ALL_COMMITTED, b"".join(parts)


def failures(reasons: Iterable[tuple[Reference, int | None]]) -> tuple[Failure, ...]:
    """Give the failures among instances and their Failure Reasons; None is no failure."""
    return tuple((*reference, reason) for reference, reason in reasons if reason is not None)


class _Writer:
    """Elements in one of the two encodings (PS3.5 §7.1)."""

    def __init__(self, implicit: bool) -> None:
        self._implicit = implicit

    def uid(self, tag: int, uid: str) -> bytes:
        value = uid.encode("ascii")
        return self._element(tag, b"UI", value + b"\0" * (len(value) % 2))

    def item(self, reference: Reference, reason: int | None = None) -> bytes:
        value = self.uid(_REFERENCED_SOP_CLASS_UID, reference[0])
        value += self.uid(_REFERENCED_SOP_INSTANCE_UID, reference[1])
        if reason is not None:
            value += self._element(_FAILURE_REASON, b"US", struct.pack("<H", reason))
        return _head(_ITEM) + struct.pack("<I", len(value)) + value

    def sequence(self, tag: int, items: Sequence[bytes]) -> bytes:
        value = b"".join(items)
        vr = b"" if self._implicit else b"SQ\0\0"
        return _head(tag) + vr + struct.pack("<I", len(value)) + value

    def _element(self, tag: int, vr: bytes, value: bytes) -> bytes:
        length = struct.pack("<I", len(value)) if self._implicit else vr + struct.pack("<H", len(value))
        return _head(tag) + length + value


def _head(tag: int) -> bytes:
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF)


def _read(dataset: bytes, TransferSyntaxUID: str) -> dict[str, Any]:
    """Read it as DICOM JSON, by the reader that trusts no length."""
    try:
        metadata = read_metadata(Window(-1, 0, len(dataset), True, dataset), TransferSyntaxUID)
    except (Unreadable, InvalidInput):
        raise Refused(PROCESSING_FAILURE, "the data set cannot be read") from None
    if metadata.flaws & {"truncated", "unreadable_element"}:
        raise Refused(PROCESSING_FAILURE, "the data set cannot be read")
    found: dict[str, Any] = orjson.loads(metadata.json)
    return found


def _values(values: dict[str, Any], tag: int) -> list[Any]:
    found: list[Any] = values.get(f"{tag:08X}", {}).get("Value", [])
    return found


def _uid(values: dict[str, Any], tag: int) -> str:
    found = _values(values, tag)
    if len(found) != 1 or not isinstance(found[0], str) or not is_uid(found[0]):
        raise Refused(INVALID_ARGUMENT, f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is no single UID")
    return found[0]
