"""What is audited of images that are handed in: who stored into which study, once within an hour, as viewings are.

Some systems hand in a study image by image: a record of each would bury the others. What came in each of them
stands in its pack. The memory is this process's own; another one writes a record of its own.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from time import monotonic
from typing import Final

from catalog import audit, registry
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.records import DepositedInstance

_HOUR: Final = 3600.0
_MOST_KEPT: Final = 20_000
_STUDIES_IN_A_RECORD: Final = 100

Key = tuple[str, str, str]


class StoreAudit:
    """Remembers what was audited within the hour; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: OrderedDict[Key, float] = OrderedDict()

    def note(
        self, catalogue: Catalogue, caller: Caller, address: str, outcomes: Iterable[DepositedInstance]
    ) -> None:
        """Record what of it has not been told yet. Raises AuditDown, DatabaseDown."""
        studies = list(dict.fromkeys(each.StudyInstanceUID for each in outcomes if not each.failure))
        new = [study for study in studies if not self._is_told(self._key(caller, study))]
        if not new:
            return
        with transaction(catalogue.engine) as session:
            hospital = registry.hospital_by_code(session, caller.hospital_code)
            for at in range(0, len(new), _STUDIES_IN_A_RECORD):
                some = new[at : at + _STUDIES_IN_A_RECORD]
                audit.record(
                    session,
                    caller,
                    "imaging_study.store",
                    hospital_id=hospital.id,
                    address=address,
                    StudyInstanceUID=some,
                )
        for study in new:
            self._remember(self._key(caller, study))

    def _key(self, caller: Caller, study: str) -> Key:
        return caller.hospital_code, caller.subject, study

    def _is_told(self, key: Key) -> bool:
        with self._lock:
            return monotonic() - self._told.get(key, -_HOUR) < _HOUR

    def _remember(self, key: Key) -> None:
        with self._lock:
            self._told[key] = monotonic()
            self._told.move_to_end(key)
            if len(self._told) > _MOST_KEPT:
                self._told.popitem(last=False)
