"""Right title and wrong certificate, right certificate and wrong title, and all the rest: every cell says who gets in (N10)."""

import itertools
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.embedded_child import free_ports
from dicom_node.peers import Peer
from tests.certificates import Authority, Credentials
from tests.dicom_node.raw_peer import RawPeer, RunningNode, Snapshotless, request_pdu

WHO = ("device", "other", "expired", "revoked", "foreign", "self-signed", "nobody", "plain text")
TITLES = ("DEVICE", "OTHER", "PLAIN", "NOBODY")
CALLED = ("HUREN", "ELSE")
# Over TLS: the certificate registered for that title, and our own title.
WELCOME = {("device", "DEVICE", "HUREN"), ("other", "OTHER", "HUREN")}


class MatrixNode(RunningNode):
    """A node with TLS that counts refusals and never locks out."""

    def __init__(self, root: Path) -> None:
        authority, stranger = Authority(root / "ca"), Authority(root / "foreign", "stranger")
        self.authority = authority.certificate
        self.credentials: dict[str, Credentials] = {
            "device": authority.issue("device"),
            "other": authority.issue("other"),
            "expired": authority.issue("expired", days=-1),
            "revoked": authority.issue("revoked"),
            "foreign": stranger.issue("foreign"),
            "self-signed": stranger.itself,
        }
        server = authority.issue("server")
        marks = {who: one.fingerprint for who, one in self.credentials.items()}
        # The registry errs on the friendly side: only the certificate itself keeps these out.
        device = frozenset(marks[who] for who in marks if who != "other")
        self.tls_port = free_ports(1)[0]
        super().__init__(
            root,
            Snapshotless(
                Peer("DEVICE", "H-A", certificates=device),
                Peer("OTHER", "H-B", certificates=frozenset({marks["other"]})),
                Peer("PLAIN", "H-C"),
            ),
            lockout_tries=0,
            artim_seconds=0.2,
            tls_port=self.tls_port,
            tls_certificate=server.certificate,
            tls_key=server.key,
            tls_authorities=authority.certificate,
            tls_revocations=authority.revoke(self.credentials["revoked"]),
        )

    def is_let_in(self, who: str, title: str, called: str) -> bool:
        """Does this one get an association, and store?"""
        try:
            with RawPeer(self.tls_port) as peer:
                if who != "plain text":
                    peer.sock = self._secured(peer.sock, self.credentials.get(who))
                peer.send(request_pdu(calling=title.encode(), called=called.encode()))
                return peer.read_pdu()[:1] == b"\x02" and peer.store(b"data").status == 0
        except (OSError, AssertionError):
            return False

    def _secured(self, sock: socket.socket, credentials: Credentials | None) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.authority))
        if credentials is not None:
            context.load_cert_chain(credentials.certificate, credentials.key)
        try:
            return context.wrap_socket(sock, server_hostname="127.0.0.1")
        except OSError:
            sock.close()
            raise


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MatrixNode]:
    with MatrixNode(tmp_path_factory.mktemp("matrix")) as node:
        yield node


def test_in_every_cell_over_tls_only_the_registered_pair_gets_in(matrix: MatrixNode) -> None:
    cells = list(itertools.product(WHO, TITLES, CALLED))
    assert len(cells) == 64
    assert {cell for cell in cells if matrix.is_let_in(*cell)} == WELCOME
    assert {index.hospital for index in matrix.packs()} == {"H-A", "H-B"}
    assert len(matrix.members()) == len(WELCOME)


@pytest.mark.parametrize("title", [*TITLES, ""])
@pytest.mark.parametrize("called", [*CALLED, ""])
def test_on_the_plain_port_only_a_title_without_certificates_gets_in(
    matrix: MatrixNode, title: str, called: str
) -> None:
    with RawPeer(matrix.port) as peer:
        answer = peer.associate(calling=title.encode(), called=called.encode())
    assert (answer[:1] == b"\x02") is ((title, called) == ("PLAIN", "HUREN"))


def test_refusals_say_in_the_counters_which_they_were(tmp_path: Path) -> None:
    with MatrixNode(tmp_path) as node:
        for who in ("foreign", "nobody", "expired", "revoked", "self-signed"):
            assert not node.is_let_in(who, "DEVICE", "HUREN")
        assert not node.is_let_in("device", "OTHER", "HUREN")
        assert not node.is_let_in("plain text", "PLAIN", "HUREN")
        with RawPeer(node.tls_port):
            pass  # a health check
    counted = (tmp_path / "run" / "metrics" / f"{os.getpid()}.json").read_text()
    for label in (
        '"refused:tls_certificate": 5',
        '"rejected:calling_certificate_unknown": 1',
        '"refused:tls_handshake": 2',
    ):
        assert label in counted
