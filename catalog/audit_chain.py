"""The hash chain of the audit: what a record's digest is, what a seal covers, how it is signed. Pure.

    digest   SHA-256 of the record as JSON with sorted keys; `detail` in it is the text PostgreSQL writes for the jsonb
    records  SHA-256 over id and digest of each record, each hashed with what came before
    head     SHA-256 of the seal as JSON with sorted keys: its number, time, range, records and the head before it

Every hash begins with the name of what it covers, so that none can stand for another. A seal covers every record
with an id above the last seal's `through_id` and up to its own: one that appears there later was put in.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

DIGEST_BYTES: Final = 32
START: Final = bytes(DIGEST_BYTES)
_RECORD: Final = b"huren.audit.record.1\n"
_SEAL: Final = b"huren.audit.seal.1\n"


@dataclass(frozen=True, slots=True)
class Entry:
    """An audit record as it stands in the table; its time as `moment_text` writes it, `detail` the text of its jsonb."""

    id: int
    recorded_at: str
    action: str
    caller: str
    role: str
    hospital_id: int | None
    person_id: int | None
    detail: str

    def digest(self) -> bytes:
        """Return what the chain keeps of this record."""
        content = {
            "id": self.id,
            "recorded_at": self.recorded_at,
            "action": self.action,
            "caller": self.caller,
            "role": self.role,
            "hospital_id": self.hospital_id,
            "person_id": self.person_id,
            "detail": self.detail,
        }
        return hashlib.sha256(_RECORD + _canonical(content)).digest()


@dataclass(frozen=True, slots=True)
class Seal:
    """One link of the chain over the records up to `through_id`."""

    number: int
    sealed_at: str
    through_id: int
    record_ids: tuple[int, ...]
    digests: bytes
    previous: bytes
    head: bytes
    signature: bytes
    key: str

    def each_digest(self) -> dict[int, bytes]:
        """Return the digest of each record by its id."""
        ends = range(DIGEST_BYTES, len(self.digests) + 1, DIGEST_BYTES)
        pieces = [self.digests[end - DIGEST_BYTES : end] for end in ends]
        return dict(zip(self.record_ids, pieces, strict=False))

    def counted_head(self) -> bytes:
        """Return the head this seal must have by what stands in it."""
        return _head(
            self.number, self.sealed_at, self.through_id, self.record_ids, self.digests, self.previous
        )


class Signer:
    """The key that signs seals."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key()
        self.name = key_name(self.public)

    def seal(self, last: Seal | None, sealed_at: datetime, through_id: int, entries: list[Entry]) -> Seal:
        """Return the link that follows `last`, over these records in the order of their ids."""
        time = moment_text(sealed_at)
        number, previous = (last.number + 1, last.head) if last else (1, START)
        ids = tuple(entry.id for entry in entries)
        digests = b"".join(entry.digest() for entry in entries)
        head = _head(number, time, through_id, ids, digests, previous)
        signature = self._private.sign(head)
        return Seal(number, time, through_id, ids, digests, previous, head, signature, self.name)


def is_signed(seal: Seal, public: Ed25519PublicKey) -> bool:
    """Say whether the seal's head was signed with this key."""
    try:
        public.verify(seal.signature, seal.head)
    except InvalidSignature:
        return False
    return True


def key_name(public: Ed25519PublicKey) -> str:
    """Return the name of a key: the first 16 hexadecimal digits of its SHA-256."""
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def _head(
    number: int,
    sealed_at: str,
    through_id: int,
    ids: tuple[int, ...],
    digests: bytes,
    previous: bytes,
) -> bytes:
    records = START
    for place, record_id in enumerate(ids):
        digest = digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
        records = hashlib.sha256(records + f"{record_id}:".encode() + digest).digest()
    content = {
        "number": number,
        "sealed_at": sealed_at,
        "through_id": through_id,
        "count": len(ids),
        "digests_bytes": len(digests),
        "records": records.hex(),
        "previous": previous.hex(),
    }
    return hashlib.sha256(_SEAL + _canonical(content)).digest()


def _canonical(content: dict[str, object]) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


def moment_text(time: datetime) -> str:
    """Return a time as the chain writes it: UTC, to the microsecond, as PostgreSQL's to_char does too."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
