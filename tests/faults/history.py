"""What senders keep of what they sent: the other half of every statement about loss."""

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from dicom_node.pack import digest_holds, read_pack
from dicom_node.spool import Spool
from tests.dicom_node.raw_peer import RawPeer

BROKEN = (OSError, AssertionError, IndexError)  # what a RawPeer meets when the node dies in the middle


@dataclass
class History:
    """SOPInstanceUID → SHA-256 of what was sent, and of what was answered with Success; thread-safe."""

    sent: dict[str, str] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)
    refused: Counter[int] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def store(self, peer: RawPeer, uid: str, data: bytes) -> int:
        """Send an instance and give its status. Raises one of `BROKEN` where no answer comes."""
        self.send(uid, data)
        status = peer.store(data, uid).status
        self.answer(uid, status)
        return status

    def send(self, uid: str, data: bytes) -> None:
        """Note an instance before its first byte goes out."""
        with self._lock:
            self.sent[uid] = hashlib.sha256(data).hexdigest()

    def answer(self, uid: str, status: int) -> None:
        """Note the status of an instance sent before."""
        with self._lock:
            if status == 0:
                self.acknowledged[uid] = self.sent[uid]
            else:
                self.refused[status] += 1

    @property
    def unknown(self) -> dict[str, str]:
        """What was sent and not acknowledged: it may be kept or not, but not altered."""
        with self._lock:
            return {uid: digest for uid, digest in self.sent.items() if uid not in self.acknowledged}

    def check(self, kept: Mapping[str, list[str]]) -> None:
        """Hold it against what is kept, SOPInstanceUID → the SHA-256 of each copy: nothing lost, altered, invented."""
        lost = {uid for uid in self.acknowledged if uid not in kept}
        altered = {uid for uid, digests in kept.items() if set(digests) != {self.sent.get(uid)}}
        repeated = {uid for uid, digests in kept.items() if len(digests) > 1}
        assert (lost, altered, repeated) == (set(), set(), set()), f"{len(lost)} lost, {len(altered)} altered"


def kept_in(spool: Spool) -> dict[str, list[str]]:
    """SOPInstanceUID → SHA-256 of each copy in the finished packs of a spool, taken from the bytes."""
    found: dict[str, list[str]] = {}
    for pack in [*spool.sealed(), *spool.shipped()]:
        with pack.path.open("rb") as file:
            for member in read_pack(pack.path).members:
                assert digest_holds(file.fileno(), member)
                found.setdefault(member.SOPInstanceUID, []).append(member.sha256)
    return found
