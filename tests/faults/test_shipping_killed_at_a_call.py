"""D2: what ships, killed at every system call that changes anything, one after the other; at sends: another file."""

import pytest

from tests.faults.ashore import shipped_killed
from tests.faults.calls import CALLS
from tests.faults.run_record import RunRecord
from tests.flow.harbour import Harbour

pytestmark = pytest.mark.long

SHIPPING_CALLS = ("openat", "write", "fsync", "rename", "unlink", "close")


@pytest.mark.parametrize("call", [call for call in CALLS if call != "sendto"])
def test_a_shipper_killed_at_any_call_keeps_everything_once(
    harbour: Harbour, strace: str, record: RunRecord, call: str
) -> None:
    assert (shipped_killed(harbour, strace, record, call) > 0) == (call in SHIPPING_CALLS)
