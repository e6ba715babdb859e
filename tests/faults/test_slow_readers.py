"""FAULTS A6: hundreds read a document at a crawl; they cost no database connection and little memory, and nobody else waits."""

import base64
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from catalog.objects import ObjectStore
from exchange.settings import ExchangeSettings
from tests.cds_client import BASE
from tests.dicom_node.raw_peer import wait_until
from tests.exchange.conftest import Service, service
from tests.exchange.served import Peer, Served, served
from tests.exchange.test_fhir import candidates, post, report
from tests.exchange.test_people_api import CHECK
from tests.faults.run_record import RunRecord

pytestmark = pytest.mark.long

__all__ = ["service"]
READERS, WAVE = 500, 50
DOCUMENT = b"%PDF-1.7 " + bytes(4 << 20) + b"%%EOF"
GRACE_SECONDS = 6.0


@pytest.fixture
def settings() -> ExchangeSettings:
    """Room for fewer documents than readers, and for fewer requests at once."""
    return ExchangeSettings(
        check_seconds=20,
        public_url=BASE,
        pace_per_second=0,
        http_documents_bytes=20 << 20,
        http_requests_at_once=WAVE,
    )


@dataclass
class Site:
    """The service on a socket, and the request for its one document."""

    http: Served
    service: Service
    asked: bytes
    check: bytes


@pytest.fixture
def site(service: Service, s3_store: ObjectStore) -> Iterator[Site]:
    app: Any = service.client.app
    app.state.store = s3_store
    form = {"contentType": "application/pdf", "data": base64.b64encode(DOCUMENT).decode(), "title": "报告"}
    uid = {"imagingStudy": [{"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:2.25.1001"}}]}
    assert (
        post(service, report("R-1", presentedForm=[form], **uid), "/fhir/DiagnosticReport").status_code == 201
    )
    href = candidates(service, "CT07")[0]["report"]["attachments"][0]["href"]
    limits = {"grace_seconds": GRACE_SECONDS, "least_bytes_per_second": 64 << 10, "per_address": READERS}
    with served(app, **limits) as http:
        yield Site(
            http, service, request(service, "GET", href), request(service, "POST", "/v1/checks", CHECK)
        )


def request(service: Service, method: str, path: str, body: Any = None) -> bytes:
    """A whole request of a doctor of hospital B."""
    made = service.client.build_request(method, path, json=body)
    head = f"{method} {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {service.token('doctor', 'B')}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(made.content)}\r\n"
    return head.encode() + b"\r\n" + made.content


def test_five_hundred_slow_readers_cost_no_connection_of_the_database_and_nobody_else_waits(
    site: Site, record: RunRecord
) -> None:
    """A6."""
    state = site.service.client.app.state  # type: ignore[attr-defined]
    pool, downloads = state.catalogue.engine.pool, state.downloads
    with ExitStack() as crowd:
        before = psutil.Process().memory_info().rss
        answered = []
        for _ in range(0, READERS, WAVE):  # all of them at once would be too many requests
            wave = [Peer(site.http.port, "127.0.0.3", receive_bytes=4096) for _ in range(WAVE)]
            for reader in wave:
                crowd.enter_context(reader).send(site.asked)
            answered += [reader.sock.recv(1024)[:15] for reader in wave]
        assert answered == [b"HTTP/1.1 200 OK"] * READERS
        assert downloads.held_bytes == len(DOCUMENT)
        assert pool.checkedout() == 0
        good = crowd.enter_context(Peer(site.http.port, "127.0.0.2"))
        good.send(site.check)
        assert good.status() == 200
        good.send(site.asked)
        assert good.status() == 200
        began = time.monotonic()
        rise = psutil.Process().memory_info().rss - before
        wait_until(lambda: site.http.connections <= 1, 30)
        record.note(readers=READERS, rise_mib=rise >> 20, cut_seconds=time.monotonic() - began)
    assert rise < 200 << 20  # a copy for each would be 2 GB
    assert downloads.held_bytes == 0


def test_beyond_the_limit_a_document_is_refused_until_another_one_has_been_read(
    site: Site, record: RunRecord
) -> None:
    downloads = site.service.client.app.state.downloads  # type: ignore[attr-defined]
    downloads.held_bytes += 20 << 20
    with Peer(site.http.port) as peer:
        peer.send(site.asked)
        assert peer.status() == 503
        downloads.held_bytes -= 20 << 20
        peer.send(site.asked)
        assert peer.status() == 200
    wait_until(lambda: downloads.held_bytes == 0)
