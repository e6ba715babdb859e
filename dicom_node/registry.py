"""The peers of the catalogue's registry: a snapshot kept fresh for the workers, and a question for news."""

import ipaddress
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from catalog import registry
from catalog.db import open_engine, transaction
from catalog.errors import HurenError
from dicom_node.peers import Peer, write_snapshot

_EVERY_SECONDS: Final = 1.0
_LOG: Final = logging.getLogger("huren.dicom_node")


@dataclass(frozen=True, slots=True)
class CatalogueLink:
    """A worker's own connection to the catalogue: for peers its snapshot lacks, and for commitments."""

    engine: Engine

    def look_up(self, ae_title: str) -> Peer | None:
        """Return the peer of this AE title, if there is one. Raises DatabaseDown."""
        return next((peer for peer in read_peers(self.engine) if peer.ae_title == ae_title), None)


@dataclass(frozen=True, slots=True)
class AskCatalogue:
    """Prepares a worker: a hospital registered a moment ago is found before the next snapshot."""

    database_url: str
    set_up: Callable[[], None]

    def __call__(self) -> CatalogueLink:
        """Return a link; nothing is connected yet."""
        self.set_up()
        return CatalogueLink(open_engine(self.database_url, pool_size=2, statement_timeout_ms=2_000))


def read_peers(engine: Engine) -> list[Peer]:
    """Return every peer that may send now. Raises DatabaseDown."""
    with transaction(engine) as session:
        rows = registry.peers(session)
    return [
        Peer(
            row.ae_title,
            row.hospital_code,
            tuple(ipaddress.ip_network(text) for text in row.addresses),
            frozenset(row.certificates),
        )
        for row in rows
    ]


def keep_snapshot(engine: Engine, path: Path, stop: threading.Event) -> None:
    """Write the peers to `path` whenever they change, until `stop` is set; through outages too.

    While the catalogue is down the last snapshot stands: receiving does not wait for it.
    """
    written: list[Peer] | None = None
    while True:
        try:
            found = read_peers(engine)
            if found != written:
                write_snapshot(path, found)
                written = found
        except (HurenError, OSError) as error:
            _LOG.warning("the snapshot of peers is not renewed: %s", type(error).__name__)
        if stop.wait(_EVERY_SECONDS):
            return
