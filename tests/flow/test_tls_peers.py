"""Peers over TLS, each a real one: dcmtk in every syntax, Orthanc, pynetdicom; and what we tell a peer that listens so."""

import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pynetdicom import AE

from catalog.embedded_child import free_ports
from dicom_node.negotiation import VERIFICATION
from dicom_node.part10 import read_file_meta
from dicom_node.peers import Peer, write_snapshot
from dicom_node.spool import Spool, read_pack
from tests.certificates import Authority, Credentials
from tests.dicom_node.node_process import NodeProcess
from tests.dicom_node.raw_peer import wait_until
from tests.flow import orthanc
from tests.flow.dcmtk import dataset_digest, receiving
from tests.flow.running import make_instance
from tests.flow.test_interop import FILES, OPTIONS, prepared

pytestmark = pytest.mark.flow


@dataclass
class Secured:
    """A node that knows one device, by its certificate only."""

    node: NodeProcess
    authority: Authority
    device: Credentials
    port: int

    def kept(self) -> dict[str, tuple[str, str]]:
        """SOP Instance UID → digest of the data set and its syntax."""
        wait_until(lambda: not any((self.node.root / "spool/open").iterdir()))
        return {
            member.SOPInstanceUID: (member.sha256, member.TransferSyntaxUID)
            for pack in Spool(self.node.root / "spool").sealed()
            for member in read_pack(pack.path).members
        }


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    root = tmp_path_factory.mktemp("secured")
    authority = Authority(root / "ca")
    device, server, port = authority.issue("device"), authority.issue("server"), free_ports(1)[0]
    write_snapshot(root / "peers.json", [Peer("DEVICE", "H-A", certificates=frozenset({device.fingerprint}))])
    with NodeProcess(
        root,
        workers=1,
        tls_port=port,
        tls_certificate=server.certificate,
        tls_key=server.key,
        tls_authorities=authority.certificate,
    ) as node:
        yield Secured(node, authority, device, port)


@pytest.mark.parametrize("option", OPTIONS)
def test_storescu_over_tls_in_each_syntax_it_can_propose(
    secured: Secured, option: str, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    file = prepared(option, tmp_path, require_tool)
    sending = [require_tool("storescu"), "-R", option, "-aet", "DEVICE", "-aec", "HUREN"]
    tls = ["+tls", secured.device.key, secured.device.certificate, "+cf", secured.authority.certificate]
    environment = os.environ | {"TCP_NODELAY": "1"}
    preference = "+xb" if option == "-xb" else "+xa"
    with receiving(require_tool("storescp"), tmp_path / "inbox", preference) as (witness, sent):
        for port, how in ((witness, []), (secured.port, tls)):
            command = [*sending, *map(str, how), "127.0.0.1", str(port), str(file)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            assert done.returncode == 0, done.stderr
    ((uid, sha256),) = sent.items()
    assert secured.kept()[uid] == (sha256, OPTIONS[option])


def test_pynetdicom_over_tls_verifies_and_stores_on_several_contexts(secured: Secured) -> None:
    files = [FILES[name] for name in ("CT_small.dcm", "JPEG2000.dcm", "MR_small_bigendian.dcm")]
    scu = AE("DEVICE")
    for file in files:
        meta = read_file_meta(file.read_bytes())
        scu.add_requested_context(meta.SOPClassUID, meta.TransferSyntaxUID)
    scu.add_requested_context(VERIFICATION)
    context = ssl.create_default_context(cafile=str(secured.authority.certificate))
    context.load_cert_chain(secured.device.certificate, secured.device.key)
    association = scu.associate("127.0.0.1", secured.port, ae_title="HUREN", tls_args=(context, "127.0.0.1"))
    assert association.is_established
    assert association.send_c_echo().Status == 0
    assert [association.send_c_store(file).Status for file in files] == [0] * len(files)
    association.release()
    syntaxes = {syntax for _, syntax in secured.kept().values()}
    assert {read_file_meta(file.read_bytes()).TransferSyntaxUID for file in files} <= syntaxes


def test_orthanc_over_tls_sends_what_it_sends_a_witness(
    secured: Secured, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    dataset = make_instance(tmp_path / "1.dcm")
    with receiving(require_tool("storescp"), tmp_path / "inbox") as (witness, sent):
        peers: dict[str, Any] = {
            "huren": {"AET": "HUREN", "Host": "127.0.0.1", "Port": secured.port, "UseDicomTls": True},
            "dcmtk": ["ANY", "127.0.0.1", witness],
        }
        settings = {
            "DicomTlsCertificate": str(secured.device.certificate),
            "DicomTlsPrivateKey": str(secured.device.key),
            "DicomTlsTrustedCertificates": str(secured.authority.certificate),
        }
        with (
            orthanc.running(require_tool("Orthanc"), tmp_path, peers, "DEVICE", **settings) as url,
            httpx2.Client(trust_env=False, timeout=60) as client,
        ):
            stored = client.post(f"{url}/instances", content=(tmp_path / "1.dcm").read_bytes()).json()
            assert client.post(f"{url}/modalities/huren/echo", json={}).status_code == 200
            for name in peers:
                job = client.post(f"{url}/modalities/{name}/store", json=[stored["ID"]]).json()
                assert job["FailedInstancesCount"] == 0
    assert set(sent) == {str(dataset.SOPInstanceUID)}
    assert secured.kept()[dataset.SOPInstanceUID][0] == sent[str(dataset.SOPInstanceUID)]
    (received,) = (tmp_path / "inbox").iterdir()
    assert dataset_digest(received) == sent[str(dataset.SOPInstanceUID)]
