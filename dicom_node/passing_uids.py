"""The UIDs of a data set, read while it passes: nothing of it is kept, and no length in it costs anything."""

import zlib
from typing import Final

from dicom_node.dataset import (
    DEFLATED,
    INFLATED_LIMIT_BYTES,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Element,
    Encoding,
    Truncated,
    Window,
    encoding_in,
    encoding_of,
    read_element,
)

INSTANCE: Final = 0x00080018
STUDY: Final = 0x0020000D
SERIES: Final = 0x0020000E
_WANTED: Final = frozenset({INSTANCE, STUDY, SERIES})
_UID_BYTES: Final = 128  # longer than any UID with its padding: what is longer is none
_MOST_ELEMENTS: Final = 50_000
_MOST_LEVELS: Final = 64
_INFLATED_BYTES: Final = 64 << 10
_IMPLICIT: Final = Encoding(little=True, implicit=True)


class PassingUids:
    """Watches a data set pass, up to its SeriesInstanceUID; `is_done` once there is nothing more to find.

    Elements ascend (PS3.5 §7.1), so whatever comes behind the last one looked for says that it is missing.
    """

    def __init__(self, TransferSyntaxUID: str) -> None:
        self.is_done = False
        self._found: dict[int, str] = {}
        self._deflated = TransferSyntaxUID in DEFLATED
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._inflated_bytes = 0
        self._levels = [
            encoding_of(TransferSyntaxUID)
        ]  # how what is open is written, sequences and items too
        self._elements = 0
        self._skip_bytes = 0
        self._rest = b""

    def get(self, tag: int) -> str:
        """Return a UID as it stands there, with its padding; empty where it was not met."""
        return self._found.get(tag, "")

    def pass_on(self, piece: memoryview) -> None:
        """Look at the next bytes of the data set."""
        if self.is_done:
            return
        if self._deflated:
            self._inflate(bytes(piece))
        else:
            self._take(piece)

    def _inflate(self, piece: bytes) -> None:
        """Inflate as it comes (PS3.5 A.5); one with a zlib header is met as well, and known by it (RFC 1950)."""
        if not self._inflated_bytes:
            self._rest, piece = b"", self._rest + piece
            if len(piece) < 2:
                self._rest = piece
                return
            if piece[0] & 15 == 8 and int.from_bytes(piece[:2], "big") % 31 == 0:
                self._inflater = zlib.decompressobj()
        self._inflated_bytes += 1
        try:
            while piece and not self.is_done:
                content = self._inflater.decompress(piece, _INFLATED_BYTES)
                self._inflated_bytes += len(content)
                self._take(memoryview(content))
                piece = self._inflater.unconsumed_tail
                self.is_done = self.is_done or self._inflated_bytes > INFLATED_LIMIT_BYTES
        except zlib.error:
            self.is_done = True

    def _take(self, piece: memoryview) -> None:
        skipped = min(self._skip_bytes, len(piece))
        self._skip_bytes -= skipped
        if skipped == len(piece):
            return
        content = self._rest + piece[skipped:]
        at = 0
        try:
            while not self.is_done and at < len(content):
                at = self._step(content, at)
        except Truncated:
            pass
        self._rest = content[at:]
        self._skip_bytes = max(0, at - len(content))

    def _step(self, content: bytes, at: int) -> int:
        """Look at one element and return where the next begins. Raises Truncated where more bytes are needed."""
        window = Window(-1, 0, len(content), inflated=True, _block=content)
        if not self._elements:
            window.read(at, 8)
            self._levels = [encoding_in(window, self._levels[0])]
        element = read_element(window, at, len(content), self._levels[-1])
        is_wanted = len(self._levels) == 1 and element.tag in _WANTED and element.length <= _UID_BYTES
        if is_wanted:
            self._found[element.tag] = window.read(element.value_at, element.length).decode("latin-1")
        self._elements += 1
        self.is_done = self._elements > _MOST_ELEMENTS or (len(self._levels) == 1 and element.tag >= SERIES)
        return self._behind(element)

    def _behind(self, element: Element) -> int:
        """Return where the element behind this one begins: inside it, where only an end mark says how long it is."""
        if element.tag in (ITEM_END, SEQUENCE_END):
            self._levels.pop()
            self.is_done = self.is_done or not self._levels
        elif element.length != UNDEFINED:
            return element.value_at + element.length
        else:
            is_unknown = (
                element.tag != ITEM and element.vr == "UN"
            )  # then it is implicit inside (PS3.5 §6.2.2)
            self._levels.append(_IMPLICIT if is_unknown else self._levels[-1])
            self.is_done = self.is_done or len(self._levels) > _MOST_LEVELS
        return element.value_at
