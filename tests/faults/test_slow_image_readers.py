"""FAULTS A6 on images: hundreds read a study at a crawl, and what they may not see any more stops on its way to them."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psutil
import pytest

from exchange.settings import ExchangeSettings
from tests.cds_client import BASE
from tests.dicom_node.raw_peer import wait_until
from tests.exchange.image_site import Site, site
from tests.exchange.served import Peer, Served, served
from tests.exchange.test_image_links import link
from tests.exchange.test_people_api import CHECK
from tests.faults.run_record import RunRecord
from tests.packs import ct

pytestmark = pytest.mark.long

__all__ = ["site"]
READERS, WAVE = 500, 50
UID = "2.25.7100"
SIDE, SLICES = 1024, 12  # 24 MiB
GRACE_SECONDS = 6.0
AT = f"/dicom-web/studies/{UID}"
WHOLE = 'Accept: multipart/related; type="application/dicom"; transfer-syntax=*\r\n'
LIN: Any = {"PatientID": "A-2", "PatientName": "Lin^Xiaoyu=林^晓渝", "PatientBirthDate": "19800517"}


@pytest.fixture
def settings() -> ExchangeSettings:
    return ExchangeSettings(check_seconds=20, public_url=BASE, pace_images_per_second=0)


@pytest.fixture
def deep(site: Site) -> Site:
    """The site with a study that takes long to read, opened to B."""
    slices = [
        ct(UID, n, pixels=bytes(2 * SIDE * SIDE), Rows=SIDE, Columns=SIDE, InstanceNumber=str(n), **LIN)
        for n in range(1, SLICES + 1)
    ]
    site.images.send("A", *slices)
    site.open()
    return site


@pytest.fixture
def http(deep: Site) -> Iterator[Served]:
    app: Any = deep.service.client.app
    limits = {"grace_seconds": GRACE_SECONDS, "least_bytes_per_second": 64 << 10, "per_address": READERS}
    with served(app, **limits) as running:
        yield running


def asking(deep: Site, path: str, secret: str = "", more: str = "") -> bytes:
    """Return a whole GET request: by a link, or with the doctor's token."""
    where = path.replace("/dicom-web/", f"/dicom-web/g/{secret}/") if secret else path
    token = "" if secret else f"Authorization: Bearer {deep.service.token('doctor', 'B')}\r\n"
    return f"GET {where} HTTP/1.1\r\nHost: h\r\n{token}{more}\r\n".encode()


def test_five_hundred_slow_readers_of_images_cost_no_connection_of_the_database_and_nobody_else_waits(
    deep: Site, http: Served, record: RunRecord
) -> None:
    """A6."""
    state = deep.service.client.app.state
    pool, readers = state.catalogue.engine.pool, state.images.readers
    asked = asking(deep, AT, more=WHOLE)
    with ExitStack() as crowd:
        before = psutil.Process().memory_info().rss
        answered = []
        for _ in range(0, READERS, WAVE):
            wave = [Peer(http.port, "127.0.0.3", receive_bytes=4096) for _ in range(WAVE)]
            for reader in wave:
                crowd.enter_context(reader).send(asked)
            answered += [reader.sock.recv(1024)[:15] for reader in wave]
        assert answered == [b"HTTP/1.1 200 OK"] * READERS
        wait_until(lambda: pool.checkedout() == 0)  # but for a moment, every other second
        with Peer(http.port, "127.0.0.2") as good:
            body = deep.service.client.build_request("POST", "/v1/checks", json=CHECK).content
            head = f"POST /v1/checks HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {deep.service.token('doctor', 'B')}\r\n"
            good.send(
                f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            assert good.status() == 200
            good.send(asking(deep, f"{AT}/metadata"))
            assert good.status() == 200
        rise = psutil.Process().memory_info().rss - before
        began = time.monotonic()
        wait_until(lambda: readers.count == 0, 60)
        record.note(readers=READERS, rise_mib=rise >> 20, cut_seconds=time.monotonic() - began)
    assert rise < 200 << 20  # the study for each would be 12 GB


@pytest.mark.parametrize("bytes_per_read", [64 << 10, 4 << 10])
def test_a_link_that_ends_stops_what_is_on_its_way_within_five_seconds(
    deep: Site, http: Served, bytes_per_read: int
) -> None:
    made = link(deep, UID)
    with Peer(http.port, receive_bytes=4096) as reader:
        reader.send(asking(deep, AT, made["grant"], WHOLE))
        assert reader.sock.recv(1024).startswith(b"HTTP/1.1 200 OK")
        end = f"/v1/image-grants/{made['grant_id']}/end"
        assert deep.service.call("POST", end).status_code == 200
        began, got = time.monotonic(), 0
        reader.sock.settimeout(10)
        try:
            while piece := reader.sock.recv(bytes_per_read):
                got += len(piece)
                time.sleep(0.05)  # as fast as this reader is
        except ConnectionError:
            pass
        assert time.monotonic() - began < 5
        assert got < SLICES * 2 * SIDE * SIDE
    wait_until(lambda: deep.service.client.app.state.images.readers.count == 0)


def test_what_is_taken_back_stops_for_a_reader_who_reads_nothing(deep: Site, http: Served) -> None:
    made = link(deep, UID)
    with Peer(http.port, receive_bytes=4096) as reader:
        reader.send(asking(deep, AT, made["grant"], WHOLE))
        assert reader.sock.recv(1024).startswith(b"HTTP/1.1 200 OK")
        wait_until(lambda: http.connections == 1)
        began = time.monotonic()
        assert deep.service.call("POST", f"/v1/image-grants/{made['grant_id']}/end").status_code == 200
        wait_until(lambda: deep.service.client.app.state.images.readers.count == 0, 10)
        assert time.monotonic() - began < 5
