"""Processes to be broken: forked from one that has everything imported, so that hundreds of them cost little."""

import multiprocessing
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from catalog.records import Depositor
from catalog.signals import stop_on_signals
from dicom_node.acceptor import serve
from dicom_node.deposit import Deposits
from dicom_node.peers import Peer, PeerDirectory
from dicom_node.settings import NodeSettings
from dicom_node.ship import Shipper, ShipSettings
from dicom_node.spool import Spool
from tests.dicom_node.raw_peer import wait_until
from tests.faults.far_side import FarSide

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pytest", "tests.faults.victim"])


HOSPITALS = {"RAW": "H-A", "STORESCU": "H-A", "OTHER": "H-B"}


class Victim:
    """A process that does one thing: `work(pipe, *arguments)`, which says on the pipe when it is ready."""

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        self.pipe, theirs = _FORKS.Pipe()
        self.process = _FORKS.Process(target=work, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()
        assert self.pipe.poll(30), "the process does not come up"
        self.said = self.pipe.recv()

    def __enter__(self) -> "Victim":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.pipe.close()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def go(self) -> None:
        """Let it begin."""
        self.pipe.send(None)

    def finish(self) -> bool:
        """Let it do its work; False where it is killed over it."""
        self.go()
        self.process.join(30)
        assert self.process.exitcode in (0, -9), f"it ended with {self.process.exitcode}"
        return self.process.exitcode == 0

    def is_dead(self) -> bool:
        return not self.process.is_alive()

    def kill(self) -> None:
        """Kill it and wait for its end; its locks are free then."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()

    def terminate(self) -> float:
        """End it as a service manager would; gives the seconds that took."""
        began = time.monotonic()
        self.process.terminate()
        self.process.join(20)
        return time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Injection:
    """What strace does to the `nth` call of a name, counted in each thread: an error, or SIGKILL before it is made."""

    call: str
    nth: int
    what: str = "signal=SIGKILL"

    @property
    def option(self) -> str:
        return f"inject={self.call}:{self.what}:when={self.nth}"


@contextmanager
def traced(
    victim: Victim, strace: str, *injections: Injection, log: Path, watch: str = "", follow: bool = True
) -> Iterator[None]:
    """Have strace at a running process, `follow`: at all its threads; what it injects or watches goes to `log`.

    The process ends with the context: strace told to let go of one that is just dying waits for ever.
    """
    calls = ",".join([*(injection.call for injection in injections), *filter(None, [watch])])
    options = [word for injection in injections for word in ("-e", injection.option)]
    command = [strace, "-y", "-o", str(log), "-e", f"trace={calls}", *options, "-p", str(victim.pid)]
    if follow:
        command.insert(1, "-f")
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
        wait_until(lambda: _is_traced(victim.pid))
        try:
            yield
        finally:
            victim.kill()
            try:
                tracer.wait(10)
            finally:
                tracer.kill()


def _is_traced(pid: int) -> bool:
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks)


# what they do


def receive(pipe: Connection, root: Path, settings: dict[str, Any]) -> None:
    """Receive in this one process until SIGTERM; says its port."""
    stop = threading.Event()
    stop_on_signals(stop)
    known = {title: Peer(title, hospital) for title, hospital in HOSPITALS.items()}
    serve(
        NodeSettings(**{"port": 0, "low_water_bytes": 0, "artim_seconds": 1.0, **settings}),
        PeerDirectory(None, known.get),
        root / "spool",
        root / "run",
        stop,
        on_ready=pipe.send,
    )


def deposit(pipe: Connection, root: Path, files: list[bytes]) -> None:
    """Hand these files in as one request would, once told to; says how each fared, then that it is over."""
    deposits = Deposits(NodeSettings(low_water_bytes=0), root / "spool")
    _wait_for_word(pipe)
    request = deposits.open(Depositor("H-A", "pacs", "127.0.0.1"))
    for content in files:
        request.begin()
        for at in range(0, len(content), 60_000):
            request.write(memoryview(content)[at : at + 60_000])
        pipe.send(request.finish())
    request.close(whole=True)
    pipe.send(None)


def recover(pipe: Connection, root: Path) -> None:
    """Recover a spool once told to."""
    spool = Spool(root / "spool", low_water_bytes=0)
    _wait_for_word(pipe)
    spool.recover()


def ship(pipe: Connection, root: Path, far: FarSide) -> None:
    """Ship what is sealed once told to, once."""
    with far.opened() as (store, catalogue):
        shipper = Shipper(Spool(root / "spool", low_water_bytes=0), store, catalogue)
        _wait_for_word(pipe)
        shipper.ship_once()


def release(pipe: Connection, root: Path, far: FarSide) -> None:
    """Release everything that was shipped, once told to."""
    with far.opened() as (store, catalogue):
        settings = ShipSettings(grace_seconds=0)
        shipper = Shipper(Spool(root / "spool", low_water_bytes=0), store, catalogue, settings)
        _wait_for_word(pipe)
        shipper.release_due()


def _wait_for_word(pipe: Connection) -> None:
    pipe.send("ready")
    pipe.recv()
