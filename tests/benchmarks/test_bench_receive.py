"""Receiving beside its peers: Huren (fdatasync before every answer, packs), Orthanc, dcmtk's storescp.

storescp neither syncs nor indexes and, as it comes, takes one association after the other; with --fork it takes
them at once, which is shown for information and has no limit. The last rows are the disk alone, one writer.

Run by `make bench`. HUREN_BENCH_RUNS=1 is the quick form; the medians that count are of five alternating runs.
"""

import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from dicom_node.spool import Spool, read_pack

RUNS = int(os.environ.get("HUREN_BENCH_RUNS", "5"))
TABLE = Path(__file__).parents[2] / "bench.json"
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
SENDERS = 4
SETS = {"CT": (CTImageStorage, 512, 200), "MR": (MRImageStorage, 256, 500)}

# what is compared, with one sender or four, against whom: the least ratio of instances per second
LIMITS = {
    ("CT", 1, "orthanc"): 2.7,
    ("MR", 1, "orthanc"): 2.7,
    ("CT", 1, "storescp"): 0.65,
    ("MR", 1, "storescp"): 0.65,
    ("CT", 4, "orthanc"): 1.9,
    ("MR", 4, "orthanc"): 3.0,
    ("CT", 4, "storescp"): 1.0,
    ("MR", 4, "storescp"): 1.0,
}

NODE = """
import sys, threading
from pathlib import Path
from dicom_node.peers import Peer, write_snapshot
from dicom_node.settings import NodeSettings
from catalog.signals import stop_on_signals
from dicom_node.workers import WorkerPlan, run_workers
root, stop = Path(sys.argv[1]), threading.Event()
stop_on_signals(stop)
write_snapshot(root / "peers.json", [Peer("STORESCU", "BENCH")])
settings = NodeSettings(port=int(sys.argv[2]), workers=2)
plan = WorkerPlan(settings, root / "spool", root / "run", root / "peers.json")
run_workers(plan, stop, on_ready=lambda port: print("ready", port, flush=True))
"""


@dataclass
class Measured:
    """One server's runs of one case."""

    rates: list[float] = field(default_factory=list)  # instances per second
    cpu_seconds: list[float] = field(default_factory=list)
    peak_rss_mib: list[float] = field(default_factory=list)

    def median(self) -> float:
        return statistics.median(self.rates)


@pytest.fixture(scope="module")
def image_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """For each modality one folder per sender, every instance with its own UID."""
    root = tmp_path_factory.mktemp("sets")
    return {
        name: [_make_set(root / f"{name}{n}", *spec) for n in range(SENDERS)] for name, spec in SETS.items()
    }


@pytest.mark.benchmark
def test_receiving_is_as_fast_as_promised_beside_orthanc_and_storescp(
    image_sets: dict[str, list[Path]], tmp_path: Path
) -> None:
    if shutil.which("storescu") is None:
        pytest.skip("dcmtk's storescu is missing: nothing to send with")
    servers = [name for name in STARTERS if name == "huren" or shutil.which(PROGRAMS[name])]
    for name in STARTERS.keys() - servers:
        print(f"peer not installed: {name}")
    results: dict[tuple[str, int, str], Measured] = {}
    for run in range(RUNS):
        for modality, folders in image_sets.items():
            for senders in (1, SENDERS):
                for server in servers[run % len(servers) :] + servers[: run % len(servers)]:
                    measured = results.setdefault((modality, senders, server), Measured())
                    _measure(server, folders[:senders], tmp_path, measured)
    _report(results, tmp_path)


def _measure(server: str, folders: list[Path], root: Path, measured: Measured) -> None:
    data = root / server
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    os.sync()
    count = sum(1 for folder in folders for _ in folder.iterdir())
    with STARTERS[server](data) as (process, port, called):
        idle_cpu, _ = _consumption(process)
        began = time.perf_counter()
        senders = [_send(folder, port, called) for folder in folders]
        codes = [sender.wait() for sender in senders]
        seconds = time.perf_counter() - began
        assert codes == [0] * len(folders), f"{server} did not take everything"
        cpu, rss = _consumption(process)
    assert COUNTERS[server](data) == count, f"{server} lost something"
    measured.rates.append(count / seconds)
    measured.cpu_seconds.append(cpu - idle_cpu)
    measured.peak_rss_mib.append(rss)


def _send(folder: Path, port: int, called: str) -> "subprocess.Popen[bytes]":
    command = ["storescu", "--max-send-pdu", "131072", "-R", "+sd", "-aec", called, "127.0.0.1", str(port)]
    return subprocess.Popen([*command, str(folder)], env=ENVIRONMENT, stdout=subprocess.DEVNULL)


def _consumption(process: psutil.Process) -> tuple[float, float]:
    """CPU seconds so far and peak RSS in MiB of a server and its children, ended ones included where waited for."""
    parts = [_consumption_of(one) for one in [process, *process.children(recursive=True)]]
    times = process.cpu_times()
    ended = times.children_user + times.children_system
    return sum(cpu for cpu, _ in parts) + ended, sum(rss for _, rss in parts)


def _consumption_of(process: psutil.Process) -> tuple[float, float]:
    try:
        times = process.cpu_times()
        status = Path(f"/proc/{process.pid}/status").read_text()
    except (psutil.Error, FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0  # a child that has just ended
    peak = status.partition("VmHWM:")[2].split()[:1]
    return times.user + times.system, int(peak[0]) / 1024 if peak else 0.0


@contextmanager
def _running(command: list[str], port: int) -> Iterator[psutil.Process]:
    process = subprocess.Popen(
        command,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    try:
        _wait_for(port, process)
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise AssertionError(f"{process.args} does not come up")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _huren(root: Path) -> Iterator[tuple[psutil.Process, int, str]]:
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", NODE, str(root), str(port)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"ready")
        yield psutil.Process(process.pid), port, "HUREN"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@contextmanager
def _orthanc(root: Path) -> Iterator[tuple[psutil.Process, int, str]]:
    port = _free_port()
    configuration = {
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "HttpServerEnabled": False,
        "StorageDirectory": str(root / "db"),
        "IndexDirectory": str(root / "db"),
        "Plugins": [],
    }
    (root / "orthanc.json").write_text(json.dumps(configuration))
    with _running([PROGRAMS["orthanc"], str(root / "orthanc.json")], port) as process:
        yield process, port, "ORTHANC"


@contextmanager
def _storescp(root: Path, *options: str) -> Iterator[tuple[psutil.Process, int, str]]:
    port = _free_port()
    (root / "in").mkdir()
    command = ["storescp", *options, "--max-pdu", "131072", "-od", str(root / "in"), str(port)]
    with _running(command, port) as process:
        yield process, port, "STORESCP"


STARTERS = {
    "huren": _huren,
    "orthanc": _orthanc,
    "storescp": _storescp,
    "storescp --fork": lambda root: _storescp(root, "--fork"),
}
PROGRAMS = {"orthanc": "Orthanc", "storescp": "storescp", "storescp --fork": "storescp"}
COUNTERS = {
    "huren": lambda root: sum(len(read_pack(pack.path).members) for pack in Spool(root / "spool").sealed()),
    "orthanc": lambda root: sum(1 for path in (root / "db").glob("??/??/*") if path.stat().st_size > 100_000),
    "storescp": lambda root: sum(1 for _ in (root / "in").iterdir()),
    "storescp --fork": lambda root: sum(1 for _ in (root / "in").iterdir()),
}


def _report(results: dict[tuple[str, int, str], Measured], root: Path) -> None:
    rows: list[dict[str, Any]] = []
    for (modality, senders, server), peer in results.items():
        if server == "huren":
            continue
        ours = results[(modality, senders, "huren")]
        rows.append(
            {
                "what": f"receive {modality}, {senders} association(s), instances/s, against {server}",
                "ours": round(ours.median(), 1),
                "peer": round(peer.median(), 1),
                "ratio": round(ours.median() / peer.median(), 2),
                "limit": LIMITS.get((modality, senders, server)),
                "ours_cpu_seconds": round(statistics.median(ours.cpu_seconds), 2),
                "peer_cpu_seconds": round(statistics.median(peer.cpu_seconds), 2),
                "ours_peak_rss_mib": round(max(ours.peak_rss_mib)),
                "peer_peak_rss_mib": round(max(peer.peak_rss_mib)),
                "runs": len(ours.rates),
            }
        )
    rows += [_disk_row(modality, results[(modality, 1, "huren")], root) for modality in SETS]
    _print(rows)
    _append(rows)
    slow = [row["what"] for row in rows if row["limit"] and row["ratio"] < row["limit"]]
    assert RUNS < 5 or not slow, slow


def _disk_row(modality: str, ours: Measured, root: Path) -> dict[str, Any]:
    _, edge, count = SETS[modality]
    content, path = os.urandom(edge * edge * 2), root / "disk"
    with path.open("wb", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(count):
            file.write(content)
            os.fdatasync(file.fileno())
        rate = count / (time.perf_counter() - began)
    return {
        "what": f"receive {modality}, 1 association, against append + fdatasync alone",
        "ours": round(ours.median(), 1),
        "peer": round(rate, 1),
        "ratio": round(ours.median() / rate, 2),
        "limit": None,
        "ours_cpu_seconds": round(statistics.median(ours.cpu_seconds), 2),
        "runs": len(ours.rates),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    print(f"\n{'what':<68}{'ours':>8}{'peer':>8}{'ratio':>7}{'limit':>7}{'cpu s':>12}{'rss MiB':>10}")
    for row in rows:
        cpu = f"{row['ours_cpu_seconds']}/{row.get('peer_cpu_seconds', '-')}"
        rss = f"{row.get('ours_peak_rss_mib', '-')}/{row.get('peer_peak_rss_mib', '-')}"
        figures = f"{row['ours']:>8}{row['peer']:>8}{row['ratio']:>7}{row['limit'] or '-':>7}"
        print(f"{row['what']:<68}{figures}{cpu:>12}{rss:>10}")


def _append(rows: list[dict[str, Any]]) -> None:
    old = json.loads(TABLE.read_text()) if TABLE.exists() else []
    kept = [row for row in old if row["what"] not in {new["what"] for new in rows}]
    TABLE.write_text(json.dumps(kept + rows, indent=1) + "\n")


def _make_set(folder: Path, SOPClassUID: str, edge: int, count: int) -> Path:
    folder.mkdir(parents=True)
    study, series = generate_uid(), generate_uid()
    noise = random.Random(edge)
    for number in range(count):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = SOPClassUID
        meta.MediaStorageSOPInstanceUID = generate_uid()
        image = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
        image.SOPClassUID, image.SOPInstanceUID = SOPClassUID, meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.PatientID, image.PatientName = "BENCH", "Bench^Test"
        image.Modality, image.InstanceNumber = ("CT" if edge == 512 else "MR"), number
        image.Rows = image.Columns = edge
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 0
        image.PixelData = noise.randbytes(edge * edge * 2)
        image.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)
    return folder
