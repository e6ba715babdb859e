"""How far a fault test goes: the first figure of each pair by `make test`, the second with HUREN_SOAK=1."""

import os

SOAK = os.environ.get("HUREN_SOAK") == "1"


def scaled(usual: int, soak: int) -> int:
    """Return the number for this run."""
    return soak if SOAK else usual
