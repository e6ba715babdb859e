"""The demonstration's own exchange: `huren up` on a folder, asked by real HTTP."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.errors import HurenError


@dataclass(frozen=True, slots=True)
class DemoHouse:
    """Where it answers and receives, and its process."""

    url: str
    dicom_port: int
    process: subprocess.Popen[str]


@contextmanager
def demo_folder(given: Path | None) -> Iterator[Path]:
    """Give the named folder, or a temporary one that is gone afterwards."""
    if given is not None:
        yield given.expanduser().resolve()
        return
    with tempfile.TemporaryDirectory(prefix="huren-demo-") as made:
        yield Path(made).resolve()


@contextmanager
def running(folder: Path, *, open_to_visitors: bool = False) -> Iterator[DemoHouse]:
    """Start `huren up` in its own process and end it by its pid; its pages say to visitors that all is invented."""
    command = [*huren_command(), "up", "--data-dir", str(folder), "--dicom-port", "0", "--http-port", "0"]
    environment = os.environ | {"HUREN_ENV": os.environ.get("HUREN_ENV", "demo")}
    if open_to_visitors:
        environment |= {"HUREN_DEMO": "true", "HUREN_TOTP_REQUIRED": "false"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline().split() if process.stdout else []
        if line[:1] != ["ready"]:
            raise HurenError("服务未能启动", "The services did not start", code="demo_failed")
        yield DemoHouse(line[1], int(line[3].rpartition(":")[2]), process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        if process.stdout:
            process.stdout.close()


def huren_command() -> list[str]:
    """Return how this installation's command is started."""
    return [sys.executable, "-m", "huren"]


def call(
    house: DemoHouse, method: str, path: str, token: str, body: Any = None, *, key: bool = False
) -> dict[str, Any]:
    """Ask the service and return its JSON answer. Raises HurenError where it refuses."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    if key:
        headers["Idempotency-Key"] = uuid.uuid4().hex
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(house.url + path, data, headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        raise HurenError("请求失败", f"{method} {path}: {error.code}", code="demo_failed") from error
