"""The peers of the catalogue's registry: a snapshot kept fresh for the workers, and a question for news."""

import ipaddress
import logging
import threading
from contextlib import closing
from pathlib import Path
from typing import Final

from catalog.errors import HurenError
from catalog.peer_list import PeerList, PeerRow
from dicom_node.peers import Peer, write_snapshot

_EVERY_SECONDS: Final = 1.0
_LOG: Final = logging.getLogger("huren.dicom_node")


def look_up_peer(database_url: str, ae_title: str) -> Peer | None:
    """Return the peer of this AE title, if there is one: it may be newer than the snapshot. Raises DatabaseDown."""
    with closing(PeerList(database_url)) as registered:
        return next(map(_peer, registered.read(ae_title)), None)


def keep_snapshot(database_url: str, path: Path, stop: threading.Event) -> None:
    """Write the peers to `path` whenever they change, until `stop` is set; through outages too.

    While the catalogue is down the last snapshot stands: receiving does not wait for it.
    """
    written: list[Peer] | None = None
    with closing(PeerList(database_url)) as registered:
        while True:
            try:
                found = [_peer(row) for row in registered.read()]
                if found != written:
                    write_snapshot(path, found)
                    written = found
            except (HurenError, OSError) as error:
                _LOG.warning("the snapshot of peers is not renewed: %s", type(error).__name__)
            if stop.wait(_EVERY_SECONDS):
                return


def _peer(row: PeerRow) -> Peer:
    networks = tuple(ipaddress.ip_network(text) for text in row.addresses)
    return Peer(row.ae_title, row.hospital_code, networks, frozenset(row.certificates))
