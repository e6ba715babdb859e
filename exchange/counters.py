"""Counters that processes of this machine leave in files, added up for Prometheus."""

from collections import Counter
from pathlib import Path

import orjson


def read_counters(folder: Path) -> dict[str, int]:
    """Return, over every process's file, the sum per `name_total{label="..."}`.

    A file that is gone or half written at this moment is left out.
    """
    total: Counter[str] = Counter()
    for path in sorted(folder.glob("*.json")):
        try:
            counted = orjson.loads(path.read_bytes())["counters"]
        except (OSError, orjson.JSONDecodeError, KeyError):
            continue
        for name, labels in counted.items():
            total.update({f'dicom_{name}_total{{label="{label}"}}': count for label, count in labels.items()})
    return dict(total)
