"""Blocks of packs that were read a moment ago, in a file without a name: bounded, short-lived, gone with the process.

Looking at a study is a thousand small reads near each other; each block of a pack is fetched once for all of them.
Packs never change, so nothing here is ever out of date; who may see what is asked before anything is read. What was
erased is given out for no longer than KEPT_SECONDS. For threads: whoever reads here may wait for the object store.
"""

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from catalog.errors import IntegrityFault, ObjectStoreDown
from catalog.objects import ObjectStore

BLOCK_BYTES: Final = 2 << 20
KEPT_SECONDS: Final = 600.0
_WAIT_SECONDS: Final = 30.0

_Name = tuple[str, int]  # the key of a pack, the number of a block


@dataclass(slots=True)
class _Block:
    """Where a block lies in the file; a block that is being read, from the file or into it, stays where it is."""

    slot: int
    size_bytes: int = 0
    read_at: float = 0.0
    users: int = 1
    is_whole: bool = False


class ImageCache:
    """Reads ranges of packs by way of whole blocks; the file takes `size_bytes` at most, 0 for none."""

    def __init__(
        self,
        store: ObjectStore,
        size_bytes: int,
        folder: Path | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._changed = threading.Condition()
        self._blocks: OrderedDict[_Name, _Block] = OrderedDict()
        self._free = list(range(size_bytes // BLOCK_BYTES))
        self._file = tempfile.TemporaryFile(dir=folder) if self._free else None  # noqa: SIM115 (until close)
        self.hits = self.misses = 0

    def close(self) -> None:
        """Forget everything."""
        if self._file is not None:
            self._file.close()

    def read_range(self, key: str, start: int, size: int) -> bytes | bytearray:
        """Return `size` bytes of a pack. Raises what the store does, IntegrityFault where the pack ends before."""
        if self._file is None or not size:
            return self._store.read_range(key, start, size)
        room = bytearray(size)  # filled in place: what all readers hold is to be no more than they are sent
        at = 0
        while at < size:
            number, begin = divmod(start + at, BLOCK_BYTES)
            part = memoryview(room)[at : at + BLOCK_BYTES - begin]
            self._fill((key, number), begin, part)
            at += len(part)
        return room

    def _fill(self, name: _Name, begin: int, part: memoryview) -> None:
        block, is_mine = self._taken(name)
        if block is None:  # every block is in use
            self._read_past(name, begin, part)
            return
        try:
            if is_mine and not self._fetched(name, block):
                self._read_past(name, begin, part)
                return
            if begin + len(part) > block.size_bytes:
                raise IntegrityFault("影像包不完整", "A pack ends before it should", code="object_too_short")
            os.preadv(self._fd, [part], block.slot * BLOCK_BYTES + begin)
        finally:
            self._leave(name, block)

    def _read_past(self, name: _Name, begin: int, part: memoryview) -> None:
        part[:] = self._store.read_range(name[0], name[1] * BLOCK_BYTES + begin, len(part))

    def _taken(self, name: _Name) -> tuple[_Block | None, bool]:
        """Return a block to read from, or one that is for the caller to fetch, or none where there is no room."""
        with self._changed:
            while (block := self._blocks.get(name)) is not None and not block.is_whole:
                if not self._changed.wait(_WAIT_SECONDS):  # somebody else fetches it
                    raise ObjectStoreDown("影像存储响应过慢", "The object store is slow", code="store_slow")
            if block is not None and self._clock() - block.read_at < KEPT_SECONDS:
                self.hits += 1
                block.users += 1
                self._blocks.move_to_end(name)
                return block, False
            if block is not None and block.users:
                return None, False
            if block is not None:
                self._free.append(self._blocks.pop(name).slot)
            self.misses += 1
            slot = self._slot()
            if slot is None:
                return None, False
            self._blocks[name] = _Block(slot)
            return self._blocks[name], True

    def _slot(self) -> int | None:
        if self._free:
            return self._free.pop()
        unused = next((name for name, block in self._blocks.items() if not block.users), None)
        return None if unused is None else self._blocks.pop(unused).slot

    def _fetched(self, name: _Name, block: _Block) -> bool:
        """Fetch a block into the file; say whether it is there: a full disk costs the cache, not the reader."""
        at, size = block.slot * BLOCK_BYTES, 0
        with self._store.open_up_to(name[0], name[1] * BLOCK_BYTES, BLOCK_BYTES) as pieces:
            for piece in pieces:
                try:
                    written = os.pwrite(self._fd, piece, at + size)
                except OSError:
                    return False
                if written != len(piece):
                    return False
                size += written
        with self._changed:
            block.size_bytes, block.read_at, block.is_whole = size, self._clock(), True
        return True

    def _leave(self, name: _Name, block: _Block) -> None:
        with self._changed:
            block.users -= 1
            if not block.is_whole:  # it could not be fetched, or not be kept
                self._free.append(self._blocks.pop(name).slot)
            self._changed.notify_all()

    @property
    def _fd(self) -> int:
        assert self._file is not None  # noqa: S101 (nothing is taken without a file)
        return self._file.fileno()
