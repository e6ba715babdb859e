"""Slow, endless and broken HTTP (FAULTS A4, A5): cut in time, refused at once, and good peers do not notice."""

import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import psutil
import pytest
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tests.dicom_node.raw_peer import wait_until
from tests.exchange.conftest import Service
from tests.exchange.served import GOOD, Peer, Served, served

HEAD, GRACE = 1.0, 1.0
POST = b"POST /v1/checks HTTP/1.1\r\nHost: huren\r\n"
CROWD = 1000
LONG_PIECES, LONG_PIECE_BYTES = 512, 1 << 16


class Beside:
    """The service, and beside it one address with a long answer."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = StreamingResponse(_long()) if scope.get("path") == "/long" else self._app
        await app(scope, receive, send)


async def _long() -> AsyncIterator[bytes]:
    for _ in range(LONG_PIECES):
        yield bytes(LONG_PIECE_BYTES)


@pytest.fixture(scope="module")
def http(quiet: Service) -> Iterator[Served]:
    app = Beside(quiet.client.app)
    limits = {"head_seconds": HEAD, "grace_seconds": GRACE, "least_bytes_per_second": 1024}
    with served(app, **limits, per_address=CROWD) as running:
        yield running


def test_requests_on_one_connection_are_answered_one_after_the_other(http: Served) -> None:
    with Peer(http.port) as peer:
        for _ in range(50):
            peer.send(GOOD)
            assert peer.status() == 200


def test_pipelined_requests_are_all_answered(http: Served) -> None:
    with Peer(http.port) as peer:
        peer.send(GOOD * 20)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 20:
            answers += peer.sock.recv(65536)


@pytest.mark.parametrize("begun", [b"", b"G", b"GET /healthz HTTP/1.1\r\nX-A: ", b"\r\n"])
def test_a_head_that_does_not_end_is_cut_in_time(http: Served, begun: bytes) -> None:
    with Peer(http.port) as peer:
        peer.send(begun)
        assert peer.seconds_until_closed() < HEAD + 2


def test_a_head_that_drips_has_no_more_time_than_one_that_is_silent(http: Served) -> None:
    with Peer(http.port) as peer:
        peer.sock.settimeout(0.1)
        began = time.monotonic()
        closed = False
        while not closed and time.monotonic() - began < 10:
            closed = not peer.send(b"\r\n")
            try:
                closed = closed or not peer.sock.recv(1000)
            except TimeoutError:
                continue
            except ConnectionError:
                closed = True
        assert time.monotonic() - began < HEAD + 2


def test_a_body_slower_than_the_least_rate_is_cut(http: Served) -> None:
    with Peer(http.port) as peer:
        peer.send(POST + b"Content-Length: 1000\r\n\r\n{")
        assert peer.seconds_until_closed() < GRACE + 2


def test_a_body_that_is_slow_but_fast_enough_is_waited_for(http: Served) -> None:
    with Peer(http.port) as peer:
        peer.send(POST + b"Content-Length: 20000\r\n\r\n")
        peer.sock.settimeout(0.2)
        for _ in range(9):
            assert peer.send(b" " * 2000)
            with pytest.raises(TimeoutError):  # nothing is said before the end
                peer.sock.recv(1)
        peer.sock.settimeout(10)
        peer.send(b" " * 2000)
        assert peer.status() == 401


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        (b"GET /healthz?" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n", {414}),
        (b"GET /healthz?ids=" + b"1,2," * 500_000 + b" HTTP/1.1\r\n\r\n", {414, 431}),
        (b"GET /healthz HTTP/1.1\r\n" + b"X-A: b\r\n" * 100_000 + b"\r\n", {431}),
        (b"GET /healthz HTTP/1.1\r\nX-A: " + b"b" * 5_000_000, {431}),
        (b"A" * 1_000_000, {400}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}),
        (POST + b"Content-Length: 4294967296\r\n\r\n", {413}),
        (POST + b"Content-Length: -1\r\n\r\n", {400}),
        (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", {400}),
        (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello", {400}),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", {400, 401}),
        (b"GET /healthz HTTP/9.9\r\n\r\n", {400, 505}),
        (b"GET  HTTP/1.1\r\n\r\n", {400}),
        (b"GET /%00%ff%2e%2e/etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n", {400, 404}),
        (b"GET /healthz HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", {200, 400}),
        (b"CONNECT example.org:443 HTTP/1.1\r\n\r\n", {400, 404, 405}),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else None,
)
def test_what_is_too_large_or_no_http_is_refused_at_once(
    http: Served, request_bytes: bytes, statuses: set[int]
) -> None:
    before = psutil.Process().memory_info().rss
    began = time.monotonic()
    with Peer(http.port) as peer:
        peer.send(request_bytes)
        assert peer.status() in statuses | {0}  # 0: reset while it still sent
    assert time.monotonic() - began < 2
    assert psutil.Process().memory_info().rss - before < 50 << 20
    with Peer(http.port) as good:
        good.send(GOOD)
        assert good.status() == 200


@pytest.mark.parametrize("signed", [False, True])
def test_a_chunked_body_without_end_is_refused_and_cut(http: Served, quiet: Service, signed: bool) -> None:
    token = f"Authorization: Bearer {quiet.token('doctor', 'A')}\r\n".encode() if signed else b""
    with Peer(http.port) as peer:
        peer.send(POST + token + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        sent = 0
        while sent < 400 and peer.send(chunk):
            sent += 1
        assert sent < 400


@pytest.mark.parametrize("depth", [100, 10_000, 400_000])
def test_json_nested_without_end_is_a_bad_request(http: Served, quiet: Service, depth: int) -> None:
    body = b'{"patient":' + b"[" * depth + b"]" * depth + b"}"
    token = f"Authorization: Bearer {quiet.token('doctor', 'A')}\r\n".encode()
    head = POST + token + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    with Peer(http.port) as peer:
        peer.send(head + body)
        assert peer.status() in (400, 422)


# many of them at once


def silent(peer: Peer) -> None:
    peer.send(b"GET /healthz HTTP/1.1\r\nX-A: ")


def half_a_body(peer: Peer) -> None:
    peer.send(POST + b"Content-Length: 1000\r\n\r\n{")


def never_reads(peer: Peer) -> None:
    peer.send(b"GET /long HTTP/1.1\r\nHost: huren\r\n\r\n")


def ranges(peer: Peer) -> None:
    many = b",".join(b"%d-%d" % (n, n + 1) for n in range(1000))
    peer.send(b"GET /healthz HTTP/1.1\r\nRange: bytes=" + many + b"\r\nX-A: ")


@pytest.mark.alone
@pytest.mark.parametrize("mode", [silent, half_a_body, never_reads, ranges])
def test_a_thousand_slow_peers_do_not_slow_a_good_one_and_are_gone_within_seconds(
    http: Served, mode: object
) -> None:
    idle = statistics.quantiles(good_seconds(http), n=100)[98]
    with ExitStack() as crowd:
        for _ in range(CROWD - 10):
            mode(crowd.enter_context(Peer(http.port, "127.0.0.3")))  # type: ignore[operator]
        among_them = statistics.quantiles(good_seconds(http), n=100)[98]
        wait_until(lambda: http.connections <= 2, 30)
    assert among_them < max(2 * idle, 0.05)


def good_seconds(http: Served) -> list[float]:
    seconds = []
    with Peer(http.port, "127.0.0.2") as good:
        for _ in range(200):
            began = time.perf_counter()
            good.send(GOOD)
            assert good.status() == 200
            seconds.append(time.perf_counter() - began)
    return seconds


def test_one_address_cannot_take_every_connection(quiet: Service) -> None:
    with served(quiet.client.app, per_address=5) as http, ExitStack() as crowd:
        for _ in range(5):
            silent(crowd.enter_context(Peer(http.port)))
        wait_until(lambda: http.connections == 5)
        with Peer(http.port) as sixth:
            sixth.send(GOOD)
            assert sixth.status() == 0
        with Peer(http.port, "127.0.0.2") as other:
            other.send(GOOD)
            assert other.status() == 200


def test_who_does_not_read_a_long_answer_is_cut_and_who_reads_it_gets_all(http: Served) -> None:
    asked = b"GET /long HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    with Peer(http.port, receive_bytes=4096) as peer:
        peer.send(asked)
        wait_until(lambda: http.connections == 1)
        wait_until(lambda: http.connections == 0, 10)
    with Peer(http.port) as reader:
        reader.send(asked)
        got = 0
        while piece := reader.sock.recv(1 << 20):
            got += len(piece)
        assert got > LONG_PIECES * LONG_PIECE_BYTES
