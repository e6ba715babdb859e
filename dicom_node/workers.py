"""Several processes on one port, supervised: Python's one core per process is not the node's limit.

The supervisor holds the listening socket and every worker accepts from it. SO_REUSEPORT would deal connections
out by a hash, four of them three to one as often as two to two, and lose those queued at a worker that dies.
"""

import logging
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from catalog.errors import Unavailable
from catalog.signals import stop_on_signals
from dicom_node.acceptor import listen, open_admission, open_spool, serve
from dicom_node.peers import PeerDirectory
from dicom_node.registry import CatalogueLink
from dicom_node.settings import NodeSettings
from dicom_node.tls import open_context

_LOG = logging.getLogger("huren.dicom_node")
_PROCESSES = multiprocessing.get_context(
    "spawn"
)  # fork would copy locks and connections of a threaded parent
_TICK_SECONDS = 0.25
_STOP_SECONDS = 9.5
_RESTART_SECONDS = 1.0
_FAILED_STARTS = 3


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What a worker needs, in a form that can be handed to a new process.

    `prepare` is a picklable callable, run first in each worker: it sets up logging, and may give a link to the
    catalogue, for peers that the snapshot lacks and for storage commitment.
    """

    settings: NodeSettings
    spool_root: Path
    run_root: Path
    snapshot: Path
    prepare: Callable[[], CatalogueLink | None] | None = None


def run_workers(
    plan: WorkerPlan, stop: threading.Event, *, on_ready: Callable[[int], None] | None = None
) -> None:
    """Receive in `plan.settings.workers` processes until `stop` is set; a worker that dies is started again.

    `on_ready` is called once, with the real port, when all of them accept connections.

    Raises:
        OSError: the address cannot be had.
        Unavailable: a worker does not come up.
    """
    open_spool(plan.settings, plan.spool_root)
    (plan.run_root / "associations").unlink(missing_ok=True)
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


class _Worker:
    """A child process and the pipe whose end tells each side that the other is gone."""

    def __init__(self, plan: WorkerPlan, listeners: Listeners) -> None:
        self.pipe, theirs = _PROCESSES.Pipe()
        self.process = _PROCESSES.Process(target=_work, args=(plan, listeners, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.is_ready = False

    def read_pipe(self) -> None:
        try:
            while self.pipe.poll():
                self.pipe.recv()
                self.is_ready = True
        except (EOFError, OSError):
            return

    def end(self, deadline: float) -> None:
        self.process.join(max(0.0, deadline - time.monotonic()))
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


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
                wait(_news(workers), _TICK_SECONDS)
                for worker in workers:
                    worker.read_pipe()
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
        if worker.process.is_alive():
            return worker
        _LOG.error("worker %s died with %s", worker.process.pid, worker.process.exitcode)
        self._failed_starts = 0 if worker.is_ready else self._failed_starts + 1
        if self._failed_starts >= _FAILED_STARTS:
            raise Unavailable("接收进程无法启动", "a receiving worker does not come up", code="worker_failed")
        if worker.process.pid is not None:
            self._admission.forget(worker.process.pid)
        worker.end(time.monotonic())
        self._stop.wait(0 if worker.is_ready else _RESTART_SECONDS)
        return _Worker(self._plan, self._listeners)


def _news(workers: list[_Worker]) -> list[Connection | socket.socket | int]:
    sentinels: list[Connection | socket.socket | int] = [worker.process.sentinel for worker in workers]
    return sentinels + [worker.pipe for worker in workers if not worker.is_ready]


def _work(plan: WorkerPlan, listeners: Listeners, pipe: Connection) -> None:
    stop = threading.Event()
    stop_on_signals(stop)
    threading.Thread(target=_stop_with_parent, args=(pipe, stop), daemon=True).start()
    link = plan.prepare() if plan.prepare else None
    directory = PeerDirectory(plan.snapshot, link.look_up if link else None)
    serve(
        plan.settings,
        directory,
        plan.spool_root,
        plan.run_root,
        stop,
        on_ready=pipe.send,
        shared_listener=listeners.plain,
        shared_tls_listener=listeners.tls,
        catalogue=link.engine if link else None,
    )
    os._exit(0)  # threads that outlived the drain are cut off, whatever they wait for


def _stop_with_parent(pipe: Connection, stop: threading.Event) -> None:
    try:
        pipe.recv()
    except (EOFError, OSError):
        stop.set()


def _remove_old_metrics(directory: Path) -> None:
    for path in directory.glob("*.json"):
        path.unlink(missing_ok=True)
