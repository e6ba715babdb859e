"""What a process and its children use: memory, processor time, threads."""

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Use:
    """Sums over a process and its children; memory in MiB, `peak` since each began or `forget_peaks`."""

    cpu_seconds: float
    rss_mib: float
    peak_rss_mib: float
    threads: int


def use(process: psutil.Process) -> Use:
    """Measure; the processor time of ended children counts where they were waited for."""
    parts = [_use_of(one) for one in family(process)]
    times = process.cpu_times()
    ended = times.children_user + times.children_system
    return Use(
        sum(part.cpu_seconds for part in parts) + ended,
        sum(part.rss_mib for part in parts),
        sum(part.peak_rss_mib for part in parts),
        sum(part.threads for part in parts),
    )


def forget_peaks(process: psutil.Process) -> None:
    """Let peaks of memory count from now (proc(5), clear_refs)."""
    for one in family(process):
        Path(f"/proc/{one.pid}/clear_refs").write_text("5")


def family(process: psutil.Process) -> list[psutil.Process]:
    """The process and its children."""
    return [process, *process.children(recursive=True)]


def _use_of(process: psutil.Process) -> Use:
    try:
        times = process.cpu_times()
        status = Path(f"/proc/{process.pid}/status").read_text()
    except (psutil.Error, FileNotFoundError, ProcessLookupError):
        return Use(0.0, 0.0, 0.0, 0)  # a child that has just ended
    return Use(
        times.user + times.system,
        _number(status, "VmRSS:") / 1024,
        _number(status, "VmHWM:") / 1024,
        _number(status, "Threads:"),
    )


def _number(status: str, name: str) -> int:
    words = status.partition(name)[2].split()[:1]
    return int(words[0]) if words else 0
