"""A small disk recovers by itself: packs the archive has are given up before their time, oldest first."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.embedded import Embedded
from catalog.errors import Unavailable
from dicom_node.ship import Shipper, ShipSettings
from dicom_node.spool import Spool
from tests.flow.archived import Archived, open_archived
from tests.packs import ct

pytestmark = pytest.mark.flow


@pytest.fixture
def volume(small_volume: Callable[[Path, int], Path], tmp_path: Path) -> Path:
    """A volume of 8 MiB, whose low-water mark is a fiftieth of it."""
    return small_volume(tmp_path / "volume", 8)


@pytest.fixture
def archived(embedded: Embedded, fresh_database_url: str, volume: Path, tmp_path: Path) -> Iterator[Archived]:
    with open_archived(embedded, fresh_database_url, tmp_path) as opened:
        spool = Spool(volume / "spool")
        yield replace(opened, spool=spool, shipper=Shipper(spool, opened.store, opened.catalogue))


def fill(volume: Path, leave_bytes: int) -> None:
    """Fill a volume until only so much is free."""
    status = os.statvfs(volume)
    free = status.f_bavail * status.f_frsize
    (volume / "filler").write_bytes(bytes(free - leave_bytes))


def ship_three(archived: Archived) -> list[str]:
    """Ship three packs of 120 KB; gives their ids, oldest first."""
    for number in (1, 2, 3):
        archived.ship(ct(f"2.25.{number}", 1, pixels=bytes(120_000)))
    return [pack.pack_id for pack in archived.spool.shipped()]


def test_with_room_enough_nothing_is_given_up_before_its_time(archived: Archived) -> None:
    shipped = ship_three(archived)
    assert archived.shipper.make_room() == 0
    assert [pack.pack_id for pack in archived.spool.shipped()] == shipped


def test_where_room_is_short_the_oldest_packs_go_first_and_only_as_many_as_needed(
    archived: Archived, volume: Path
) -> None:
    shipped = ship_three(archived)
    fill(volume, leave_bytes=150_000)
    with pytest.raises(Unavailable):
        archived.spool.check_room()
    archived.shipper.make_room()
    assert [pack.pack_id for pack in archived.spool.shipped()] == shipped[2:]
    assert archived.shipper.counters()["released_early"] == 2
    archived.spool.check_room()
    assert not archived.spool.is_below_marks(times=2)


def test_a_pack_whose_object_is_lost_is_kept_however_short_room_is(archived: Archived, volume: Path) -> None:
    shipped = ship_three(archived)
    archived.store.delete(archived.packs()[0].key)
    fill(volume, leave_bytes=20_000)
    assert archived.shipper.make_room() == 1
    assert [pack.pack_id for pack in archived.spool.shipped()] == shipped[:1]


def test_a_running_shipper_makes_room_by_itself(archived: Archived, volume: Path) -> None:
    ship_three(archived)
    fill(volume, leave_bytes=150_000)
    stop = threading.Event()
    shipper = Shipper(archived.spool, archived.store, archived.catalogue, ShipSettings())
    thread = threading.Thread(target=shipper.run, args=(stop,))
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while archived.spool.is_below_marks(times=2):
            assert time.monotonic() < deadline, "room never came"
            time.sleep(0.05)
    finally:
        stop.set()
        thread.join(30)
