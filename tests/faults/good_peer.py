"""A good peer beside the bad ones: it associates, stores and releases again and again, and remembers how that went."""

import time

from dicom_node.pdu import RELEASE_REQUEST
from tests.dicom_node.raw_peer import RawPeer
from tests.faults.at_work import AtWork

ADDRESS = "127.0.0.2"  # where the bad ones are not


class GoodPeer(AtWork):
    """Every round is a new association with so many instances on it."""

    def __init__(
        self, port: int, *, instances: int = 1, size_bytes: int = 16_000, pause_seconds: float = 0.02
    ) -> None:
        super().__init__()
        self._port = port
        self._instances = instances
        self._data = bytes(size_bytes)
        self.pause_seconds = pause_seconds
        self.rounds: list[float] = []  # seconds from connecting to the answered release
        self.failures: list[str] = []
        self.stored = 0
        self._began = self._ended = 0.0

    def run(self) -> None:
        self._began = time.monotonic()
        super().run()
        self._ended = time.monotonic()

    @property
    def rate(self) -> float:
        """Instances per second."""
        return self.stored / (self._ended - self._began)

    def check(self, *, least_rounds: int = 5, longest_seconds: float = 1.0) -> None:
        """Fail unless it was never refused and never waited long."""
        assert self.failures == []
        assert len(self.rounds) >= least_rounds
        assert max(self.rounds) < longest_seconds, sorted(self.rounds)[-5:]

    def turn(self) -> None:
        began = time.monotonic()
        try:
            self._round()
        except (OSError, AssertionError) as error:
            self.failures.append(f"{type(error).__name__}: {error}")
        self.rounds.append(time.monotonic() - began)

    def _round(self) -> None:
        with RawPeer(self._port, ADDRESS) as peer:
            assert peer.associate(calling=b"GOOD")[:1] == b"\x02", "refused"
            for _ in range(self._instances):
                self.stored += 1
                assert peer.store(self._data, f"1.2.{self.stored}").status == 0
            peer.send(RELEASE_REQUEST)
            assert peer.read_pdu()[:1] == b"\x06"
