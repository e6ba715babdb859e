"""How far a fault test goes: the first figure by `make test`; HUREN_SOAK=1 takes the second, 0.1 a tenth of it."""

import os

SOAK = float(os.environ.get("HUREN_SOAK", "0"))


def scaled(usual: int, soak: int) -> int:
    """Return the number for this run."""
    return max(usual, round(soak * SOAK))
