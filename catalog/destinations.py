"""Where a peer listens, for who may have something sent to it: a peer of the same hospital, nobody else."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.errors import NotFound
from catalog.tables import Hospital
from catalog.tables_dicom import Peer


@dataclass(frozen=True, slots=True)
class Destination:
    """An application entity that listens; with `certificates` (SHA-256, hex) it proves itself by one of them."""

    ae_title: str
    host: str
    port: int
    tls: bool
    certificates: tuple[str, ...]


def find_destination(session: Session, hospital_code: str, ae_title: str) -> Destination:
    """Return where a peer of this hospital listens.

    Raises NotFound where the hospital has no such peer, or none whose address is registered: both look alike.
    """
    query = (
        select(Peer)
        .join(Hospital, Hospital.id == Peer.hospital_id)
        .where(Peer.ae_title == ae_title, Peer.active, Hospital.code == hospital_code, Hospital.active)
    )
    peer = session.scalars(query).one_or_none()
    if peer is None or peer.host is None or peer.port is None:
        raise NotFound("没有登记该目的地", "No such destination is registered", code="unknown_destination")
    return Destination(peer.ae_title, peer.host, peer.port, peer.tls, tuple(peer.certificates))
