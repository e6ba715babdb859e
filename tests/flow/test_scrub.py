"""The scrub finds every object that is not what its row promises, and no other, and makes it again while it can."""

import json
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog import documents
from catalog.embedded import Embedded
from catalog.errors import Conflict, ObjectStoreDown
from catalog.objects import ObjectStore
from dicom_node.orphans import Orphan, find_orphans
from dicom_node.rebuild import Rebuild
from dicom_node.repair import Repair
from dicom_node.scrub import Scrub, ScrubReport
from dicom_node.ship import Shipper
from dicom_node.spool import Spool
from tests.city import City
from tests.faults.s3_proxy import Fault, open_proxy
from tests.flow.archived import FAST, Archived, open_archived, series
from tests.packs import ct, receive
from tests.reports import IMAGING, take

pytestmark = [pytest.mark.flow, pytest.mark.long]
TOMORROW = timedelta(days=1, minutes=1)


@pytest.fixture
def archived(embedded: Embedded, fresh_database_url: str, tmp_path: Path) -> Iterator[Archived]:
    with open_archived(embedded, fresh_database_url, tmp_path) as opened:
        yield opened


def scrub(archived: Archived, *, after: str = "", stop: threading.Event | None = None) -> ScrubReport:
    with Repair(archived.spool, archived.store, archived.catalogue) as repair:
        run = Scrub(archived.store, archived.catalogue, repair)
        run.run(stop or threading.Event(), after=after)
    return run.report


def orphans(archived: Archived, *, delete: bool = False, later: timedelta = TOMORROW) -> list[Orphan]:
    return list(
        find_orphans(
            archived.store, archived.catalogue, delete=delete, clock=lambda: datetime.now(UTC) + later
        )
    )


def forget_the_spool(archived: Archived) -> None:
    """The grace time is over."""
    due = Shipper(archived.spool, archived.store, archived.catalogue, replace(FAST, grace_seconds=0))
    due.release_due()
    assert archived.spool.shipped() == []


def flipped(content: bytes, chance: random.Random) -> bytes:
    at, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
    return content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]


def corrupt(archived: Archived, key: str, chance: random.Random, others: list[str]) -> str:
    """Break one object in one of the ways; gives the key of a second object that is broken with it, or ''."""
    content = archived.content(key)
    kind = chance.choice(["flip", "truncate", "delete", "swap"])
    other = others.pop() if kind == "swap" and others else ""
    if other:
        archived.rot(key, archived.content(other))
        archived.rot(other, content)
    elif kind == "flip":
        archived.rot(key, flipped(content, chance))
    elif kind == "truncate":
        archived.rot(key, content[: chance.randrange(len(content))])
    else:
        archived.store.delete(key)
    return other


def many_packs(archived: Archived) -> None:
    """26 packs: whole ones, cut ones of several studies, contradictions apart."""
    for number in range(1, 7):
        archived.ship(*series(f"2.25.{number}", 2))
    for number in range(20, 24):
        archived.ship(ct(f"2.25.{number}", 1), ct(f"2.25.{number + 100}", 1))
    for number in range(1, 7):
        archived.ship(ct(f"2.25.{number}", 1, pixels=bytes(128)), ct(f"2.25.{number}", 3))


@pytest.mark.parametrize("seed", [1])
def test_every_corruption_is_found_none_is_invented_and_all_are_repaired_within_the_grace_time(
    archived: Archived, seed: int
) -> None:
    many_packs(archived)
    before = archived.contents()
    assert len(archived.packs()) == 26
    assert len(before) == 52
    chance = random.Random(seed)
    left = sorted(before)
    chance.shuffle(left)
    broken: set[str] = set()
    while len(broken) < 40:
        key = left.pop()
        broken |= {key, corrupt(archived, key, chance, left)} - {""}
    found = scrub(archived)
    assert {finding.key for finding in found.findings} == broken
    assert len(found.findings) == len(broken)
    assert all(finding.repaired for finding in found.findings)
    assert archived.contents() == before
    assert scrub(archived).findings == []


def test_a_whole_archive_gives_no_finding_and_no_orphan(archived: Archived) -> None:
    archived.ship(*series("2.25.1"))
    archived.ship(ct("2.25.1", 1, pixels=bytes(128)))
    report = scrub(archived)
    assert (report.findings, report.packs, report.complete) == ([], 2, True)
    assert report.bytes == sum(pack.size_bytes for pack in archived.packs())
    assert orphans(archived) == []


def test_after_the_grace_time_a_lost_pack_is_reported_and_a_lost_sidecar_still_made_again(
    archived: Archived,
) -> None:
    archived.ship(*series("2.25.1"))
    archived.ship(ct("2.25.1", 1, pixels=bytes(128)), ct("2.25.1", 4))
    forget_the_spool(archived)
    packs, before = archived.packs(), archived.contents()
    for pack in packs:
        archived.store.delete(pack.sidecar_key)
    found = scrub(archived).findings
    assert sorted((f.key, f.fault, f.repaired) for f in found) == sorted(
        (pack.sidecar_key, "missing", True) for pack in packs
    )
    assert archived.contents() == before  # revision, role and contradictions are those of the rows
    archived.store.delete(packs[0].key)
    again = scrub(archived).findings
    assert [(f.key, f.fault, f.repaired) for f in again] == [(packs[0].key, "missing", False)]


def test_a_pack_and_its_sidecar_lost_together_come_back_from_the_spool(archived: Archived) -> None:
    archived.ship(*series("2.25.1"))
    archived.ship(
        *series("2.25.1", 1),
        ct("2.25.1", 2, pixels=bytes(128)),
        ct("2.25.1", 9),
        ct("2.25.2", 1),
        ct("2.25.1", 9),
    )
    before = archived.contents()
    for pack in archived.packs()[1:]:
        archived.store.delete(pack.key)
        archived.store.delete(pack.sidecar_key)
        found = scrub(archived).findings
        assert sorted(f.key for f in found) == sorted([pack.key, pack.sidecar_key])
        assert all(f.repaired for f in found)
        assert archived.contents() == before


def test_an_object_the_store_itself_can_no_longer_read_is_unreadable_and_not_an_outage(
    archived: Archived,
) -> None:
    archived.ship(*series("2.25.1"))
    archived.ship(*series("2.25.2"))
    key = archived.packs()[0].key
    with open_proxy(archived.access.address) as proxy:
        proxy.fault = Fault("error", lambda method, path: method == "GET" and path.endswith(key), times=4)
        with ObjectStore(replace(archived.access, endpoint=proxy.endpoint)) as store:
            found = scrub(replace(archived, store=store)).findings
    assert [(f.key, f.fault, f.repaired) for f in found] == [(key, "unreadable", True)]


def test_a_store_that_is_down_is_no_finding(archived: Archived) -> None:
    archived.ship(*series("2.25.1"))
    with open_proxy(archived.access.address) as proxy:
        proxy.fault = Fault("refuse")
        with (
            ObjectStore(replace(archived.access, endpoint=proxy.endpoint)) as store,
            Repair(archived.spool, store, archived.catalogue) as repair,
        ):
            run = Scrub(store, archived.catalogue, repair)
            with pytest.raises(ObjectStoreDown):
                run.run(threading.Event())
    assert (run.report.findings, run.report.complete) == ([], False)


def test_a_run_that_was_stopped_goes_on_after_the_key_it_names(archived: Archived) -> None:
    for number in range(1, 6):
        archived.ship(*series(f"2.25.{number}", 1))
    stop = threading.Event()
    with Repair(archived.spool, archived.store, archived.catalogue) as repair:
        run = Scrub(archived.store, archived.catalogue, repair, on_bytes=lambda _: stop.set())
        run.run(stop)
    first = run.report
    assert (first.packs, first.complete) == (1, False)
    rest = scrub(archived, after=first.last_key)
    assert (rest.packs, rest.complete) == (4, True)


def test_no_more_bytes_pass_in_a_second_than_allowed(archived: Archived) -> None:
    archived.ship(*series("2.25.1", 2))
    size_bytes = archived.packs()[0].size_bytes
    began = datetime.now(UTC)
    with Repair(archived.spool, archived.store, archived.catalogue) as repair:
        run = Scrub(archived.store, archived.catalogue, repair, bytes_per_second=size_bytes * 2)
        run.run(threading.Event())
    assert datetime.now(UTC) - began >= timedelta(seconds=0.5)


def test_one_scrub_at_a_time_works_on_a_spool(archived: Archived) -> None:
    with (
        Repair(archived.spool, archived.store, archived.catalogue),
        pytest.raises(Conflict),
        Repair(archived.spool, archived.store, archived.catalogue),
    ):
        pass


# --- orphans --------------------------------------------------------------------------------------------


def a_leftover(archived: Archived) -> list[str]:
    """A pair that an interrupted shipper left: its instances are registered in another pack."""
    other = Spool(archived.spool.root.parent / "other", low_water_bytes=0)
    receive(other, series("2.25.1", 2))
    before = set(archived.contents())
    archived.empty_catalogue()
    Shipper(other, archived.store, archived.catalogue, FAST).ship_once()
    archived.empty_catalogue()
    left = sorted(set(archived.contents()) - before)
    moved = {key: archived.content(key) for key in left}
    for key in left:
        archived.store.delete(key)
    Rebuild(archived.store, archived.catalogue).run(threading.Event())
    for key, content in moved.items():
        archived.store.put_bytes(key, content)
    return left


def test_orphans_are_listed_and_only_old_leftovers_are_removed_when_asked(archived: Archived) -> None:
    archived.ship(*series("2.25.1"))
    left = a_leftover(archived)
    archived.store.put_bytes("notes/read.me", b"not ours")
    listed = orphans(archived)
    assert sorted((o.key, o.state, o.deleted) for o in listed) == sorted(
        [("notes/read.me", "foreign", False), *((key, "leftover", False) for key in left)]
    )
    assert {o.state for o in orphans(archived, delete=True, later=timedelta(hours=23))} == {
        "young",
        "foreign",
    }
    assert sorted(o.key for o in orphans(archived, delete=True) if o.deleted) == left
    assert [o.key for o in orphans(archived)] == ["notes/read.me"]
    assert scrub(archived).findings == []


def test_half_a_pair_without_a_row_is_a_leftover(archived: Archived) -> None:
    key = f"packs/ab/ab{'0' * 62}.tar"
    archived.store.put_bytes(key, b"half")
    assert [(o.key, o.state, o.deleted) for o in orphans(archived, delete=True)] == [(key, "leftover", True)]
    assert archived.contents() == {}


def test_what_only_an_unregistered_pack_holds_is_never_removed(archived: Archived) -> None:
    archived.ship(*series("2.25.1"))
    before = archived.contents()
    archived.empty_catalogue()
    assert {o.state for o in orphans(archived, delete=True)} == {"restorable"}
    assert archived.contents() == before


# --- the command ----------------------------------------------------------------------------------------


def test_the_command_reports_repairs_and_says_by_its_exit_code_whether_anything_was_wrong(
    archived: Archived,
) -> None:
    archived.ship(*series("2.25.1"))
    (pack,) = archived.packs()
    archived.store.delete(pack.key)
    first = archived.run("scrub", "--json")
    told = json.loads(first.stdout)
    assert first.returncode == 1, first.stderr
    assert [(f["key"], f["fault"], f["repaired"]) for f in told["findings"]] == [(pack.key, "missing", True)]
    assert (told["packs"], told["complete"], told["orphans"]) == (1, True, [])
    again = archived.run("scrub", "--rate-mb", "100", "--delete-orphans")
    assert (again.returncode, "1 包" in again.stdout) == (0, True)
    assert json.loads(archived.run("scrub", "--after", pack.key, "--json").stdout)["packs"] == 0


def test_a_document_that_a_report_names_is_found_missing_rotten_or_whole(archived: Archived) -> None:
    names = ["whole", "rotten", "gone"]
    kept = {name: documents.describe(b"%PDF-1.4 " + name.encode(), "application/pdf") for name in names}
    for name, attachment in kept.items():
        documents.keep(archived.store, b"%PDF-1.4 " + name.encode(), attachment)
    archived.ship(ct("2.25.1", 1))
    now, named = archived.catalogue.clock(), tuple(kept.values())
    take(City(archived.catalogue), "H-A", IMAGING, PatientID="P-1", reported_at=now, attachments=named)
    assert (scrub(archived).findings, scrub(archived).documents) == ([], 3)
    archived.rot(kept["rotten"].key, b"%PDF-1.4 other bytes")
    archived.store.delete(kept["gone"].key)
    report = scrub(archived)
    found = {(each.key, each.fault, each.repaired) for each in report.findings}
    assert found == {(kept["rotten"].key, "altered", False), (kept["gone"].key, "missing", False)}
    assert (report.packs, report.documents, report.complete) == (1, 3, True)
    assert scrub(archived, after=report.last_key).findings == []
