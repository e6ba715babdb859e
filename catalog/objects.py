"""The object store, over any server that speaks S3.

An ObjectStore holds sockets: it may be shared by threads, never across a fork. Open one after the fork.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, cast
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from catalog.errors import Conflict, IntegrityFault, NotFound, ObjectStoreDown
from catalog.settings import S3Access

_CHUNK_BYTES: Final = 1 << 20
_PART_BYTES: Final = 64 << 20
_SHA256: Final = "x-amz-meta-sha256"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What the store says of one object: `sha256`, which its sender promised, or in a listing `modified_at`."""

    key: str
    size_bytes: int
    sha256: str | None = None
    modified_at: datetime | None = None


class ObjectStore:
    """One bucket of an object store.

    Every method raises ObjectStoreDown where the store does not answer or refuses. A request waits 2 s for
    the connection and `read_seconds` for each answer, and is tried twice.
    """

    def __init__(self, access: S3Access, *, workers: int = 4, read_seconds: float = 15.0) -> None:
        self._bucket = access.bucket
        self._region = access.region
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=2, read=read_seconds),
            retries=urllib3.Retry(total=1, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504)),
            maxsize=workers,
        )
        self._client = Minio(
            access.address,
            access_key=access.access_key,
            secret_key=access.secret_key,
            secure=access.secure,
            region=access.region,
            http_client=self._pool,
        )

    def __enter__(self) -> "ObjectStore":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every idle connection now; `clear` alone leaves that to the garbage collector."""
        for name in self._pool.pools.keys():  # noqa: SIM118 - it has no iterator
            self._pool.pools[name].close()
        self._pool.clear()

    def ping(self) -> None:
        """Ask the store for a signed answer; the bucket need not exist yet."""
        with _translated():
            self._client.bucket_exists(self._bucket)

    def ensure_bucket(self) -> None:
        """Make the bucket if it is not there."""
        with _translated():
            if self._client.bucket_exists(self._bucket):
                return
            try:
                self._client.make_bucket(self._bucket, location=self._region)
            except S3Error as error:  # another process was faster
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

    def put_file(
        self, key: str, path: Path, sha256: str, content_type: str = "application/octet-stream"
    ) -> None:
        """Store a file under `key`; above 64 MiB in parts.

        `sha256` (hex) is kept beside it, not compared: `digest` reads back what was stored.
        Raises OSError where the file cannot be opened, IntegrityFault where it ends early.
        """
        with path.open("rb") as file:
            self._put(key, file, os.fstat(file.fileno()).st_size, sha256, content_type)

    def put_bytes(self, key: str, content: bytes, content_type: str = "application/octet-stream") -> None:
        """Store `content` under `key` with its SHA-256."""
        self._put(key, io.BytesIO(content), len(content), hashlib.sha256(content).hexdigest(), content_type)

    def put_new(self, key: str, content: bytes, content_type: str = "application/octet-stream") -> bool:
        """Store `content` unless something is there under `key`; return whether it was stored.

        The store is asked to refuse by itself (RFC 9110 §13.1.2), which the SDK has no public way to ask for.
        """
        if self.exists(key):
            return False
        digest = hashlib.sha256(content).hexdigest()
        headers: dict[str, str | list[str] | tuple[str]] = {
            "Content-Type": content_type,
            "If-None-Match": "*",
            _SHA256: digest,
        }
        try:
            with _translated():
                self._client._put_object(self._bucket, key, content, headers)
        except Conflict:
            return False
        return True

    @contextmanager
    def open_range(self, key: str, offset: int, length: int) -> Iterator[Iterator[bytes]]:
        """Yield the `length` bytes from `offset` in pieces of at most 1 MiB; the connection is always given back.

        Raises NotFound where there is no such object, IntegrityFault where it ends before `offset + length`.
        """
        if length == 0:
            yield iter(())
            return
        with self._response(key, offset, length) as response:
            yield _counted(_pieces(response), key, length)

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Return the `length` bytes from `offset`. Raises as open_range does."""
        with self.open_range(key, offset, length) as pieces:
            return b"".join(pieces)

    @contextmanager
    def open_up_to(self, key: str, offset: int, length: int) -> Iterator[Iterator[bytes]]:
        """Yield the bytes from `offset` in pieces of at most 1 MiB, `length` of them or as many as there are.

        Raises NotFound where there is no such object, IntegrityFault where fewer come than announced.
        """
        with self._response(key, offset, length) as response:
            yield _counted(_pieces(response), key, int(response.headers["content-length"]))

    def digest(self, key: str, on_bytes: Callable[[int], None] | None = None) -> tuple[str, int]:
        """Read the whole object back; return its SHA-256 (hex) and size in bytes.

        `on_bytes` is told the size of each piece and may take its time. Raises NotFound where there is no such object, IntegrityFault where fewer bytes come than announced.
        """
        sha256, size_bytes = hashlib.sha256(), 0
        with self._response(key, 0, 0) as response:
            announced = int(response.headers["content-length"])
            for piece in _counted(_pieces(response), key, announced):
                sha256.update(piece)
                size_bytes += len(piece)
                if on_bytes is not None:
                    on_bytes(len(piece))
        return sha256.hexdigest(), size_bytes

    def stat(self, key: str) -> StoredObject:
        """Return size and promised SHA-256 of an object. Raises NotFound."""
        with _translated():
            found = self._client.stat_object(self._bucket, key)
        return StoredObject(key, found.size or 0, (found.metadata or {}).get(_SHA256))

    def exists(self, key: str) -> bool:
        """Return whether there is an object under `key`."""
        try:
            self.stat(key)
        except NotFound:
            return False
        return True

    def list(self, prefix: str = "", after: str | None = None) -> Iterator[StoredObject]:
        """Yield every object whose key begins with `prefix`, in key order, those after the key `after` only."""
        with _translated():
            for found in self._client.list_objects(
                self._bucket, prefix=prefix, recursive=True, start_after=after
            ):
                yield StoredObject(str(found.object_name), found.size or 0, modified_at=found.last_modified)

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        with _translated():
            self._client.remove_object(self._bucket, key)

    def _put(self, key: str, content: BinaryIO, size_bytes: int, sha256: str, content_type: str) -> None:
        try:
            with _translated():
                self._client.put_object(
                    self._bucket,
                    key,
                    cast(BinaryIO, _Whole(content, key, size_bytes)),
                    size_bytes,
                    content_type=content_type,
                    metadata={"sha256": sha256},
                    part_size=_PART_BYTES,
                    num_parallel_uploads=1,
                )
        except ObjectStoreDown:
            if not self._already_there(StoredObject(key, size_bytes, sha256)):
                raise

    def _already_there(self, wanted: StoredObject) -> bool:
        """Return whether a PUT whose answer was lost has succeeded: the last request of parts is not repeated."""
        try:
            return self.stat(wanted.key) == wanted
        except (NotFound, ObjectStoreDown):
            return False

    @contextmanager
    def _response(self, key: str, offset: int, length: int) -> Iterator[urllib3.BaseHTTPResponse]:
        with _translated():
            response = self._client.get_object(self._bucket, key, offset=offset, length=length)
        try:
            yield response
        finally:
            response.close()
            response.release_conn()


class _Whole:
    """A file that must not end before its size: a short one is our fault, not the store's."""

    def __init__(self, content: BinaryIO, key: str, size_bytes: int) -> None:
        self._content = content
        self._key = key
        self._left = size_bytes

    def read(self, size: int) -> bytes:
        piece = self._content.read(size)
        self._left -= len(piece)
        if not piece and self._left > 0:
            raise _too_short(self._key)
        return piece


def _pieces(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    with _translated():
        yield from response.stream(_CHUNK_BYTES)


def _counted(pieces: Iterator[bytes], key: str, length: int) -> Iterator[bytes]:
    left = length
    for piece in pieces:
        left -= len(piece)
        yield piece
    if left != 0:
        raise _too_short(key)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what the SDK, the transport and the system raise into errors of the domain."""
    try:
        yield
    except S3Error as error:
        raise _meaning(error) from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise ObjectStoreDown("对象存储没有应答", "the object store does not answer") from error
    except (ParseError, ValueError) as error:  # an answer whose XML is cut or altered
        raise ObjectStoreDown(
            "对象存储的应答无法理解", "the object store's answer cannot be read", code="answer_damaged"
        ) from error


def _meaning(error: S3Error) -> NotFound | IntegrityFault | Conflict | ObjectStoreDown:
    """Return the error for what S3 answered; a missing bucket is no missing object."""
    if error.code in ("PreconditionFailed", "ConditionalRequestConflict"):
        return Conflict("已有这个对象", "there is such an object already", code="object_exists")
    if error.code in ("NoSuchKey", "NoSuchObject", "NoSuchVersion"):
        return NotFound("没有这个对象", "there is no such object")
    if error.code == "InvalidRange":
        return _too_short(error.object_name or "")
    return ObjectStoreDown(
        f"对象存储拒绝了请求({error.code})", f"the object store refused the request ({error.code})"
    )


def _too_short(key: str) -> IntegrityFault:
    return IntegrityFault(f"对象 {key} 的内容不完整", f"the content of object {key} is incomplete")
