r"""A pack: the tar file in which instances travel from the association to the object store.

    record 1        pax global header (`g`): HUREN.format=1, HUREN.pack_id, HUREN.hospital, HUREN.calling_ae,
                    HUREN.called_ae, HUREN.peer_address, HUREN.received (ISO 8601, UTC), and HUREN.part_of
                    in a pack that was cut out of another one
    each instance   pax extended header (`x`): SCHILY.xattr.user.huren.sha256, the SHA-256 of the data set exactly
                    as received; ….dataset_offset, where the data set starts in the file; ….frame_sha256, of what is before
                    (the prefix makes them extended attributes, the one private namespace that GNU tar reads
                    without a complaint)
                    ustar header: `<SOPInstanceUID>.dcm`, the second time in one pack `<SOPInstanceUID>~2.dcm`;
                    a size from 8 GiB on is written in base 256
                    a Part 10 file, padded to 512 bytes
    end             two zero blocks

`tar xf` gives back ordinary DICOM files. All offsets outside this file are absolute positions in the tar.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from catalog.errors import IntegrityFault, InvalidInput
from dicom_node.part10 import read_file_meta

BLOCK_BYTES = 512
END_BYTES = 2 * BLOCK_BYTES
MEMBER_HEADER_BYTES = 3 * BLOCK_BYTES  # x header, its data, ustar header: a fixed size, so it can be reserved

_COPY_BYTES = 1 << 20
_OCTAL_SIZE_LIMIT = 8**11
_FRAME_LIMIT_BYTES = 1024  # ours is never longer
_HEADER_LIMIT_BYTES = 64 * BLOCK_BYTES
_SHA256_KEY = "SCHILY.xattr.user.huren.sha256"
_DATASET_OFFSET_KEY = "SCHILY.xattr.user.huren.dataset_offset"
_FRAME_SHA256_KEY = "SCHILY.xattr.user.huren.frame_sha256"


@dataclass(frozen=True, slots=True)
class Member:
    """One instance in a pack; `offset` (Part 10 file) and `dataset_offset` are absolute, `sha256` is hex."""

    name: str
    SOPInstanceUID: str
    offset: int
    size_bytes: int
    dataset_offset: int
    dataset_size_bytes: int
    sha256: str
    TransferSyntaxUID: str
    SOPClassUID: str

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.offset + padded(self.size_bytes)


@dataclass(frozen=True, slots=True)
class PackIndex:
    """Where a pack came from and what it holds; `received` is ISO 8601 in UTC."""

    path: Path
    pack_id: str
    hospital: str
    calling_ae: str
    called_ae: str
    peer_address: str
    received: str
    members: tuple[Member, ...] = ()
    part_of: str = ""


def padded(size_bytes: int) -> int:
    """Round up to whole tar blocks."""
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def global_header(index: PackIndex) -> bytes:
    """Give the first record of a pack."""
    values = {
        "HUREN.format": "1",
        "HUREN.pack_id": index.pack_id,
        "HUREN.hospital": index.hospital,
        "HUREN.calling_ae": index.calling_ae,
        "HUREN.called_ae": index.called_ae,
        "HUREN.peer_address": index.peer_address,
        "HUREN.received": index.received,
        "HUREN.part_of": index.part_of,
    }
    return _pax_record("pax_global_header", b"g", {key: value for key, value in values.items() if value}, 0)


def member_header(name: str, size_bytes: int, sha256: str, frame: bytes, mtime: int) -> bytes:
    """Give the `MEMBER_HEADER_BYTES` before a Part 10 file; `frame` is what the file has before its data set."""
    extended = {
        _SHA256_KEY: sha256,
        _DATASET_OFFSET_KEY: str(len(frame)),
        _FRAME_SHA256_KEY: hashlib.sha256(frame).hexdigest(),
    }
    return _pax_record(f"pax/{name}", b"x", extended, mtime) + _ustar(name, b"0", size_bytes, mtime)


def received_seconds(received: str) -> int:
    """Give the time of reception as whole seconds since 1970, the time stamp of every member."""
    return int(datetime.fromisoformat(received).timestamp())


def read_pack(path: Path) -> PackIndex:
    """Read the index of a sealed pack from its headers; the data sets are not read.

    Raises:
        IntegrityFault: the file is not a whole pack.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        index, start = read_global_header(fd, path)
        members = tuple(walk(fd, start))
        end = members[-1].end if members else start
        if os.pread(fd, END_BYTES + 1, end) != bytes(END_BYTES):
            raise _broken()
        return replace(index, members=members)
    finally:
        os.close(fd)


def read_global_header(fd: int, path: Path) -> tuple[PackIndex, int]:
    """Read the first record; gives an index without members and the position after the record.

    Raises:
        IntegrityFault: it is not the first record of a pack.
    """
    typeflag, _, size_bytes = _read_header(fd, 0)
    values = _read_pax(fd, BLOCK_BYTES, size_bytes) if typeflag == b"g" else {}
    try:
        index = PackIndex(
            path=path,
            pack_id=values["HUREN.pack_id"],
            hospital=values.get("HUREN.hospital", ""),
            calling_ae=values.get("HUREN.calling_ae", ""),
            called_ae=values.get("HUREN.called_ae", ""),
            peer_address=values.get("HUREN.peer_address", ""),
            received=values["HUREN.received"],
            part_of=values.get("HUREN.part_of", ""),
        )
        received_seconds(index.received)
    except (KeyError, ValueError):
        raise _broken() from None
    return index, BLOCK_BYTES + padded(size_bytes)


def walk(fd: int, start: int) -> Iterator[Member]:
    """Give the members from `start` on, as far as the zero block or the end of the file.

    Raises:
        IntegrityFault: at the first record that is not whole; the members given before it are.
    """
    file_bytes = os.fstat(fd).st_size
    while start < file_bytes and any(os.pread(fd, BLOCK_BYTES, start)):
        member = _read_member(fd, start, file_bytes)
        yield member
        start = member.end


def digest_holds(fd: int, member: Member) -> bool:
    """Is the member's data set the one whose SHA-256 its header carries?"""
    digest, at, end = hashlib.sha256(), member.dataset_offset, member.offset + member.size_bytes
    while at < end:
        piece = os.pread(fd, min(_COPY_BYTES, end - at), at)
        if not piece:
            return False
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest() == member.sha256


def write_pack(target_dir: Path, pack_id: str, index: PackIndex, members: Sequence[Member]) -> Path:
    """Make a pack `pack_id` in `target_dir` from chosen members of the pack that `index` was read from.

    The same arguments give the same bytes. The file is synced before it takes its name.

    Raises:
        IntegrityFault: the source no longer holds a member's bytes.
        OSError: the target cannot be written; nothing is left behind under its name.
    """
    target, partial = target_dir / f"{pack_id}.tar", target_dir / f".{pack_id}.part"
    source = os.open(index.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with partial.open("wb") as out:
            out.write(global_header(replace(index, pack_id=pack_id, part_of=index.pack_id)))
            for member in members:
                out.write(_header_of(source, member, received_seconds(index.received)))
                for piece in _pieces(source, member):
                    out.write(piece)
                out.write(bytes(padded(member.size_bytes) - member.size_bytes))
            out.write(bytes(END_BYTES))
            out.flush()
            os.fsync(out.fileno())
        partial.rename(target)
        sync_directory(target_dir)
    finally:
        os.close(source)
        partial.unlink(missing_ok=True)
    return target


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read_member(fd: int, start: int, file_bytes: int) -> Member:
    typeflag, _, pax_bytes = _read_header(fd, start)
    if typeflag != b"x" or pax_bytes > _HEADER_LIMIT_BYTES:
        raise _broken()
    values = _read_pax(fd, start + BLOCK_BYTES, pax_bytes)
    ustar_at = start + BLOCK_BYTES + padded(pax_bytes)
    typeflag, name, size_bytes = _read_header(fd, ustar_at)
    offset = ustar_at + BLOCK_BYTES
    if typeflag != b"0" or offset + size_bytes > file_bytes:
        raise _broken()
    try:
        sha256, dataset_start = values[_SHA256_KEY], int(values[_DATASET_OFFSET_KEY])
        frame = os.pread(fd, dataset_start, offset) if 0 < dataset_start <= _FRAME_LIMIT_BYTES else b""
        if hashlib.sha256(frame).hexdigest() != values[_FRAME_SHA256_KEY]:
            raise _broken()
        meta = read_file_meta(frame)
    except (InvalidInput, KeyError, ValueError):
        raise _broken() from None
    if name.removesuffix(".dcm").partition("~")[0] != meta.SOPInstanceUID:
        raise _broken()
    return Member(
        name=name,
        SOPInstanceUID=meta.SOPInstanceUID,
        offset=offset,
        size_bytes=size_bytes,
        dataset_offset=offset + dataset_start,
        dataset_size_bytes=size_bytes - dataset_start,
        sha256=sha256,
        TransferSyntaxUID=meta.TransferSyntaxUID,
        SOPClassUID=meta.SOPClassUID,
    )


def _read_header(fd: int, at: int) -> tuple[bytes, str, int]:
    block = os.pread(fd, BLOCK_BYTES, at)
    if len(block) < BLOCK_BYTES or block[257:263] != b"ustar\0":
        raise _broken()
    try:
        if int(block[148:154], 8) != _checksum(block):
            raise _broken()
        size_bytes = _decode_size(block[124:136])
        name = block[:100].rstrip(b"\0").decode("ascii")
    except ValueError:
        raise _broken() from None
    return block[156:157], name, size_bytes


def _read_pax(fd: int, at: int, size_bytes: int) -> dict[str, str]:
    data, values, here = os.pread(fd, min(size_bytes, _HEADER_LIMIT_BYTES), at), {}, 0
    try:
        while here < size_bytes:
            length = int(data[here : data.index(b" ", here)])
            key, _, value = (
                data[data.index(b" ", here) + 1 : here + length - 1].decode("utf-8").partition("=")
            )
            values[key] = value
            here += max(length, 1)
    except ValueError:
        raise _broken() from None
    return values


def _pax_record(name: str, typeflag: bytes, values: dict[str, str], mtime: int) -> bytes:
    data = b"".join(_pax_line(key, value) for key, value in values.items())
    return _ustar(name, typeflag, len(data), mtime) + data.ljust(padded(len(data)), b"\0")


def _pax_line(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))  # the length counts its own digits
    return str(length).encode() + rest


def _ustar(name: str, typeflag: bytes, size_bytes: int, mtime: int) -> bytes:
    block = bytearray(BLOCK_BYTES)
    block[0:100] = name.encode("ascii")[:100].ljust(100, b"\0")
    block[100:124] = b"0000644\0000000000\0000000000\0"[:24]
    block[124:136] = _encode_size(size_bytes)
    block[136:148] = b"%011o\0" % mtime
    block[156:157] = typeflag
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % _checksum(block)
    return bytes(block)


def _checksum(block: bytes | bytearray) -> int:
    # Most of a header is zeros, which add nothing.
    return sum(block[:148].translate(None, b"\0")) + 8 * 0x20 + sum(block[156:].translate(None, b"\0"))


def _encode_size(size_bytes: int) -> bytes:
    if size_bytes < _OCTAL_SIZE_LIMIT:
        return b"%011o\0" % size_bytes
    return b"\x80" + size_bytes.to_bytes(11, "big")


def _decode_size(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    return int(field.rstrip(b"\0 "), 8)


def _header_of(fd: int, member: Member, mtime: int) -> bytes:
    frame = os.pread(fd, member.dataset_offset - member.offset, member.offset)
    return member_header(member.name, member.size_bytes, member.sha256, frame, mtime)


def _pieces(fd: int, member: Member) -> Iterator[bytes]:
    at, end = member.offset, member.offset + member.size_bytes
    while at < end:
        piece = os.pread(fd, min(_COPY_BYTES, end - at), at)
        if not piece:
            raise _broken()
        yield piece
        at += len(piece)


def _broken() -> IntegrityFault:
    return IntegrityFault("暂存包已损坏", "the spool pack is damaged", code="pack_damaged")
