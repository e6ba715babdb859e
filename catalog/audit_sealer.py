"""The work of the process that seals: a link when there is something to seal, and its head to file and store."""

import logging
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

from catalog.audit_anchor import (
    Anchor,
    append_anchor,
    file_anchors,
    refuse_fork,
    store_anchor,
    stored_anchors,
)
from catalog.audit_chain import Signer
from catalog.audit_seal import seal, tip
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.errors import HurenError
from catalog.objects import ObjectStore

_AGAIN_SECONDS: Final = 5.0
_LOG: Final = logging.getLogger("huren.audit")


class Sealer:
    """Seals and anchors; without a `store` the file alone stands outside the database."""

    def __init__(self, catalogue: Catalogue, signer: Signer, file: Path, store: ObjectStore | None) -> None:
        self._catalogue = catalogue
        self._signer = signer
        self._file = file
        self._store = store
        self._newest: Anchor | None = None
        self._stored = 0

    def open(self) -> None:
        """Compare the chain's end with what is anchored, and anchor what a crash left out.

        Raises Conflict where they contradict each other: no chain is gone on with over an older database.
        """
        with transaction(self._catalogue.engine) as session:
            last = tip(session)
        in_file = deque(file_anchors(self._file), maxlen=1) if self._file.exists() else deque[Anchor]()
        refuse_fork(last, in_file)
        if self._store is not None:
            self._store.ensure_bucket()
            refuse_fork(last, stored_anchors(self._store, after=last.number - 1 if last else 0))
        if last is not None:
            self._newest = Anchor.of(last)
            if not in_file or in_file[-1].number < last.number:
                append_anchor(self._file, self._newest)

    def seal(self) -> int:
        """Seal what is settled; return how many records that was."""
        records = 0
        for link in seal(self._catalogue.engine, self._signer, self._catalogue.clock):
            records += len(link.record_ids)
            self._newest = Anchor.of(link)
            append_anchor(self._file, self._newest)
        return records

    def anchor(self) -> None:
        """Keep the newest head in the object store. Raises Conflict where another stands there, ObjectStoreDown."""
        if self._store is None or self._newest is None or self._newest.number == self._stored:
            return
        store_anchor(self._store, self._newest)
        self._stored = self._newest.number

    def follow(self, stop: threading.Event, every_seconds: float, anchor_seconds: float) -> None:
        """Seal until `stop` is set, through outages too; what contradicts the anchors is said again and again."""
        while not stop.is_set():
            try:
                self.open()
                self._follow(stop, every_seconds, anchor_seconds)
            except (HurenError, OSError) as error:
                _LOG.error("the audit is not sealed: %s", error)
                stop.wait(_AGAIN_SECONDS)

    def _follow(self, stop: threading.Event, every_seconds: float, anchor_seconds: float) -> None:
        due = time.monotonic()
        while True:
            ending = stop.wait(every_seconds)
            self.seal()
            if ending or time.monotonic() >= due:
                self.anchor()
                due = time.monotonic() + anchor_seconds
            if ending:
                return
