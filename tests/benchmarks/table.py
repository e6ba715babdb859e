"""The table that `make bench` prints, and keeps as bench.json beside the README.

A row is a mapping: what, ours, peer, ratio, limit, and whatever else was measured. Where there is no peer, ours
is compared with the limit itself.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "bench.json"


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows, and put them into the file in the place of earlier ones about the same."""
    print(f"\n{'what':<68}{'ours':>8}{'peer':>8}{'ratio':>7}{'limit':>7}{'cpu s':>12}{'rss MiB':>10}")
    for row in rows:
        cpu = f"{row.get('ours_cpu_seconds', '-')}/{row.get('peer_cpu_seconds', '-')}"
        rss = f"{row.get('ours_peak_rss_mib', '-')}/{row.get('peer_peak_rss_mib', '-')}"
        named = "".join(f"{row.get(key) or '-':>{width}}" for key, width in _COLUMNS)
        print(f"{row['what']:<68}{named}{cpu:>12}{rss:>10}")
    old = json.loads(FILE.read_text()) if FILE.exists() else []
    kept = [row for row in old if row["what"] not in {new["what"] for new in rows}]
    FILE.write_text(json.dumps([*kept, *rows], indent=1) + "\n")


_COLUMNS = (("ours", 8), ("peer", 8), ("ratio", 7), ("limit", 7))
