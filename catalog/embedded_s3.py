"""The embedded S3 server: SeaweedFS, all of it in one process and on 127.0.0.1.

What it acknowledges is on the disk: by default SeaweedFS calls no fsync at all, so objects are stored under a
rule `fsync` and their names in SQLite, which syncs each commit. Only the volumes' index files are written
without a sync; a power loss within about half a minute of a PUT can cost them (`weed fix` rebuilds them).

Master and filer serve nothing over HTTP but a status page, the volumes only what is signed for, S3 only what the
keys ask for. The internal gRPC ports know no password: this is for a laptop, a demonstration and the tests.
"""

import json
import secrets
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from catalog.embedded_child import (
    Child,
    bare_environment,
    end_strays,
    free_ports,
    keep_or_replace,
    sync_folder,
    write_private,
)
from catalog.errors import ObjectStoreDown
from catalog.settings import S3Access

BUCKET: Final = "huren"
AUDIT_BUCKET: Final = "huren-audit"
_PARTS: Final = ("master", "volume", "filer", "s3")  # each with an HTTP and a gRPC port
_STOP_SECONDS: Final = 1.0  # the volumes are closed within milliseconds; the rest waits 15 s for nobody
_SHELL_SECONDS: Final = 15.0

# A master alone waits for no election: with these three, S3 answers 2 s after a kill instead of 13 to 22 s.
_ALONE: Final = ("-master.peers=none", "-master.electionTimeout=300ms", "-master.heartbeatInterval=50ms")
_OPTIONS: Final = (
    *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-disableHttp", "-master.telemetry=false"),
    *("-filer", "-s3", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
    *("-webdav=false", "-iam=false", "-mq.broker=false", "-mq.agent=false", "-sftp=false"),
    *("-dir=data", "-volume.max=1000", "-master.volumeSizeLimitMB=1024", "-master.volumePreallocate=false"),
    *("-volume.preStopSeconds=0", "-s3.config=s3.json"),
    # Relative, because the path of a unix socket ends at 107 bytes.
    *("-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock"),
    *_ALONE,
)
_AUDIT_ACTIONS: Final = ("Read", "Write", "List", "Admin")  # Admin: it makes its bucket
_DURABLE: Final = "fs.configure -locationPrefix=/buckets/ -fsync -apply\n"


@dataclass(frozen=True, slots=True)
class S3Seat:
    """What stays the same between two starts as long as nobody takes a port: two ports for each part."""

    ports: tuple[int, ...]
    access_key: str
    secret_key: str = field(repr=False)
    signing_key: str = field(repr=False)
    audit_access_key: str = ""  # a folder of an earlier release has none yet
    audit_secret_key: str = field(default="", repr=False)

    @classmethod
    def new(cls) -> "S3Seat":
        """Return a seat with free ports and random keys."""
        ports = tuple(free_ports(2 * len(_PARTS)))
        seat = cls(ports, secrets.token_hex(10), secrets.token_urlsafe(32), secrets.token_urlsafe(32))
        return seat.with_audit_key()

    def with_audit_key(self) -> "S3Seat":
        """Return a seat that has the second key."""
        if self.audit_access_key:
            return self
        fresh = secrets.token_hex(10), secrets.token_urlsafe(32)
        return replace(self, audit_access_key=fresh[0], audit_secret_key=fresh[1])

    def port(self, part: str, kind: str = "") -> int:
        """Return the HTTP port, or with kind "grpc" the gRPC port, of one part."""
        return self.ports[2 * _PARTS.index(part) + (kind == "grpc")]


class S3Server:
    """The server whose files are in `folder`; one process at a time may use it."""

    def __init__(self, folder: Path, log: Path, seat: S3Seat) -> None:
        self.seat = seat
        self._folder = folder
        self._child = Child(log)
        self._durable_mark = folder / "durable"

    @property
    def access(self) -> S3Access:
        """Return the address and the keys."""
        endpoint = f"http://127.0.0.1:{self.seat.port('s3')}"
        return S3Access(endpoint, self.seat.access_key, self.seat.secret_key, BUCKET)

    @property
    def audit_access(self) -> S3Access:
        """Return the address and the key that can do nothing but read and write the audit's bucket."""
        endpoint, seat = self.access.endpoint, self.seat
        return S3Access(endpoint, seat.audit_access_key, seat.audit_secret_key, AUDIT_BUCKET)

    @property
    def pid(self) -> int | None:
        """Return the process id of the server last started."""
        return self._child.pid

    def alive(self) -> bool:
        """Return whether the server process runs."""
        return self._child.alive()

    def clear(self) -> None:
        """Stop what a killed owner left running."""
        end_strays("weed", self._folder, signal.SIGTERM, _STOP_SECONDS)

    def prepare(self) -> None:
        """Settle the ports and write the configuration; what a killed owner left is cleared away."""
        (self._folder / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        ports = tuple(keep_or_replace(list(self.seat.ports)))
        self.seat = replace(self.seat.with_audit_key(), ports=ports)
        self._write_configuration()

    def start(self) -> None:
        """Start the server without waiting for it."""
        parts = [
            option
            for part in _PARTS
            for option in (
                f"-{part}.port={self.seat.port(part)}",
                f"-{part}.port.grpc={self.seat.port(part, 'grpc')}",
            )
        ]
        self._child.start([_binary(), "-logtostderr", "server", *_OPTIONS, *parts], cwd=self._folder)

    def stop(self) -> None:
        """Stop the server; what it acknowledged is kept."""
        self._child.stop(signal.SIGTERM, _STOP_SECONDS)
        for part in _PARTS:  # it puts these there whatever it is told, and leaves them behind
            with suppress(OSError):
                Path(f"/tmp/seaweedfs-{part}-grpc-{self.seat.port(part, 'grpc')}.sock").unlink()  # noqa: S108

    def revive(self) -> None:
        """Start a server that died again, on its ports unless somebody has taken one."""
        self.clear()
        self.prepare()
        self.start()

    def make_durable(self) -> bool:
        """Have every later PUT synced before it is acknowledged; return False while the server is not up yet.

        The rule is kept by the server, so this is done once in the life of a data folder.
        """
        if self._durable_mark.exists():
            return True
        master = f"127.0.0.1:{self.seat.port('master')}.{self.seat.port('master', 'grpc')}"
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                [_binary(), "shell", f"-master={master}"],
                input=_DURABLE.encode(),
                cwd=self._folder,
                env=bare_environment(self._folder),
                capture_output=True,
                timeout=_SHELL_SECONDS,
            )
            if b'"fsync":' in done.stdout and done.returncode == 0:
                self._durable_mark.touch(mode=0o600)
                sync_folder(self._folder)
        return self._durable_mark.exists()

    def _write_configuration(self) -> None:
        """Write the files the server looks for in its working directory, before any elsewhere."""
        everything = _identity("huren", self.access, "Admin")
        audit = _identity("audit", self.audit_access, *(f"{act}:{AUDIT_BUCKET}" for act in _AUDIT_ACTIONS))
        write_private(self._folder / "s3.json", json.dumps({"identities": [everything, audit]}))
        tables = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
        signing = "".join(f'[{table}]\nkey = "{self.seat.signing_key}"\n' for table in tables)
        write_private(self._folder / "security.toml", signing)
        names = json.dumps(str(self._folder / "names.db"))
        write_private(
            self._folder / "filer.toml",
            f"[leveldb2]\nenabled = false\n[sqlite]\nenabled = true\ndbFile = {names}\n",
        )


def _identity(name: str, access: S3Access, *actions: str) -> dict[str, object]:
    keys = {"accessKey": access.access_key, "secretKey": access.secret_key}
    return {"name": name, "credentials": [keys], "actions": list(actions)}


def _binary() -> str:
    beside_python = Path(sys.executable).with_name("weed")
    if not beside_python.exists():
        raise ObjectStoreDown(
            f"未找到 {beside_python},请重新安装依赖,或设置 HUREN_S3_ENDPOINT",
            f"{beside_python} is missing; install the dependencies again or set HUREN_S3_ENDPOINT",
        )
    return str(beside_python)
