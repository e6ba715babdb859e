"""TLS with mutual authentication: who is let in, who is not, and whom a slow handshake delays."""

import gc
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage

from catalog.embedded_child import free_ports
from catalog.errors import InvalidInput
from dicom_node.peers import Peer
from dicom_node.settings import NodeSettings
from dicom_node.tls import open_context
from tests.certificates import Authority, Credentials
from tests.dicom_node.raw_peer import RawPeer, RunningNode, Snapshotless

TITLE = "STORESCU"


class SecuredNode(RunningNode):
    """A node with TLS on a second port, and credentials to try it with."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "ca")
        self.device = self.authority.issue("device")
        self.other = self.authority.issue("other")
        self.expired = self.authority.issue("expired", days=-1)
        self.revoked = self.authority.issue("revoked")
        self.foreign = Authority(folder / "foreign", "stranger").issue("foreign")
        server = self.authority.issue("server")
        registered = {c.fingerprint for c in (self.device, self.expired, self.revoked, self.foreign)}
        self.tls_port = free_ports(1)[0]
        super().__init__(
            folder,
            Snapshotless(
                Peer(TITLE, "H-A", certificates=frozenset(registered)),
                Peer("OTHER", "H-B", certificates=frozenset({self.other.fingerprint})),
                Peer("PLAIN", "H-C"),
            ),
            association_seconds=2.0,
            tls_port=self.tls_port,
            tls_certificate=server.certificate,
            tls_key=server.key,
            tls_authorities=self.authority.certificate,
            tls_revocations=self.authority.revoke(self.revoked),
        )

    def context(self, credentials: Credentials | None) -> ssl.SSLContext:
        """Return a client's context."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        if credentials is not None:
            context.load_cert_chain(credentials.certificate, credentials.key)
        return context

    def stores(self, credentials: Credentials | None, title: str = TITLE, *, called: str = "HUREN") -> bool:
        """Say whether pynetdicom's SCU can store over TLS."""
        entity = AE(ae_title=title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 5
        entity.add_requested_context(CTImageStorage)
        association = entity.associate(
            "127.0.0.1", self.tls_port, ae_title=called, tls_args=(self.context(credentials), "127.0.0.1")
        )
        if not association.is_established:
            del association
            gc.collect()
            return False
        status = association.send_c_store(dcmread(str(get_testdata_file("CT_small.dcm"))))
        association.release()
        return bool(status and status.Status == 0)


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[SecuredNode]:
    """A node that takes TLS too."""
    with SecuredNode(tmp_path) as running:
        yield running


def packs(node: RunningNode) -> int:
    return len(list((node.root / "spool").rglob("*.tar")))


def test_a_registered_device_with_its_certificate_can_store(secured: SecuredNode) -> None:
    assert secured.stores(secured.device)
    assert packs(secured) == 1


# pynetdicom leaves the client's socket of a failed handshake to the garbage collector.
leaves_its_socket = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@leaves_its_socket
@pytest.mark.parametrize("who", ["other", "expired", "revoked", "foreign", "nobody"])
def test_who_does_not_prove_to_be_the_device_stores_nothing(secured: SecuredNode, who: str) -> None:
    assert not secured.stores(getattr(secured, who, None))
    assert packs(secured) == 0


@leaves_its_socket
@pytest.mark.parametrize(
    ("title", "called"), [("OTHER", "HUREN"), ("NOBODY", "HUREN"), (TITLE, "ELSE"), ("PLAIN", "HUREN")]
)
def test_a_good_certificate_under_another_title_stores_nothing(
    secured: SecuredNode, title: str, called: str
) -> None:
    assert not secured.stores(secured.device, title, called=called)
    assert packs(secured) == 0


def test_a_device_with_a_certificate_is_not_believed_on_a_plain_connection(
    secured: SecuredNode, require_tool: Callable[[str], str]
) -> None:
    for title, stored in ((TITLE, False), ("PLAIN", True)):
        command = [require_tool("storescu"), "-aet", title, "-aec", "HUREN", "127.0.0.1", str(secured.port)]
        done = subprocess.run(
            [*command, str(get_testdata_file("CT_small.dcm"))], capture_output=True, check=False
        )
        assert (done.returncode == 0) is stored
    assert packs(secured) == 1


def test_dcmtk_stores_over_tls(secured: SecuredNode, require_tool: Callable[[str], str]) -> None:
    command = [
        require_tool("storescu"),
        *("+tls", str(secured.device.key), str(secured.device.certificate)),
        *("+cf", str(secured.authority.certificate)),
        *("-aet", TITLE, "-aec", "HUREN", "127.0.0.1", str(secured.tls_port)),
        str(get_testdata_file("CT_small.dcm")),
    ]
    environment = os.environ | {"TCP_NODELAY": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert packs(secured) == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(secured: SecuredNode, version: ssl.TLSVersion) -> None:
    context = secured.context(secured.device)
    context.minimum_version = context.maximum_version = version
    plain = socket.create_connection(("127.0.0.1", secured.tls_port), timeout=5)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as spoken:
        assert spoken.version() == {772: "TLSv1.3", 771: "TLSv1.2"}[version]


def test_nothing_older_than_tls_1_2_and_no_cipher_without_forward_secrecy_is_offered(
    secured: SecuredNode,
) -> None:
    context = open_context(secured.settings)
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    for cipher in context.get_ciphers():
        assert cipher["aead"], cipher["name"]
        assert "ECDHE" in cipher["name"] or cipher["protocol"] == "TLSv1.3", cipher["name"]


@pytest.mark.alone
def test_silent_and_dripping_handshakes_delay_nobody_and_are_cut(secured: SecuredNode) -> None:
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(socket.create_connection(("127.0.0.1", secured.tls_port))) for _ in range(40)
        ]
        for sock in crowd[::2]:
            sock.sendall(b"\x16")
        began = time.monotonic()
        assert secured.stores(secured.device)
        assert time.monotonic() - began < 1.5
        for sock in crowd:
            sock.settimeout(8)
            try:
                while sock.recv(100):
                    continue
            except ConnectionResetError:
                continue


def test_plain_dicom_sent_to_the_tls_port_gets_no_association(secured: SecuredNode) -> None:
    with RawPeer(secured.tls_port) as peer:
        try:
            answer = peer.associate()
        except OSError:
            answer = b""
        assert answer[:1] != b"\x02"
    assert packs(secured) == 0


def test_settings_that_do_not_fit_are_refused_before_anything_listens(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    good = {"tls_certificate": one.certificate, "tls_key": one.key, "tls_authorities": authority.certificate}
    assert open_context(NodeSettings(**good)) is not None
    assert open_context(NodeSettings()) is None
    for wrong in ({"tls_key": other.key}, {"tls_key": None}, {"tls_authorities": tmp_path / "none.pem"}):
        with pytest.raises(InvalidInput):
            open_context(NodeSettings(**(good | wrong)))
