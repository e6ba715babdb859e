"""D12: an object store that does wrong at random: every pack comes through it whole, and nothing piles up meanwhile."""

import itertools
import random
import time
from collections import Counter

import pytest

from dicom_node.ship import Shipper, ShipSettings
from tests.dicom_node.raw_peer import wait_until
from tests.faults.at_work import AtWork
from tests.faults.closing import Vitals, check_vitals, closing_check
from tests.faults.history import History
from tests.faults.run_record import RunRecord
from tests.faults.s3_proxy import Fault
from tests.flow.harbour import Harbour, put, running
from tests.packs import ct, receive

SETTINGS = ShipSettings(
    first_delay_seconds=0.01, longest_delay_seconds=0.05, poll_seconds=0.01, tries=100, workers=4
)
WAITING = 8
FAULTS, KINDS, SWALLOWED = 1_000, 9, 50


def test_a_thousand_store_faults_lose_nothing_and_leak_nothing(harbour: Harbour, record: RunRecord) -> None:
    faults, turn, history = Counter[str](), itertools.count(), History()
    shipper = Shipper(harbour.spool, harbour.store, harbour.catalogue, SETTINGS)
    with running(shipper), Feed(harbour, history) as feed:
        wait_until(lambda: shipper.counters().get("shipped", 0) > 2 * SETTINGS.workers, 60)
        before = Vitals.own()
        while faults.total() < FAULTS:
            fault = strike(harbour, next(turn), record.chance)
            faults[fault.kind] += fault.hits
            record.progress(**faults, shipped=shipper.counters()["shipped"])
        feed.end()
        closing_check(harbour, history, record)
        check_vitals(Vitals.own, before, record)
    assert min(faults.values()) > FAULTS // KINDS // 3, faults
    assert harbour.spool.quarantined() == []
    assert shipper.status()["outage"] is None


@pytest.mark.parametrize("suffix", [".tar", ".json.gz"])
def test_every_put_that_keeps_nothing_is_detected(harbour: Harbour, suffix: str, record: RunRecord) -> None:
    history, wanted = History(), SWALLOWED
    shipper = Shipper(harbour.spool, harbour.store, harbour.catalogue, SETTINGS)
    harbour.proxy.fault = fault = Fault("swallow", lambda m, path: put(m, path) and path.endswith(suffix))
    keep(harbour, history, "2.25.1", 1)
    with running(shipper):
        wait_until(lambda: fault.hits >= wanted, 60)
        harbour.proxy.fault = None
        closing_check(harbour, history, record)
    assert shipper.counters()["read_back_failures"] == fault.hits
    record.note(swallowed=fault.hits)


def strike(harbour: Harbour, turn: int, chance: random.Random) -> Fault:
    """Break the next few requests, each time in the next way; gives what was done."""
    kinds = (
        Fault("refuse"),
        Fault("error"),
        Fault("error", status=503),
        Fault("swallow", put),
        Fault("corrupt"),
        Fault("cut", after_bytes=chance.randrange(2_000)),
        Fault("hold"),
        Fault("mute"),
        Fault("slow", bytes_per_second=20_000),
    )
    assert len(kinds) == KINDS
    fault = kinds[turn % KINDS]
    fault.times = chance.randint(1, 2 * SETTINGS.workers)
    harbour.proxy.fault = fault
    deadline = time.monotonic() + 1.0
    while fault.hits < fault.times and time.monotonic() < deadline:
        time.sleep(0.002)
    if fault.kind == "hold":
        time.sleep(chance.uniform(0, 0.2))
    fault.released.set()
    harbour.proxy.fault = None
    return fault


def keep(harbour: Harbour, history: History, study: str, number: int) -> None:
    one = ct(study, number)
    history.send(one.SOPInstanceUID, one.data)
    receive(harbour.spool, [one])
    history.answer(one.SOPInstanceUID, 0)


class Feed(AtWork):
    """Receives small packs as fast as they are shipped, every third for a study there is already."""

    pause_seconds = 0.005

    def __init__(self, harbour: Harbour, history: History) -> None:
        super().__init__()
        self._harbour, self._history = harbour, history
        self._number = 0

    def turn(self) -> None:
        if len(self._harbour.spool.sealed()) >= WAITING:
            return
        number = self._number
        study = number - 10 if number % 3 == 2 and number > 10 else number
        keep(self._harbour, self._history, f"2.25.{1000 + study}", number + 1)
        self._number += 1
