"""The package of the OHIF viewer: which it is, how it is fetched, and what of it is taken.

Only `npm pack` fetches it, by the machine's own npm configuration: nothing is installed and no script of it runs.
"""

import hashlib
import io
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from catalog.errors import IntegrityFault, Unavailable

_PACKAGE: Final = Path(__file__).with_name("viewer_package.toml")
_INSIDE: Final = "package/dist/"
_LICENCE: Final = "package/LICENSE"
_WANTED: Final = (  # left out: what onnxruntime and microscopy need, maps, service worker, icons of other platforms
    "*.bundle.*.js",
    "*.css",
    "*.wasm",
    "*.woff2",
    "index.html",
    "ohif-logo.svg",
    "assets/favicon*",
    "assets/images/*.png",
)
_MOST_MEMBERS: Final = 2_000
_LARGEST_BYTES: Final = 32 << 20
_ALL_BYTES: Final = 128 << 20
_PROBE_SECONDS: Final = 30.0
_FETCH_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True)
class Package:
    """Name, version and digest of the one package that is taken."""

    name: str
    version: str
    sha512: str

    @property
    def spec(self) -> str:
        """Return what npm is asked for."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What was taken of a package: its files by their path below the root of the viewer, and its licence."""

    files: Mapping[str, bytes]
    licence: str


def locked_package() -> Package:
    """Return the package this version of Huren was tried with."""
    return Package(**tomllib.loads(_PACKAGE.read_text(encoding="utf-8")))


def fetch(package: Package, folder: Path) -> Path:
    """Fetch a package into a folder. Raises Unavailable where npm is missing or its registry does not give it."""
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable(
            "未找到 npm;可在别处取得安装包后用 --from 指定",
            "npm is not installed; a package fetched elsewhere can be given with --from",
            code="npm_missing",
        )
    # npm tries for many minutes what does not answer at all: one small question first
    _npm([npm, "view", package.spec, "version", "--fetch-retries=0"], folder, _PROBE_SECONDS)
    _npm([npm, "pack", package.spec, "--ignore-scripts", "--silent"], folder, _FETCH_SECONDS)
    found = sorted(folder.glob("*.tgz"))
    if len(found) != 1:
        raise _not_fetched("npm pack")
    return found[0]


def _npm(command: list[str], folder: Path, seconds: float) -> None:
    """Run npm in a folder of its own, so that no project's configuration is read."""
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise _not_fetched(f"npm {command[1]}: {seconds:.0f} s") from None
    if done.returncode:
        raise _not_fetched(f"npm {command[1]}: {done.returncode}")


def _not_fetched(said: str) -> Unavailable:
    return Unavailable(
        f"未能取得阅片器安装包({said});请检查 npm 的网络与镜像设置",
        f"The viewer's package could not be fetched ({said}); see npm's network and registry settings",
        code="viewer_not_fetched",
    )


def unpack(archive: bytes, package: Package) -> Unpacked:
    """Return what is taken of a package. Raises IntegrityFault where it is not exactly the one that is locked."""
    if hashlib.sha512(archive).hexdigest() != package.sha512:
        raise IntegrityFault(
            f"安装包不是所锁定的 {package.spec}:SHA-512 不符",
            f"This package is not the {package.spec} that is locked: its SHA-512 differs",
            code="viewer_digest",
        )
    taken = _taken(archive)
    licence = taken.pop(_LICENCE, b"")
    return Unpacked(
        {name.removeprefix(_INSIDE): content for name, content in taken.items()}, licence.decode()
    )


def _taken(archive: bytes) -> dict[str, bytes]:
    """Read the wanted members into memory; nothing is written where an archive says."""
    found: dict[str, bytes] = {}
    left_bytes = _ALL_BYTES
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            for number, member in enumerate(tar):
                if number >= _MOST_MEMBERS:
                    raise _unsafe("members")
                if _is_wanted(member.name):
                    found[member.name] = _content(tar, member, left_bytes)
                    left_bytes -= member.size
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _unsafe(type(error).__name__) from error
    return found


def _is_wanted(name: str) -> bool:
    below = name.removeprefix(_INSIDE)
    if name == _LICENCE or below == name:
        return name == _LICENCE
    depth = below.count("/")
    return any(fnmatchcase(below, wanted) and wanted.count("/") == depth for wanted in _WANTED)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, left_bytes: int) -> bytes:
    opened = tar.extractfile(member) if member.isreg() else None
    if opened is None or ".." in member.name.split("/"):
        raise _unsafe("member")
    if member.size > min(_LARGEST_BYTES, left_bytes):
        raise _unsafe("size")
    return opened.read()


def _unsafe(what: str) -> IntegrityFault:
    return IntegrityFault(
        f"安装包的内容不合规({what})",
        f"The package holds what it must not ({what})",
        code="viewer_archive",
    )
