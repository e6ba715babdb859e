"""Hours of load with a fault now and then: at the end everything is there, and nothing has grown."""

import threading
import time
from collections.abc import Callable

import pytest

from tests.faults.closing import Vitals, check_vitals, closing_check
from tests.faults.history import History
from tests.faults.run_record import RunRecord
from tests.faults.s3_proxy import Fault
from tests.faults.scale import SOAK
from tests.faults.test_killed_under_load import Works, sending, storescu, works
from tests.flow.harbour import Harbour

__all__ = ["storescu", "works"]  # fixtures

RUN_SECONDS = 600 * SOAK
FAULT_EVERY_SECONDS = min(120.0, RUN_SECONDS / 5)
SAMPLE_SECONDS = 5.0


@pytest.mark.soak
def test_mixed_load_with_a_fault_every_two_minutes_loses_nothing_and_grows_nowhere(
    works: Works, harbour: Harbour, storescu: str, record: RunRecord
) -> None:
    history, began = History(), time.monotonic()
    faults: tuple[Callable[[], None], ...] = (
        lambda: works.kill("worker"),
        lambda: break_store(harbour, Fault("refuse"), 5.0),
        lambda: break_store(harbour, Fault("error", status=503), 5.0),
        lambda: break_store(harbour, Fault("hold", times=4), 5.0),
        lambda: restart_shipper(works),
    )
    with sending(works, history, storescu, record.chance):
        time.sleep(min(20.0, FAULT_EVERY_SECONDS / 2))  # every part has done some work
        before, struck, next_fault = Vitals.of(works.node.process.pid), 0, time.monotonic()
        while time.monotonic() < began + RUN_SECONDS:
            if time.monotonic() >= next_fault:
                record.chance.choice(faults)()
                struck, next_fault = struck + 1, next_fault + FAULT_EVERY_SECONDS
            threading.Event().wait(min(SAMPLE_SECONDS, FAULT_EVERY_SECONDS / 4))
            now = Vitals.of(works.node.process.pid)
            record.progress(
                faults=struck, acknowledged=len(history.acknowledged), node_rss_mib=now.rss_bytes >> 20
            )
    closing_check(works, history, record)
    check_vitals(lambda: Vitals.of(works.node.process.pid), before, record)
    assert struck >= 4


def break_store(harbour: Harbour, fault: Fault, seconds: float) -> None:
    harbour.proxy.fault = fault
    time.sleep(seconds)
    fault.released.set()
    harbour.proxy.fault = None


def restart_shipper(works: Works) -> None:
    works.shipper.kill()
    works.shipper.start()
