"""Who may send: AE title ↔ hospital ↔ addresses ↔ client certificates."""

import ipaddress
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.errors import InvalidInput, NotAllowed, Unavailable

_LOG = logging.getLogger("huren.dicom_node")
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Peer:
    """A device of a hospital; no addresses means any address.

    `certificates` are SHA-256 fingerprints (hex); where there are any, only TLS with one of them is that device.
    """

    ae_title: str
    hospital_code: str
    addresses: tuple[_Network, ...] = ()
    certificates: frozenset[str] = frozenset()

    def is_at(self, address: _Address) -> bool:
        """May this device call from this address?"""
        return not self.addresses or any(address in network for network in self.addresses)

    def is_proven_by(self, certificate: str | None) -> bool:
        """Is this the device whose certificate this is, or one that needs none on a plain connection?"""
        return not self.certificates if certificate is None else certificate in self.certificates


LookUp = Callable[[str], Peer | None]


class PeerDirectory:
    """The peers as a snapshot file has them, and those only `look_up` knows.

    The snapshot is read again whenever it was replaced. `look_up` takes an AE title and may raise Unavailable.
    """

    def __init__(self, snapshot: Path | None, look_up: LookUp | None = None) -> None:
        self._snapshot = snapshot
        self._look_up = look_up
        self._lock = threading.Lock()
        self._version: tuple[int, int, int] | None = None
        self._peers: dict[str, tuple[Peer, ...]] = {}

    def find(self, ae_title: str, address: str, certificate: str | None = None, *, ask: bool = True) -> Peer:
        """Give the peer that calls under this title from this address, over TLS with this certificate.

        With `ask` a title that the snapshot lacks is looked up.

        Raises:
            NotAllowed: nobody of that title is registered (`calling_ae_unknown`), or not at that address
                (`calling_address_unknown`), or not with that certificate (`calling_certificate_unknown`).
            Unavailable: the registry cannot be asked now.
        """
        candidates = self._candidates(ae_title, ask=ask)
        if not candidates:
            raise NotAllowed(
                "主叫 AE 未登记", "the calling AE title is not registered", code="calling_ae_unknown"
            )
        here = _plain_address(address)
        for peer in candidates:
            if peer.is_at(here) and peer.is_proven_by(certificate):
                return peer
        if any(peer.is_at(here) for peer in candidates):
            raise NotAllowed(
                "主叫证书未登记",
                "the calling certificate is not registered, or TLS is needed",
                code="calling_certificate_unknown",
            )
        raise NotAllowed(
            "主叫地址未登记", "the calling address is not registered", code="calling_address_unknown"
        )

    def _candidates(self, ae_title: str, *, ask: bool) -> tuple[Peer, ...]:
        with self._lock:
            self._refresh()
            known = self._peers.get(ae_title, ())
        if known or self._look_up is None or not ask:
            return known
        found = self._look_up(ae_title)
        return (found,) if found else ()

    def _refresh(self) -> None:
        if self._snapshot is None:
            return
        try:
            status = self._snapshot.stat()
            version = (status.st_mtime_ns, status.st_size, status.st_ino)
            if version != self._version:
                self._peers = _group(read_snapshot(self._snapshot))
                self._version = version
        except FileNotFoundError:
            self._peers, self._version = {}, None
        except (OSError, InvalidInput) as error:
            _LOG.error("the peer snapshot cannot be read: %s", type(error).__name__)
            if self._version is None and self._look_up is None:
                raise Unavailable("登记簿不可读", "the registry of peers cannot be read") from None


def read_snapshot(path: Path) -> list[Peer]:
    """Read a snapshot.

    Raises:
        OSError: there is none.
        InvalidInput: it is not one.
    """
    try:
        return [_peer(entry) for entry in json.loads(path.read_text("utf-8"))["peers"]]
    except (ValueError, KeyError, TypeError):
        raise InvalidInput(
            "登记簿快照格式不对", "the snapshot of peers is malformed", field="peers"
        ) from None


def write_snapshot(path: Path, peers: Iterable[Peer]) -> None:
    """Replace the snapshot; running nodes see it at their next association.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    entries = [
        {
            "ae_title": peer.ae_title,
            "hospital_code": peer.hospital_code,
            "addresses": [str(network) for network in peer.addresses],
            "certificates": sorted(peer.certificates),
        }
        for peer in peers
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_text(json.dumps({"peers": entries}, ensure_ascii=False, indent=1) + "\n", "utf-8")
    partial.replace(path)


def _peer(entry: Any) -> Peer:
    networks = tuple(ipaddress.ip_network(text, strict=False) for text in entry.get("addresses", ()))
    certificates = frozenset(map(str, entry.get("certificates", ())))
    return Peer(str(entry["ae_title"]).strip(), str(entry["hospital_code"]), networks, certificates)


def _group(peers: list[Peer]) -> dict[str, tuple[Peer, ...]]:
    grouped: dict[str, tuple[Peer, ...]] = {}
    for peer in peers:
        grouped[peer.ae_title] = (*grouped.get(peer.ae_title, ()), peer)
    return grouped


def _plain_address(text: str) -> _Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
