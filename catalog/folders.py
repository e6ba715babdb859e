"""Where the processes of one machine leave what others take up, below the data folder."""

from pathlib import Path


def spool_dir(data_dir: Path) -> Path:
    """Return where received packs wait."""
    return data_dir / "spool"


def run_dir(data_dir: Path) -> Path:
    """Return where running processes leave what others read: peers, counters, refusals, ports."""
    return data_dir / "run"
