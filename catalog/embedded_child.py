"""A server started as a child of this process: its environment, log, port and end."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import psutil

_PORTS: Final = range(15_000, 30_000)  # below the range the kernel gives to outgoing connections
_PORT_SECONDS: Final = 1.5
_LOG_LIMIT_BYTES: Final = 16 << 20


class Child:
    """One server process; its output goes to a log file."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """Return the process id, also of a child that has ended, or None before the first start."""
        return self._process.pid if self._process else None

    def alive(self) -> bool:
        """Return whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def succeeded(self) -> bool:
        """Return whether the process has ended without an error."""
        return self._process is not None and self._process.poll() == 0

    def start(self, command: list[str], *, cwd: Path) -> None:
        """Start `command` with an environment of its own, so that nobody's PG* or AWS_* steers it.

        The child stays in our process group, and a kill of the group takes it along. With a terminal it gets
        a group of its own: Ctrl-C must reach us alone, who then stop the servers in order.
        """
        _rotate(self.log)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env=bare_environment(cwd),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                umask=0o077,
                process_group=0 if _has_terminal() else -1,
            )

    def said(self) -> str:
        """Return what the process has written to its log since it was started."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read(_LOG_LIMIT_BYTES).decode(errors="replace")

    def stop(self, first: signal.Signals, grace_seconds: float) -> None:
        """Ask the process to end, and kill it if it has not done so in time."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(first)
            try:
                self._process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


def bare_environment(home: Path) -> dict[str, str]:
    """Return the few variables a server needs."""
    return {"PATH": os.defpath, "HOME": str(home), "LC_ALL": "C", "TZ": "UTC"}


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".1.log"))
    log.touch(mode=0o600)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def end_strays(program: str, folder: Path, first: signal.Signals, grace_seconds: float) -> list[int]:
    """Stop every `program` at work in `folder`, left by an owner that was killed; return their ids.

    A process is ours by its name and its working directory, never by a number in a file alone.
    """
    strays = [p for p in psutil.process_iter(["name"]) if p.info["name"] == program and _works_in(p, folder)]
    for process in strays:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(first)
    _, stubborn = psutil.wait_procs(strays, grace_seconds)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, 10)
    return [process.pid for process in strays]


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        place = Path(process.cwd())
    except (psutil.Error, OSError):
        return False
    return place == folder or folder in place.parents


def port_is_free(port: int) -> bool:
    """Return whether a server could listen on this port of 127.0.0.1 now."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int, *, besides: Iterable[int] = ()) -> list[int]:
    """Return `count` different ports of 127.0.0.1 on which nobody listens."""
    taken = set(besides)
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(_PORTS)
        if port not in taken and port_is_free(port):
            taken.add(port)
            found.append(port)
    return found


def keep_or_replace(ports: list[int]) -> list[int]:
    """Return `ports` if a server can have them all, else as many new ones.

    A server that was killed a moment ago lets go of its ports only when its last thread has ended.
    """
    free = wait_until(lambda: all(map(port_is_free, ports)), _PORT_SECONDS)
    return ports if free else free_ports(len(ports), besides=ports)


def write_private(path: Path, text: str) -> None:
    """Replace `path` in one step by a file that only its owner can read."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power loss."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_tree(folder: Path) -> None:
    """Remove a folder that may be gone already."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def wait_until(condition: Callable[[], bool], seconds: float, *, every: float = 0.05) -> bool:
    """Return whether `condition` came true within `seconds`; it is asked at least once."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True
