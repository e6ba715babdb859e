"""Bodies before a route begins, and requests that have come: by hand, without a socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import pytest

from exchange.body_limit import BodyLimit, BodyLimits
from exchange.overload import Overload
from tests.exchange.conftest import Service

WHO = (b"authorization", b"Bearer x")
CHUNKED = (b"transfer-encoding", b"chunked")
LIMITS = BodyLimits(1000, below={"/large": 5000, "/large/not": 10}, anybody={"/open"}, seconds=20)


async def taking(scope: Any, receive: Any, send: Any) -> None:
    """A route that reads its body."""
    await receive()
    await answering(scope, receive, send)


async def answering(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})


async def asleep(scope: Any, receive: Any, send: Any) -> None:
    """A route that reads nothing and never answers."""
    await asyncio.Event().wait()


async def status(app: Any, path: str, pieces: Iterable[bytes] = (), *headers: tuple[bytes, bytes]) -> int:
    """Send a body in pieces and return the status; a body without pieces never comes."""
    return await status_of(app, path, _coming(pieces), *headers)


async def _coming(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def status_of(app: Any, path: str, coming: AsyncIterator[bytes], *headers: tuple[bytes, bytes]) -> int:
    found: list[int] = []

    async def receive() -> Any:
        piece = await anext(coming, None)
        if piece is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": piece, "more_body": piece != b""}

    async def send(message: Any) -> None:
        found.append(message.get("status", 0))

    scope = {"type": "http", "scheme": "http", "method": "POST", "path": path, "query_string": b""}
    await app({**scope, "headers": list(headers)}, receive, send)
    return found[0]


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def within() -> Any:
        async with asyncio.timeout(20):
            return await work()

    return asyncio.run(within())


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/v1/checks", [(b"content-length", b"9")], 401),
        ("/v1/checks", [CHUNKED], 401),
        ("/fhir", [CHUNKED], 401),
        ("/cds-services/huren-order-sign", [CHUNKED], 401),
        ("/nowhere", [CHUNKED], 401),
        ("/v1/session", [(b"content-length", b"16385")], 413),
        ("/oauth2/token", [(b"content-length", b"16385")], 413),
        ("/v1/checks", [WHO, (b"content-length", b"1048577")], 413),
    ],
)
def test_a_body_of_nobody_or_beyond_its_limit_is_refused_before_it_is_read(
    quiet: Service, path: str, headers: list[tuple[bytes, bytes]], expected: int
) -> None:
    app: Any = quiet.client.app
    assert run(lambda: status(app, path, (), *headers)) == expected


def test_each_path_has_the_limit_of_the_longest_one_it_is_below() -> None:
    assert [LIMITS.of(path) for path in ("/", "/large", "/large/x", "/larger", "/large/not")] == [
        1000,
        5000,
        5000,
        1000,
        10,
    ]


@pytest.mark.parametrize(("pieces", "expected"), [([b"x" * 500] * 2, 200), ([b"x" * 500] * 3, 413)])
def test_a_body_is_counted_as_it_comes(pieces: list[bytes], expected: int) -> None:
    app = BodyLimit(taking, LIMITS)
    assert run(lambda: status(app, "/", [*pieces, b""], WHO, CHUNKED)) == expected
    assert app._held_bytes == 0


def test_all_bodies_together_have_a_limit_and_leave_room_when_they_are_done() -> None:
    app = BodyLimit(taking, BodyLimits(1000, together_bytes=1500))

    async def work() -> list[int]:
        go = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"x" * 1000
            await go.wait()
            yield b""

        first = asyncio.create_task(status_of(app, "/", slow(), WHO, CHUNKED))
        while not app._held_bytes:
            await asyncio.sleep(0)
        beyond = await status(app, "/", [b"x" * 600, b""], WHO, CHUNKED)
        go.set()
        return [beyond, await first, await status(app, "/", [b"x" * 600, b""], WHO, CHUNKED)]

    assert run(work) == [503, 200, 200]
    assert app._held_bytes == 0


def test_a_body_has_so_much_time_in_all_however_steadily_it_drips() -> None:
    app = BodyLimit(taking, BodyLimits(10**9, seconds=0.05))

    async def drips() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.001)
            yield b"x"

    assert run(lambda: status_of(app, "/", drips(), WHO, CHUNKED)) == 408


@pytest.mark.parametrize("length", [b"0", b"1"])
def test_a_request_is_counted_and_timed_whether_its_route_reads_a_body_or_not(length: bytes) -> None:
    overload = Overload(asleep, 1, 0.2)
    app = BodyLimit(overload, LIMITS)
    whole = [b""] if length == b"0" else [b"x", b""]

    async def work() -> list[int]:
        first = asyncio.create_task(status(app, "/", whole, WHO, (b"content-length", length)))
        while not overload._under_way:
            await asyncio.sleep(0)
        return [await status(app, "/", whole, WHO, (b"content-length", length)), await first]

    assert run(work) == [503, 503]
    assert overload._under_way == 0


def test_the_limit_of_requests_is_held_to_once_the_body_is_there() -> None:
    overload = Overload(asleep, 2, 0.5)
    app = BodyLimit(overload, LIMITS)
    seen: list[int] = []

    async def work() -> None:
        go = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            await go.wait()
            yield b""

        crowd = [asyncio.create_task(status_of(app, "/", slow(), WHO, CHUNKED)) for _ in range(5)]
        await asyncio.sleep(0)
        go.set()
        while not all(each.done() for each in crowd):
            seen.append(overload._under_way)
            await asyncio.sleep(0.001)

    run(work)
    assert max(seen) == 2
