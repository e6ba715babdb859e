"""What one association adds to the spool: instances appended to its open pack, durable one by one.

For each instance the place of the header blocks is left free, the data set is written behind it in stretches as
it arrives, then the headers and the Part 10 frame, with the last stretch where they touch, then one fdatasync.
A pack cut off anywhere therefore ends in zeros or in a member whose digest does not hold, and recovery knows it.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from catalog.errors import Unavailable
from dicom_node.hasher import Hasher
from dicom_node.pack import (
    MEMBER_HEADER_BYTES,
    Ended,
    PackIndex,
    global_header,
    member_header,
    padded,
    received_seconds,
)
from dicom_node.part10 import encode_file_meta

_STRETCH_BYTES = 192 << 10
_HASHER_FROM_BYTES = 128 << 10  # what is shorter is digested sooner here than handed over
_STRETCH_PIECES = 512  # the kernel takes 1024 in one write
_LARGE_FROM_BYTES = 4 << 20  # a pack that has grown so far goes on growing: worth a blank


class PackStore(Protocol):
    """The part of the spool an intake needs."""

    pack_limit_bytes: int

    def check_room(self) -> None:
        """Raise Unavailable below the low-water marks."""

    def create(self, origin: PackIndex) -> tuple[int, Path]:
        """Make an open pack, locked, its name durable; gives its file descriptor and path."""

    def move_to_blank(self, fd: int, path: Path, size_bytes: int) -> int:
        """Go on with a large pack where syncing is cheap; gives the descriptor to go on with."""

    def seal(self, fd: int, path: Path, size_bytes: int) -> None:
        """Finish an open pack of `size_bytes`, or remove it when that is 0; closes `fd`."""

    def salvage(self, path: Path) -> None:
        """Rescue what was acknowledged from a pack whose file must not be written again."""


class _OpenPack:
    """A pack being written; `end` is where the next member begins."""

    def __init__(self, store: PackStore, origin: PackIndex) -> None:
        self.fd, self.path = store.create(origin)
        self._origin = replace(origin, pack_id=self.path.stem)
        self.end = len(global_header(self._origin))
        self.mtime = received_seconds(origin.received)
        self.times_named: dict[str, int] = {}
        self._may_move = True

    def move_to_blank(self, store: PackStore) -> None:
        """Ask once for a blank to go on in; raises OSError when the pack must be given up."""
        if self._may_move:
            self._may_move = False
            self.fd = store.move_to_blank(self.fd, self.path, self.end)

    def name(self, SOPInstanceUID: str) -> str:
        times = self.times_named.get(SOPInstanceUID, 0) + 1
        return f"{SOPInstanceUID}.dcm" if times == 1 else f"{SOPInstanceUID}~{times}.dcm"

    def say_ended(self, ended: Ended) -> None:
        """Say in the header how the association ended; durable with the seal.

        Only the word changes, in place: a header half old and half new is still one or the other. A disk that
        refuses leaves the old word, and whoever reads it waits a little for more.
        """
        with contextlib.suppress(OSError):
            os.pwrite(self.fd, global_header(replace(self._origin, ended=ended)), 0)


class Intake:
    """The spool as one association sees it: begin, write …, commit or discard, and close at the end.

    Pieces given to `write` are lent: they must stay as they are until `recall`, `commit` or `discard` returns.
    """

    def __init__(self, store: PackStore, origin: PackIndex, hasher: Hasher | None = None) -> None:
        self._store = store
        self._origin = replace(origin, association=secrets.token_hex(8), ended="arriving")
        self._refused = False
        self._parts = 0  # packs of this association that hold something
        self._hasher = hasher or Hasher()
        self._is_arriving = self._has_hasher = False
        self._pack: _OpenPack | None = None
        self._digest = hashlib.sha256()
        self._frame = b""
        self._SOPInstanceUID = ""
        self._at = 0  # where the next stretch is written
        self._pieces: list[memoryview] = []
        self._stretch_bytes = 0
        self._received_bytes = 0

    def begin(self, SOPClassUID: str, SOPInstanceUID: str, TransferSyntaxUID: str) -> None:
        """Start an instance.

        Raises:
            Unavailable: the spool has no room.
            OSError: the pack cannot be made.
        """
        self._store.check_room()
        if self._pack is not None and self._pack.end >= self._store.pack_limit_bytes:
            self._seal()  # not before: the last pack of an association is the one that says how it ended
        pack = self._pack = self._pack or self._new_pack()
        self._move_if_large(pack)
        source = self._origin.calling_ae
        self._frame = encode_file_meta(SOPClassUID, SOPInstanceUID, TransferSyntaxUID, source)
        self._SOPInstanceUID = SOPInstanceUID
        self._digest = hashlib.sha256()
        self._at = pack.end + MEMBER_HEADER_BYTES + len(self._frame)
        self._received_bytes = 0
        self._hasher.enter()
        self._is_arriving = True

    def write(self, fragment: memoryview) -> None:
        """Append bytes of the data set.

        Raises:
            Unavailable: the room has run out meanwhile.
            OSError: the disk refuses.
        """
        self._pieces.append(fragment)
        self._stretch_bytes += len(fragment)
        self._digest_piece(fragment)
        if self._stretch_bytes >= _STRETCH_BYTES or len(self._pieces) >= _STRETCH_PIECES:
            self._write_stretch()

    def recall(self) -> None:
        """Let go of every piece lent so far.

        Raises:
            Unavailable, OSError: as `write`.
        """
        if self._pieces:
            self._write_stretch()
        if self._has_hasher:
            self._hasher.wait()

    def commit(self) -> int:
        """Make the instance durable and give the size of its file; only after this may Success be answered.

        Raises:
            OSError: it is not durable. The pack is given up: its file is never written again.
        """
        pack = self._begun()
        self._end_digest()
        size_bytes = len(self._frame) + self._received_bytes
        name = pack.name(self._SOPInstanceUID)
        header = member_header(name, size_bytes, self._digest.hexdigest(), self._frame, pack.mtime)
        self._write_rest(pack, memoryview(header + self._frame))
        try:
            os.fdatasync(pack.fd)
        except OSError:
            self._give_up()
            raise
        pack.times_named[self._SOPInstanceUID] = pack.times_named.get(self._SOPInstanceUID, 0) + 1
        pack.end += MEMBER_HEADER_BYTES + padded(size_bytes)
        return size_bytes

    def discard(self) -> None:
        """Forget the instance that was begun; what was committed before it stays."""
        self._refused = True
        self._end_digest()
        self._forget_pieces()
        if self._pack is None:
            return
        try:
            os.ftruncate(self._pack.fd, self._pack.end)
        except OSError:
            self._give_up()

    def close(self, *, released: bool = False) -> None:
        """Seal the last pack, or remove it when nothing was committed.

        `released` says that the peer has sent what it wanted to send; it is not believed where an instance was
        refused, because that one is still to come.

        Raises:
            OSError: it could not be sealed and stays open until the next recovery.
        """
        if self._pack is not None:
            self._pack.say_ended("released" if released and not self._refused else "broken")
        self._seal()

    def _seal(self) -> None:
        pack, self._pack = self._pack, None
        if pack is not None:
            self._parts += bool(pack.times_named)
            self._store.seal(pack.fd, pack.path, pack.end if pack.times_named else 0)

    def _new_pack(self) -> _OpenPack:
        received = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._origin = replace(self._origin, received=received, part=self._parts + 1)
        return _OpenPack(self._store, self._origin)

    def _move_if_large(self, pack: _OpenPack) -> None:
        if pack.end < _LARGE_FROM_BYTES and not self._parts:
            return
        try:
            pack.move_to_blank(self._store)
        except OSError:
            self._give_up()
            raise

    def _begun(self) -> _OpenPack:
        if self._pack is None:
            raise Unavailable("暂存包已放弃", "the pack was given up", code="spool_failed")
        return self._pack

    def _digest_piece(self, piece: memoryview) -> None:
        if not self._has_hasher and self._received_bytes >= _HASHER_FROM_BYTES:
            self._has_hasher = self._hasher.claim()
        self._received_bytes += len(piece)
        if self._has_hasher:
            self._hasher.update(self._digest, piece)
        else:
            self._digest.update(piece)

    def _write_stretch(self) -> None:
        pack = self._begun()
        self._store.check_room()
        _write_all(pack.fd, self._pieces, self._at)
        # Linux starts to write such a range out at once: the disk works while we hash and receive.
        os.posix_fadvise(pack.fd, self._at, self._stretch_bytes, os.POSIX_FADV_DONTNEED)
        self._at += self._stretch_bytes
        self._forget_pieces()

    def _write_rest(self, pack: _OpenPack, head: memoryview) -> None:
        """Write the headers and frame, and the last stretch: in one go where nothing lies between them."""
        start = pack.end + len(head)
        if self._at == start:
            _write_all(pack.fd, [head, *self._pieces], pack.end)
        else:
            _write_all(pack.fd, self._pieces, self._at)
            _write_all(pack.fd, [head], pack.end)
        self._forget_pieces()

    def _forget_pieces(self) -> None:
        self._pieces.clear()
        self._stretch_bytes = 0

    def _end_digest(self) -> None:
        """Have the digest whole; only then may the pieces go."""
        if self._has_hasher:
            self._hasher.wait()
        if self._is_arriving:
            self._hasher.leave(claimed=self._has_hasher)
        self._is_arriving = self._has_hasher = False

    def _give_up(self) -> None:
        pack, self._pack = self._pack, None
        if pack is not None:
            self._parts += bool(pack.times_named)
            self._store.salvage(pack.path)
            os.close(pack.fd)  # and with it the lock


def _write_all(fd: int, pieces: list[memoryview], at: int) -> None:
    left = sum(map(len, pieces))
    while left:
        written = os.pwritev(fd, pieces, at)
        if written == 0:
            raise Unavailable("暂存区写不进", "the spool takes no more bytes", code="spool_full")
        left, at = left - written, at + written
        if left:
            pieces = list(_behind(pieces, written))


def _behind(pieces: list[memoryview], size_bytes: int) -> Iterator[memoryview]:
    for piece in pieces:
        if size_bytes < len(piece):
            yield piece[size_bytes:]
        size_bytes = max(0, size_bytes - len(piece))
