"""Versions of the list: imported whole, in force by day and region, and never a past answer changed."""

from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from catalog import item_lists, lab_results, ledger, list_files, people, recount, registry, savings
from catalog.context import Caller
from catalog.datafile import InvalidList
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput
from catalog.items import COLUMNS, ITEM_LISTS, Item, ItemList, load_item_list
from catalog.report_records import LOINC, Coding
from catalog.tables import AuditEvent, Person
from tests.catalog.test_spreadsheet import xlsx
from tests.city import City
from tests.reports import LABORATORY, POTASSIUM, take

CURATOR = Caller("curator", "curator")
SEED = load_item_list()


def table(items: Iterable[Item]) -> list[list[str]]:
    return [list(COLUMNS), *([_cell(getattr(item, name)) for name in COLUMNS] for item in items)]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ";".join(sorted(value) if isinstance(value, frozenset) else value) if isinstance(value, tuple | frozenset) else str(value)  # fmt: skip


def changed(code: str = "CT07", **values: str) -> list[list[str]]:
    """Return the seed as rows with one item's fields changed."""
    rows = table(SEED)
    row = next(each for each in rows if each[0] == code)
    for name, value in values.items():
        row[COLUMNS.index(name)] = value
    return rows


def only(*codes: str, **values: str) -> list[list[str]]:
    rows = changed(codes[0], **values)
    return [row for row in rows if row[0] in ("code", *codes)]


def bring(
    city: City,
    rows: list[list[str]],
    version: str = "2026-2",
    first: str = "2026-07-01",
    region: str | None = None,
    *,
    dry_run: bool = False,
) -> item_lists.Import:
    given = list_files.list_of("list.xlsx", xlsx(rows), {"version": version, "effective_from": first})
    with transaction(city.catalogue.engine) as session:
        wider = item_lists.wider_list(session, city.catalogue, region, given.header.effective_from)
        return item_lists.import_list(
            session, city.catalogue, CURATOR, given.items(wider), region=region, dry_run=dry_run
        )


def window(city: City, days_ago: float = 0, regions: tuple[str, ...] = ("500107", "50", "CN")) -> int:
    with transaction(city.catalogue.engine) as session:
        found = item_lists.in_force(
            session, city.catalogue, regions, city.now - timedelta(days=days_ago)
        ).get("CT07")
    assert found is not None
    return found.window_days


def verdicts(city: City, doctor: Caller, number: str = "1") -> list[tuple[str, list[str]]]:
    answer = city.check(doctor, [{"order_number": number, "item_code": "CT07"}])
    return [
        (each["verdict"], [reason["code"] for reason in each["reasons"]])
        for each in answer["orders"][0]["candidates"]
    ]


def test_the_release_s_list_is_in_force_from_the_first_day_of_the_catalogue(city: City) -> None:
    with transaction(city.catalogue.engine) as session:
        found = item_lists.in_force(session, city.catalogue, (), city.now)
    assert (found.version, found.items) == (SEED.version, SEED.items)


def test_what_was_imported_is_read_back_field_by_field(city: City) -> None:
    bring(city, table(load_item_list(ITEM_LISTS / "extension" / "proposal-2.toml")), "proposal-2")
    with transaction(city.catalogue.engine) as session:
        found = item_lists.version(session, "proposal-2")
    told = load_item_list(ITEM_LISTS / "extension" / "proposal-2.toml")
    for item, expected in zip(found, told, strict=True):
        assert {f.name: getattr(item, f.name) for f in fields(Item)} == {
            f.name: getattr(expected, f.name) for f in fields(Item)
        }


def test_the_extended_proposal_adds_eleven_items_and_changes_none(city: City) -> None:
    rows = table(load_item_list(ITEM_LISTS / "extension" / "proposal-2.toml"))
    diff = bring(city, rows, "proposal-2", dry_run=True).diff
    assert (len(diff.added), diff.dropped, diff.changed) == (11, (), ())
    assert load_item_list().version == SEED.version, "the extension is no default"


def test_a_new_version_changes_tomorrow_s_checks_and_none_of_yesterday_s(city: City) -> None:
    doctor = city.hospital("B", tier=2, region="500107")
    city.hospital("A")
    city.study("A", days_ago=20)
    before = city.check(doctor, [{"order_number": "1", "item_code": "CT07"}])
    assert before["orders"][0]["candidates"][0]["verdict"] == "recognisable"
    bring(city, changed(window_days="14"))
    assert verdicts(city, doctor, "2") == [("recognisable", [])], "not in force yet"
    city.now += timedelta(days=1)
    assert verdicts(city, doctor, "3") == [("reference", ["out_of_window"])]
    with transaction(city.catalogue.engine) as session:
        kept = session.execute(
            select(item_lists.ItemListVersion.version).order_by(item_lists.ItemListVersion.id)
        ).scalars()
        assert list(kept) == ["proposal-1", "2026-2"]
    assert city.check(doctor, [{"order_number": "4", "item_code": "CT07"}])["item_list"] == "2026-2"
    assert before["item_list"] == "proposal-1"


def test_a_new_version_changes_no_figure_of_a_decision_taken_under_the_old_one(city: City) -> None:
    """The saving is reversed by a repeat within the window of the list the check was answered from."""
    doctor = city.hospital("B", tier=2, region="500107")
    city.hospital("A")
    city.study("A", days_ago=3)
    check = city.check(doctor, [{"order_number": "1", "item_code": "CT07"}])
    city.decide(doctor, check, "1", "recognise")
    bring(city, changed(window_days="1"))
    city.now += timedelta(days=10)
    city.study("B", days_ago=0)
    with transaction(city.catalogue.engine) as session:
        report = savings.report(session, SEED, first=date(2026, 6, 1), last=date(2026, 7, 1))
        assert report["total"]["net_fen"] == 0, "a repeat on the tenth day is within the 30 of its check"
        people.lock(session, session.scalars(select(Person.id)))
        for person_id in session.scalars(select(Person.id)):
            ledger.settle(session, city.catalogue, person_id)
        assert recount.verify(session)["agrees"]


def test_a_version_imported_late_with_an_early_first_day_judges_only_what_is_asked_after(city: City) -> None:
    yesterday = city.now - timedelta(days=1)
    bring(city, changed(window_days="14"), first="2026-01-01")
    assert window(city) == 14
    assert window(city, days_ago=1) == 30
    assert yesterday < city.now


@pytest.mark.parametrize(("day", "days"), [("2026-06-30", 30), ("2026-07-01", 14), ("2026-07-02", 14)])
def test_a_list_is_in_force_from_its_first_day_in_the_hospital_s_zone(
    city: City, day: str, days: int
) -> None:
    bring(city, changed(window_days="14"))
    city.now = city.now.replace(day=30, hour=15, minute=59) + (date.fromisoformat(day) - date(2026, 6, 30))
    assert window(city) == days


def test_the_smallest_region_wins_item_by_item(city: City) -> None:
    bring(city, only("CT07", window_days="20"), "city-1", "2026-06-01", "50")
    bring(city, only("CT07", window_days="10"), "district-1", "2026-06-01", "500107")
    assert window(city, regions=("500107", "50", "CN")) == 10
    assert window(city, regions=("500103", "50", "CN")) == 20
    assert window(city, regions=("510100", "51", "CN")) == 30
    with transaction(city.catalogue.engine) as session:
        found = item_lists.in_force(session, city.catalogue, ("500107", "50", "CN"), city.now)
    assert (len(found), found.version) == (112, "proposal-1+city-1+district-1")


def test_a_region_s_own_item_is_known_to_its_hospitals_only(city: City) -> None:
    inside, outside = city.hospital("B", region="500107"), city.hospital("C", region="500103")
    rows = only("CT07", covers="CT08")
    bring(city, [rows[0], ["XX01", *rows[1][1:]]], "district-1", "2026-06-01", "500107")
    answers = [city.check(who, [{"order_number": "1", "item_code": "XX01"}]) for who in (inside, outside)]
    errors = [(answer["orders"][0].get("error") or {}).get("code") for answer in answers]
    assert errors == [None, "unknown_item"]


def test_an_item_on_the_negative_list_is_shown_as_reference_only(city: City) -> None:
    doctor = city.hospital("B", tier=2, region="500107")
    city.hospital("A")
    city.study("A", days_ago=3)
    bring(city, changed(negative="true"), first="2026-06-30")
    assert verdicts(city, doctor) == [("reference", ["negative_list"])]


def test_a_covering_item_answers_only_where_the_list_in_force_says_so(city: City) -> None:
    doctor = city.hospital("B", tier=2, region="500107")
    city.hospital("A")
    city.study("A", days_ago=3, StudyDescription="胸部CT增强", ContrastBolusAgent="碘海醇")
    assert verdicts(city, doctor) == [("recognisable", [])]
    bring(city, changed("CT09", covers=""), first="2026-06-30")
    assert verdicts(city, doctor, "2") == []


def test_a_dry_run_says_what_would_change_and_changes_nothing(city: City) -> None:
    rows = changed(window_days="14", name_zh="胸部CT")
    dropped = next(row for row in rows if row[0] == "XR20")
    told = bring(city, [row for row in rows if row is not dropped], dry_run=True)
    assert told.diff.report() == {
        "added": [],
        "dropped": [{"code": "XR20", "name": "鼻骨侧位", "name_en": "Nasal bone X-ray, lateral"}],
        "changed": [
            {"code": "CT07", "field": "name_zh", "before": "胸部CT平扫", "after": "胸部CT"},
            {"code": "CT07", "field": "window_days", "before": "30", "after": "14"},
        ],
    }
    with transaction(city.catalogue.engine) as session:
        assert len(item_lists.versions(session)) == 1
        assert not session.scalars(select(AuditEvent).where(AuditEvent.action == "items.import")).all()


def test_any_fault_refuses_the_whole_list_with_every_line(city: City) -> None:
    rows = changed(window_days="0", covers="ZZ99")
    rows[5][COLUMNS.index("laterality")] = "left"
    rows.append(rows[1])
    with pytest.raises(InvalidList) as caught:
        bring(city, rows)
    places = [(each.line, each.field) for each in caught.value.problems]
    chest = 1 + [row[0] for row in rows].index("CT07")
    assert places == [(6, "laterality"), (chest, "window_days"), (chest, "covers"), (114, "code")]
    with transaction(city.catalogue.engine) as session:
        assert len(item_lists.versions(session)) == 1


@pytest.mark.parametrize(
    ("version", "first"), [("proposal-1", "2026-07-01"), ("other", "2022-03-01")], ids=["name", "first day"]
)
def test_a_version_stands_once_and_is_never_changed(city: City, version: str, first: str) -> None:
    with pytest.raises(Conflict):
        bring(city, changed(window_days="14"), version, first)


def test_a_version_s_name_carries_nothing_but_a_name(city: City) -> None:
    with pytest.raises(InvalidInput):
        bring(city, changed(window_days="14"), "v1\n<script>")


def test_a_list_must_say_its_version_and_first_day(city: City) -> None:
    for told in ({"version": "v1"}, {"effective_from": "2027-01-01"}, {"version": "v1", "effective_from": "1.1.2027"}):  # fmt: skip
        with pytest.raises(InvalidList):
            list_files.list_of("x", xlsx(table(SEED)), told)


def test_an_import_is_audited_with_who_did_it(city: City) -> None:
    bring(city, changed(window_days="14"))
    with transaction(city.catalogue.engine) as session:
        event = session.scalars(select(AuditEvent).where(AuditEvent.action == "items.import")).one()
    assert (event.caller, event.detail["version"]) == ("curator", "2026-2")


def test_codes_of_every_time_keep_their_names(city: City) -> None:
    rows = [row for row in changed("CT07", name_zh="胸部CT(新)") if row[0] != "XR20"]
    bring(city, rows, first="2026-06-30")
    with transaction(city.catalogue.engine) as session:
        known: ItemList = item_lists.every_item(session, city.catalogue)
    assert [known.get(code).name_zh for code in ("CT07", "XR20")] == ["胸部CT(新)", "鼻骨侧位"]  # type: ignore[union-attr]


def test_a_laboratory_value_is_mapped_by_the_list_in_force_for_its_hospital(city: City) -> None:
    city.hospital("A")
    value = replace(POTASSIUM, key="K", codings=(Coding(LOINC, "99999-9", "钾"),))

    def mapped(number: str) -> tuple[int, list[str]]:
        take(city, "A", LABORATORY, number=number, values=(value,), PatientID="P-2")
        with transaction(city.catalogue.engine) as session:
            hospital = registry.hospital_by_code(session, "A")
            found = lab_results.remap(session, city.catalogue, hospital.id)
            return found, [row["reason"] for row in lab_results.unmapped(session, hospital.id)]

    assert mapped("L-1") == (0, ["not_on_list"])
    bring(city, changed("LB14", loinc="99999-9"), first="2026-07-01")
    city.now += timedelta(days=2)
    assert mapped("L-2") == (1, [])  # the new one at once, the old one when it is looked at again
