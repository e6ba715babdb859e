"""A peer that says exactly what a test wants, byte by byte, and a node to say it to."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dicom_node.acceptor import serve
from dicom_node.command import Command, decode_command, encode_store_rq
from dicom_node.counters import Counters
from dicom_node.pack import Member, PackIndex
from dicom_node.pdu import (
    HEADER,
    AssociateRequest,
    ProposedContext,
    encode_associate_rq,
    encode_p_data,
)
from dicom_node.peers import Peer, PeerDirectory
from dicom_node.query_asked import Archive
from dicom_node.settings import NodeSettings
from dicom_node.spool import Spool, read_pack

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"


class Snapshotless(PeerDirectory):
    """A directory that knows a few peers and no file."""

    def __init__(self, *peers: Peer) -> None:
        known = {peer.ae_title: peer for peer in peers}
        super().__init__(None, known.get)


class RunningNode:
    """A node in this process, on a free port; a context manager."""

    def __init__(
        self,
        root: Path,
        directory: PeerDirectory | None = None,
        *,
        database_url: str = "",
        archive: Callable[[Counters], Archive] | None = None,
        **settings: Any,
    ) -> None:
        self.root = root
        self._database_url = database_url
        self._archive = archive
        self.settings = NodeSettings(**{"port": 0, "low_water_bytes": 0, "artim_seconds": 1.0, **settings})
        self.directory = directory or Snapshotless(
            Peer("RAW", "H-A"), Peer("STORESCU", "H-A"), Peer("ECHOSCU", "H-A")
        )
        self.spool = Spool(root / "spool")
        self.port = 0
        self.stop = threading.Event()
        self._ready = threading.Event()
        self._peers: list[RawPeer] = []
        self.thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "RunningNode":
        self.thread.start()
        assert self._ready.wait(10), "the node does not come up"
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self._peers:
            peer.sock.close()
        self.stop.set()
        self.thread.join(15)
        assert not self.thread.is_alive(), "the node does not stop"

    def connect(self) -> "RawPeer":
        """Connect; the connection is closed with the node at the latest."""
        self._peers.append(RawPeer(self.port))
        return self._peers[-1]

    def packs(self) -> list[PackIndex]:
        """All sealed packs, once no association has one open any more."""
        wait_until(lambda: not any((self.root / "spool/open").iterdir()))
        return [read_pack(pack.path) for pack in self.spool.sealed()]

    def members(self) -> list[Member]:
        return [member for index in self.packs() for member in index.members]

    def _serve(self) -> None:
        serve(
            self.settings,
            self.directory,
            self.root / "spool",
            self.root / "run",
            self.stop,
            on_ready=self._set_port,
            database_url=self._database_url,
            archive=self._archive,
        )

    def _set_port(self, port: int) -> None:
        self.port = port
        self._ready.set()


class RawPeer:
    """A TCP connection to the node; every read has a time limit of its own."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "RawPeer":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def associate(self, *contexts: tuple[int, str, str], calling: bytes = b"RAW", **fields: Any) -> bytes:
        """Ask for an association; gives the whole answer PDU."""
        self.send(request_pdu(*contexts, calling=calling, **fields))
        return self.read_pdu()

    def read_pdu(self) -> bytes:
        """Read one PDU; empty at the end of the stream."""
        head = self._read(HEADER.size)
        return head + self._read(HEADER.unpack(head)[1]) if head else b""

    def store(
        self, data: bytes, uid: str = "1.2.3", *, context_id: int = 1, SOPClassUID: str = CT
    ) -> Command:
        """Send a C-STORE-RQ and its data set; gives the response."""
        self.send(store_pdus(data, uid, context_id=context_id, SOPClassUID=SOPClassUID))
        return self.response()

    def response(self) -> Command:
        pdu = self.read_pdu()
        assert pdu[:1] == b"\x04", f"no P-DATA-TF but {pdu[:10]!r}"
        return decode_command(pdu[12:])

    def is_closed_by_node(self) -> bool:
        """Has the node closed the connection (after whatever it still said)?"""
        try:
            while self.sock.recv(65_536):
                pass
        except ConnectionError:
            return True
        return True

    def _read(self, size_bytes: int) -> bytes:
        data = b""
        while len(data) < size_bytes:
            piece = self.sock.recv(size_bytes - len(data))
            if not piece:
                assert not data, "cut off inside a PDU"
                return b""
            data += piece
        return data


def request_pdu(
    *contexts: tuple[int, str, str], calling: bytes = b"RAW", called: bytes = b"HUREN", **fields: Any
) -> bytes:
    """An A-ASSOCIATE-RQ; each context is identifier, SOP class, transfer syntax."""
    proposed = contexts or ((1, CT, EXPLICIT),)
    request = AssociateRequest(called.ljust(16), calling.ljust(16), max_length=16_384, **fields)
    request.contexts = [ProposedContext(number, uid, (syntax,)) for number, uid, syntax in proposed]
    return encode_associate_rq(request)


def store_pdus(data: bytes, uid: str = "1.2.3", *, context_id: int = 1, SOPClassUID: str = CT) -> bytes:
    """The PDUs of a C-STORE request: a command and a data set in fragments of 16 KiB."""
    pdus = [encode_p_data(context_id, 3, encode_store_rq(7, SOPClassUID, uid))]
    pieces = [data[at : at + 16_000] for at in range(0, len(data), 16_000)] or [b""]
    for number, piece in enumerate(pieces, 1):
        pdus.append(encode_p_data(context_id, 2 if number == len(pieces) else 0, piece))
    return b"".join(pdus)


def command_pdu(elements: list[tuple[int, bytes]], context_id: int = 1) -> bytes:
    """A P-DATA-TF with a command set of just these elements of group 0000."""
    data = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in elements)
    return encode_p_data(context_id, 3, data)


def wait_until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait for a condition, and fail when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come"
        time.sleep(0.005)
