"""The stores of a data folder where none are named: started by one owner, used by every other command.

    D/run/owner.lock      held for life by the one process that owns the servers
    D/run/users.lock      shared by the commands that use them; the owner waits for it before it stops them
    D/run/services.json   ports and keys, kept between starts; who owns and what runs

A process that is killed leaves all three in a state the next owner understands.
"""

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from catalog.embedded_child import wait_until, write_private
from catalog.embedded_postgres import Postgres, PostgresSeat
from catalog.embedded_s3 import S3Seat, S3Server
from catalog.errors import Conflict, NotAllowed, ObjectStoreDown
from catalog.settings import S3Access, Settings

if TYPE_CHECKING:
    from catalog.objects import ObjectStore

_USERS_SECONDS: Final = 30.0
_DURABLE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Services:
    """Where the stores in use are; the addresses are empty and `s3` None where they were not asked for.

    `database_url` is for the role huren_worker, `api_url` for huren_api, `owner_url` for whose the tables are.
    """

    database_url: str = field(repr=False)
    s3: S3Access | None
    audit_s3: S3Access | None = None
    api_url: str = field(repr=False, default="")
    owner_url: str = field(repr=False, default="")


class Lock:
    """A lock file; the kernel lets go of it when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Return whether this object holds the lock."""
        return self._file is not None

    def take(self, kind: int) -> bool:
        """Take the lock (fcntl.LOCK_EX or LOCK_SH) if nobody stands against it; return whether it is held."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._file = handle
        return True

    def release(self) -> None:
        """Let go of the lock, also on behalf of forked children that inherited it."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
            self._file = None


@dataclass(frozen=True, slots=True)
class State:
    """What services.json says."""

    postgres: PostgresSeat
    s3: S3Seat
    owner: tuple[int, float] | None = None
    running: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "State | None":
        """Return the state, or None where there is none yet."""
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        s3 = found["s3"] | {"ports": tuple(found["s3"]["ports"])}
        owner = found["owner"]
        return cls(
            PostgresSeat(**found["postgres"]),
            S3Seat(**s3),
            (owner[0], owner[1]) if owner else None,
            tuple(found["running"]),
        )

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        write_private(path, json.dumps(asdict(self), indent=1))

    def with_seat(self, seat: PostgresSeat | S3Seat) -> "State":
        """Return this state with another seat in the place of the old one."""
        return replace(self, postgres=seat) if isinstance(seat, PostgresSeat) else replace(self, s3=seat)

    def owner_lives(self) -> bool:
        """Return whether the process that wrote this still runs, and not another under its number."""
        if self.owner is None:
            return False
        try:
            return bool(psutil.Process(self.owner[0]).create_time() == self.owner[1])
        except psutil.Error:
            return False


class Embedded:
    """The embedded servers of a data folder, owned or attached to for the time of a `with` block.

    `own`: become the owner or fail after `wait_seconds`. Otherwise use what an owner runs, and own what is
    asked for where nobody does. An owner ended by a signal must still leave the block: stop the servers.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        own: bool = False,
        postgres: bool = True,
        s3: bool = True,
        on_wait: Callable[[str], None] | None = None,
        wait_seconds: float = 30.0,
    ) -> None:
        self._dir = data_dir.expanduser().resolve()
        self._own = own
        self._wanted = tuple(name for name, wanted in (("postgres", postgres), ("s3", s3)) if wanted)
        self._on_wait = on_wait or (lambda _text: None)
        self._wait_seconds = wait_seconds
        self._owner_lock = Lock(self._dir / "run" / "owner.lock")
        self._users_lock = Lock(self._dir / "run" / "users.lock")
        self._state_file = self._dir / "run" / "services.json"
        self._mutex = threading.RLock()
        self._servers: dict[str, Postgres | S3Server] = {}
        self._store: ObjectStore | None = None
        self.services = Services("", None)

    def __enter__(self) -> "Embedded":
        try:
            for name in ("run", "logs"):
                (self._dir / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._own_or_attach()
        except PermissionError as error:
            self.stop()
            raise self._not_ours() from error
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @property
    def data_dir(self) -> Path:
        """Return the folder all of this lives in."""
        return self._dir

    @property
    def owner(self) -> bool:
        """Return whether this process owns the servers."""
        return self._owner_lock.held

    @property
    def pids(self) -> dict[str, int]:
        """Return the process ids of the servers this process owns, by name."""
        return {name: server.pid for name, server in self._servers.items() if server.pid is not None}

    def check(self) -> tuple[str, ...]:
        """Start again what died; return the names. Does nothing where another process owns.

        A server keeps its port unless somebody has taken it meanwhile: then `services` is another afterwards.
        Raises DatabaseDown where PostgreSQL does not come up again.
        """
        with self._mutex:
            if not self.owner:
                return ()
            dead = [name for name in self._servers if not self._servers[name].alive()]
            for name in dead:
                self._servers[name].revive()
            if dead:
                self._publish()
            self._make_durable(0)
            return tuple(dead)

    def s3_ready(self) -> bool:
        """Return whether the embedded object store answers a signed request; True where none is embedded."""
        if self.services.s3 is None:
            return True
        from catalog.objects import ObjectStore  # a command that asks no store is not to wait for its library

        with self._mutex:
            if self._store is None:
                self._store = ObjectStore(self.services.s3, workers=1, read_seconds=2)
            store = self._store
        try:
            store.ping()
        except ObjectStoreDown:
            return False
        return True

    def wait_s3(self, timeout: float = 30.0) -> None:
        """Wait until s3_ready; an owner starts a server that died on the way again.

        Raises ObjectStoreDown after `timeout` seconds.
        """
        if not wait_until(lambda: not self.check() and self.s3_ready(), timeout):
            raise ObjectStoreDown(
                f"内置对象存储未能就绪,原因见 {self._dir / 'logs' / 's3.log'}",
                f"the embedded object store is not ready; see {self._dir / 'logs' / 's3.log'}",
            )

    def stop(self) -> None:
        """Let go; an owner first waits for the attached commands, then stops the servers. May be repeated."""
        with self._mutex, ExitStack() as last:
            last.callback(self._owner_lock.release)
            last.callback(self._users_lock.release)
            if self.owner:
                last.callback(self._stop_servers)
                self._wait_for_users()
            self._forget_store()

    def _own_or_attach(self) -> None:
        deadline = time.monotonic() + self._wait_seconds
        said = False
        while not self._owner_lock.take(fcntl.LOCK_EX):
            if not self._own and self._attach():
                return
            if time.monotonic() > deadline:
                raise self._busy()
            if not said:
                self._on_wait(
                    "等待另一个进程让出数据目录… / waiting for another process to leave the data folder ..."
                )
                said = True
            time.sleep(0.05)
        self._start()

    def _not_ours(self) -> NotAllowed:
        return NotAllowed(
            f"数据目录 {self._dir} 属于另一个用户", f"the data folder {self._dir} belongs to another user"
        )

    def _busy(self) -> Conflict:
        return Conflict(
            f"另一个进程正在使用数据目录 {self._dir}",
            f"another process is serving the data folder {self._dir}",
            code="data_folder_in_use",
        )

    def _attach(self) -> bool:
        if not self._users_lock.take(fcntl.LOCK_SH):
            return False
        state = State.read(self._state_file)
        if state is not None and state.owner_lives() and set(self._wanted) <= set(state.running):
            self._seat(state)
            return True
        self._users_lock.release()
        return False

    def _start(self) -> None:
        known = State.read(self._state_file)
        if known is None:
            self._refuse_without_keys()
            self._on_wait("首次启动,正在建立数据库… / first start, making the database ...")
        everything = self._seat(known or State(PostgresSeat.new(), S3Seat.new()))
        self._publish(running=False)
        for server in everything:  # also one that is not asked for: its killed owner may have left it running
            server.clear()
        for server in self._servers.values():
            server.prepare()
            server.start()
        self._make_durable(_DURABLE_SECONDS)
        self._publish()

    def _refuse_without_keys(self) -> None:
        if (self._dir / "postgres" / "data").exists():
            raise Conflict(
                f"{self._state_file} 丢失:没有其中的密码无法打开此数据目录,请从备份恢复该文件",
                f"{self._state_file} is gone: without its password this data folder cannot be opened; restore the file",
                code="data_folder_keys_missing",
            )

    def _seat(self, state: State) -> tuple[S3Server, Postgres]:
        """Put the servers on their seats and return both; `_servers` holds those asked for, S3 first.

        S3 is not waited for, so it comes up while PostgreSQL is made and started.
        """
        self._state = state
        logs = self._dir / "logs"
        s3 = S3Server(self._dir / "s3", logs / "s3.log", state.s3)
        postgres = Postgres(self._dir / "postgres", logs / "postgres.log", state.postgres)
        everything: dict[str, Postgres | S3Server] = {"s3": s3, "postgres": postgres}
        self._servers = {name: server for name, server in everything.items() if name in self._wanted}
        self._note_services()
        return s3, postgres

    def _note_services(self) -> None:
        postgres, s3 = self._servers.get("postgres"), self._servers.get("s3")
        self.services = Services(
            postgres.worker_url if isinstance(postgres, Postgres) else "",
            s3.access if isinstance(s3, S3Server) else None,
            s3.audit_access if isinstance(s3, S3Server) else None,
            postgres.api_url if isinstance(postgres, Postgres) else "",
            postgres.owner_url if isinstance(postgres, Postgres) else "",
        )
        self._forget_store()

    def _forget_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _publish(self, *, running: bool = True) -> None:
        """Write what attaching commands read."""
        self._note_services()
        me = (os.getpid(), psutil.Process().create_time())
        self._state = replace(self._state, owner=me, running=tuple(self._servers) if running else ())
        for server in self._servers.values():
            self._state = self._state.with_seat(server.seat)
        self._state.write(self._state_file)

    def _make_durable(self, seconds: float) -> None:
        s3 = self._servers.get("s3")
        if isinstance(s3, S3Server):
            wait_until(s3.make_durable, seconds)

    def _wait_for_users(self) -> None:
        if self._users_lock.take(fcntl.LOCK_EX):
            return
        self._on_wait("等待其他命令结束… / waiting for other commands to finish ...")
        wait_until(lambda: self._users_lock.take(fcntl.LOCK_EX), _USERS_SECONDS)

    def _stop_servers(self) -> None:
        for server in self._servers.values():
            server.stop()
        if self._servers:
            self._publish(running=False)


@contextmanager
def open_services(
    settings: Settings,
    data_dir: Path,
    *,
    own: bool = False,
    postgres: bool = True,
    s3: bool = True,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[tuple[Services, Embedded | None]]:
    """Yield where the stores are; those the settings do not name are embedded in `data_dir`.

    Nothing is started, and no Embedded given, where everything asked for is named.
    """
    database_url = settings.database_url if postgres else None
    access = settings.s3_access() if s3 else None
    audit_access = settings.audit_s3_access() if s3 else None
    embed_postgres, embed_s3 = postgres and database_url is None, s3 and access is None
    named = Services(
        database_url or "",
        access,
        audit_access,
        settings.api_database_url or database_url or "",
        settings.owner_database_url or database_url or "",
    )
    if not (embed_postgres or embed_s3):
        yield named, None
        return
    with Embedded(
        data_dir,
        own=own,
        postgres=embed_postgres,
        s3=embed_s3,
        on_wait=on_wait,
        wait_seconds=settings.folder_wait_seconds,
    ) as embedded:
        found = embedded.services
        addresses = found if embed_postgres else named
        yield replace(addresses, s3=access or found.s3, audit_s3=audit_access or found.audit_s3), embedded
