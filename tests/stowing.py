"""Store requests of PS3.18 §10.5 for tests: files in a multipart, and what is answered."""

from collections.abc import Iterable
from typing import Any

from dicom_node.part10 import encode_file_meta
from tests.packs import Sent

BOUNDARY = "4711"
CLOSING = f"\r\n--{BOUNDARY}--\r\n".encode()
HEADERS = {
    "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
    "Accept": "application/dicom+json",
}
STUDIES = "/dicom-web/studies"


def part10(sent: Sent) -> bytes:
    """The file of an instance, as another maker's program writes it: something in the preamble, another meta group."""
    frame = encode_file_meta(sent.SOPClassUID, sent.SOPInstanceUID, sent.TransferSyntaxUID, "MODALITY")
    return b"II*\0".ljust(128, b"\x07") + frame[128:] + sent.data


def part(content: bytes, head: bytes = b"Content-Type: application/dicom\r\n") -> bytes:
    """A part with its delimiter before it."""
    return f"\r\n--{BOUNDARY}\r\n".encode() + head + b"\r\n" + content


def body_of(files: Iterable[bytes]) -> bytes:
    """A whole body."""
    return b"".join(map(part, files)) + CLOSING


def stored(answer: Any) -> list[str]:
    """The SOPInstanceUIDs that an answer says are stored."""
    items = answer.json().get("00081199", {}).get("Value", [])
    return [item["00081155"]["Value"][0] for item in items]


def failed(answer: Any) -> dict[str, int]:
    """The failure reasons by SOPInstanceUID; under an empty one those that name none."""
    told = answer.json()
    named = {
        item["00081155"]["Value"][0]: item["00081197"]["Value"][0]
        for item in told.get("00081198", {}).get("Value", [])
    }
    others = [item["00081197"]["Value"][0] for item in told.get("0008119A", {}).get("Value", [])]
    return named | ({"": others[-1]} if others else {})
