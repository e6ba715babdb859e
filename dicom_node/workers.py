"""Several processes on one port, supervised: Python's one core per process is not the node's limit.

The supervisor holds the listening socket and every worker accepts from it. SO_REUSEPORT would deal connections
out by a hash, four of them three to one as often as two to two, and lose those queued at a worker that dies.
Workers are fresh interpreters: fork would copy what the supervisor has, multiprocessing what its main module imports.
"""

import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from catalog.errors import Unavailable
from dicom_node.acceptor import listen, open_admission, open_spool
from dicom_node.settings import PREFIX, NodeSettings
from dicom_node.tls import open_context

_LOG = logging.getLogger("huren.dicom_node")
_TICK_SECONDS = 0.25
_STOP_SECONDS = 9.5
_RESTART_SECONDS = 1.0
_FAILED_STARTS = 3


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What a worker needs; with a database it asks for peers that the snapshot lacks, and takes commitments.

    `stores` are variables of the environment that name the object store and the keys: with them it answers queries.
    """

    settings: NodeSettings
    spool_root: Path
    run_root: Path
    snapshot: Path
    database_url: str = ""
    stores: Mapping[str, str] = field(default_factory=dict)

    def command(self, plain: int, tls: int) -> list[str]:
        """Return the worker's command line, with the numbers of the listening sockets."""
        folders = map(str, (self.spool_root, self.run_root, self.snapshot))
        return [sys.executable, "-m", "dicom_node.worker", *folders, str(plain), str(tls)]

    def environment(self) -> dict[str, str]:
        """Return the worker's environment: the settings as they are here, nothing else of theirs."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        named = {**self.stores, "HUREN_DATABASE_URL": self.database_url}
        return kept | self.settings.environment() | named


def run_workers(
    plan: WorkerPlan, stop: threading.Event, *, on_ready: Callable[[int], None] | None = None
) -> None:
    """Receive in `plan.settings.workers` processes until `stop` is set; a worker that dies is started again.

    `on_ready` is called once, with the real port, when all of them accept connections.

    Raises:
        OSError: the address cannot be had.
        Unavailable: a worker does not come up.
    """
    open_spool(plan.settings, plan.spool_root).blanks.clear()  # a loss of power may have left one half used
    for name in ("associations", "lockout"):
        (plan.run_root / name).unlink(missing_ok=True)
    _remove_old_metrics(plan.run_root / "metrics")
    with ExitStack() as listening:
        listeners = Listeners(
            listening.enter_context(listen(plan.settings)),
            listening.enter_context(listen(plan.settings, plan.settings.tls_port))
            if open_context(plan.settings)
            else None,
        )
        _Supervisor(plan, listeners, stop, on_ready).run()


@dataclass(frozen=True, slots=True)
class Listeners:
    """The sockets that all workers accept from."""

    plain: socket.socket
    tls: socket.socket | None

    def numbers(self) -> tuple[int, int]:
        """Return their descriptors; -1 for none."""
        return self.plain.fileno(), self.tls.fileno() if self.tls else -1


class _Worker:
    """A child process; its standard input tells it that we live, its output tells us that it is ready or gone."""

    def __init__(self, plan: WorkerPlan, listeners: Listeners) -> None:
        numbers = listeners.numbers()
        self.process = subprocess.Popen(
            plan.command(*numbers),
            env=plan.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[number for number in numbers if number >= 0],
        )
        self.output = self.process.stdout.fileno() if self.process.stdout else -1
        self.is_ready = False

    def comes_up(self) -> bool:
        """Read whether it says that it is ready; nothing means that it has closed, and so is ending."""
        if os.read(self.output, 64):
            self.is_ready = True
            return True
        self.process.wait(_STOP_SECONDS)
        return False

    def end(self, deadline: float) -> None:
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class _Supervisor:
    """Keeps the workers alive."""

    def __init__(
        self,
        plan: WorkerPlan,
        listeners: Listeners,
        stop: threading.Event,
        on_ready: Callable[[int], None] | None,
    ) -> None:
        self._plan = plan
        self._listeners = listeners
        self._stop = stop
        self._on_ready = on_ready
        self._admission = open_admission(plan.settings, plan.run_root / "associations")
        self._failed_starts = 0

    def run(self) -> None:
        workers = [_Worker(self._plan, self._listeners) for _ in range(self._plan.settings.workers)]
        try:
            while not self._stop.is_set():
                for worker in _with_news(workers):
                    if worker.comes_up():
                        self._failed_starts = (
                            0  # three in a row say that none will; three in a year say nothing
                        )
                self._announce(workers)
                workers = [self._alive(worker) for worker in workers]
        finally:
            deadline = time.monotonic() + _STOP_SECONDS
            for worker in workers:
                worker.process.terminate()
            for worker in workers:
                worker.end(deadline)
            self._admission.close()

    def _announce(self, workers: list[_Worker]) -> None:
        if self._on_ready is not None and all(worker.is_ready for worker in workers):
            self._on_ready(self._listeners.plain.getsockname()[1])
            self._on_ready = None

    def _alive(self, worker: _Worker) -> _Worker:
        if worker.process.poll() is None:
            return worker
        _LOG.error("worker %s died with %s", worker.process.pid, worker.process.returncode)
        self._failed_starts = 0 if worker.is_ready else self._failed_starts + 1
        if self._failed_starts >= _FAILED_STARTS:
            raise Unavailable("接收进程无法启动", "a receiving worker does not come up", code="worker_failed")
        self._admission.forget(worker.process.pid)
        worker.end(time.monotonic())
        self._stop.wait(0 if worker.is_ready else _RESTART_SECONDS)
        return _Worker(self._plan, self._listeners)


def _with_news(workers: list[_Worker]) -> list[_Worker]:
    """Wait a moment for workers that say something or end."""
    poll = select.poll()
    for worker in workers:
        poll.register(worker.output, select.POLLIN)
    said = {number for number, _ in poll.poll(_TICK_SECONDS * 1000)}
    return [worker for worker in workers if worker.output in said]


def _remove_old_metrics(directory: Path) -> None:
    for path in directory.glob("[0-9]*.json"):
        path.unlink(missing_ok=True)
