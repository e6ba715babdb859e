"""What the service needs of whoever keeps instances that are handed in over HTTP; who starts the service provides it.

Everything here may block on the disk, and is called in threads.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from catalog.records import DepositedInstance, Depositor


class Deposit(Protocol):
    """What one request brings: begin, write …, finish or abandon, again and again, and close; one thread at a time."""

    def begin(self) -> None:
        """Start an instance: a Part 10 file follows."""

    def write(self, piece: memoryview) -> None:
        """Take bytes of the file; they must stay as they are. Trouble is told by `finish`."""

    def finish(self) -> DepositedInstance:
        """Make the instance durable and say how it fared."""

    def abandon(self) -> DepositedInstance:
        """Take back what came of an instance that will not end, and say which it was."""

    def close(self, *, whole: bool) -> None:
        """End it; `whole` says that everything came that was to come. What was finished stays."""


class Deposits(Protocol):
    """Where instances are kept; safe for threads."""

    def open(self, depositor: Depositor, StudyInstanceUID: str = "") -> Deposit:
        """Begin what one request brings, all of it of one study where that is named.

        Raises Unavailable where there is no room, or nothing to keep it in.
        """


# from the folders of the spool and of running processes
OpenDeposits = Callable[[Path, Path], AbstractContextManager[Deposits]]
