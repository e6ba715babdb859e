"""The spool: where instances are safe from the moment Success is answered until the object store has them.

    open/        a pack being written by one association, locked (flock) by the process that writes it
    blank/       files of zeros, written ahead for large packs (see blanks.py)
    sealed/      finished packs, ready to be shipped
    shipped/     packs the object store and the catalogue have, kept for a grace time
    quarantine/  packs that never can be shipped, each beside a `<pack_id>.reason`

Renaming is the only change of state and every rename is made durable by syncing both directories.
`<pack_id>.tar` is an ordinary tar file (see pack.py); pack ids sort by time. A pack whose fsync failed is
called `.failed`, is never written again, and what was acknowledged in it is copied into a new pack.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import secrets
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from catalog.errors import IntegrityFault, Unavailable
from dicom_node.blanks import Blanks
from dicom_node.hasher import Hasher
from dicom_node.intake import Intake
from dicom_node.pack import (
    BLOCK_BYTES,
    END_BYTES,
    Member,
    PackIndex,
    digest_holds,
    global_header,
    read_global_header,
    read_pack,
    sync_directory,
    walk,
    write_pack,
)

__all__ = ["Member", "PackFile", "PackIndex", "Spool", "read_pack", "write_pack"]

_LOG = logging.getLogger("huren.dicom_node")
_PARTIAL_SWEEP_SECONDS = 3600
_CREATE_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class PackFile:
    """A finished pack in one of the spool's directories."""

    path: Path
    pack_id: str
    size_bytes: int
    modified: float


class Spool:
    """The spool below `root`; processes may share it.

    The low-water marks are free bytes and inodes below which nothing more is accepted; on a small volume a
    fiftieth of it counts instead, so that the mark never is the whole volume.

    Raises:
        OSError: the directories cannot be made.
    """

    def __init__(
        self,
        root: Path,
        *,
        pack_limit_bytes: int = 64 << 20,
        low_water_bytes: int = 256 << 20,
        low_water_inodes: int = 1000,
        blank_packs: int = 0,
    ) -> None:
        self.root = root
        self.pack_limit_bytes = pack_limit_bytes
        self.low_water_bytes = low_water_bytes
        self.low_water_inodes = low_water_inodes
        self._open, self._sealed = root / "open", root / "sealed"
        self._shipped, self._quarantine = root / "shipped", root / "quarantine"
        for directory in (self._open, self._sealed, self._shipped, self._quarantine):
            directory.mkdir(parents=True, exist_ok=True)
        self.blanks = Blanks(root / "blank", pack_limit_bytes, blank_packs)
        sync_directory(root)

    # what receives

    def intake(self, origin: PackIndex, hasher: Hasher | None = None) -> Intake:
        """Begin what one association adds; `origin` says who sends, its pack_id and path are chosen here."""
        return Intake(self, origin, hasher)

    def check_room(self) -> None:
        """Raise Unavailable (`spool_full`) when free bytes or inodes are below the low-water marks."""
        if self.is_below_marks():
            raise Unavailable("暂存区空间不足", "the spool has no room", code="spool_full")

    def is_below_marks(self, times: int = 1) -> bool:
        """Say whether free bytes or inodes are below so many times the low-water marks."""
        volume = os.statvfs(self.root)
        bytes_mark = min(self.low_water_bytes, volume.f_blocks * volume.f_frsize // 50)
        inodes_mark = min(self.low_water_inodes, volume.f_files // 50)
        return volume.f_bavail * volume.f_frsize < times * bytes_mark or volume.f_favail < times * inodes_mark

    def create(self, origin: PackIndex) -> tuple[int, Path]:
        """Make an open pack, locked, its name durable; gives its file descriptor and path.

        Raises:
            OSError: it cannot be made; nothing is left of it.
        """
        for _ in range(_CREATE_ATTEMPTS):
            path = self._open / f"{_new_pack_id()}.tar"
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o640)
            try:
                if _lock(fd) and os.fstat(fd).st_nlink:
                    os.pwrite(fd, global_header(replace(origin, pack_id=path.stem)), 0)
                    sync_directory(self._open)
                    return fd, path
            except OSError:
                path.unlink(missing_ok=True)
                os.close(fd)
                raise
            os.close(fd)  # a recovery took it between its creation and its lock, and removes it
        raise Unavailable("暂存区无法新建包", "the spool cannot make a new pack", code="spool_busy")

    def move_to_blank(self, fd: int, path: Path, size_bytes: int) -> int:
        """Go on with an open pack in a blank, where there is one; gives the descriptor to go on with.

        The blank has all that was acknowledged, durably, before it takes the pack's name: whichever of the two the
        name leads to after a loss of power is whole.

        Raises:
            OSError: it is not sure which of the two has the name; neither may be written any more.
        """
        try:
            taken = self.blanks.take()
        except OSError:
            return fd
        if taken is None:
            return fd
        blank_fd, blank_path = taken
        try:
            _copy(fd, blank_fd, size_bytes)
            os.fdatasync(blank_fd)
            blank_path.rename(path)
        except OSError as error:
            _LOG.warning("pack %s finds no blank: %s", path.stem, error.strerror)
            with contextlib.suppress(OSError):
                blank_path.unlink(
                    missing_ok=True
                )  # it holds some of the pack, on the disk perhaps not its head
            os.close(blank_fd)
            if not _is_still(fd, path):
                raise
            return fd
        try:
            sync_directory(self._open)
        except OSError:
            os.close(blank_fd)
            raise
        os.close(fd)
        return blank_fd

    def seal(self, fd: int, path: Path, size_bytes: int) -> None:
        """Finish an open pack whose last member ends at `size_bytes`, or remove it when that is 0; closes `fd`.

        The two closing blocks are a hole, so that a full disk can still be sealed.
        """
        try:
            if size_bytes == 0:
                path.unlink()
                return
            os.ftruncate(fd, size_bytes)
            os.ftruncate(fd, size_bytes + END_BYTES)
            os.fsync(fd)
            self._move(path, self._sealed)
        except OSError as error:
            _LOG.error("pack %s cannot be sealed: %s", path.stem, error.strerror)
            self.salvage(path)
        finally:
            os.close(fd)

    def salvage(self, path: Path) -> None:
        """Copy what was acknowledged out of an open pack whose fsync failed, and put that pack aside."""
        failed = path.with_suffix(".failed")
        try:
            if path != failed:
                path.rename(failed)
            index, members = _survey_file(failed)
            if members:
                write_pack(self._sealed, failed.stem, index, members)
            self._put_aside(failed, "fsync_failed")
        except (OSError, IntegrityFault) as error:
            _LOG.error("pack %s cannot be salvaged yet: %s", path.stem, type(error).__name__)

    def recover(self) -> int:
        """Seal the open packs no living process holds, cut at the first member that is not whole.

        Gives the number of packs dealt with. Safe beside running associations and other recoveries.
        """
        paths = sorted(path for path in self._open.iterdir() if path.suffix in (".tar", ".failed"))
        self._sweep_partial_files()
        return sum(self._recover_one(path) for path in paths)

    # what ships

    def sealed(self) -> list[PackFile]:
        """Give the packs that wait to be shipped, oldest first."""
        return _pack_files(self._sealed)

    def shipped(self) -> list[PackFile]:
        """Give the packs kept for their grace time, oldest first."""
        return _pack_files(self._shipped)

    def quarantined(self) -> list[PackFile]:
        """Give the packs put aside, oldest first."""
        return _pack_files(self._quarantine)

    def mark_shipped(self, pack: PackFile) -> PackFile:
        """Move a sealed pack to shipped/; its grace time begins now."""
        os.utime(pack.path)
        return _pack_file(self._move(pack.path, self._shipped))

    def quarantine(self, pack: PackFile, reason_code: str) -> PackFile:
        """Put a pack aside, the reason in a side file."""
        return _pack_file(self._put_aside(pack.path, reason_code))

    def release(self, pack: PackFile) -> None:
        """Remove a shipped pack; the caller has seen that its objects are whole."""
        pack.path.unlink(missing_ok=True)

    def backlog(self) -> tuple[int, int, float]:
        """Give the number, the bytes and the oldest age in seconds of what waits to be shipped."""
        packs = self.sealed()
        oldest = min((pack.modified for pack in packs), default=time.time())
        return len(packs), sum(pack.size_bytes for pack in packs), max(0.0, time.time() - oldest)

    def _recover_one(self, path: Path) -> bool:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        if not _lock(fd) or not _is_still(fd, path):
            os.close(fd)
            return False
        if path.suffix == ".failed":
            self.salvage(path)
            os.close(fd)
        else:
            self._seal_what_is_whole(fd, path)
        return True

    def _seal_what_is_whole(self, fd: int, path: Path) -> None:
        try:
            _, members = _survey(fd, path)
        except IntegrityFault:
            if os.fstat(fd).st_size > 3 * BLOCK_BYTES:
                os.close(fd)
                self._put_aside(path, "header_damaged")
                return
            members = ()
        _LOG.warning("recovered pack %s with %d instances", path.stem, len(members))
        self.seal(fd, path, members[-1].end if members else 0)

    def _move(self, path: Path, directory: Path) -> Path:
        target = directory / path.name
        path.rename(target)
        sync_directory(directory)
        sync_directory(path.parent)
        return target

    def _put_aside(self, path: Path, reason_code: str) -> Path:
        reason = {"reason": reason_code, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        (self._quarantine / f"{path.stem}.reason").write_text(json.dumps(reason) + "\n")
        target = self._quarantine / f"{path.stem}.tar"
        path.rename(target)
        sync_directory(self._quarantine)
        sync_directory(path.parent)
        _LOG.error("pack %s is in quarantine: %s", path.stem, reason_code)
        return target

    def _sweep_partial_files(self) -> None:
        limit = time.time() - _PARTIAL_SWEEP_SECONDS
        for path in self.root.glob("*/.*.part"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < limit:
                    path.unlink()


def _survey_file(path: Path) -> tuple[PackIndex, tuple[Member, ...]]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _survey(fd, path)
    finally:
        os.close(fd)


def _survey(fd: int, path: Path) -> tuple[PackIndex, tuple[Member, ...]]:
    index, start = read_global_header(fd, path)
    members: list[Member] = []
    with contextlib.suppress(IntegrityFault):
        for member in walk(fd, start):
            if not digest_holds(fd, member):
                break
            members.append(member)
    return index, tuple(members)


def _copy(source_fd: int, target_fd: int, size_bytes: int) -> None:
    """Copy a pack's first bytes over zeros; the padding of its last member need not have been written yet."""
    end = min(size_bytes, os.fstat(source_fd).st_size)
    if size_bytes - end >= BLOCK_BYTES:
        raise OSError(errno.EIO, "the pack is shorter than what was acknowledged")
    at = 0
    while at < end:
        copied = os.copy_file_range(source_fd, target_fd, end - at, at, at)
        if not copied:
            raise OSError(errno.EIO, "the pack ended while it was copied")
        at += copied


def _new_pack_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}"


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(fd: int, path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        return False


def _pack_files(directory: Path) -> list[PackFile]:
    packs = []
    for path in sorted(directory.glob("*.tar")):
        with contextlib.suppress(FileNotFoundError):
            packs.append(_pack_file(path))
    return packs


def _pack_file(path: Path) -> PackFile:
    status = path.stat()
    return PackFile(path, path.stem, status.st_size, status.st_mtime)
