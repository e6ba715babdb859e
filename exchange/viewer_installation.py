"""The installed viewer: a folder of its version with its files, the same compressed, and a list that says what is there.

It is built beside its place and renamed into it, so that there is all of it or nothing.
"""

import gzip
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from exchange.viewer_notices import notices
from exchange.viewer_package import Package, fetch, locked_package, unpack
from exchange.viewer_rerooting import rerooted
from exchange.viewer_tours import without_tours

LIST: Final = "installed.json"
NOTICES: Final = "notices.txt"
_BUILT: Final = 1  # how it is built: another number, and what stands is built anew
_COMPRESSED: Final = frozenset({".js", ".css", ".html", ".wasm", ".svg", ".txt"})
_WORTH: Final = 0.9
Step = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class File:
    """A file of the viewer: the digest of its content, its size, and that of its compressed twin or 0."""

    sha256: str
    size_bytes: int
    gzip_bytes: int


@dataclass(frozen=True, slots=True)
class Installed:
    """A viewer that is installed: where, and each file by its path below the root."""

    folder: Path
    files: Mapping[str, File]

    def damaged(self) -> list[str]:
        """Return the files that are missing or are not what was installed."""
        return [name for name, file in self.files.items() if not _is_whole(self.folder / name, file)]


def folder_of(viewer_dir: Path, package: Package) -> Path:
    """Return where a version stands."""
    return viewer_dir / package.version


def find(viewer_dir: Path) -> Installed | None:
    """Return the viewer of the locked version, if it is installed."""
    package = locked_package()
    folder = folder_of(viewer_dir, package)
    try:
        told: dict[str, Any] = orjson.loads((folder / LIST).read_bytes())
        if (told["sha512"], told["built"]) != (package.sha512, _BUILT):
            return None
        return Installed(folder, {name: File(**file) for name, file in told["files"].items()})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def install(viewer_dir: Path, archive: Path | None, step: Step) -> bool:
    """Install the locked version; returns False where it stands whole already.

    `archive` is a package fetched elsewhere; without it npm fetches it. `step` is told of each step in Chinese and
    in English. Raises Unavailable, IntegrityFault, OSError.
    """
    package = locked_package()
    found = find(viewer_dir)
    if found is not None and not found.damaged():
        return False
    viewer_dir.mkdir(parents=True, exist_ok=True)
    with _aside(viewer_dir) as aside:
        if archive is None:
            step(f"用 npm 取得 {package.spec} …", f"npm fetches {package.spec}")
            archive = fetch(package, aside)
        step("核对 SHA-512,解包 …", "checking its SHA-512, unpacking")
        unpacked = unpack(archive.read_bytes(), package)
        files = without_tours(rerooted(unpacked.files))
        files[NOTICES] = notices(package, unpacked.licence, files).encode()
        step("写入并压缩 …", "writing and compressing")
        built = aside / "built"
        _build(built, package, files)
        _put(built, folder_of(viewer_dir, package), aside)
    return True


@contextmanager
def _aside(viewer_dir: Path) -> Iterator[Path]:
    """Give a folder on the same file system, which is gone in the end whatever happens."""
    made = Path(tempfile.mkdtemp(prefix=".installing-", dir=viewer_dir))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _build(folder: Path, package: Package, files: Mapping[str, bytes]) -> None:
    for place in {(folder / name).parent for name in files}:
        place.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # zlib works outside the interpreter's lock
        written = dict(
            pool.map(lambda item: (item[0], _write(folder / item[0], item[1])), _largest_first(files))
        )
    told = {
        "package": package.spec,
        "sha512": package.sha512,
        "built": _BUILT,
        "files": {name: asdict(written[name]) for name in sorted(written)},
    }
    (folder / LIST).write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))


def _largest_first(files: Mapping[str, bytes]) -> Iterable[tuple[str, bytes]]:
    return sorted(files.items(), key=lambda item: -len(item[1]))


def _write(path: Path, content: bytes) -> File:
    path.write_bytes(content)
    small = gzip.compress(content, 9, mtime=0) if path.suffix in _COMPRESSED else content
    is_worth_it = len(small) < len(content) * _WORTH
    if is_worth_it:
        compressed(path).write_bytes(small)
    return File(hashlib.sha256(content).hexdigest(), len(content), len(small) if is_worth_it else 0)


def compressed(path: Path) -> Path:
    """Return where the compressed twin of a file stands."""
    return path.with_name(f"{path.name}.gz")


def _put(built: Path, place: Path, aside: Path) -> None:
    """Rename what was built into its place; what stood there is damaged or built in an older way."""
    if place.exists():
        place.rename(aside / "replaced")
    try:
        built.rename(place)
    except OSError:
        if find(place.parent) is None:  # else another installation was quicker: its files are the same
            raise


def _is_whole(path: Path, file: File) -> bool:
    try:
        content = path.read_bytes()
        twin = compressed(path).read_bytes() if file.gzip_bytes else b""
        unpacked = gzip.decompress(twin) if twin else content
    except (OSError, EOFError, zlib.error):
        return False
    return (
        hashlib.sha256(content).hexdigest() == file.sha256
        and len(twin) == file.gzip_bytes
        and unpacked == content
    )
