"""The audit as DICOM messages over TLS syslog: to a real listener, resumed, each record at least once and in order."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import audit
from catalog.audit_chain import Entry
from catalog.audit_reading import Told
from catalog.audit_seal import open_signer, seal
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import InvalidInput, Unavailable
from exchange import audit_syslog
from exchange.audit_message import audit_message
from exchange.audit_syslog import Receiver, forward, open_receiver
from tests.catalog.conftest import city
from tests.certificates import Authority, Credentials
from tests.city import City

__all__ = ["city"]
ORDER = [
    "EventIdentification",
    "ActiveParticipant",
    "AuditSourceIdentification",
    "ParticipantObjectIdentification",
]
CODED = ("EventID", "EventTypeCode", "RoleIDCode", "ParticipantObjectIDTypeCode")


@dataclass
class Listener:
    """A syslog receiver over TLS; `break_after` bytes it resets the connection."""

    port: int
    received: list[bytes] = field(default_factory=list)
    connections: int = 0
    break_after: int | None = None

    def take(self, secured: ssl.SSLSocket) -> None:
        self.connections += 1
        content = b""
        while piece := secured.recv(65536):
            content += piece
            if self.break_after is not None and len(content) > self.break_after:
                reset = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # SO_LINGER of no time: RST
                secured.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                secured.close()
                return
        self.received += frames(content)
        secured.unwrap()


def frames(content: bytes) -> list[bytes]:
    """Cut octet-counted frames (RFC 5425 §4.3.1)."""
    found = []
    while content:
        length, _, rest = content.partition(b" ")
        assert length.isdigit()
        assert not length.startswith(b"0")
        found.append(rest[: int(length)])
        assert len(found[-1]) == int(length)
        content = rest[int(length) :]
    return found


@contextmanager
def listening(credentials: Credentials, authorities: Path) -> Iterator[Listener]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(credentials.certificate, credentials.key)
    context.load_verify_locations(authorities)
    context.verify_mode = ssl.CERT_OPTIONAL
    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = Listener(server.getsockname()[1])

        def serve() -> None:
            while True:
                try:
                    plain, _ = server.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(plain, server_side=True) as secured:
                        listener.take(secured)
                except OSError:
                    plain.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def listener(authority: Authority) -> Iterator[Listener]:
    with listening(authority.issue("siem"), authority.certificate) as listener:
        yield listener


@pytest.fixture
def receiver(listener: Listener, authority: Authority) -> Receiver:
    return open_receiver(f"127.0.0.1:{listener.port}", authority.certificate, None, None)


def write(city: City, keys: Path, count: int) -> None:
    for number in range(count):
        with transaction(city.catalogue.engine) as session:
            audit.record(session, Caller("李医生", "doctor", "A"), "check.read", check_id=f"c{number}")
    list(seal(city.catalogue.engine, open_signer(keys / "audit.pem"), city.catalogue.clock))


def message(received: bytes) -> Element:
    """Read a syslog message (RFC 5424 §6) and return the XML in it."""
    header, _, xml = received.partition(b"\xef\xbb\xbf")
    priority, moment, host, app, process, kind, structured, rest = header.decode("ascii").split(" ")
    assert priority in ("<85>1", "<84>1")
    assert moment.endswith("Z")
    assert host
    assert (app, kind, structured, rest) == ("huren", "DICOM+RFC3881", "-", "")
    assert process.isdigit()
    return fromstring(xml)  # noqa: S314 - what we wrote ourselves


def checked(root: Element) -> Element:
    """Fail where what PS3.15 A.5.1 requires is missing, or elements stand in another order."""
    assert root.tag == "AuditMessage"
    places = [ORDER.index(child.tag) for child in root]
    assert places == sorted(places)
    assert places.count(0) == 1
    assert places.count(1) >= 1
    assert places.count(2) == 1
    event = root[0]
    assert {"EventActionCode", "EventDateTime", "EventOutcomeIndicator"} <= set(event.attrib)
    assert event.attrib["EventActionCode"] in "CRUDE"
    assert event.attrib["EventOutcomeIndicator"] in ("0", "4", "8", "12")
    assert event[0].tag == "EventID"
    for each in root.iter():
        if each.tag in CODED:
            assert {"csd-code", "codeSystemName", "originalText"} <= set(each.attrib)
    for user in root.iter("ActiveParticipant"):
        assert user.attrib["UserID"]
        assert user.attrib["UserIsRequestor"] in ("true", "false")
    assert root.find("AuditSourceIdentification").attrib["AuditSourceID"]  # type: ignore[union-attr]
    for found in root.iter("ParticipantObjectIdentification"):
        assert "ParticipantObjectID" in found.attrib
        assert found[0].tag == "ParticipantObjectIDTypeCode"
        assert found[1].tag in ("ParticipantObjectName", "ParticipantObjectQuery")
    return root


def numbers(listener: Listener) -> list[str]:
    roots = [checked(message(each)) for each in listener.received]
    return [list(root)[-1].attrib["ParticipantObjectID"] for root in roots]


def test_every_sealed_record_arrives_in_order_and_the_next_time_only_what_is_new(
    city: City, tmp_path: Path, listener: Listener, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_syslog, "BATCH", 3)
    write(city, tmp_path, 7)
    assert forward(city.catalogue.engine, receiver, "huren.test") == 7
    assert numbers(listener) == [f"c{n}" for n in range(7)]
    assert listener.connections == 3
    assert forward(city.catalogue.engine, receiver, "huren.test") == 0
    write(city, tmp_path, 1)
    assert forward(city.catalogue.engine, receiver, "huren.test") == 1
    assert numbers(listener)[7:] == ["c0"]
    user = message(listener.received[0]).find("ActiveParticipant")
    assert user is not None
    assert user.attrib["UserID"] == "李医生"


def test_what_a_receiver_broke_off_in_is_sent_again(
    city: City, tmp_path: Path, listener: Listener, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_syslog, "BATCH", 200)
    write(city, tmp_path, 400)
    listener.break_after = 50_000
    with pytest.raises(Unavailable):
        forward(city.catalogue.engine, receiver, "huren.test")
    listener.break_after = None
    assert forward(city.catalogue.engine, receiver, "huren.test") == 400
    assert numbers(listener) == [f"c{n}" for n in range(400)]


def test_a_receiver_that_proves_to_be_another_gets_nothing(
    city: City, tmp_path: Path, authority: Authority
) -> None:
    write(city, tmp_path, 1)
    other = Authority(tmp_path / "other", "other")
    with listening(other.issue("siem"), other.certificate) as listener:
        receiver = open_receiver(f"127.0.0.1:{listener.port}", authority.certificate, None, None)
        with pytest.raises(Unavailable):
            forward(city.catalogue.engine, receiver, "huren.test")
        assert (listener.received, listener.connections) == ([], 0)


def test_nobody_there_is_said_so_and_wrong_settings_too(
    city: City, tmp_path: Path, authority: Authority
) -> None:
    write(city, tmp_path, 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = open_receiver(f"127.0.0.1:{taken.getsockname()[1]}", authority.certificate, None, None)
        with pytest.raises(Unavailable):
            forward(city.catalogue.engine, nobody, "huren.test")
    for address in ("nowhere", "x:0", "x:70000", ":1", "x:１"):
        with pytest.raises(InvalidInput):
            open_receiver(address, authority.certificate, None, None)
    with pytest.raises(InvalidInput):
        open_receiver("x:1", Path(__file__), None, None)


ACTIONS = [
    "check",
    "check.read",
    "decision.undo",
    "qc.add",
    "association_refused",
    "keys.rotate",
    "audit.search",
]


@given(
    st.sampled_from(ACTIONS),
    st.text(min_size=1),
    st.dictionaries(st.text(), st.text()),
    st.none() | st.just(3),
)
def test_whatever_a_record_says_its_message_has_what_the_standard_requires(
    action: str, caller: str, detail: dict[str, str], person: int | None
) -> None:
    told = Told(
        Entry(7, "2026-06-30T04:00:00.1Z", action, caller, "doctor", 1, person, json.dumps(detail)), "A"
    )
    root = checked(fromstring(audit_message(told, "huren.test")))  # noqa: S314
    patients = [each for each in root.iter() if each.attrib.get("ParticipantObjectTypeCode") == "1"]
    assert [each.attrib["ParticipantObjectID"] for each in patients] == (["3"] if person else [])
