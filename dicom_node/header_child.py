"""The process that reads headers: started by `header.py`, limited, without files to write or secrets to lose.

One line in per instance, JSON: path of the pack, data set position and size, transfer syntax and SOP instance
UID. Out: `{"unreadable": code}`, or two lines, what is to be known of the instance and its DICOM JSON.
"""

import os
import resource
import sys
from typing import Any, Final

import orjson

from dicom_node.dataset import Unreadable, open_window
from dicom_node.facts import instance_facts
from dicom_node.metadata import Metadata, read_metadata

MEMORY_LIMIT_BYTES: Final = 512 << 20
CPU_SECONDS: Final = 10
BYTES_PER_CPU_SECOND: Final = 20 << 20
_OPEN_FILES: Final = 16


def main() -> None:
    """Answer requests until the standard input ends."""
    _limit_process()
    answers = sys.stdout.buffer
    answers.write(b"ready\n")
    answers.flush()
    for line in sys.stdin.buffer:
        answers.write(_answer(*orjson.loads(line)))
        answers.flush()


def _limit_process() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))


def _limit_cpu(size: int) -> None:
    """Give the next instance its own seconds: the limit of the kernel counts over the life of the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = used.ru_utime + used.ru_stime + CPU_SECONDS + size / BYTES_PER_CPU_SECOND
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, resource.RLIM_INFINITY))


def _answer(path: str, start: int, size: int, TransferSyntaxUID: str, SOPInstanceUID: str) -> bytes:
    _limit_cpu(size)
    try:
        return _read(path, start, size, TransferSyntaxUID, SOPInstanceUID)
    except Unreadable as error:
        return _refusal(error.code)
    except MemoryError:
        return _refusal("header_memory")
    except Exception:  # whatever a hostile data set breaks, it is this instance alone
        return _refusal("header_failed")


def _read(path: str, start: int, size: int, TransferSyntaxUID: str, SOPInstanceUID: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        metadata = read_metadata(open_window(fd, start, size, TransferSyntaxUID), TransferSyntaxUID)
    finally:
        os.close(fd)
    return orjson.dumps(_known(metadata, SOPInstanceUID)) + b"\n" + metadata.json + b"\n"


def _known(metadata: Metadata, SOPInstanceUID: str) -> dict[str, Any]:
    facts = instance_facts(
        metadata.found,
        SOPInstanceUID,
        name=metadata.name.text if metadata.name else "",
        name_rule=metadata.name.rule if metadata.name else "",
        declared=metadata.declared,
    )
    return {
        "facts": facts,
        "flaws": sorted(metadata.flaws),
        "bulk": metadata.bulk,
        "frames": metadata.pixel_data.frames if metadata.pixel_data else (),
    }


def _refusal(code: str) -> bytes:
    return orjson.dumps({"unreadable": code}) + b"\n"


if __name__ == "__main__":
    main()
