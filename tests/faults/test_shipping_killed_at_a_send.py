"""D2: what ships, killed at everything it sends to the stores: as many points as all its other calls have."""

import pytest

from tests.faults.ashore import shipped_killed
from tests.faults.run_record import RunRecord
from tests.flow.harbour import Harbour

pytestmark = pytest.mark.long


def test_a_shipper_killed_at_anything_it_sends_keeps_everything_once(
    harbour: Harbour, strace: str, record: RunRecord
) -> None:
    assert shipped_killed(harbour, strace, record, "sendto") > 0
