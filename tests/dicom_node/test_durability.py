"""Success is said after the disk has said it: watched and disturbed at the system call."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from dicom_node.spool import Spool, read_pack
from tests.dicom_node.raw_peer import RawPeer
from tests.dicom_node.test_workers import REPOSITORY


@contextmanager
def traced_node(root: Path, strace: str, *options: str) -> Iterator[int]:
    """A node with one worker under strace, whose log goes to `root`/trace."""
    command = [strace, "-f", "-qq", *options, "-o", str(root / "trace"), sys.executable]
    node = [*command, "-m", "tests.dicom_node.node_process", str(root), "0", "1"]
    with subprocess.Popen(node, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline().split()[1])
        finally:
            psutil.Process(process.pid).children()[0].terminate()  # the node: strace ends with it


def test_every_success_follows_a_sync_of_its_own_and_new_names_are_synced(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    strace = require_tool("strace")
    calls = "trace=fdatasync,fsync,sendto,rename,pwrite64,pwritev2"
    with traced_node(tmp_path, strace, "-e", calls) as port, RawPeer(port) as peer:
        assert peer.associate()[:1] == b"\x02"
        for number in range(5):
            assert peer.store(bytes(40_000), f"1.2.{number}").status == 0
    steps = _steps((tmp_path / "trace").read_text().splitlines())
    writing = [step for step in steps if step in ("pwritev2", "fdatasync", "answer")]
    answers = [at for at, step in enumerate(writing) if step == "answer"]
    assert len(answers) == 5
    assert all(writing[at - 2 : at] == ["pwritev2", "fdatasync"] for at in answers)
    first = steps[steps.index("pwrite64") : steps.index("answer")]
    assert "fsync" in first  # the pack's name, before the first answer
    sealing = steps.index("rename")
    assert steps[sealing - 1] == "fsync"
    assert steps[sealing + 1 : sealing + 3] == ["fsync", "fsync"]


def _steps(trace: list[str]) -> list[str]:
    """What was done in order: writes and syncs when they were over, answers when they began."""
    steps = []
    for line in trace:
        if "sendto(" in line and '"\\4\\0' in line:
            steps.append("answer")
        is_over = "unfinished" not in line and (
            found := re.search(r"(fdatasync|fsync|pwrite64|pwritev2)[( ]", line)
        )
        if is_over and found:
            steps.append(found[1])
        if "rename(" in line and "/spool/open/" in line:
            steps.append("rename")
    return steps


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_sync_that_fails_is_answered_a700_and_the_association_goes_on(
    tmp_path: Path, nth: int, require_tool: Callable[[str], str]
) -> None:
    inject = f"inject=fdatasync:error=EIO:when={nth}"
    strace = require_tool("strace")
    with traced_node(tmp_path, strace, "-e", "trace=fdatasync", "-e", inject) as port, RawPeer(port) as peer:
        peer.associate()
        statuses = [peer.store(bytes(3000), f"1.2.{number}").status for number in range(4)]
    assert statuses == [0xA700 if number == nth - 1 else 0 for number in range(4)]
    spool = Spool(tmp_path / "spool")
    kept = {m.SOPInstanceUID for pack in spool.sealed() for m in read_pack(pack.path).members}
    assert kept >= {f"1.2.{number}" for number in range(4) if number != nth - 1}
    assert len(spool.quarantined()) == 1


@pytest.mark.parametrize("call", ["pwritev2", "pwrite64", "ftruncate", "rename"])
def test_trouble_at_any_other_call_never_loses_what_was_acknowledged(
    tmp_path: Path, call: str, require_tool: Callable[[str], str]
) -> None:
    inject = f"inject={call}:error=ENOSPC:when=3+2"
    strace = require_tool("strace")
    with traced_node(tmp_path, strace, "-e", f"trace={call}", "-e", inject) as port, RawPeer(port) as peer:
        peer.associate()
        statuses = [peer.store(bytes(3000), f"1.2.{number}").status for number in range(8)]
    assert set(statuses) <= {0, 0xA700}
    spool = Spool(tmp_path / "spool")
    spool.recover()
    kept = {m.SOPInstanceUID for pack in spool.sealed() for m in read_pack(pack.path).members}
    assert kept >= {f"1.2.{number}" for number, status in enumerate(statuses) if status == 0}
