"""The bucket as it is: packs and sidecars found side by side, and what stands there besides."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from catalog.errors import IntegrityFault, NotFound
from catalog.objects import ObjectStore, StoredObject
from dicom_node.sidecar import Sidecar, read_sidecar

_KEY: Final = re.compile(r"packs/([0-9a-f]{2})/(\1[0-9a-f]{62})\.(tar|json\.gz)")


@dataclass(frozen=True, slots=True)
class Pair:
    """A pack and its sidecar, or what there is of the two, by the pack's SHA-256 (hex)."""

    sha256: str
    pack: StoredObject | None
    sidecar: StoredObject | None

    @property
    def objects(self) -> tuple[StoredObject, ...]:
        """Return what there is."""
        return tuple(found for found in (self.pack, self.sidecar) if found)


def walk(store: ObjectStore) -> Iterator[Pair | StoredObject]:
    """Yield every pair, and every object that is neither a pack nor a sidecar, in key order.

    Raises ObjectStoreDown.
    """
    for sha256, group in groupby(store.list(), _sha256):
        if sha256 is None:
            yield from group
            continue
        objects = {found.key.endswith(".tar"): found for found in group}
        yield Pair(sha256, objects.get(True), objects.get(False))


def fetch_sidecar(store: ObjectStore, key: str) -> Sidecar:
    """Read a sidecar. Raises IntegrityFault where it is missing or damaged, ObjectStoreDown."""
    try:
        return read_sidecar(store.read_range(key, 0, store.stat(key).size_bytes))
    except NotFound:
        raise IntegrityFault("索引文件不存在", "The sidecar is missing", code="sidecar_missing") from None


def _sha256(found: StoredObject) -> str | None:
    matched = _KEY.fullmatch(found.key)
    return matched[2] if matched else None
