"""Objects in the bucket that no row names: listed, and only on demand removed.

young       may still be on its way to its row
restorable  a pack with its sidecar holding instances that no registered pack has: `huren rebuild` registers
            it, and it is never removed, since what was acknowledged may be in it alone
leftover    everything in it is registered elsewhere, or half of the pair is missing or damaged
foreign     neither a pack nor a sidecar, and so not ours to remove
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final, Literal

from catalog import erasures, report_views, studies
from catalog.context import Catalogue
from catalog.errors import IntegrityFault
from catalog.objects import ObjectStore, StoredObject
from catalog.packs import named_among
from catalog.uids import pack_key
from dicom_node.bucket import Pair, fetch_sidecar, walk

State = Literal["young", "restorable", "leftover", "foreign"]
AGE: Final = timedelta(days=1)
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Orphan:
    """An object without a row."""

    key: str
    size_bytes: int
    modified_at: datetime | None
    state: State
    deleted: bool = False


def find_orphans(
    store: ObjectStore,
    catalogue: Catalogue,
    *,
    delete: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[Orphan]:
    """Yield what no row names; with `delete`, leftovers are removed. Raises ObjectStoreDown, DatabaseDown.

    `clock` is the store's: its times are compared with it, never with the time of a test.
    """
    found = walk(store)
    while batch := list(islice(found, _BATCH)):
        keys = [pack_key(one.sha256) for one in batch if isinstance(one, Pair)]
        named = named_among(catalogue, keys) | _attached(catalogue, batch)
        for one in batch:
            if isinstance(one, StoredObject):
                if one.key not in named:
                    yield _orphan(one, "foreign")
            elif pack_key(one.sha256) not in named:
                state = _state(store, catalogue, one, clock())
                deleted = delete and state == "leftover" and _remove(store, catalogue, one)
                yield from (_orphan(found, state, deleted=deleted) for found in one.objects)


def _attached(catalogue: Catalogue, batch: Sequence[StoredObject | Pair]) -> set[str]:
    """The keys of documents that reports name."""
    return report_views.attached_among(catalogue, [one.key for one in batch if isinstance(one, StoredObject)])


def _state(store: ObjectStore, catalogue: Catalogue, pair: Pair, now: datetime) -> State:
    if any(found.modified_at is None or now - found.modified_at < AGE for found in pair.objects):
        return "young"
    if pair.pack is None or pair.sidecar is None:
        return "leftover"
    try:
        record = fetch_sidecar(store, pair.sidecar.key).pack
    except IntegrityFault:
        return "leftover"
    if record.sha256 != pair.sha256 or record.size_bytes != pair.pack.size_bytes:
        return "leftover"
    if erasures.erased_among(catalogue, [record.header.StudyInstanceUID]):
        return "leftover"
    try:
        kept = _kept(store, catalogue, record.header.StudyInstanceUID)
    except IntegrityFault:  # a registered sidecar is lost, and with it the knowledge of what can be spared
        return "restorable"
    known = all((one.SOPInstanceUID, one.sha256) in kept for one in record.instances)
    return "leftover" if known else "restorable"


def _kept(store: ObjectStore, catalogue: Catalogue, StudyInstanceUID: str) -> set[tuple[str, str]]:
    """SOPInstanceUID and SHA-256 of what is registered of a study, kept apart or not."""
    known = studies.known_study(catalogue, StudyInstanceUID)
    if known is None:
        return set()
    records = [fetch_sidecar(store, key).pack for key in known.sidecar_keys]
    return {(one.SOPInstanceUID, one.sha256) for record in records for one in record.instances} | set(
        known.conflict_digests
    )


def _remove(store: ObjectStore, catalogue: Catalogue, pair: Pair) -> bool:
    """Remove a pair, unless a row has come to name it meanwhile."""
    if named_among(catalogue, [pack_key(pair.sha256)]):
        return False
    for found in pair.objects:
        store.delete(found.key)
    return True


def _orphan(found: StoredObject, state: State, *, deleted: bool = False) -> Orphan:
    return Orphan(found.key, found.size_bytes, found.modified_at, state, deleted)
