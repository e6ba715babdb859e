"""dcmtk as a witness: its bit-preserving receiver says what a sender really sends."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom import dcmread

from catalog.embedded_child import free_ports
from tests.flow.orthanc import is_listening
from tests.flow.running import until


def dataset_digest(path: Path) -> str:
    """Return the SHA-256 of a Part 10 file's data set, found by its own group length."""
    content = path.read_bytes()
    meta_length = int.from_bytes(content[140:144], "little")
    return hashlib.sha256(content[144 + meta_length :]).hexdigest()


@contextmanager
def receiving(storescp: str, inbox: Path, *options: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Run dcmtk's bit-preserving receiver; gives its port, and afterwards the digests of what came."""
    inbox.mkdir()
    port, found = free_ports(1)[0], dict[str, str]()
    command = [storescp, "+B", *options, "-od", str(inbox), str(port)]
    receiver = subprocess.Popen(command, env=os.environ | {"TCP_NODELAY": "1"})
    try:
        until(lambda: is_listening(port), 20)
        yield port, found
    finally:
        receiver.terminate()
        receiver.wait(10)
    found.update({str(dcmread(p).SOPInstanceUID): dataset_digest(p) for p in inbox.iterdir()})
