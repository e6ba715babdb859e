"""Identifiers as nobody should send them, stores that are down, peers that break off: each query has an answer (N9)."""

import gc
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select

from catalog import sharing
from catalog.db import open_engine, transaction
from catalog.embedded_child import free_ports
from catalog.harvest import Harvest
from catalog.identity import Demographics, Document
from catalog.objects import ObjectStore
from catalog.settings import S3Access
from catalog.tables import Pack, Study
from dicom_node import retrieval
from dicom_node.archive_desk import ArchiveDesk
from dicom_node.command import Command, decode_command
from dicom_node.pdu import encode_dataset, encode_p_data
from exchange.settings import ExchangeSettings
from tests.city import City, id_number, open_catalogue
from tests.dicom_node.raw_peer import (
    CT,
    EXPLICIT,
    IMPLICIT,
    RawPeer,
    RunningNode,
    command_pdu,
    store_pdus,
    wait_until,
)
from tests.flow.query_site import PACS, SYSTEM, QuerySite, query_site
from tests.packs import element, encode

pytestmark = pytest.mark.flow
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
FIELDS = {FIND: 0x0020, MOVE: 0x0021, GET: 0x0010}
CONTEXTS = {FIND: 1, MOVE: 3, GET: 5}
UID = "2.25.7001"


@pytest.fixture(scope="module")
def site(
    database_url: str, s3_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[QuerySite]:
    """A node, and a chest CT of person 2 about whom B has asked."""
    made: list[City] = []
    folder = tmp_path_factory.mktemp("queries")
    catalogue = open_catalogue(database_url, folder, lambda: made[0].now)
    made.append(City(catalogue))
    with query_site(catalogue, database_url, s3_store, folder, made[0], grace_seconds=3.0) as found:
        found.images.chest("A", 2, UID)
        found.open()
        yield found
    catalogue.engine.dispose()


@pytest.fixture
def peer(site: QuerySite) -> Iterator[RawPeer]:
    """An association of B's PACS with every kind of query, and CT storage."""
    with site.node.connect() as peer:
        associate(peer)
        yield peer


def associate(peer: RawPeer) -> None:
    contexts = [(number, uid, EXPLICIT) for uid, number in CONTEXTS.items()]
    roles = {CT: (False, True)}
    answer = peer.associate(
        *contexts, (7, CT, EXPLICIT), (9, FIND, IMPLICIT), calling=PACS.encode(), roles=roles
    )
    assert answer[:1] == b"\x02"


def request(uid: str, dataset: bytes, *, context_id: int = 0, message_id: int = 7) -> bytes:
    number = context_id or CONTEXTS[uid]
    elements = [
        (0x0002, uid.encode() + b"\0" * (len(uid) % 2)),
        (0x0100, struct.pack("<H", FIELDS[uid])),
        (0x0110, struct.pack("<H", message_id)),
        (0x0600, PACS.encode()),
        (0x0700, b"\0\0"),
        (0x0800, b"\1\0"),
    ]
    return command_pdu(elements, number) + encode_dataset(number, dataset, 16_384)


def last(peer: RawPeer) -> Command:
    """Return the last response, whatever comes before it; images are taken."""
    coming = 0
    while True:
        pdu = peer.read_pdu()
        assert pdu[:1] == b"\x04", f"no P-DATA-TF but {pdu[:10]!r}"
        if pdu[11] & 1:
            command = decode_command(pdu[12:])
            if command.field & 0x8000 and command.status not in (0xFF00, 0xFF01):
                return command
            coming = command.message_id
        elif pdu[10:12] == b"\x07\x02":
            peer.send(stored(coming))


def stored(message_id: int) -> bytes:
    """The response to a C-STORE."""
    elements = [(0x0100, b"\x01\x80"), (0x0120, struct.pack("<H", message_id)), (0x0800, b"\1\1")]
    return command_pdu([*elements, (0x0900, b"\0\0")], 7)


def good(**more: Any) -> bytes:
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID, asked.PatientName = "STUDY", UID, ""
    for keyword, value in more.items():
        setattr(asked, keyword, value)
    return encode(asked)


def nested(depth: int) -> bytes:
    """A sequence in a sequence in a sequence, of undefined lengths."""
    begin = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return begin * depth


HOSTILE = {
    "nothing": b"\0\0",
    "cut in a header": good()[:5] + b"\0",
    "cut in a value": good()[:-2],
    "a length beyond the end": element(0x00080052, b"CS", b"STUDY ")[:-8] + b"\xff\xff",
    "an undefined length": b"\x08\x00\x52\x00UN\0\0\xff\xff\xff\xff" + b"STUDY ",
    "very deep": nested(1_000),
    "deep enough to end a parser": nested(3_000) + good(),
    "too long": element(0x00100010, b"UT", b"A" * 70_000),
    "very many keys": b"".join(element(0x00110000 + number, b"LO", b"") for number in range(0x1000, 0x2000)),
    "one key again and again": element(0x0020000D, b"UI", b"1.2.3\0") * 500,
    "pixels": element(0x7FE00010, b"OW", bytes(1000)),
    "a NUL in a number": good(PatientID="1\x002"),
    "letters for a number": good(InstanceNumber=7, PatientID="9" * 64),
    "no character set there is": element(0x00080005, b"CS", b"\\\\\x1b$)A\xff\xfe") + good(),
    "broken characters": element(0x00080005, b"CS", b"GB18030 ")
    + element(0x00100010, b"PN", b"\x81\xff\xfe\x81"),
    "a dictionary of stars": good(PatientName="*a" * 2_000),
}


@pytest.mark.parametrize("uid", FIELDS, ids=["find", "move", "get"])
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_identifier_gets_a_status_and_the_next_query_its_answer(
    peer: RawPeer, what: str, uid: str
) -> None:
    peer.send(request(uid, HOSTILE[what]))
    assert last(peer).status in (0x0000, 0xA900, 0xC000, 0xA801)
    peer.send(request(FIND, good()))
    assert last(peer).status == 0x0000


def test_identifiers_of_chance_never_end_a_node(site: QuerySite, peer: RawPeer) -> None:
    chance = random.Random(20260630)
    base = good(StudyDate="20260601-", SpecificCharacterSet="GB18030", PatientID="1")
    for _ in range(400):
        damaged = bytearray(base)
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        damaged = damaged[: chance.randrange(2, len(damaged) + 1) & ~1]
        context_id = chance.choice((1, 9))
        peer.send(request(FIND, bytes(damaged), context_id=context_id))
        assert last(peer).status in (0x0000, 0xA900, 0xC000)
    assert len(site.find("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={UID}")) == 1


@pytest.mark.parametrize(
    "more",
    [
        store_pdus(b"data", context_id=7),
        encode_p_data(1, 2, b"data"),
        request(FIND, good()),
        b"\x05\0\0\0\0\4\0\0\0\0",
        b"\x09\0\0\0\0\4\0\0\0\0",
        b"\x04\0\0\1\0\0" + bytes(65_536),
        encode_p_data(1, 3, b"\x01\x00"),
    ],
    ids=["a store", "a data set", "another query", "a release", "nonsense", "a long one", "half a command"],
)
def test_what_is_said_in_the_middle_of_a_retrieval_ends_that_association_alone(
    site: QuerySite, more: bytes
) -> None:
    with site.node.connect() as peer:
        associate(peer)
        peer.send(request(GET, good()))  # images come, and are not answered
        while peer.read_pdu()[11:12] != b"\x02":
            pass
        peer.send(more)
        assert peer.is_closed_by_node()
    assert len(site.find("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={UID}")) == 1


def cancel(message_id: int) -> bytes:
    """A C-CANCEL, which has no number of its own."""
    return command_pdu([(0x0100, b"\xff\x0f"), (0x0120, struct.pack("<H", message_id)), (0x0800, b"\1\1")])


@pytest.mark.parametrize("uid", [FIND, GET], ids=["find", "get"])
def test_a_cancel_ends_what_it_names_and_nothing_else(peer: RawPeer, uid: str) -> None:
    peer.send(request(uid, good()) + cancel(7))
    assert last(peer).status == 0xFE00
    peer.send(request(uid, good()) + cancel(8))
    assert last(peer).status == 0x0000
    peer.send(cancel(7))  # it has been answered
    peer.send(request(FIND, good()))
    assert last(peer).status == 0x0000


def test_nobody_stores_where_he_said_that_he_only_takes(site: QuerySite, peer: RawPeer) -> None:
    peer.send(store_pdus(b"data", "1.2.3", context_id=7))
    assert last(peer).status == 0x0211


def test_a_peer_that_reads_nothing_is_cut_off(site: QuerySite) -> None:
    site.images.chest("A", 2, "2.25.7200", slices=4, pixels=bytes(4 << 20), Rows=1448, Columns=1448)
    with site.node.connect() as peer:
        associate(peer)
        peer.send(request(GET, good(StudyInstanceUID="2.25.7200")))
        ended = site.counted[0].snapshot()["associations"].get("aborted:too_slow", 0)
        assert len(site.find("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={UID}")) == 1
        wait_until(lambda: site.counted[0].snapshot()["associations"].get("aborted:too_slow", 0) > ended)


def test_a_large_object_is_retrieved_in_flat_memory(site: QuerySite) -> None:
    study = "2.25.7300"
    site.images.chest("A", 2, study, slices=1, pixels=bytes(96 << 20), Rows=7094, Columns=7094)
    with site.node.connect() as peer:
        associate(peer)
        peer.send(request(GET, good(StudyInstanceUID="2.25.404")))
        assert last(peer).status == 0x0000
        gc.collect()
        here, received, most = psutil.Process(), 0, 0
        before = here.memory_info().rss
        peer.send(request(GET, good(StudyInstanceUID=study)))
        while True:
            pdu = peer.read_pdu()
            if pdu[10:12] == b"\x07\x02":
                break
            received += len(pdu)
            most = max(most, here.memory_info().rss)
        peer.send(stored(1))
        assert last(peer).status == 0x0000
    assert received > 96 << 20
    assert most - before < 32 << 20


def test_what_is_revoked_inside_a_large_instance_breaks_it_off(
    site: QuerySite, peer: RawPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, received = "2.25.7310", 0
    site.images.chest("A", 2, study, slices=1, pixels=bytes(48 << 20), Rows=5016, Columns=5016)
    monkeypatch.setattr(retrieval, "_WITHIN_SECONDS", 0.0)  # asked at each piece

    def share(shared: bool) -> None:
        document = Document("01", id_number(2))
        sharing.set_sharing(site.city.catalogue, SYSTEM, document, Demographics(), shared=shared)

    peer.send(request(GET, good(StudyInstanceUID=study)))
    try:
        while (pdu := peer.read_pdu())[:1] == b"\x04":
            if pdu[10:12] == b"\x07\x00":
                if not received:
                    share(False)
                received += len(pdu)
    finally:
        share(True)
    assert pdu[:1] == b"\x07"
    assert 0 < received < 40 << 20


@contextmanager
def asking(site: QuerySite, desk: ArchiveDesk, folder: Path) -> Iterator[RawPeer]:
    """An association with another node, which has this archive."""
    with (
        RunningNode(folder, site.node.directory, archive=lambda _: desk) as node,
        node.connect() as peer,
    ):
        associate(peer)
        yield peer


def test_while_a_store_is_down_no_answer_looks_like_nothing_found(site: QuerySite, tmp_path: Path) -> None:
    catalogue = site.city.catalogue
    site.listens_at(11112)
    (port,) = free_ports(1)
    down = open_engine(f"postgresql://nobody@127.0.0.1:{port}/none")
    with ObjectStore(S3Access(f"http://127.0.0.1:{port}", "a", "b"), read_seconds=1) as away:
        for desk, statuses in (
            (
                ArchiveDesk(
                    replace(catalogue, engine=down), away, Harvest(ExchangeSettings()), site.counted[0]
                ),
                (0xA700, 0xA701, 0xA701),
            ),
            (
                ArchiveDesk(catalogue, away, Harvest(ExchangeSettings()), site.counted[0]),
                (0x0000, 0xA701, 0xA701),
            ),
        ):
            with asking(site, desk, tmp_path / f"{statuses[0]}") as peer:
                for uid, status in zip((FIND, MOVE, GET), statuses, strict=True):
                    peer.send(request(uid, good()))
                    assert last(peer).status == status
                peer.send(request(FIND, good(QueryRetrieveLevel="SERIES")))
                assert last(peer).status == 0xA700
    down.dispose()


def test_images_that_the_store_has_lost_are_counted_as_failed_and_never_as_none(
    site: QuerySite, peer: RawPeer
) -> None:
    study = "2.25.7500"
    site.images.chest("A", 2, study)
    with transaction(site.city.catalogue.engine) as session:
        query = select(Pack.key, Pack.sidecar_key).join(Study, Study.id == Pack.study_id)
        ((key, sidecar_key),) = session.execute(query.where(Study.uid == study)).tuples()
    site.images.store.delete(key)
    peer.send(request(GET, good(StudyInstanceUID=study)))
    assert last(peer).status == 0xA702
    site.images.store.delete(sidecar_key)
    peer.send(request(GET, good(StudyInstanceUID=study)))
    assert last(peer).status == 0xA701
    peer.send(request(FIND, good(StudyInstanceUID=study, QueryRetrieveLevel="SERIES")))
    assert last(peer).status == 0xA700
    peer.send(request(FIND, good(StudyInstanceUID=study)))
    assert last(peer).status == 0x0000
