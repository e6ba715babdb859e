"""Data sets on their way out of packs: read in windows, the next one while this one is sent, so memory stays flat."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from catalog.objects import ObjectStore
from catalog.pack_windows import Window, windows
from dicom_node.archive_index import Located


@dataclass(slots=True)
class PackStream:
    """The data sets of some instances in the order given; neighbours in a pack are one ranged read.

    Two windows are held at most. What is short enough for one is there as a whole once its first piece is.
    """

    store: ObjectStore
    threads: Executor
    instances: Sequence[Located]
    _planned: Iterator[Window] = field(init=False)
    _following: "tuple[Window, Future[bytes]] | None" = None
    _pieces: Iterator[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._planned = windows((each.key, each.at, each.size_bytes) for each in self.instances)
        self._following = self._begin()
        self._pieces = self._read()

    def take(self, size_bytes: int) -> Iterator[bytes]:
        """Yield the next data set, which has so many bytes. Raises what the object store does."""
        while size_bytes > 0:
            piece = next(self._pieces)
            size_bytes -= len(piece)
            yield piece

    def close(self) -> None:
        """Forget what is still being read."""
        if self._following is not None:
            self._following[1].cancel()
            self._following = None

    def _begin(self) -> "tuple[Window, Future[bytes]] | None":
        window = next(self._planned, None)
        if window is None:
            return None
        size = window.end - window.start
        return window, self.threads.submit(self.store.read_range, window.key, window.start, size)

    def _read(self) -> Iterator[bytes]:
        while self._following is not None:
            window, reading = self._following
            content = reading.result()
            self._following = self._begin()
            for each in window.sent:
                if not isinstance(each, bytes):
                    begin = each[0] - window.start
                    yield content[begin : begin + each[1]]
