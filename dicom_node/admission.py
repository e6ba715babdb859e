"""How many associations at once: in total, per address, per hospital, counted over all workers of a node."""

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from catalog.errors import Unavailable
from dicom_node.shared_table import SharedTable

_SLOT = struct.Struct("=QQQ")  # pid, address key, hospital key


class Admission:
    """A table of live associations in a file all workers map; a slot belongs to the process whose pid is in it.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, *, total: int, per_address: int, per_hospital: int) -> None:
        self._limits = (total, per_address, per_hospital)
        self._shared = SharedTable(path, total * _SLOT.size)
        self._table = self._shared.data
        self._pid = os.getpid()

    def enter(self, address: str) -> "Place":
        """Take a place.

        Raises:
            Unavailable: the limit in total (`limit_total`) or of the address (`limit_address`) is reached.
        """
        per_address = self._limits[1]
        key = _key(address)
        with self._shared.locked():
            slots = list(self._slots())
            free = next((number for number, slot in enumerate(slots) if slot[0] == 0), None)
            if free is None:
                raise _limit("limit_total")
            if sum(1 for slot in slots if slot[0] and slot[1] == key) >= per_address:
                raise _limit("limit_address")
            _SLOT.pack_into(self._table, free * _SLOT.size, self._pid, key, 0)
        return Place(self, free, key)

    def claim(self, number: int, address_key: int, hospital: str) -> None:
        """Count the place of that number for a hospital.

        Raises:
            Unavailable: the hospital's limit (`limit_hospital`) is reached.
        """
        key = _key(hospital)
        with self._shared.locked():
            if sum(1 for slot in self._slots() if slot[0] and slot[2] == key) >= self._limits[2]:
                raise _limit("limit_hospital")
            _SLOT.pack_into(self._table, number * _SLOT.size, self._pid, address_key, key)

    def leave(self, number: int) -> None:
        """Give a place back."""
        with self._shared.locked():
            _SLOT.pack_into(self._table, number * _SLOT.size, 0, 0, 0)

    def forget(self, pid: int) -> None:
        """Free the places of a process that has died."""
        with self._shared.locked():
            for number in range(self._limits[0]):
                if _SLOT.unpack_from(self._table, number * _SLOT.size)[0] == pid:
                    _SLOT.pack_into(self._table, number * _SLOT.size, 0, 0, 0)

    def clear(self) -> None:
        """Free every place; for a node that has the table to itself."""
        self._shared.clear()

    def count(self) -> int:
        """Give the number of places taken."""
        return sum(1 for slot in self._slots() if slot[0])

    def shares(self) -> tuple[int, int]:
        """Give the number of places this process has, and that of the others together."""
        own = sum(1 for slot in self._slots() if slot[0] == self._pid)
        return own, self.count() - own

    def _slots(self) -> Iterator[tuple[int, ...]]:
        return _SLOT.iter_unpack(self._table[: self._limits[0] * _SLOT.size])

    def close(self) -> None:
        """Unmap the table."""
        self._shared.close()


class Place:
    """One association's place in the table."""

    def __init__(self, admission: Admission, number: int, address_key: int) -> None:
        self._admission = admission
        self._number = number
        self._address_key = address_key

    def claim(self, hospital: str) -> None:
        """Count this place for a hospital; raises Unavailable at the hospital's limit."""
        self._admission.claim(self._number, self._address_key, hospital)

    def leave(self) -> None:
        """Give the place back."""
        self._admission.leave(self._number)


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _limit(code: str) -> Unavailable:
    return Unavailable("同时连接数已满", "the limit of simultaneous associations is reached", code=code)
