"""D16: SIGTERM while senders store without a pause: in time, cleanly, and nothing acknowledged is lost."""

import random
import threading
import time
from pathlib import Path

from dicom_node.spool import Spool
from tests.dicom_node.raw_peer import RawPeer, wait_until
from tests.faults.history import BROKEN, History, kept_in
from tests.faults.run_record import RunRecord
from tests.faults.victim import Victim, receive

STOPS = 50
SENDERS = 3
STOP_SECONDS = 10.0


class Storing(threading.Thread):
    """Stores over one association until the node ends it; `farewell` is the last PDU, empty for a bare close."""

    def __init__(self, port: int, name: str, history: History) -> None:
        super().__init__(name=name)
        self.port = port
        self.history = history
        self.farewell = b""
        self.start()

    def run(self) -> None:
        with RawPeer(self.port) as peer:
            peer.associate()
            try:
                for number in range(1_000_000):
                    data = random.Random(number).randbytes(random.Random(number).randrange(100, 60_000))
                    self.history.store(peer, f"1.2.{self.name}.{number}", data)
            except BROKEN as error:
                self.farewell = str(error).encode()


def test_fifty_stops_under_load_are_in_time_and_lose_nothing(tmp_path: Path, record: RunRecord) -> None:
    slowest, acknowledged, aborted = 0.0, 0, 0
    for number in range(STOPS):
        root, history = tmp_path / str(number), History()
        with Victim(receive, root, {}) as node, RawPeer(node.said) as idle:
            idle.associate()
            senders = [Storing(node.said, str(sender), history) for sender in range(SENDERS)]
            wait_until(lambda history=history: len(history.acknowledged) >= 2 * SENDERS)
            time.sleep(record.chance.uniform(0.0, 0.05))
            slowest = max(slowest, node.terminate())
            assert node.process.exitcode == 0
            assert idle.read_pdu()[:1] == b"\x07"  # who says nothing learns it from the drain alone
            for sender in senders:
                sender.join(10)
                assert not sender.is_alive()
        assert not any((root / "spool/open").iterdir())
        history.check(kept_in(Spool(root / "spool")))
        acknowledged += len(history.acknowledged)
        aborted += sum(b"\\x07" in sender.farewell for sender in senders)
    record.note(stops=STOPS, acknowledged=acknowledged, aborted=aborted, slowest_seconds=slowest)
    assert slowest < STOP_SECONDS
    assert aborted > STOPS * SENDERS * 0.9  # an A-ABORT ends an association, not a bare close
