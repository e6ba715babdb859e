"""The audit of refused associations: entries of the workers' files become audit records (PS3.15 A.5.3.6)."""

import logging
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from catalog import audit
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import HurenError
from dicom_node.refusals import Refusal, waiting_refusals

_EVERY_SECONDS: Final = 1.0
_NODE: Final = Caller("dicom_node", "system")
_LOG: Final = logging.getLogger("huren.dicom_node")


def audit_refusals(engine: Engine, folder: Path) -> int:
    """Record what waits and return the number of records; a file goes only after its records stand.

    Raises DatabaseDown, OSError; then the files stay.
    """
    recorded = 0
    for path, refusals in waiting_refusals(folder):
        with transaction(engine) as session:
            for refusal in refusals:
                audit.record(session, _NODE, "association_refused", **_detail(refusal))
        path.unlink(missing_ok=True)
        recorded += len(refusals)
    return recorded


def keep_auditing(engine: Engine, folder: Path, stop: threading.Event) -> None:
    """Record refusals until `stop` is set, through outages too."""
    while not stop.wait(_EVERY_SECONDS):
        try:
            audit_refusals(engine, folder)
        except (HurenError, OSError) as error:
            _LOG.warning("refused associations are not audited yet: %s", type(error).__name__)


def _detail(refusal: Refusal) -> dict[str, Any]:
    return {
        "address": refusal.address,
        "calling_ae": refusal.calling_ae,
        "reason": refusal.reason,
        "count": refusal.count,
        "first_at": _text(refusal.first_at),
        "last_at": _text(refusal.last_at),
    }


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
