"""Giving up the spool's copy: after the grace time, or earlier where room is short, and only while the objects
that replace it are whole.

`receipts/<pack_id>.json` beside the spool's own directories lists those objects: key → SHA-256 and size.
"""

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from catalog.errors import IntegrityFault, NotFound
from catalog.objects import ObjectStore
from dicom_node.pack import sync_directory
from dicom_node.spool import PackFile, Spool

_LOG = logging.getLogger("huren.dicom_node")

Promise = tuple[str, int]


class Receipts:
    """What stands for each shipped pack, durable below `root`."""

    def __init__(self, root: Path) -> None:
        self._directory = root / "receipts"
        self._directory.mkdir(parents=True, exist_ok=True)

    def read(self, pack_id: str) -> dict[str, Promise] | None:
        """Return key → (sha256, size_bytes) for a pack, or None where nothing is written down."""
        try:
            values = json.loads(self._path(pack_id).read_bytes())
            return {key: (promise[0], promise[1]) for key, promise in values.items()}
        except (FileNotFoundError, ValueError):
            return None

    def add(self, pack_id: str, promises: Mapping[str, Promise]) -> None:
        """Write further objects down."""
        self._write(pack_id, {**(self.read(pack_id) or {}), **promises})

    def drop(self, pack_id: str, keys: tuple[str, ...]) -> None:
        """Strike out objects that were given up."""
        kept = {key: promise for key, promise in (self.read(pack_id) or {}).items() if key not in keys}
        self._write(pack_id, kept)

    def remove(self, pack_id: str) -> None:
        """Forget a pack."""
        self._path(pack_id).unlink(missing_ok=True)

    def sweep(self, spool: Spool) -> None:
        """Forget the packs that are gone: whoever released one was killed before it could."""
        written = {
            path.stem for path in self._directory.glob("*.json")
        }  # before the packs, which only move on
        there = {pack.pack_id for pack in [*spool.sealed(), *spool.shipped(), *spool.quarantined()]}
        for pack_id in written - there:
            self.remove(pack_id)

    def _write(self, pack_id: str, promises: Mapping[str, Promise]) -> None:
        path = self._path(pack_id)
        partial = path.with_suffix(".part")
        with partial.open("w", encoding="ascii") as file:
            json.dump(promises, file)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        sync_directory(self._directory)

    def _path(self, pack_id: str) -> Path:
        return self._directory / f"{pack_id}.json"


def release(
    spool: Spool, receipts: Receipts, store: ObjectStore, *, older_than_seconds: float
) -> tuple[int, int]:
    """Remove shipped packs whose grace time has passed and whose objects still have their digests.

    Gives how many were removed and how many were kept because an object is missing or altered. Raises
    ObjectStoreDown.
    """
    limit = time.time() - older_than_seconds
    receipts.sweep(spool)
    due = [pack for pack in spool.shipped() if pack.modified <= limit]
    released = sum(_release_one(spool, pack, receipts, store) for pack in due)
    return released, len(due) - released


def release_for_room(spool: Spool, receipts: Receipts, store: ObjectStore) -> tuple[int, int]:
    """Remove shipped packs before their time, oldest first, until there is twice the room that intake needs.

    Gives how many were removed and how many had to be kept. Raises ObjectStoreDown.
    """
    released = kept = 0
    for pack in spool.shipped():
        if not spool.is_below_marks(times=2):
            break
        if _release_one(spool, pack, receipts, store):
            released += 1
        else:
            kept += 1
    return released, kept


def holds(store: ObjectStore, key: str, promise: Promise) -> bool:
    """Read an object back and say whether it is the one promised. Raises ObjectStoreDown."""
    try:
        return store.digest(key) == promise
    except (NotFound, IntegrityFault):
        return False


def _release_one(spool: Spool, pack: PackFile, receipts: Receipts, store: ObjectStore) -> bool:
    promises = receipts.read(pack.pack_id)
    if promises is None or not all(holds(store, key, promise) for key, promise in promises.items()):
        _LOG.error(
            "pack %s stays in the spool: an object that should hold it is missing or altered", pack.pack_id
        )
        return False
    spool.release(pack)
    receipts.remove(pack.pack_id)
    return True
