"""Modalities that store without a pause, whatever happens to the node, and remember what was acknowledged."""

import itertools
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from dicom_node.part10 import encode_file_meta
from dicom_node.pdu import RELEASE_REQUEST
from tests.dicom_node.raw_peer import RawPeer
from tests.faults.at_work import AtWork
from tests.faults.history import BROKEN, History
from tests.packs import CT, EXPLICIT, ct, element

_STUDY, _NUMBER = "2.25.4444444444444", 55555555
_PATTERN = ct(_STUDY, _NUMBER, pixels=b"").data[:-12]  # without its empty pixel data
_PER_ASSOCIATION = 100
_PIXELS = 0x7FE00010
_PAUSE_SECONDS = 0.02  # the disk is to be met at work, not to be filled


class Supply:
    """Instances of one sender, each a small one of a new number; a study for each association."""

    def __init__(self, sender: int, chance: random.Random) -> None:
        self._sender = sender
        self._chance = chance
        self._studies = itertools.count(1)
        self._numbers = itertools.count(10_000_000)

    def study(self) -> Iterator[tuple[str, bytes]]:
        """Give SOPInstanceUID and data set of instance after instance of a new study."""
        study = f"2.25.{self._sender}{next(self._studies):012d}"
        for number in self._numbers:
            yield f"{study}.1.{number}", self._dataset(study, number)

    def _dataset(self, study: str, number: int) -> bytes:
        size = self._chance.choice((200, 1000, 4000)) if self._chance.random() < 0.97 else 300_000
        head = _PATTERN.replace(_STUDY.encode(), study.encode()).replace(b"%d" % _NUMBER, b"%d" % number)
        return head + element(_PIXELS, b"OW", self._chance.randbytes(size))


class Sender(AtWork):
    """A sender until `end`; what was not answered is sent again half the time, as devices do."""

    def __init__(self, number: int, port: int, history: History, chance: random.Random) -> None:
        super().__init__()
        self.port = port
        self.history = history
        self.chance = random.Random(chance.random())
        self.supply = Supply(number, self.chance)
        self.unanswered: tuple[str, bytes] | None = None

    def turn(self) -> None:
        try:
            self._associate()
        except BROKEN:
            time.sleep(0.01)  # it is down, or going down

    def _associate(self) -> None:
        with RawPeer(self.port) as peer:
            assert peer.associate()[:1] == b"\x02"
            again, self.unanswered = self.unanswered, None
            study = itertools.islice(self.supply.study(), _PER_ASSOCIATION)
            for uid, data in itertools.chain([again] if again else [], study):
                if self.over.is_set():
                    break
                if self.chance.random() < 0.5:
                    self.unanswered = uid, data
                self.history.store(peer, uid, data)
                self.unanswered = None
                time.sleep(_PAUSE_SECONDS)
            peer.send(RELEASE_REQUEST)
            peer.read_pdu()


class Storescu(Sender):
    """dcmtk's storescu with a folder of files at a time; what it says it was told is what was acknowledged."""

    def __init__(
        self, number: int, port: int, history: History, chance: random.Random, tool: str, folder: Path
    ) -> None:
        super().__init__(number, port, history, chance)
        self.tool = tool
        self.folder = folder
        folder.mkdir(parents=True)

    def _associate(self) -> None:
        files = {}
        for uid, data in itertools.islice(self.supply.study(), _PER_ASSOCIATION):
            path = self.folder / f"{uid}.dcm"
            path.write_bytes(encode_file_meta(CT, uid, EXPLICIT, "STORESCU") + data)
            files[str(path)] = uid, data
        try:
            self._read(self._run(files), files)
            time.sleep(_PAUSE_SECONDS * _PER_ASSOCIATION / 4)
        finally:
            for path in files:
                Path(path).unlink()

    def _run(self, files: dict[str, tuple[str, bytes]]) -> list[str]:
        command = [self.tool, "-v", "-xe", "-aet", "STORESCU", "-aec", "HUREN", "127.0.0.1", str(self.port)]
        done = subprocess.run(
            [*command, *files],
            capture_output=True,
            text=True,
            env=os.environ | {"TCP_NODELAY": "1"},
            timeout=60,
            check=False,
        )
        assert "Sending file" in done.stderr
        return done.stderr.splitlines()

    def _read(self, said: list[str], files: dict[str, tuple[str, bytes]]) -> None:
        uid = ""
        for line in said:
            if line.startswith("I: Sending file: "):
                uid, data = files[line.removeprefix("I: Sending file: ")]
                self.history.send(uid, data)
            elif line.startswith("I: Received Store Response (Success)"):
                self.history.answer(uid, 0)
