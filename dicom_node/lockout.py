"""Whoever guesses is shut out: refusals counted per address, over all workers of a node.

An address may be a whole hospital behind one router. Shut out is therefore only what could be a guess that hit:
a peer bound to the address or to a certificate, or let in from there before, still comes in.
"""

import hashlib
import ipaddress
import struct
import time
from pathlib import Path
from typing import Final

from catalog.errors import NotAllowed
from dicom_node.peers import Peer, PeerDirectory
from dicom_node.shared_table import SharedTable

# What counts as a guess, by the outcome of the association.
GUESSES: Final = frozenset(
    {
        "rejected:called_ae_unknown",
        "rejected:calling_ae_unknown",
        "rejected:calling_address_unknown",
        "rejected:calling_certificate_unknown",
        "refused:tls_certificate",
    }
)
LOCKED_OUT: Final = "rejected:locked_out"  # does not count: a device kept out beside a guesser may ask again
_SLOT: Final = struct.Struct("=QddQ")  # key, since and until (monotonic seconds, one clock for all), refusals
_SLOTS: Final = 4096
_NEIGHBOURS: Final = 8  # a key lives in one of so many slots; the one unused for longest makes room


class Lockout:
    """The table of addresses that were refused and of peers that were let in.

    `tries` refusals within `seconds` shut an address out until it has been quiet for as long; 0 tries: never.
    """

    def __init__(self, path: Path, *, tries: int, seconds: float) -> None:
        self._tries = tries
        self._seconds = seconds
        self._shared = SharedTable(path, _SLOTS * _SLOT.size)

    def count(self, address: str) -> bool:
        """Count a refusal; True where it is the one that shuts the address out."""
        if not self._tries:
            return False
        key, now = _key(_network(address)), time.monotonic()
        with self._shared.locked():
            at, (found, since, until, refusals) = self._slot(key)
            if found != key or now > max(until, since + self._seconds):
                since, until, refusals = now, 0.0, 0
            refusals += 1
            if refusals >= self._tries:
                until = now + self._seconds
            _SLOT.pack_into(self._shared.data, at, key, since, until, refusals)
        return refusals == self._tries

    def is_out(self, address: str) -> bool:
        """Is this address shut out now?"""
        key = _key(_network(address))
        _, (found, _, until, _) = self._slot(key)
        return found == key and time.monotonic() < until

    def remember(self, ae_title: str, address: str) -> None:
        """Note that this peer was let in from this address."""
        key = _key(f"{ae_title}@{address}")
        with self._shared.locked():
            at, _ = self._slot(key)
            _SLOT.pack_into(self._shared.data, at, key, time.monotonic(), 0.0, 0)

    def knows(self, ae_title: str, address: str) -> bool:
        """Was this peer let in from this address before?"""
        key = _key(f"{ae_title}@{address}")
        return self._slot(key)[1][0] == key

    def clear(self) -> None:
        """Forget everything; for a node that has the table to itself."""
        self._shared.clear()

    def close(self) -> None:
        """Unmap the table."""
        self._shared.close()

    def _slot(self, key: int) -> tuple[int, tuple[int, float, float, int]]:
        """Give where a key is or would go, and what is there."""
        places = [(key + step) % _SLOTS * _SLOT.size for step in range(_NEIGHBOURS)]
        slots = [(at, _SLOT.unpack_from(self._shared.data, at)) for at in places]
        return next(
            (slot for slot in slots if slot[1][0] == key), min(slots, key=lambda slot: max(slot[1][1:3]))
        )


class Doorkeeper:
    """The directory of peers with the lock-out before it."""

    def __init__(self, directory: PeerDirectory, lockout: Lockout) -> None:
        self._directory = directory
        self._lockout = lockout

    def find(self, ae_title: str, address: str, certificate: str | None = None) -> Peer:
        """Give the peer as the directory does, unless the address is shut out and this may be a guess.

        Raises:
            NotAllowed: as the directory, or `locked_out`.
            Unavailable: the registry cannot be asked now.
        """
        is_out = self._lockout.is_out(address)
        peer = self._directory.find(ae_title, address, certificate, ask=not is_out)
        is_known = self._lockout.knows(ae_title, address)
        if is_out and not (is_known or certificate or peer.addresses):
            raise NotAllowed(
                "该地址尝试过多,暂停接入", "too many refusals from this address", code="locked_out"
            )
        if not is_known:
            self._lockout.remember(ae_title, address)
        return peer


def _network(address: str) -> str:
    """Whoever has one IPv6 address has all of its /64 (RFC 4291 §2.5.4)."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") or 1
