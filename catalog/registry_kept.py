"""What was read of the registry, kept as long as its stamp stands (catalog.registry_view reads it)."""

import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from catalog.pricing import PriceRow
from catalog.records import Evaluation, Institution


@dataclass(slots=True)
class Kept:
    """What is known under one stamp; `versions` are rows of item_list by the regions asked for.

    Whoever reads the hospitals holds `reading`.
    """

    stamp: uuid.UUID | None = None
    ids: dict[str, int] = field(default_factory=dict)
    places: dict[int, Institution] = field(default_factory=dict)
    marks: dict[int, tuple[Evaluation, ...]] = field(default_factory=dict)
    prices: dict[tuple[str, date], dict[str, PriceRow]] = field(default_factory=dict)
    versions: dict[tuple[str, ...], Sequence[Any]] = field(default_factory=dict)
    reading: threading.Lock = field(default_factory=threading.Lock)


class RegistryCache:
    """For one database and any number of threads: another stamp forgets everything."""

    def __init__(self) -> None:
        self._kept = Kept()

    def latest(self) -> Kept:
        """Return what is kept, under whatever stamp."""
        return self._kept

    def under(self, stamp: uuid.UUID) -> Kept:
        """Return what is kept under this stamp."""
        kept = self._kept
        if kept.stamp != stamp:
            kept = self._kept = Kept(stamp)
        return kept
