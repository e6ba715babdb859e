"""A shipper that runs until SIGTERM, to be killed: `python -m tests.faults.ship_process SPOOL DATABASE KEYS S3…`."""

import sys
import threading
from pathlib import Path

from catalog.settings import S3Access
from catalog.signals import stop_on_signals
from dicom_node.ship import Shipper, ShipSettings
from dicom_node.spool import Spool
from tests.faults.far_side import FarSide

SETTINGS = ShipSettings(first_delay_seconds=0.05, longest_delay_seconds=0.5)


def arguments(spool: Spool, far: FarSide) -> list[str]:
    """What the process is told."""
    access = far.access
    return [
        *(str(spool.root), far.database_url, str(far.keys)),
        *(access.endpoint, access.access_key, access.secret_key, access.bucket),
    ]


def main(spool: str, database_url: str, keys: str, *access: str) -> None:
    """Ship; says `ready` on standard output."""
    stop = threading.Event()
    stop_on_signals(stop)
    with FarSide(database_url, Path(keys), S3Access(*access)).opened() as (store, catalogue):
        print("ready", flush=True)
        Shipper(Spool(Path(spool), low_water_bytes=0), store, catalogue, SETTINGS).run(stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
