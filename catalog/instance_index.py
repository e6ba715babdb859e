"""Which pack holds an instance. The database lists packs, not instances: a pack carries a short hash of each.

Eight bytes per instance tell which few sidecars are worth reading; the sidecar decides. A row per instance would
be the largest table of the city by far, and nothing but storage commitment would ask it.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from catalog.tables import Pack

_HASH_BYTES: Final = 8
_PACKS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class CandidatePack:
    """An archived pack that may hold some of the instances looked for; without hashes any pack may."""

    pack_id: int
    key: str
    sidecar_key: str
    size_bytes: int
    has_hashes: bool


def hash_instance(SOPInstanceUID: str) -> bytes:
    """Return the eight bytes that stand for an instance (BLAKE2b)."""
    return hashlib.blake2b(SOPInstanceUID.encode("ascii"), digest_size=_HASH_BYTES).digest()


def hash_instances(SOPInstanceUIDs: Iterable[str]) -> bytes:
    """Return the hashes of several instances, sorted and joined: the same instances give the same bytes."""
    return b"".join(sorted({hash_instance(uid) for uid in SOPInstanceUIDs}))


def candidate_packs(
    session: Session, hospital_id: int, SOPInstanceUIDs: Iterable[str]
) -> list[CandidatePack]:
    """Return the archived packs of a hospital that may hold any of these instances, newest first.

    The search ends once each has been met: who asks for a commitment asks for what was sent lately.
    """
    wanted = {hash_instance(uid) for uid in SOPInstanceUIDs}
    candidates = []
    for pack in _newest_first(session, hospital_id):
        met = wanted.intersection(split_hashes(pack.instance_hashes or b""))
        if met or pack.instance_hashes is None:
            has_hashes = pack.instance_hashes is not None
            candidates.append(CandidatePack(pack.id, pack.key, pack.sidecar_key, pack.size_bytes, has_hashes))
        wanted -= met
        if not wanted:
            break
    return candidates


def add_hashes(session: Session, pack_id: int, SOPInstanceUIDs: Iterable[str]) -> None:
    """Give a pack from before its hashes, so that its sidecar need not be read for every search."""
    hashes = hash_instances(SOPInstanceUIDs)
    session.execute(update(Pack).where(Pack.id == pack_id).values(instance_hashes=hashes))


def _newest_first(session: Session, hospital_id: int) -> Iterator[Any]:
    columns = (Pack.id, Pack.key, Pack.sidecar_key, Pack.size_bytes, Pack.instance_hashes)
    query = select(*columns).where(Pack.hospital_id == hospital_id, Pack.role == "archive")
    query = query.order_by(Pack.id.desc()).limit(_PACKS_AT_ONCE)
    packs = session.execute(query).all()
    while packs:
        yield from packs
        packs = session.execute(query.where(Pack.id < packs[-1].id)).all()


def split_hashes(hashes: bytes) -> Iterator[bytes]:
    """Yield the hashes that `hash_instances` joined."""
    return (hashes[at : at + _HASH_BYTES] for at in range(0, len(hashes), _HASH_BYTES))
