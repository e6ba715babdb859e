"""An object store that does wrong at random: every pack comes through it whole, and nothing piles up meanwhile."""

import os
import threading
import time

import pytest

from dicom_node.ship import Shipper, ShipSettings
from tests.dicom_node.raw_peer import wait_until
from tests.faults.closing import Vitals, check_vitals, closing_check
from tests.faults.history import History
from tests.faults.run_record import RunRecord
from tests.faults.s3_proxy import Fault
from tests.faults.scale import scaled
from tests.flow.harbour import Harbour, put, running
from tests.packs import ct, receive

SETTINGS = ShipSettings(
    first_delay_seconds=0.01, longest_delay_seconds=0.05, poll_seconds=0.01, tries=20, workers=3
)
WAITING = 6


@pytest.mark.alone
def test_store_faults_at_random_lose_nothing_and_leak_nothing(harbour: Harbour, record: RunRecord) -> None:
    wanted, faults, history = scaled(60, 1_000), 0, History()
    shipper = Shipper(harbour.spool, harbour.store, harbour.catalogue, SETTINGS)
    with running(shipper), feeding(harbour, history) as feed:
        wait_until(lambda: shipper.counters().get("shipped", 0) > 2 * SETTINGS.workers, 60)
        before = Vitals.of(os.getpid())
        while faults < wanted:
            faults += one_fault(harbour, record)
            record.progress(faults=faults, shipped=shipper.counters()["shipped"])
        feed.end()
        closing_check(harbour, history, record)
        check_vitals(os.getpid(), before, record)
    assert harbour.spool.quarantined() == []
    assert shipper.status()["outage"] is None


@pytest.mark.parametrize("suffix", [".tar", ".json.gz"])
def test_every_put_that_keeps_nothing_is_detected(harbour: Harbour, suffix: str, record: RunRecord) -> None:
    history, wanted = History(), scaled(10, 100)
    shipper = Shipper(harbour.spool, harbour.store, harbour.catalogue, SETTINGS)
    harbour.proxy.fault = fault = Fault("swallow", lambda m, path: put(m, path) and path.endswith(suffix))
    keep(harbour, history, "2.25.1", 1)
    with running(shipper):
        wait_until(lambda: fault.hits >= wanted, 60)
        harbour.proxy.fault = None
        closing_check(harbour, history, record)
    assert shipper.counters()["read_back_failures"] == fault.hits
    record.note(swallowed=fault.hits)


def one_fault(harbour: Harbour, record: RunRecord) -> int:
    """Break the next request or two in a random way; gives how many were."""
    kinds = (
        Fault("refuse"),
        Fault("error"),
        Fault("error", status=503),
        Fault("swallow", put),
        Fault("corrupt"),
        Fault("cut", after_bytes=record.chance.randrange(2_000)),
        Fault("hold"),
        Fault("mute"),
        Fault("slow", bytes_per_second=20_000),
    )
    fault = record.chance.choice(kinds)
    fault.times = record.chance.randint(1, 2)
    harbour.proxy.fault = fault
    deadline = time.monotonic() + 1.0
    while fault.hits < fault.times and time.monotonic() < deadline:
        time.sleep(0.002)
    if fault.kind == "hold":
        time.sleep(record.chance.uniform(0, 0.3))
    fault.released.set()
    harbour.proxy.fault = None
    return fault.hits


def keep(harbour: Harbour, history: History, study: str, number: int) -> None:
    one = ct(study, number)
    history.send(one.SOPInstanceUID, one.data)
    receive(harbour.spool, [one])
    history.answer(one.SOPInstanceUID, 0)


class feeding:
    """Receives small packs as fast as they are shipped, every third for a study there is already."""

    def __init__(self, harbour: Harbour, history: History) -> None:
        self._harbour, self._history = harbour, history
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)

    def __enter__(self) -> "feeding":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Receive no more."""
        self._over.set()
        self._thread.join()

    def _feed(self) -> None:
        number = 0
        while not self._over.is_set():
            if len(self._harbour.spool.sealed()) >= WAITING:
                self._over.wait(0.01)
                continue
            study = number - 10 if number % 3 == 2 and number > 10 else number
            keep(self._harbour, self._history, f"2.25.{1000 + study}", number + 1)
            number += 1
