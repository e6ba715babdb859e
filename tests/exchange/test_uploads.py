"""Bodies that are read as they come: how slow, how long, how large and how many, and what stands before them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import Unavailable
from catalog.records import Depositor
from dicom_node.deposit import Deposits
from dicom_node.pack import read_pack
from dicom_node.settings import NodeSettings
from dicom_node.spool import Spool
from exchange.body_limit import BodyLimit, BodyLimits
from exchange.overload import Overload
from exchange.part_reader import PartReader
from exchange.stow import is_upload
from exchange.upload import Cut, Gone, Storing, UploadLimits, Uploads, pieces, take_in
from tests.exchange.test_bodies import CHUNKED, WHO, answering, asleep, run, status, status_of
from tests.packs import ct
from tests.stowing import BOUNDARY, CLOSING, part, part10

LIMITS = BodyLimits(1000, is_streamed=is_upload, streamed_bytes=5000, seconds=20)
STOW = "/dicom-web/studies"


def coming(*given: bytes | dict[str, Any], pause: float = 0.0) -> Callable[[], Any]:
    """A peer that sends these pieces, with a pause before each, and then nothing."""
    left = list(given)

    async def receive() -> Any:
        await asyncio.sleep(pause)
        if not left:
            await asyncio.Event().wait()
        piece = left.pop(0)
        return (
            piece if isinstance(piece, dict) else {"type": "http.request", "body": piece, "more_body": True}
        )

    return receive


async def taken(receive: Any, limits: UploadLimits) -> tuple[bytes, int]:
    """What came, and the status with which it was cut."""
    found = b""
    try:
        async for piece in pieces(receive, limits):
            found += piece
    except Cut as cut:
        return found, cut.status
    return found, 0


QUICK = UploadLimits(body_bytes=1000, seconds=20, grace_seconds=0.05, least_bytes_per_second=1000)


def test_who_sends_nothing_or_less_than_the_least_is_cut_when_his_lease_is_used_up() -> None:
    assert run(lambda: taken(coming(b"x"), QUICK)) == (b"x", 408)
    found, cut = run(lambda: taken(coming(*[b"x"] * 1000, pause=0.01), QUICK))
    assert cut == 408
    assert 0 < len(found) < 30  # a tenth of the least: his lease lasts a moment longer than without


def test_who_sends_quickly_enough_goes_on_and_however_steadily_not_for_ever() -> None:
    last = {"type": "http.request", "body": b"", "more_body": False}
    found, cut = run(lambda: taken(coming(*[b"x" * 30] * 30, last, pause=0.01), QUICK))
    assert (len(found), cut) == (900, 0)
    short = UploadLimits(seconds=0.1, grace_seconds=5, least_bytes_per_second=1)
    assert run(lambda: taken(coming(*[b"x"] * 10_000, pause=0.002), short))[1] == 408


def test_time_in_which_nobody_reads_is_not_the_senders() -> None:
    async def work() -> int:
        count = 0
        last = {"type": "http.request", "body": b"", "more_body": False}
        async for _ in pieces(coming(b"x", b"x", b"x", last), QUICK):
            count += 1
            await asyncio.sleep(2 * QUICK.grace_seconds)  # the disk
        return count

    assert run(work) == 4


def test_what_is_too_large_is_cut_and_who_goes_is_gone() -> None:
    assert run(lambda: taken(coming(b"x" * 600, b"x" * 401), QUICK)) == (b"x" * 600, 413)
    with pytest.raises(Gone):
        run(lambda: taken(coming(b"x", {"type": "http.disconnect"}), QUICK))


def test_places_are_limited_in_all_and_for_each_hospital_and_come_free_again() -> None:
    uploads = Uploads(3, 2)
    with uploads.place("A"), uploads.place("A"):
        with pytest.raises(Unavailable), uploads.place("A"):
            pass
        with uploads.place("B"), pytest.raises(Unavailable), uploads.place("C"):
            pass
    with uploads.place("A"), uploads.place("A"), uploads.place("B"):
        pass
    uploads.close()


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", STOW, True),
        ("POST", f"{STOW}/1.2.3", True),
        ("GET", STOW, False),
        ("POST", f"{STOW}/1.2.3/series", False),
        ("POST", f"{STOW}X", False),
        ("POST", f"/x{STOW}", False),
        ("POST", "/v1/checks", False),
    ],
)
def test_two_routes_are_read_as_they_come_and_no_others(method: str, path: str, expected: bool) -> None:
    assert is_upload(method, path) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([CHUNKED], 401),
        ([WHO, CHUNKED], 200),
        ([WHO, (b"content-length", b"5000")], 200),
        ([WHO, (b"content-length", b"5001")], 413),
    ],
)
def test_an_upload_is_admitted_before_a_byte_of_it_is_read(
    headers: list[tuple[bytes, bytes]], expected: int
) -> None:
    app = BodyLimit(answering, LIMITS)
    assert run(lambda: status(app, STOW, (), *headers)) == expected


def test_an_upload_is_never_held_and_counts_only_until_it_begins_to_be_read() -> None:
    under_way: list[int] = []

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        under_way.append(overload._under_way)
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message["body"]), message["more_body"]
            under_way.append(overload._under_way)
            assert app._held_bytes == 0
        assert size == 3000
        await answering(scope, receive, send)

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0.1)  # in all longer than a request may take
            yield b"x" * 1000
        yield b""

    overload = Overload(reading, 1, 0.15)
    app = BodyLimit(overload, LIMITS)
    assert run(lambda: status_of(app, STOW, slow(), WHO, CHUNKED)) == 200
    assert under_way == [1, 0, 0, 0, 0]
    assert overload._under_way == 0


def test_an_upload_that_is_not_begun_in_time_is_refused_as_any_request() -> None:
    overload = Overload(asleep, 1, 0.05)
    assert run(lambda: status(BodyLimit(overload, LIMITS), STOW, (), WHO, CHUNKED)) == 503
    assert overload._under_way == 0


def test_what_follows_a_fault_is_read_and_dropped_so_that_the_answer_is_heard(tmp_path: Path) -> None:
    uploads, deposits = Uploads(1, 1), Deposits(NodeSettings(low_water_bytes=0), tmp_path)
    storing = Storing(deposits.open(Depositor("A", "pacs", "127.0.0.1")), PartReader(BOUNDARY), 10)
    left = [part(part10(ct("2.25.1", 1))), part(b"x", b"no header\r\n"), *[b"y" * 1000] * 50, CLOSING]

    async def receive() -> Any:
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    cut = run(lambda: take_in(uploads, storing, receive, UploadLimits()))
    assert (cut.status, left) == (400, [])
    assert [(each.SOPInstanceUID, each.failure) for each in storing.outcomes] == [("2.25.1.1.1", 0)]
    assert [read_pack(pack.path).ended for pack in Spool(tmp_path).sealed()] == ["broken"]
    uploads.close()


def test_without_a_folder_for_the_spool_nothing_is_promised(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"")
    with pytest.raises(Unavailable) as refused:
        Deposits(NodeSettings(), tmp_path / "spool").open(Depositor("A", "pacs", "127.0.0.1"))
    assert refused.value.code == "spool_failed"
