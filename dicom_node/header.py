"""The headers of a pack's instances, read in a child process that may die of them.

The child is kept for a number of packs, because a fresh interpreter costs a quarter of a second. When it is
killed by its limits, the instance it was reading is unreadable and the next child goes on behind it.
"""

import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date, datetime
from types import TracebackType
from typing import IO, Any, Final, Self, cast

import orjson

from catalog.errors import Unavailable
from catalog.records import Placed
from dicom_node.exam_time import ExamTime
from dicom_node.facts import InstanceFacts
from dicom_node.pack import Member, PackIndex, digest_holds

WALL_SECONDS: Final = 10.0
BYTES_PER_SECOND: Final = 20 << 20
PACKS_PER_CHILD: Final = 64
DEATHS_PER_PACK: Final = 5
_START_SECONDS: Final = 60.0
_ANSWER_LIMIT_BYTES: Final = 128 << 20
_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ReadInstance:
    """One instance whose header could be read; positions in `frames` and `bulk` count from its data set."""

    member: Member
    facts: InstanceFacts
    flaws: tuple[str, ...]
    frames: tuple[tuple[int, ...], ...]
    bulk: dict[str, tuple[int, int]]
    metadata: bytes


@dataclass(frozen=True, slots=True)
class UnreadableInstance:
    """One instance that cannot be catalogued; `reason` is a code of `dataset.REASONS`."""

    member: Member
    reason: str


class HeaderReader:
    """Reads headers; a context manager, to be used by one thread at a time."""

    def __init__(self, *, wall_seconds: float = WALL_SECONDS, packs_per_child: int = PACKS_PER_CHILD) -> None:
        self._wall_seconds = wall_seconds
        self._packs_per_child = packs_per_child
        self._child: _Child | None = None
        self._packs = 0
        self.children_started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        child, self._child, self._packs = self._child, None, 0
        if child is not None:
            child.end()

    def warm_up(self) -> "_Child":
        """Return the child, started if there is none. Raises Unavailable where it does not start."""
        if self._child is None:
            self._child = _Child()
            self.children_started += 1
        return self._child

    def read(self, index: PackIndex) -> list[ReadInstance | UnreadableInstance]:
        """Read the header of every member, in their order.

        Raises Unavailable (`header_child`) where no child can be started, OSError where the pack cannot be read.
        """
        if self._packs >= self._packs_per_child:
            self.close()
        self._packs += 1
        deaths = 0
        results: list[ReadInstance | UnreadableInstance] = []
        fd = os.open(index.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for member in index.members:
                result = self._read_one(fd, index, member, give_up=deaths >= DEATHS_PER_PACK)
                deaths += isinstance(result, UnreadableInstance) and result.reason == "header_stopped"
                results.append(result)
        finally:
            os.close(fd)
        return results

    def _read_one(
        self, fd: int, index: PackIndex, member: Member, *, give_up: bool
    ) -> ReadInstance | UnreadableInstance:
        if not digest_holds(fd, member):
            return UnreadableInstance(member, "digest_mismatch")
        if give_up:  # one pack may cost a few children, not its whole length of them
            return UnreadableInstance(member, "header_stopped")
        child = self.warm_up()
        seconds = self._wall_seconds + member.dataset_size_bytes / BYTES_PER_SECOND
        try:
            known = child.ask(index, member, seconds)
            metadata = b"" if "unreadable" in known else child.answer(seconds)
        except _Dead:
            self.close()
            return UnreadableInstance(member, "header_stopped")
        if "unreadable" in known:
            if known["unreadable"] == "header_memory":
                self.close()
            return UnreadableInstance(member, known["unreadable"])
        return _read_instance(member, known, metadata)


class _Dead(Exception):
    """The child has ended or does not answer in time."""


class _Child:
    """A running child; nothing of this process's environment goes with it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-m", "dicom_node.header_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"LC_ALL": "C.UTF-8"},
            bufsize=0,
        )
        self._requests, self._answers = (
            cast(IO[bytes], self._process.stdin),
            cast(IO[bytes], self._process.stdout),
        )
        self._pending = bytearray()
        try:
            self.answer(_START_SECONDS)
        except _Dead:
            self.end()
            raise Unavailable(
                "解析子进程无法启动", "The process that reads headers does not start", code="header_child"
            ) from None

    def ask(self, index: PackIndex, member: Member, seconds: float) -> dict[str, Any]:
        """Send one request and return the first line of its answer. Raises _Dead."""
        request = (
            str(index.path),
            member.dataset_offset,
            member.dataset_size_bytes,
            member.TransferSyntaxUID,
            member.SOPInstanceUID,
        )
        try:
            self._requests.write(orjson.dumps(request) + b"\n")
        except BrokenPipeError:
            raise _Dead from None
        known: dict[str, Any] = orjson.loads(self.answer(seconds))
        return known

    def answer(self, seconds: float) -> bytes:
        """Return the next line, without its end. Raises _Dead when it does not come in time."""
        deadline = time.monotonic() + seconds
        searched = 0
        while (end := self._pending.find(b"\n", searched)) < 0:
            searched = len(self._pending)
            if searched > _ANSWER_LIMIT_BYTES:
                raise _Dead
            self._pending += self._receive(deadline)
        line = bytes(self._pending[:end])
        del self._pending[: end + 1]
        return line

    def _receive(self, deadline: float) -> bytes:
        poll = select.poll()  # select() fails from the 1024th file descriptor on
        poll.register(self._answers, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise _Dead
        piece = os.read(self._answers.fileno(), _READ_BYTES)
        if not piece:
            raise _Dead
        return piece

    def end(self) -> None:
        """Kill the process: it holds nothing worth a farewell."""
        self._process.kill()
        self._process.wait()
        self._requests.close()
        self._answers.close()


def _read_instance(member: Member, known: dict[str, Any], metadata: bytes) -> ReadInstance:
    flaws = list(known["flaws"])
    facts = _facts(known["facts"])
    if facts.SOPClassUID != member.SOPClassUID:
        flaws.append("sop_class_uid_mismatch")
    return ReadInstance(
        member=member,
        facts=facts,
        flaws=tuple(flaws),
        frames=tuple(tuple(frame) for frame in known["frames"]),
        bulk={path: (place[0], place[1]) for path, place in known["bulk"].items()},
        metadata=metadata,
    )


def _facts(values: dict[str, Any]) -> InstanceFacts:
    born, examined = values["PatientBirthDate"], values["exam_time"]
    values["PatientBirthDate"] = date.fromisoformat(born) if born else None
    if examined:
        examined["at"] = datetime.fromisoformat(examined["at"])
        values["exam_time"] = ExamTime(**examined)
    placed = values["placed"]
    placed["normal"] = tuple(placed["normal"]) if placed["normal"] else None
    values["placed"] = Placed(**placed)
    return InstanceFacts(**values)
