"""HL7 v2 over MLLP: what is acknowledged is kept, what is wrong is refused by place, nothing stops the next."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import select

from catalog import hl7_peers, registry
from catalog.db import transaction
from catalog.tables import Person
from catalog.tables_reports import Observation, Report, ReportVersion
from exchange.hl7_desk import Desk
from exchange.hl7_faults import Acknowledgement
from exchange.mllp import Listener, MllpSettings
from tests.city import City, open_catalogue
from tests.messages import BAD_MESSAGES, header, imaging, laboratory, wire
from tests.reports import count, evaluate_laboratory

pytestmark = pytest.mark.long

HERE = "127.0.0.1"


@pytest.fixture
def city(fresh_database_url: str, tmp_path: Path) -> Iterator[City]:
    """Hospital A sends from its laboratory, B asks."""
    made: list[City] = []
    catalogue = open_catalogue(fresh_database_url, tmp_path, lambda: made[0].now)
    made.append(City(catalogue))
    made[0].hospital("A")
    evaluate_laboratory(made[0], "A")
    with transaction(catalogue.engine) as session:
        hl7_peers.add(session, registry.hospital_by_code(session, "A"), "LIS", "A", ["127.0.0.0/8"])
    yield made[0]
    catalogue.engine.dispose()


@pytest.fixture
def desk(city: City) -> Desk:
    return Desk(city.catalogue, None)


def send(desk: Desk, segments: list[str], codec: str = "utf-8") -> Acknowledgement:
    return desk.take(wire(segments, codec), HERE)


def test_a_laboratory_message_is_kept_and_shown_in_the_next_check(city: City, desk: Desk) -> None:
    doctor = city.hospital("B")
    assert send(desk, laboratory("1", 2, "F-1")).code == "AA"
    answer = city.check(doctor, [{"order_number": "1", "item_code": "LB14"}])
    found = answer["orders"][0]["candidates"][0]
    assert (found["verdict"], found["hr_marks"]) == ("recognisable", ["重庆HR"])
    value = found["report"]["values"][0]
    assert (value["value"], value["unit"], value["reference_range"]) == ("4.1", "mmol/L", "3.5-5.3")
    assert (value["method"], value["abnormal_flag"]) == ("离子选择电极法", "N")


@pytest.mark.parametrize(("codec", "charset"), [("utf-8", "UNICODE UTF-8"), ("gb18030", "GB 18030-2000")])
def test_an_imaging_message_joins_its_study_by_accession_number(
    city: City, desk: Desk, codec: str, charset: str
) -> None:
    doctor = city.hospital("B")
    city.study("A", PatientID="P2", AccessionNumber="F-9")
    segments = imaging("1", 2, "F-9")
    segments[0] = header("1", charset)
    assert send(desk, segments, codec).code == "AA"
    answer = city.check(doctor, [{"order_number": "1", "item_code": "CT07"}])
    report = answer["orders"][0]["candidates"][0]["report"]
    assert (report["conclusion"], report["status"]) == ("未见明显异常。", "final")


@pytest.mark.parametrize(
    ("spoil", "ack", "number", "place"),
    [bad[1:] for bad in BAD_MESSAGES],
    ids=[bad[0] for bad in BAD_MESSAGES],
)
def test_a_bad_message_is_refused_by_kind_and_place_and_leaves_nothing(
    shared: tuple[City, Desk], spoil: Any, ack: str, number: str, place: str
) -> None:
    city, desk = shared
    answer = desk.take(spoil(laboratory("C-1", 2, "F-1")), HERE)
    text = answer.content.decode()
    assert f"MSA|{ack}|" in text
    assert f"ERR||{place}|{number}^" in text
    assert (count(city, Report), count(city, Person)) == (0, 0)
    assert "晓渝" not in text


@pytest.fixture(scope="module")
def shared(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[City, Desk]]:
    """A city for tests that leave nothing behind."""
    made: list[City] = []
    catalogue = open_catalogue(database_url, tmp_path_factory.mktemp("keys"), lambda: made[0].now)
    made.append(City(catalogue))
    made[0].hospital("A")
    with transaction(catalogue.engine) as session:
        hl7_peers.add(session, registry.hospital_by_code(session, "A"), "LIS", "A", ["127.0.0.0/8"])
    yield made[0], Desk(catalogue, None)
    catalogue.engine.dispose()


def test_a_sender_is_known_by_name_and_address(shared: tuple[City, Desk]) -> None:
    answer = shared[1].take(wire(laboratory("1", 2, "F-1")), "192.0.2.7")
    assert (answer.code, answer.fault and answer.fault.place) == ("AR", "MSH^1^3")


def test_one_bad_report_of_a_message_leaves_none_of_it(city: City, desk: Desk) -> None:
    segments = laboratory("1", 2, "F-1") + [
        segment.replace("||4.1|", "||x|") for segment in laboratory("1", 2, "F-2")[2:]
    ]
    assert send(desk, segments).code == "AE"
    assert count(city, Report) == 0


def test_the_catalogue_being_down_is_a_rejection_that_says_send_again(city: City, tmp_path: Path) -> None:
    with closing(socket.create_server((HERE, 0))) as nobody:
        port = nobody.getsockname()[1]
    down = open_catalogue_at(f"postgresql://postgres@{HERE}:{port}/none", city)
    answer = Desk(down, None).take(wire(laboratory("1", 2, "F-1")), HERE)
    assert (answer.code, answer.fault and answer.fault.number) == ("AR", "207")


def open_catalogue_at(url: str, city: City) -> Any:
    from dataclasses import replace

    from catalog.db import open_engine

    return replace(city.catalogue, engine=open_engine(url))


def test_a_thousand_messages_each_good_one_once_each_bad_one_refused_and_the_order_of_versions_kept(
    city: City, desk: Desk
) -> None:
    """950 good ones: 300 reports of three versions, 50 of them sent twice; 50 bad in twenty ways; shuffled."""
    good = [
        laboratory(
            f"G-{report}-{version}",
            100 + report % 60,
            f"F-{report}",
            value=f"4.{version}",
            status=status,
            days_ago=3 - version,
        )
        for report in range(300)
        for version, status in enumerate("PFC")
    ]
    good += [good[number * 7] for number in range(50)]
    bad = [
        (spoil(laboratory(f"B-{n}", 900, f"X-{n}")), ack, number, place)
        for n, (_, spoil, ack, number, place) in ((n, BAD_MESSAGES[n % len(BAD_MESSAGES)]) for n in range(50))
    ]
    sent: list[tuple[bytes, str, str, str]] = [(wire(each), "AA", "", "") for each in good] + bad
    Random(20260630).shuffle(sent)
    for raw, ack, number, place in sent:
        answer = desk.take(raw, HERE)
        said = (answer.fault.number, answer.fault.place) if answer.fault else ("", "")
        assert (answer.code, *said) == (ack, number, place)
    with transaction(city.catalogue.engine) as session:
        standing = session.execute(
            select(Report.version_count, Report.standing_number, ReportVersion.status).join(
                ReportVersion, ReportVersion.id == Report.standing_version_id
            )
        ).all()
    assert len(standing) == 300
    assert {tuple(row) for row in standing} == {(3, 3, "corrected")}
    assert count(city, Observation) == 300 * 3 * 3
    assert count(city, Person) == 60


# --- framing --------------------------------------------------------------------------------------------

QUICK = MllpSettings(message_bytes=4096, noise_bytes=64, frame_seconds=0.4, idle_seconds=5, connections=4)


@contextmanager
def listening(settings: MllpSettings = QUICK) -> Iterator[tuple[int, list[bytes]]]:
    taken: list[bytes] = []

    def take(raw: bytes, _: str) -> bytes:
        taken.append(raw)
        return b"ACK " + raw

    listener, stop = Listener(take, HERE, 0, settings), threading.Event()
    thread = threading.Thread(target=listener.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield listener.port, taken
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def answer_of(peer: socket.socket) -> bytes:
    peer.settimeout(5)
    found = b""
    while not found.endswith(b"\x1c\r"):
        piece = peer.recv(4096)
        if not piece:
            break
        found += piece
    return found


def test_frames_are_answered_one_by_one_however_their_bytes_are_cut() -> None:
    with listening() as (port, taken), socket.create_connection((HERE, port)) as peer:
        for piece in (b"\r\n\x0bon", b"e\x1c", b"\r\x0btwo\x1c\r"):
            peer.sendall(piece)
            time.sleep(0.02)
        assert answer_of(peer) + (answer_of(peer) if len(taken) < 2 else b"") != b""
        deadline = time.monotonic() + 5
        while len(taken) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert taken == [b"one", b"two"]


@pytest.mark.parametrize(
    "sent",
    [
        b"\x0b" + b"x" * 5000 + b"\x1c\r",
        b"GET / HTTP/1.1\r\nHost: nobody-should-send-this-to-an-mllp-port-at-all\r\n\r\n",
        b"\x0bhalf",
    ],
    ids=["too large", "unframed", "never ends"],
)
def test_what_is_too_large_unframed_or_never_ends_costs_its_own_connection_only(sent: bytes) -> None:
    with listening() as (port, taken), socket.create_connection((HERE, port)) as peer:
        peer.sendall(sent)
        with socket.create_connection((HERE, port)) as other:
            other.sendall(b"\x0bnext\x1c\r")
            assert answer_of(other) == b"\x0bACK next\x1c\r"
        assert answer_of(peer) == b""
        assert taken == [b"next"]


def test_a_frame_that_drips_is_cut_off_at_its_deadline() -> None:
    with listening() as (port, taken), socket.create_connection((HERE, port)) as peer:
        started = time.monotonic()
        peer.sendall(b"\x0b")
        with suppress(ConnectionError):
            while time.monotonic() - started < 5:
                peer.sendall(b"x")
                time.sleep(0.02)
        assert time.monotonic() - started < 3
        assert taken == []


def test_more_connections_than_allowed_are_closed_at_once_and_the_others_go_on() -> None:
    with listening() as (port, _):
        peers = [socket.create_connection((HERE, port)) for _ in range(QUICK.connections)]
        peers[0].sendall(b"\x0bfirst\x1c\r")
        assert answer_of(peers[0]) == b"\x0bACK first\x1c\r"
        with socket.create_connection((HERE, port)) as surplus:
            assert answer_of(surplus) == b""
        for peer in peers:
            peer.close()


def test_a_message_that_breaks_the_desk_is_answered_and_the_next_one_taken(
    city: City, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("exchange.hl7_desk.read_oru", lambda *_: 1 / 0)
        assert send(desk, laboratory("1", 2, "F-1")).fault is not None
    assert send(desk, laboratory("2", 2, "F-1")).code == "AA"
