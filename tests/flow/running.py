"""`huren up` as a person starts it: a process, two ports, and commands beside it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

HUREN = [sys.executable, "-m", "huren"]
PATIENT = {
    "HUREN_CHECK_SECONDS": "20"
}  # where the deadline is not what is tried, a busy machine is given time


def huren(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    command = [*HUREN, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=os.environ | environment, check=False
    )


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait for a condition and return what it gave; fails when it never comes."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition never came"
        time.sleep(0.05)
    return found


@dataclass
class Running:
    """One `huren up` on a data folder."""

    data_dir: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    url: str = ""
    dicom_port: int = 0

    def start(self) -> "Running":
        """Start and wait for the ready line."""
        command = [*HUREN, "up", "--data-dir", str(self.data_dir), "--dicom-port", "0", "--http-port", "0"]
        log = (self.data_dir.parent / f"{self.data_dir.name}.log").open("a")
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            env=os.environ | self.environment,
        )
        log.close()
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        assert words[:1] == ["ready"], words
        self.url, self.dicom_port = words[1], int(words[3].rpartition(":")[2])
        return self

    def stop(self) -> int:
        """End it as a service manager would; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._forget()
        return code

    def kill(self) -> None:
        """Kill the whole process group at once."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self._forget()

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command on the same data folder, and expect it to succeed."""
        done = huren(*arguments, "--data-dir", self.data_dir, **self.environment)
        assert done.returncode == 0, done.stderr
        return done

    def token(self, role: str, hospital: str = "") -> str:
        """Return a bearer token."""
        held = ["--hospital", hospital] if hospital else []
        return self.run("token", "--role", role, *held).stdout.strip()

    def call(self, method: str, path: str, token: str, **more: Any) -> httpx2.Response:
        """Call the service."""
        headers = ({"Authorization": f"Bearer {token}"} if token else {}) | more.pop("headers", {})
        with httpx2.Client(timeout=30, trust_env=False) as client:
            return client.request(method, self.url + path, headers=headers, **more)

    def studies(self, token: str) -> list[dict[str, Any]]:
        """Return what arrived, as an operator sees it."""
        found: list[dict[str, Any]] = self.call("GET", "/v1/admin/studies?limit=1000", token).json()[
            "studies"
        ]
        return found

    def storescu(
        self, tool: str, calling: str, *paths: Path, called: str = "HUREN"
    ) -> subprocess.CompletedProcess[str]:
        """Send with dcmtk."""
        command = [
            tool,
            "-v",
            "-aet",
            calling,
            "-aec",
            called,
            "+sd",
            "+r",
            "127.0.0.1",
            str(self.dicom_port),
        ]
        return subprocess.run(
            [*command, *map(str, paths)],
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | {"TCP_NODELAY": "1"},
            check=False,
        )

    def log(self) -> str:
        """Return everything written to standard error so far."""
        path = self.data_dir.parent / f"{self.data_dir.name}.log"
        return path.read_text() if path.exists() else ""

    def _forget(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None


def make_instance(path: Path, **changes: Any) -> Dataset:
    """Write a real CT image with other header values and fresh UIDs; returns the data set."""
    dataset = dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.StudyInstanceUID = changes.pop("StudyInstanceUID", None) or generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.SOPInstanceUID = changes.pop("SOPInstanceUID", None) or generate_uid()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return dataset
