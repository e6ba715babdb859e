"""A multi-frame object larger than memory should be: made while it is sent, its digest known on both sides."""

import hashlib
from dataclasses import dataclass

from dicom_node.command import encode_store_rq
from dicom_node.pdu import HEADER, PDV_HEADER, RELEASE_REQUEST, encode_p_data
from tests.dicom_node.raw_peer import CT, RawPeer

_BLOCK = bytes(range(256)) * 512  # 128 KiB


@dataclass(frozen=True)
class Sent:
    """What was sent and acknowledged."""

    SOPInstanceUID: str
    size_bytes: int
    sha256: str


def send_large(
    port: int, SOPInstanceUID: str, size_bytes: int, source: str = "127.0.0.1", title: bytes = b"RAW"
) -> Sent:
    """Send an object of `size_bytes` (whole blocks of 128 KiB), each block another, on an association of its own."""
    digest = hashlib.sha256()
    with RawPeer(port, source) as peer:
        peer.sock.settimeout(60)
        assert peer.associate(calling=title)[:1] == b"\x02"
        peer.send(encode_p_data(1, 3, encode_store_rq(1, CT, SOPInstanceUID)))
        count = size_bytes // len(_BLOCK)
        head = HEADER.pack(4, len(_BLOCK) + 6) + PDV_HEADER.pack(len(_BLOCK) + 2, 1, 0)
        last = HEADER.pack(4, len(_BLOCK) + 6) + PDV_HEADER.pack(len(_BLOCK) + 2, 1, 2)
        for number in range(1, count + 1):
            block = number.to_bytes(8, "little") + _BLOCK[8:]
            digest.update(block)
            peer.send((head if number < count else last) + block)
        assert peer.response().status == 0
        peer.send(RELEASE_REQUEST)
        assert peer.read_pdu()[:1] == b"\x06"
    return Sent(SOPInstanceUID, count * len(_BLOCK), digest.hexdigest())
