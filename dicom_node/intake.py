"""What one association adds to the spool: instances appended to its open pack, durable one by one.

For each instance the place of the header blocks is left free, the data set is written behind it as it arrives,
then the headers and the Part 10 frame in one write, then one fdatasync. A pack cut off anywhere therefore ends
in zeros or in a member whose digest does not hold, and recovery knows it.
"""

import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from catalog.errors import Unavailable
from dicom_node.pack import (
    MEMBER_HEADER_BYTES,
    PackIndex,
    global_header,
    member_header,
    padded,
    received_seconds,
)
from dicom_node.part10 import encode_file_meta

_STRETCH_BYTES = 192 << 10


class PackStore(Protocol):
    """The part of the spool an intake needs."""

    pack_limit_bytes: int

    def check_room(self) -> None:
        """Raise Unavailable below the low-water marks."""

    def create(self, origin: PackIndex) -> tuple[int, Path]:
        """Make an open pack, locked, its name durable; gives its file descriptor and path."""

    def seal(self, fd: int, path: Path, size_bytes: int) -> None:
        """Finish an open pack of `size_bytes`, or remove it when that is 0; closes `fd`."""

    def salvage(self, path: Path) -> None:
        """Rescue what was acknowledged from a pack whose file must not be written again."""


class _OpenPack:
    """A pack being written; `end` is where the next member begins."""

    def __init__(self, store: PackStore, origin: PackIndex) -> None:
        self.fd, self.path = store.create(origin)
        self.end = len(global_header(replace(origin, pack_id=self.path.stem)))
        self.mtime = received_seconds(origin.received)
        self.times_named: dict[str, int] = {}

    def name(self, SOPInstanceUID: str) -> str:
        times = self.times_named.get(SOPInstanceUID, 0) + 1
        return f"{SOPInstanceUID}.dcm" if times == 1 else f"{SOPInstanceUID}~{times}.dcm"


class Intake:
    """The spool as one association sees it: begin, write …, commit or discard, and close at the end."""

    def __init__(self, store: PackStore, origin: PackIndex) -> None:
        self._store = store
        self._origin = origin
        self._pack: _OpenPack | None = None
        self._digest = hashlib.sha256()
        self._frame = b""
        self._SOPInstanceUID = ""
        self._at = 0
        self._stretch_at = 0

    def begin(self, SOPClassUID: str, SOPInstanceUID: str, TransferSyntaxUID: str) -> None:
        """Start an instance.

        Raises:
            Unavailable: the spool has no room.
            OSError: the pack cannot be made.
        """
        self._store.check_room()
        pack = self._pack = self._pack or self._new_pack()
        source = self._origin.calling_ae
        self._frame = encode_file_meta(SOPClassUID, SOPInstanceUID, TransferSyntaxUID, source)
        self._SOPInstanceUID = SOPInstanceUID
        self._digest = hashlib.sha256()
        self._at = self._stretch_at = pack.end + MEMBER_HEADER_BYTES + len(self._frame)

    def write(self, fragment: memoryview) -> None:
        """Append bytes of the data set.

        Raises:
            Unavailable: the room has run out meanwhile.
            OSError: the disk refuses.
        """
        fd, size_bytes = self._begun().fd, len(fragment)
        _write_all(fd, fragment, self._at)
        self._at += size_bytes
        stretch_bytes = self._at - self._stretch_at
        if stretch_bytes >= _STRETCH_BYTES:
            # Linux starts to write such a range out at once: the disk works while we hash and receive.
            os.posix_fadvise(fd, self._stretch_at, stretch_bytes, os.POSIX_FADV_DONTNEED)
            self._stretch_at = self._at
            self._store.check_room()
        self._digest.update(fragment)

    def commit(self) -> int:
        """Make the instance durable and give the size of its file; only after this may Success be answered.

        Raises:
            OSError: it is not durable. The pack is given up: its file is never written again.
        """
        pack = self._begun()
        size_bytes = self._at - pack.end - MEMBER_HEADER_BYTES
        name = pack.name(self._SOPInstanceUID)
        header = member_header(name, size_bytes, self._digest.hexdigest(), self._frame, pack.mtime)
        _write_all(pack.fd, memoryview(header + self._frame), pack.end)
        try:
            os.fdatasync(pack.fd)
        except OSError:
            self._give_up()
            raise
        pack.times_named[self._SOPInstanceUID] = pack.times_named.get(self._SOPInstanceUID, 0) + 1
        pack.end += MEMBER_HEADER_BYTES + padded(size_bytes)
        if pack.end >= self._store.pack_limit_bytes:
            self.close()
        return size_bytes

    def discard(self) -> None:
        """Forget the instance that was begun; what was committed before it stays."""
        if self._pack is None:
            return
        try:
            os.ftruncate(self._pack.fd, self._pack.end)
        except OSError:
            self._give_up()

    def close(self) -> None:
        """Seal the pack, or remove it when nothing was committed.

        Raises:
            OSError: it could not be sealed and stays open until the next recovery.
        """
        pack, self._pack = self._pack, None
        if pack is not None:
            self._store.seal(pack.fd, pack.path, pack.end if pack.times_named else 0)

    def _new_pack(self) -> _OpenPack:
        self._origin = replace(self._origin, received=datetime.now(UTC).isoformat(timespec="milliseconds"))
        return _OpenPack(self._store, self._origin)

    def _begun(self) -> _OpenPack:
        if self._pack is None:
            raise Unavailable("暂存包已放弃", "the pack was given up", code="spool_failed")
        return self._pack

    def _give_up(self) -> None:
        pack, self._pack = self._pack, None
        if pack is not None:
            self._store.salvage(pack.path)
            os.close(pack.fd)  # and with it the lock


def _write_all(fd: int, data: memoryview, at: int) -> None:
    written = os.pwrite(fd, data, at)
    while written < len(data):
        more = os.pwrite(fd, data[written:], at + written)
        if more == 0:
            raise Unavailable("暂存区写不进", "the spool takes no more bytes", code="spool_full")
        written += more
