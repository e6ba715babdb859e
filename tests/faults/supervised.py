"""A process that is killed with everything it started, and started again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.dicom_node.node_process import REPOSITORY


class Supervised:
    """A module run as a process group of its own, which says `ready` when it works."""

    def __init__(self, log: Path, module: str, *arguments: str) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """Kill the whole group at once, if it runs."""
        if self._process is None:
            return
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._process = None

    def stop(self) -> int:
        """End it by SIGTERM; gives its exit code."""
        assert self._process is not None
        self._process.terminate()
        self._process.communicate(timeout=20)
        code, self._process = self._process.returncode, None
        return code
