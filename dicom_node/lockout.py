"""Whoever guesses is shut out: refusals counted per address, over all workers of a node."""

import hashlib
import ipaddress
import struct
import time
from pathlib import Path
from typing import Final

from dicom_node.shared_table import SharedTable

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


def _network(address: str) -> str:
    """Whoever has one IPv6 address has all of its /64 (RFC 4291 §2.5.4)."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") or 1
