"""Logging to standard error, the same in the command and in every process it starts."""

import logging
import os


def set_up_logging() -> None:
    """Log at the level HUREN_LOG names, WARNING unless told."""
    level = os.environ.get("HUREN_LOG", "WARNING").upper()
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
