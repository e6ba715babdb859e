"""A good peer beside the bad ones: it associates, stores and releases again and again, and remembers how that went."""

import threading
import time
from types import TracebackType

from dicom_node.pdu import RELEASE_REQUEST
from tests.dicom_node.raw_peer import RawPeer

ADDRESS = "127.0.0.2"  # where the bad ones are not


class GoodPeer:
    """Works in a thread of its own for the time of a `with` block.

    Every round is a new association with so many instances on it.
    """

    def __init__(
        self, port: int, *, instances: int = 1, size_bytes: int = 16_000, pause_seconds: float = 0.02
    ) -> None:
        self._port = port
        self._instances = instances
        self._data = bytes(size_bytes)
        self._pause_seconds = pause_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.rounds: list[float] = []  # seconds from connecting to the answered release
        self.failures: list[str] = []
        self.stored = 0
        self._began = self._ended = 0.0

    def __enter__(self) -> "GoodPeer":
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(30)
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

    def _work(self) -> None:
        while not self._over.wait(self._pause_seconds):
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
