"""The objects of an erasure: out of the bucket, and out of the spool's copies kept for their grace time."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from catalog import erasures, report_views
from catalog.context import Catalogue
from catalog.errors import ObjectStoreDown
from catalog.objects import ObjectStore
from dicom_node.release import Receipts, holds
from dicom_node.spool import PackFile, Spool


@dataclass(frozen=True, slots=True)
class Removed:
    """What a run removed, and the copies that had to stay because another study of theirs stands nowhere else."""

    objects: int
    copies: int
    copies_kept: int


def remove_erased(
    catalogue: Catalogue,
    store: ObjectStore,
    spool: Spool,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Removed:
    """Remove what every unfinished erasure has written down; it may be interrupted and run again.

    `on_progress` is told how many objects are gone and how many there are. Raises ObjectStoreDown, DatabaseDown.
    """
    waiting = erasures.unfinished(catalogue)
    total, done = sum(len(keys) for keys in waiting.values()), 0
    copies, kept = forget_copies(spool, Receipts(spool.root), store, erasures.erased_keys(catalogue))
    for erasure_id, keys in waiting.items():
        named = report_views.attached_among(catalogue, keys)  # the same document in somebody else's report
        for key in keys:
            if key not in named:
                _remove(store, key)
            done += 1
            on_progress(done, total)
        if not kept:
            erasures.finish(catalogue, erasure_id)
    return Removed(done, copies, kept)


def forget_copies(
    spool: Spool, receipts: Receipts, store: ObjectStore, gone: Collection[str]
) -> tuple[int, int]:
    """Remove the spool's copies of erased objects; gives how many went and how many had to stay.

    A copy may hold other studies too: it goes only once their own objects are seen to be whole. Raises
    ObjectStoreDown.
    """
    removed = kept = 0
    for pack in spool.shipped():
        promises = receipts.read(pack.pack_id) or {}
        erased = tuple(key for key in promises if key in gone)
        if not erased:
            continue
        others = {key: promise for key, promise in promises.items() if key not in erased}
        if all(holds(store, key, promise) for key, promise in others.items()):
            _drop(spool, receipts, pack)
            removed += 1
        else:
            kept += 1
    return removed, kept


def _drop(spool: Spool, receipts: Receipts, pack: PackFile) -> None:
    spool.release(pack)
    receipts.remove(pack.pack_id)


def _remove(store: ObjectStore, key: str) -> None:
    store.delete(key)
    if store.exists(key):
        raise ObjectStoreDown(
            "对象存储没有删除对象", "The object store did not remove an object", code="delete_failed"
        )
