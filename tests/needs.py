"""What a test needs of the machine: where it is missing, the test is skipped on a laptop and fails in CI."""

import os
import resource
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Leave the test, which cannot be tried here: skipped, or failed where CI is set."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)


def find_tool(name: str) -> str:
    """Return the path of a program."""
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        missing(f"{name} 未安装 / {name} is not installed")
    return str(Path(found))


def need_descriptors(count: int) -> None:
    """Leave the test where this process may not have so many file descriptors."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < count:
        missing("文件描述符上限太低 / the limit of file descriptors is too low")


def mount_volume(place: Path, size_mib: int) -> None:
    """Mount an empty volume of a size; needs root."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "huren-test", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        missing("无权挂载小卷 / no right to mount a small volume")
