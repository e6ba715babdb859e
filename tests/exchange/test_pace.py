"""How fast and about how many people one caller may ask, how many at once, and what every answer carries (FAULTS A7, A10)."""

import asyncio
import json
import random
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, BinaryIO

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from catalog.context import Caller
from catalog.errors import TooMany
from catalog.harvest import Harvest
from exchange.body_limit import BodyLimit, BodyLimits
from exchange.overload import Overload
from exchange.pace import Pace
from exchange.settings import ExchangeSettings
from tests.cds_client import BASE, CdsClient, call, patient
from tests.dicom_node.raw_peer import wait_until
from tests.exchange.conftest import Service
from tests.exchange.served import served
from tests.exchange.test_people_api import CHECK

LINGER_ZERO = struct.pack("ii", 1, 0)  # close by reset
DOCTOR, OTHER = Caller("dr.li", "doctor", "B"), Caller("dr.wu", "doctor", "C")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 5), max_size=200))
def test_no_caller_gets_more_than_his_burst_and_his_rate(pauses: list[float]) -> None:
    clock = Clock()
    pace = Pace(ExchangeSettings(pace_per_second=2, pace_burst=5), clock)
    taken = 0
    for pause in pauses:
        clock.now += pause
        try:
            pace.take(DOCTOR)
            taken += 1
        except TooMany:
            continue
    assert taken <= 5 + 2 * clock.now + 1e-6
    pace.take(OTHER)


def test_who_waits_as_long_as_he_is_told_is_served_again() -> None:
    clock = Clock()
    pace = Pace(ExchangeSettings(pace_per_second=0.1, pace_burst=1), clock)
    pace.take(DOCTOR)
    with pytest.raises(TooMany) as refused:
        pace.take(DOCTOR)
    clock.now += refused.value.seconds
    pace.take(DOCTOR)


@pytest.fixture
def settings() -> ExchangeSettings:
    return ExchangeSettings(
        check_seconds=20,
        cds_seconds=20,
        public_url=BASE,
        pace_per_second=0.01,
        pace_burst=60,
        harvest_alarm_people=20,
        harvest_limit_people=50,
    )


def test_one_client_that_walks_ten_thousand_patients_is_stopped_and_named_and_others_are_not(
    service: Service,
) -> None:
    """A7."""
    service.city.hospital("C", tier=2, region="500107")
    with service.city.catalogue.engine.connect() as connection, ThreadPoolExecutor(1) as beside:
        began = connection.scalar(text("select now()"))
        with served(service.client.app) as http:
            walked = beside.submit(walk, http.port, service.token("doctor", "B"), 10_000)
            others = [ask(service, f"Y{each % 10:08}", hospital="C").status_code for each in range(40)]
            answers = walked.result()
        alarms = connection.execute(
            text(
                "select caller, detail, recorded_at - :began from audit_event where action = 'harvest.alarm'"
            ),
            {"began": began},
        ).all()
    assert [status for status, _ in answers] == [200] * 50 + [429] * 9_950
    assert all(wait >= 1 for status, wait in answers if status == 429)
    assert set(others) == {200}
    ((caller, detail, after),) = alarms
    assert (caller, detail) == ("test doctor", {"people_within_an_hour": 20})
    assert after < timedelta(seconds=60)
    assert "huren_http_harvest_alarms_total 1" in service.client.get("/metrics").text


def walk(port: int, token: str, people: int) -> list[tuple[int, int]]:
    """Ask about so many people, pipelined; return the status and the Retry-After of each answer."""
    answers = []
    with socket.create_connection(("127.0.0.1", port), 60) as sock, sock.makefile("rb") as file:
        for first in range(0, people, 20):
            sock.sendall(b"".join(asking(token, f"X{number:08}") for number in range(first, first + 20)))
            answers += [answer(file) for _ in range(20)]
    return answers


def asking(token: str, number: str) -> bytes:
    """The bytes of a check of this passport."""
    patient = {"id_type": "03", "id_number": number, "country": "CHN"}
    body = json.dumps({**CHECK, "patient": patient}).encode()
    head = f"POST /v1/checks HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def answer(file: BinaryIO) -> tuple[int, int]:
    """Read one answer; return its status and its Retry-After, 0 without one."""
    status, headers = int(file.readline().split()[1]), {}
    while (line := file.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        headers[name.lower()] = int(value) if value.strip().isdigit() else 0
    file.read(headers[b"content-length"])
    return status, headers.get(b"retry-after", 0)


def ask(service: Service, number: str, hospital: str = "B") -> Any:
    patient = {"id_type": "03", "id_number": number, "country": "CHN"}
    return service.call("POST", "/v1/checks", hospital=hospital, json={**CHECK, "patient": patient})


def test_the_same_patient_asked_for_again_and_again_is_no_harvest(service: Service) -> None:
    harvest = Harvest(ExchangeSettings(harvest_alarm_people=2, harvest_limit_people=3))
    for _ in range(100):
        harvest.take(service.city.catalogue, DOCTOR, "01", "same")
    assert harvest.alarms == 0


def test_spellings_of_one_number_are_one_patient_and_newborns_are_many(service: Service) -> None:
    harvest: Harvest = service.client.app.state.harvest  # type: ignore[attr-defined]
    for spelling in ("X00000001", "x00000001", " x0000 0001", "Ｘ00000001"):
        assert ask(service, spelling).status_code == 200
    assert [seen.count() for seen in harvest._seen.values()] == [1]
    for order in range(1, 4):
        mother = {"id_type": "03", "id_number": "X00000001", "country": "CHN"}
        born = {"id_type": "95", "mother": mother, "birth_date": "2026-06-01", "birth_order": order}
        body = {**CHECK, "patient": born}
        assert service.call("POST", "/v1/checks", json=body).status_code == 200
    assert [seen.count() for seen in harvest._seen.values()] == [4]


def test_emergency_access_and_registrations_count_as_questions(service: Service) -> None:
    harvest: Harvest = service.client.app.state.harvest  # type: ignore[attr-defined]
    passport = {"id_type": "03", "id_number": "X00000001", "country": "CHN"}
    service.call("POST", "/v1/break-glass", json={"patient": passport, "reason": "抢救"})
    service.call("POST", "/v1/patients", role="hospital_system", json={**passport, "patient_id": "P1"})
    assert {who[0]: seen.count() for who, seen in harvest._seen.items()} == {
        "doctor": 1,
        "hospital_system": 1,
    }


def test_a_cds_client_is_held_to_the_pace_and_the_patients_of_a_system_whatever_user_it_names(
    service: Service, cds: CdsClient
) -> None:
    app: Any = service.client.app
    slow = ExchangeSettings(
        pace_system_per_second=0.001,
        pace_system_burst=5,
        harvest_system_alarm_people=2,
        harvest_system_limit_people=2,
    )
    setting = app.state.cds
    app.state.cds = replace(setting, pace=Pace(slow), harvest=Harvest(slow))

    def ask_about(person: int) -> Any:
        context = {"userId": f"Practitioner/{person}"}
        return cds.call(call(context=context, prefetch={"patient": patient(person)}))

    assert [ask_about(person).status_code for person in (2, 3, 2, 3)] == [200] * 4
    walked = ask_about(4)
    assert (walked.status_code, walked.json()["code"]) == (429, "harvesting")
    hasty = ask_about(2)
    assert (hasty.status_code, hasty.json()["code"]) == (429, "too_many")
    assert int(hasty.headers["Retry-After"]) > 60
    assert cds.report({}).status_code == 429


def test_an_hour_later_the_count_begins_again(service: Service) -> None:
    clock = Clock()
    harvest = Harvest(ExchangeSettings(harvest_alarm_people=2, harvest_limit_people=3), clock)

    def walk(numbers: range) -> None:
        for number in numbers:
            harvest.take(service.city.catalogue, DOCTOR, str(number))

    walk(range(3))
    with pytest.raises(TooMany) as refused:
        walk(range(3, 4))
    assert 0 < refused.value.seconds <= 1801
    clock.now += 3600
    walk(range(3, 6))


def test_requests_beyond_those_at_once_are_told_to_come_back_and_slow_bodies_take_no_place() -> None:
    release = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.to_thread(release.wait, 20)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    def status(port: int, request: bytes) -> int:
        with socket.create_connection(("127.0.0.1", port), 20) as sock:
            sock.sendall(request)
            return int(sock.recv(4096).split()[1])

    whole = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    guarded = Overload(app, 2, 20.0)
    bodies = BodyLimit(guarded, BodyLimits(1000, anybody={"/"}))
    with served(bodies) as http, ThreadPoolExecutor(4) as pool:
        with socket.create_connection(("127.0.0.1", http.port)) as slow:
            slow.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n1")
            two = [pool.submit(status, http.port, whole) for _ in range(2)]
            wait_until(lambda: guarded._under_way == 2)
            assert status(http.port, whole) == 503
            release.set()
            assert [one.result() for one in two] == [200, 200]
        assert status(http.port, whole) == 200
    assert guarded._under_way == 0


def test_a_request_without_an_answer_in_time_is_told_so() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    with (
        served(Overload(app, 2, 0.2)) as http,
        socket.create_connection(("127.0.0.1", http.port), 20) as sock,
    ):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b" 503 " in sock.recv(4096)


def test_every_answer_says_that_it_is_no_page_and_not_to_be_kept(service: Service) -> None:
    for path in ("/healthz", "/v1/reasons", "/nowhere", "/fhir/nowhere"):
        headers = service.call("GET", path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Referrer-Policy"] == "no-referrer"


def test_requests_cut_at_random_leave_no_connection_of_the_pool_behind(service: Service) -> None:
    """A10: many are cut while they are sent, a quarter as soon as they are whole."""
    chance = random.Random(10)
    request = asking(service.token("hospital_system", "B"), "X00000001")
    pool = service.client.app.state.catalogue.engine.pool  # type: ignore[attr-defined]
    with served(service.client.app) as http:

        def cut(_: int) -> None:
            with socket.create_connection(("127.0.0.1", http.port), 20) as sock:
                whole = chance.random() < 0.25
                sock.sendall(request if whole else request[: chance.randrange(len(request))])
                if chance.random() < 0.5:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)

        with ThreadPoolExecutor(8) as clients:
            list(clients.map(cut, range(5_000)))
        wait_until(lambda: http.connections == 0, 60)
        wait_until(lambda: pool.checkedout() == 0, 60)
        wait_until(lambda: sessions_at_work(service.city.catalogue.engine) == 0, 60)
        with socket.create_connection(("127.0.0.1", http.port), 20) as sock, sock.makefile("rb") as file:
            sock.sendall(request)
            assert answer(file)[0] == 200


def sessions_at_work(engine: Engine) -> int:
    """Count the sessions of this database, but for the one that asks, that are not idle: leaked ones stay in a transaction."""
    query = (
        "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle'"
        " and pid <> pg_backend_pid()"
    )
    with engine.connect() as connection:
        return int(connection.scalar(text(query)))


def test_an_unexpected_error_leaves_a_reference_and_nothing_of_the_patient_in_the_log(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("999999198001010011 林晓渝")

    monkeypatch.setattr("exchange.checks.recognition.check", fails)
    with served(service.client.app) as http:
        answer = requests.post(
            f"http://127.0.0.1:{http.port}/v1/checks",
            json=CHECK,
            headers={"Authorization": f"Bearer {service.token('doctor', 'B')}"},
            timeout=20,
        )
    assert answer.status_code == 500
    assert answer.json()["reference"] in caplog.text
    assert "999999198001010011" not in caplog.text + answer.text
    assert "林晓渝" not in caplog.text + answer.text
    assert "Exception in ASGI application" in caplog.text
