"""Orthanc as a peer: started on loopback, ended by its pid."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from catalog.embedded_child import free_ports
from tests.flow.running import until


@contextmanager
def running(
    program: str, folder: Path, modalities: dict[str, Any], ae_title: str, **settings: str
) -> Iterator[str]:
    """Run Orthanc in `folder`, with more of its own settings if told, and yield its HTTP address."""
    http_port, dicom_port = free_ports(2)
    home = folder / "orthanc"
    home.mkdir()
    configuration = {
        "Name": "peer",
        "StorageDirectory": str(home / "storage"),
        "IndexDirectory": str(home / "storage"),
        "Plugins": [],
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "DicomAet": ae_title,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomModalities": modalities,
        "SynchronousCMove": True,
        **settings,
    }
    (home / "orthanc.json").write_text(json.dumps(configuration))
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [program, str(home / "orthanc.json")],
            stdout=log,
            stderr=log,
            env=os.environ | {"TCP_NODELAY": "1"},
        )
    url = f"http://127.0.0.1:{http_port}"
    try:
        until(lambda: _answers(f"{url}/system"), 30)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def is_listening(port: int) -> bool:
    """Say whether something takes connections at a port of the loopback address."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False
