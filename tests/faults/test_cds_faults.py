"""FAULTS A18: CDS Hooks while a store is down, silent or slow: an answer in time, and never "no prior"."""

import base64
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.engine import make_url

from catalog.db import open_engine
from catalog.embedded import Embedded, Services
from catalog.objects import ObjectStore
from exchange.app import create_app
from exchange.health import Health
from exchange.settings import ExchangeSettings
from exchange.tokens import open_token_key
from tests.cds_client import BASE, SELECT, SIGN, CdsClient, call, order
from tests.city import City, open_catalogue, serving
from tests.dicom_node.raw_peer import wait_until
from tests.exchange.conftest import Service, cds, register_client, service, settings
from tests.faults.run_record import RunRecord
from tests.faults.s3_proxy import Fault, open_proxy
from tests.faults.scale import scaled
from tests.faults.tcp_proxy import TCPProxy, Trouble, open_tcp_proxy
from tests.messages import report

__all__ = ["cds", "service", "settings"]
LIMIT_SECONDS = 0.5
THREADS = 4


@pytest.fixture
def beyond(
    fresh_database_url: str, services: Services, tmp_path: Path
) -> Iterator[tuple[CdsClient, City, TCPProxy]]:
    """The service, whose database stands behind a proxy; hospital A did a chest CT."""
    url = make_url(fresh_database_url)
    with open_tcp_proxy((str(url.host), int(url.port or 0))) as proxy:
        behind = url.set(port=proxy.port).render_as_string(hide_password=False)
        made: list[City] = []
        catalogue = open_catalogue(behind, tmp_path, lambda: made[0].now)
        city = City(catalogue)
        made.append(city)
        city.hospital("A")
        city.hospital("B", tier=2, region="500107")
        city.study("A")
        settings = ExchangeSettings(public_url=BASE)
        served = serving(catalogue, services)
        app = create_app(served, open_token_key(tmp_path / "token.pem"), settings, Health({}, {}))
        with TestClient(app, raise_server_exceptions=False) as http:
            yield register_client(city, http.request), city, proxy
        proxy.trouble = Trouble()
        proxy.cut_all()
        wait_until(lambda: served.engine.pool.checkedout() == 0, 30)  # type: ignore[attr-defined]
        served.engine.dispose()
        catalogue.engine.dispose()


@contextmanager
def locked(database_url: str, table: str) -> Iterator[None]:
    """Hold a table so that nobody can read it."""
    engine = open_engine(database_url)
    with engine.connect() as connection:
        connection.execute(text(f"lock table {table} in access exclusive mode"))
        yield
        connection.rollback()
    engine.dispose()


TROUBLES = {
    "down": Trouble(cut_after_bytes=0, by="RST"),
    "silent": Trouble(swallow=True),
    "slow": Trouble(delay_seconds=0.3),
}
SHARES = {"down": 1820, "silent": 60, "slow": 60}
TABLES = {"cds_client": 20, "order_check": 20, "result": 20}


def asked(client: CdsClient, number: int) -> tuple[int, list[dict[str, Any]], float]:
    """Call once, of either service; return the status, the cards and the seconds it took."""
    service, hook = (SELECT, "order-select") if number % 2 else (SIGN, "order-sign")
    body = call(order(f"F{number}"), hook=hook)
    token = client.token(f"/cds-services/{service}")
    began = time.monotonic()
    answer = client.call(body, service, token=token)
    seconds = time.monotonic() - began
    return answer.status_code, answer.json().get("cards", []), seconds


def says_unknown(cards: list[dict[str, Any]]) -> bool:
    """Say whether this is the card that says nothing is known."""
    return len(cards) == 1 and "尚不清楚" in cards[0]["summary"] and cards[0]["indicator"] == "info"


def says_there_is_one(cards: list[dict[str, Any]]) -> bool:
    """Say whether this is the card of the prior that is there."""
    return len(cards) == 1 and "1 项可互认" in cards[0]["summary"]


@pytest.mark.alone
def test_a_call_is_answered_in_time_and_never_as_if_there_were_no_prior(
    beyond: tuple[CdsClient, City, TCPProxy], fresh_database_url: str, record: RunRecord
) -> None:
    """A18, and A18's half of the acceptance of CDS Hooks: 2,000 cases, within 500 ms at p99, none 5xx."""
    client, _, proxy = beyond
    numbers, outcomes = itertools.count(), []
    recovers(client, numbers)
    with ThreadPoolExecutor(THREADS) as pool:

        def run(name: str, cases: int) -> None:
            share = [next(numbers) for _ in range(cases)]
            found = list(pool.map(lambda number: asked(client, number), share))
            record.note(**{f"{name}_slowest_ms": round(1000 * max(seconds for _, _, seconds in found))})
            outcomes.extend(found)

        for name, trouble in TROUBLES.items():
            proxy.trouble = replace(trouble)
            if name != "silent":
                proxy.cut_all()
            run(name, scaled(SHARES[name], SHARES[name] * 10))
            proxy.trouble = Trouble()
            proxy.cut_all()
        for table, cases in TABLES.items():
            with locked(fresh_database_url, table):
                run(table, scaled(cases, cases * 10))
    assert len(outcomes) >= 2000
    assert {status for status, _, _ in outcomes} == {200}
    assert all(says_unknown(cards) or says_there_is_one(cards) for _, cards, _ in outcomes)
    unknown = sum(says_unknown(cards) for _, cards, _ in outcomes)
    taken = sorted(seconds for _, _, seconds in outcomes)
    p99 = taken[len(taken) * 99 // 100]
    record.note(
        calls=len(outcomes), unknown=unknown, p99_ms=round(p99 * 1000), slowest_ms=round(taken[-1] * 1000)
    )
    assert unknown >= 1900
    assert p99 <= LIMIT_SECONDS  # the slowest is recorded: client and service share the test's processor
    recovers(client, numbers)


WAITING = 100


@pytest.mark.alone
def test_while_the_object_store_is_silent_those_who_wait_for_it_delay_no_call(
    service: Service, cds: CdsClient, embedded: Embedded, s3_store: ObjectStore, record: RunRecord
) -> None:
    """A18: a hundred reports with documents wait, more than the service has threads for its other routes."""
    access, app, fault = embedded.services.s3, service.client.app, Fault("hold")
    assert access is not None
    with (
        open_proxy(access.address) as proxy,
        ObjectStore(replace(access, endpoint=proxy.endpoint), workers=WAITING) as store,
        ThreadPoolExecutor(WAITING) as pool,
    ):
        app.state.store, proxy.fault = store, fault  # type: ignore[attr-defined]
        sending = [pool.submit(send_document, service, number) for number in range(WAITING)]
        try:
            wait_until(lambda: fault.hits >= 16)
            outcomes = [asked(cds, number) for number in range(100)]
        finally:
            fault.released.set()
        assert {each.result() for each in sending} == {503}
    taken = sorted(seconds for _, _, seconds in outcomes)
    record.note(calls=len(outcomes), slowest_ms=round(taken[-1] * 1000))
    assert {status for status, _, _ in outcomes} == {200}
    assert all(says_unknown(cards) or says_there_is_one(cards) for _, cards, _ in outcomes)
    assert taken[-2] <= LIMIT_SECONDS


def send_document(service: Service, number: int) -> int:
    """Send a report with a document of its own as hospital A; return the status."""
    content = base64.b64encode(b"%%PDF-1.7 %d %%%%EOF" % number).decode()
    form = {"contentType": "application/pdf", "data": content}
    body = report(f"R-{number}", presentedForm=[form], subject={"identifier": {"value": "A-2"}})
    headers = {"Authorization": f"Bearer {service.token('hospital_system', 'A')}"}
    return service.client.post("/fhir/DiagnosticReport", json=body, headers=headers).status_code


def recovers(client: CdsClient, numbers: "itertools.count[int]") -> None:
    """Wait until the service finds the prior again."""
    deadline = time.monotonic() + 20
    while not says_there_is_one(asked(client, next(numbers))[1]):
        assert time.monotonic() < deadline, "the service never came back"


def test_feedback_while_the_database_is_down_is_a_503_and_taken_later(
    beyond: tuple[CdsClient, City, TCPProxy],
) -> None:
    client, _, proxy = beyond
    body = call()
    (card,) = asked_until_found(client, body)
    proxy.trouble = replace(TROUBLES["down"])
    proxy.cut_all()
    item = {
        "card": card["uuid"],
        "outcome": "accepted",
        "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}],
        "outcomeTimestamp": "2026-06-30T04:03:00Z",
    }
    refused = client.report(item)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    proxy.trouble = Trouble()
    assert "decision" in client.report(item).json()["feedback"][0]


def asked_until_found(client: CdsClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cards of a call, once the service has warmed up."""
    deadline = time.monotonic() + 20
    while not says_there_is_one(cards := client.cards(body)):
        assert time.monotonic() < deadline
    return cards
