"""Slow, endless and broken HTTP (FAULTS A4, A5): cut in time, refused at once, and good peers do not notice."""

import gzip
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
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
SAYS_WHO = POST + b"Authorization: Bearer x\r\n"  # without, no body is read
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
    with served(app, **limits, per_address=CROWD, send_buffer_bytes=16 << 10) as running:
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
        peer.send(SAYS_WHO + b"Content-Length: 1000\r\n\r\n{")
        assert peer.seconds_until_closed() < GRACE + 2


def test_a_body_that_is_slow_but_fast_enough_is_waited_for(http: Served) -> None:
    with Peer(http.port) as peer:
        peer.send(SAYS_WHO + b"Content-Length: 20000\r\n\r\n")
        peer.sock.settimeout(0.2)
        for _ in range(9):
            assert peer.send(b" " * 2000)
            with pytest.raises(TimeoutError):  # nothing is said before the end
                peer.sock.recv(1)
        peer.sock.settimeout(10)
        peer.send(b" " * 2000)
        assert peer.status() == 401


JSON_POST = POST + b"Content-Type: application/json\r\n%s"  # with the token of a doctor


def of_length(body: bytes, head: bytes = JSON_POST) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


MULTIPART = POST + b"Content-Type: multipart/form-data; boundary=x\r\n%s"
PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
UNFIT: dict[str, tuple[bytes, set[int]]] = {
    "long path": (b"GET /healthz?" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n", {414}),
    "10^6 ids in a query": (b"GET /healthz?ids=" + b"1," * 1_000_000 + b" HTTP/1.1\r\n\r\n", {414, 431}),
    "10^5 headers": (b"GET /healthz HTTP/1.1\r\n" + b"X-A: b\r\n" * 100_000 + b"\r\n", {431}),
    "endless header": (b"GET /healthz HTTP/1.1\r\nX-A: " + b"b" * 5_000_000, {431}),
    "no request line": (b"A" * 1_000_000, {400}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}),
    "4 GB": (POST + b"Content-Length: 4294967296\r\n\r\n", {413}),
    "2^70 bytes": (POST + b"Content-Length: 1180591620717411303424\r\n\r\n", {400, 413}),
    "negative length": (POST + b"Content-Length: -1\r\n\r\n", {400}),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", {400}),
    "length and chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello", {400}),
    "no chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", {400, 401}),
    "chunk of 2^64": (JSON_POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n", {400, 413}),
    "chunks without end": (
        JSON_POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * 100,
        {413},
    ),
    "HTTP 9.9": (b"GET /healthz HTTP/9.9\r\n\r\n", {400, 505}),
    "no target": (b"GET  HTTP/1.1\r\n\r\n", {400}),
    "path of odd bytes": (b"GET /%%00%%ff%%2e%%2e/etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n", {400, 404}),
    "websocket": (
        b"GET /healthz HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        {200, 400},
    ),
    "proxy": (b"CONNECT example.org:443 HTTP/1.1\r\n\r\n", {400, 404, 405}),
    "JSON nested 10^6 times": (of_length(b"[" * 1_000_000 + b"]" * 1_000_000), {413}),
    "JSON nested 5 * 10^5 times": (of_length(b"[" * 500_000 + b"]" * 500_000), {400, 422}),
    "JSON that does not end": (of_length(b'{"a":' * 200_000), {400, 422}),
    "10^5 parts": (of_length(PART * 100_000 + b"--x--\r\n", MULTIPART), {413}),
    "10^4 parts": (of_length(PART * 10_000 + b"--x--\r\n", MULTIPART), {400, 422}),
    "gzip": (
        of_length(gzip.compress(bytes(50 << 20)), JSON_POST + b"Content-Encoding: gzip\r\n"),
        {400, 422},
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_is_too_large_or_no_http_is_refused_at_once(http: Served, quiet: Service, name: str) -> None:
    """A5: within a second, whatever it says, and for hardly any memory."""
    request_bytes, statuses = UNFIT[name]
    token = f"Authorization: Bearer {quiet.token('doctor', 'A')}\r\n".encode()
    whole = request_bytes.replace(b"%s", token).replace(b"%%", b"%")
    before = psutil.Process().memory_info().rss
    began = time.monotonic()
    with Peer(http.port) as peer:
        is_sent = peer.send(whole)
        assert peer.status() in statuses | (set() if is_sent else {0})  # 0: reset while it still sent
    assert time.monotonic() - began < 1
    assert psutil.Process().memory_info().rss - before < 50 << 20
    with Peer(http.port) as good:
        good.send(GOOD)
        assert good.status() == 200


def test_at_least_twenty_unfit_requests_are_tried() -> None:
    """A5."""
    assert len(UNFIT) >= 20


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
    peer.send(SAYS_WHO + b"Content-Length: 1000\r\n\r\n{")


def never_reads(peer: Peer) -> None:
    peer.send(b"GET /long HTTP/1.1\r\nHost: huren\r\n\r\n")


def ranges(peer: Peer) -> None:
    many = b",".join(b"%d-%d" % (n, n + 1) for n in range(1000))
    peer.send(b"GET /long HTTP/1.1\r\nHost: huren\r\nRange: bytes=" + many + b"\r\n\r\n")


@pytest.mark.alone
@pytest.mark.parametrize("mode", [silent, half_a_body, never_reads, ranges])
def test_a_thousand_slow_peers_do_not_slow_a_good_one_and_are_gone_within_seconds(
    http: Served, mode: Callable[[Peer], None]
) -> None:
    """A4: the modes -H, -B, -X and -R of slowhttptest."""
    idle = statistics.quantiles(good_seconds(http), n=100)[98]
    with ExitStack() as crowd:
        for _ in range(CROWD - 10):
            mode(crowd.enter_context(Peer(http.port, "127.0.0.3", receive_bytes=4096)))
        among_them = statistics.quantiles(good_seconds(http), n=100)[98]
        wait_until(lambda: http.connections <= 2, 30)
    assert among_them < max(2 * idle, 0.05)


def good_seconds(http: Served) -> list[float]:
    seconds = []
    with Peer(http.port, "127.0.0.2") as good:
        for _ in range(1_000):
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
