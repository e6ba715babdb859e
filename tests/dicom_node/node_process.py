"""A whole node as its own process, workers and all: `python -m tests.dicom_node.node_process ROOT PORT WORKERS`."""

import sys
import threading
from pathlib import Path

from catalog.signals import stop_on_signals
from dicom_node.peers import Peer, write_snapshot
from dicom_node.settings import NodeSettings
from dicom_node.workers import WorkerPlan, run_workers


def main(root: Path, port: int, workers: int) -> None:
    """Run until SIGTERM; says `ready PORT` on standard output."""
    stop = threading.Event()
    stop_on_signals(stop)
    write_snapshot(root / "peers.json", [Peer("RAW", "H-A"), Peer("STORESCU", "H-A")])
    settings = NodeSettings(port=port, workers=workers, low_water_bytes=0, pack_limit_bytes=2 << 20)
    plan = WorkerPlan(settings, root / "spool", root / "run", root / "peers.json")
    run_workers(plan, stop, on_ready=lambda bound: print("ready", bound, flush=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
