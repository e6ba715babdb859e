"""How the spool is, read from its folders where this machine has it."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FSYNC_FAILED = "fsync_failed"


def spool_state(folder: Path) -> dict[str, Any]:
    """Count what waits and what was put aside; after a failed sync it is `down` until somebody has seen to the disk.

    The node goes on in other files and answers Success only for what they keep, but a disk that fails once is not
    to be relied on: it counts until the pack and its `.reason` are taken out of quarantine.
    """
    waiting = [entry.stat() for entry in (folder / "sealed").glob("*.tar")]
    aside = folder / "quarantine"
    counts: dict[str, Any] = {
        "packs": len(waiting),
        "bytes": sum(status.st_size for status in waiting),
        "quarantined": sum(1 for _ in aside.glob("*.tar")),
        **_of_operators(folder, [status.st_mtime for status in waiting]),
    }
    if any(_reason(path) == FSYNC_FAILED for path in aside.glob("*.reason")):
        return {"state": "down", "code": FSYNC_FAILED, **counts}
    return counts


def _of_operators(folder: Path, sealed_at: list[float]) -> dict[str, Any]:
    """Return what readiness does not tell: since when the oldest waits, and the room that is left."""
    oldest = datetime.fromtimestamp(min(sealed_at), UTC) if sealed_at else None
    if not folder.exists():  # nothing has ever been received here
        return {"_oldest_at": oldest}
    disk = shutil.disk_usage(folder)
    return {"_oldest_at": oldest, "_free_bytes": disk.free, "_total_bytes": disk.total}


def _reason(path: Path) -> str:
    try:
        return str(json.loads(path.read_bytes())["reason"])
    except (FileNotFoundError, ValueError, KeyError):
        return ""  # taken away just now, or not written to its end
