"""What can be committed to: what the catalogue lists and the object store still holds, byte for byte."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine

from catalog.commitments import Failure, Reference, Transaction
from catalog.db import transaction
from catalog.errors import IntegrityFault, NotFound
from catalog.instance_index import CandidatePack, add_hashes, candidate_packs
from catalog.objects import ObjectStore
from dicom_node.command import CLASS_INSTANCE_CONFLICT, NO_SUCH_INSTANCE, PROCESSING_FAILURE
from dicom_node.commitment import failures
from dicom_node.sidecar import read_sidecar

_LISTINGS_KEPT: Final = 64
_GAP_BYTES: Final = 256 << 10  # shorter gaps between members are read and thrown away: a request costs more
_LOG: Final = logging.getLogger("huren.dicom_node")


@dataclass(frozen=True, slots=True)
class _Member:
    """An instance in an archived pack: where its data set lies in the pack, and its SHA-256."""

    SOPInstanceUID: str
    SOPClassUID: str
    begin: int
    end: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Held:
    """The pack that lists an instance."""

    pack: CandidatePack
    member: _Member


class Examiner:
    """Says of each instance asked for why it cannot be committed to, if so.

    Digests are compared where the members asked for have at most `digest_limit_bytes` together, always if that is
    None; sizes of packs always. Sidecars never change, so the latest ones are remembered.
    """

    def __init__(self, engine: Engine, store: ObjectStore, *, digest_limit_bytes: int | None = None) -> None:
        self._engine = engine
        self._store = store
        self._digest_limit_bytes = digest_limit_bytes
        self._listings: dict[str, dict[str, _Member]] = {}

    def examine(self, asked: Transaction, *, may_wait: bool) -> tuple[Failure, ...] | None:
        """Return the failures of a request, or None where something is not archived and `may_wait`.

        Failure Reasons (PS3.3 C.14.1.1): 0x0112 no such object instance, 0x0119 class-instance conflict, 0x0110
        processing failure, where bytes are not what was received. Raises Unavailable while a store is down.
        """
        held = self._locate(asked)
        if may_wait and any(uid not in held for _, uid in asked.referenced):
            return None
        faults = self._verify([held[uid] for _, uid in asked.referenced if uid in held])
        return failures((reference, _reason(reference, held, faults)) for reference in asked.referenced)

    def _locate(self, asked: Transaction) -> dict[str, _Held]:
        wanted = {uid for _, uid in asked.referenced}
        with transaction(self._engine) as session:
            packs = candidate_packs(session, asked.hospital_id, wanted)
        held: dict[str, _Held] = {}
        for pack in packs:
            listing = self._listing(pack)
            found = wanted.intersection(listing)
            held |= {uid: _Held(pack, listing[uid]) for uid in found - held.keys()}
        return held

    def _listing(self, pack: CandidatePack) -> dict[str, _Member]:
        known = self._listings.get(pack.sidecar_key)
        if known is not None:
            return known
        try:
            listing = self._read_listing(pack.sidecar_key)
        except (NotFound, IntegrityFault) as error:
            _LOG.error("the sidecar of pack %s: %s", pack.pack_id, error.code)
            return {}
        if not pack.has_hashes:
            with transaction(self._engine) as session:
                add_hashes(session, pack.pack_id, listing)
        self._listings[pack.sidecar_key] = listing
        if len(self._listings) > _LISTINGS_KEPT:
            del self._listings[next(iter(self._listings))]
        return listing

    def _read_listing(self, sidecar_key: str) -> dict[str, _Member]:
        content = self._store.read_range(sidecar_key, 0, self._store.stat(sidecar_key).size_bytes)
        return {
            one.SOPInstanceUID: _Member(
                one.SOPInstanceUID,
                one.SOPClassUID,
                one.dataset_offset,
                one.dataset_offset + one.dataset_size_bytes,
                one.sha256,
            )
            for one in read_sidecar(content).pack.instances
        }

    def _verify(self, held: Sequence[_Held]) -> dict[str, int]:
        """Return the Failure Reason of every instance that the store does not hold as it was received."""
        size_bytes = sum(one.member.end - one.member.begin for one in held)
        with_digests = self._digest_limit_bytes is None or size_bytes <= self._digest_limit_bytes
        by_pack: dict[CandidatePack, dict[str, _Member]] = {}
        for one in held:
            by_pack.setdefault(one.pack, {})[one.member.SOPInstanceUID] = one.member
        faults: dict[str, int] = {}
        for pack, members in by_pack.items():
            faults |= self._verify_pack(pack, list(members.values()), with_digests)
        return faults

    def _verify_pack(self, pack: CandidatePack, members: list[_Member], with_digests: bool) -> dict[str, int]:
        try:
            is_whole = self._store.stat(pack.key).size_bytes == pack.size_bytes
        except NotFound:
            _LOG.error("pack %s is missing in the object store", pack.pack_id)
            return dict.fromkeys((member.SOPInstanceUID for member in members), NO_SUCH_INSTANCE)
        altered = [] if is_whole else members
        if is_whole and with_digests:
            altered = [member for run in _runs(members) for member in self._altered(pack.key, run)]
        if altered:
            _LOG.error("pack %s is altered in the object store: %d instances", pack.pack_id, len(altered))
        return dict.fromkeys((member.SOPInstanceUID for member in altered), PROCESSING_FAILURE)

    def _altered(self, key: str, run: list[_Member]) -> list[_Member]:
        begin, end = run[0].begin, run[-1].end
        try:
            with self._store.open_range(key, begin, end - begin) as pieces:
                digests = list(_digests(pieces, begin, run))
        except (NotFound, IntegrityFault):
            return run
        return [member for member, digest in zip(run, digests, strict=True) if member.sha256 != digest]


def _reason(reference: Reference, held: dict[str, _Held], faults: dict[str, int]) -> int | None:
    SOPClassUID, SOPInstanceUID = reference
    if SOPInstanceUID not in held:
        return NO_SUCH_INSTANCE
    if held[SOPInstanceUID].member.SOPClassUID != SOPClassUID:
        return CLASS_INSTANCE_CONFLICT
    return faults.get(SOPInstanceUID)


def _runs(members: Iterable[_Member]) -> list[list[_Member]]:
    """Put together members that one ranged read should fetch."""
    runs: list[list[_Member]] = []
    for member in sorted(members, key=lambda member: member.begin):
        if runs and 0 <= member.begin - runs[-1][-1].end <= _GAP_BYTES:
            runs[-1].append(member)
        else:
            runs.append([member])
    return runs


def _digests(pieces: Iterator[bytes], at: int, run: Sequence[_Member]) -> Iterator[str]:
    """Give the SHA-256 of each member in a stream that begins at `at`; they lie in order and apart."""
    piece = memoryview(b"")
    for member in run:
        digest, at_member = hashlib.sha256(), member.begin
        while at_member < member.end:
            if at + len(piece) <= at_member:
                at += len(piece)
                piece = memoryview(next(pieces))
                continue
            part = piece[at_member - at : member.end - at]
            digest.update(part)
            at_member += len(part)
        yield digest.hexdigest()
