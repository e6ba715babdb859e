"""A whole node as its own process, supervisor and workers: `python -m tests.dicom_node.node_process ROOT`.

With `ROOT PORT WORKERS` it makes small packs, else the settings are in the environment. RAW, STORESCU, DRIP1 and DRIP2 may send from anywhere, GOOD from 127.0.0.2; a snapshot of peers
that is there already stays.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import psutil

from catalog.signals import stop_on_signals
from dicom_node.peers import Peer, write_snapshot
from dicom_node.settings import NodeSettings
from dicom_node.workers import WorkerPlan, run_workers

REPOSITORY = Path(__file__).parents[2]
_PEERS = (
    Peer("RAW", "H-A"),
    Peer("STORESCU", "H-A"),
    Peer("DRIP1", "H-B"),
    Peer("DRIP2", "H-C"),
    Peer("GOOD", "H-G", (ip_network("127.0.0.2"),)),
)

_SMALL: dict[str, Any] = {"low_water_bytes": 0, "pack_limit_bytes": 2 << 20}


class NodeProcess:
    """A node in a process group of its own; `settings` are NodeSettings' own names."""

    def __init__(self, root: Path, port: int = 0, workers: int = 2, **settings: Any) -> None:
        self.root = root
        self.settings = NodeSettings(**{"port": port, "workers": workers, **_SMALL, **settings})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.dicom_node.node_process", str(root)],
            cwd=REPOSITORY,
            env=os.environ | self.settings.environment(),
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().split()[1])

    def __enter__(self) -> "NodeProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()

    def workers(self) -> list[psutil.Process]:
        return [child for child in psutil.Process(self.process.pid).children() if _is_worker(child)]

    def kill_all(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def stop(self) -> float:
        """End it by SIGTERM; gives the seconds that took."""
        began = time.monotonic()
        self.process.terminate()
        self.process.communicate(timeout=15)
        return time.monotonic() - began


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "dicom_node.worker" in process.cmdline()
    except psutil.Error:
        return False  # it has just ended


def main(root: Path, settings: NodeSettings) -> None:
    """Run until SIGTERM; says `ready PORT` on standard output."""
    stop = threading.Event()
    stop_on_signals(stop)
    if not (root / "peers.json").exists():
        write_snapshot(root / "peers.json", _PEERS)
    plan = WorkerPlan(settings, root / "spool", root / "run", root / "peers.json")
    run_workers(plan, stop, on_ready=lambda bound: print("ready", bound, flush=True))


if __name__ == "__main__":
    told = dict(zip(("port", "workers"), map(int, sys.argv[2:]), strict=False))
    main(Path(sys.argv[1]), NodeSettings(**told, **_SMALL) if told else NodeSettings.read())
