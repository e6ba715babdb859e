"""What goes on beside a test: a thread that does one thing again and again until it is ended."""

import threading
from abc import ABC, abstractmethod
from typing import Self


class AtWork(threading.Thread, ABC):
    """Takes turn after turn, with a pause before each, from `start` or the beginning of a `with` block to `end`."""

    pause_seconds = 0.0
    end_seconds = 60.0

    def __init__(self) -> None:
        super().__init__(name=type(self).__name__, daemon=True)
        self.over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Finish the turn that is under way, and take no more."""
        self.over.set()
        self.join(self.end_seconds)
        assert not self.is_alive()

    def run(self) -> None:
        while not self.over.wait(self.pause_seconds):
            self.turn()

    @abstractmethod
    def turn(self) -> None:
        """Do it once."""
