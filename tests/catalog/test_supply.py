"""What hospitals bring and how it is used: each figure beside what was done, and what is late beside what is new."""

import json
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from catalog import report_views, studies, supply, supply_refresh, viewings, withdrawals
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.rules import local_day
from catalog.supply_steps import ARRIVAL, LIMITS_HOURS, rank, within
from tests.city import City, pack_of
from tests.reports import IMAGING, LABORATORY, of_person, take

HOUR = 1 / 24  # in days
CT07 = [{"order_number": "1", "item_code": "CT07"}]


def figures(city: City, *group_by: str, counted: bool = True, **more: Any) -> dict[str, Any]:
    """Return the report, of what has changed too unless `counted` is false."""
    if counted:
        supply_refresh.refresh(city.catalogue)
    asked = {"first": date(2026, 1, 1), "last": date(2026, 12, 1), "today": local_day(city.now)} | more
    with transaction(city.catalogue.engine) as session:
        return supply.report(session, city.catalogue.items, group_by=group_by, **asked)


def picked(row: dict[str, Any], *names: str) -> list[Any]:
    return [row[name] for name in names]


def report_of(city: City, uid: str, number: str = "R-1", hospital: str = "A", **more: Any) -> int:
    return take(city, hospital, IMAGING, number=number, StudyInstanceUID=uid, **more).report_id


def whole(city: City) -> dict[str, Any]:
    total: dict[str, Any] = figures(city)["total"]
    return total


def test_without_anything_no_figure_is_above_zero_and_no_rate_is_known(city: City) -> None:
    city.hospital("A")
    answer = figures(city)
    assert answer["rows"] == answer["months"] == []
    assert answer["as_of"] is None
    total = answer["total"]
    assert all(total[name] is None for name in total if name.endswith(("_rate", "_minutes")))
    assert {total[name] for name in (*supply.COUNTERS, "timed", "timely")} == {0}


def test_arrival_is_counted_from_the_examination_to_what_the_exchange_received_first(city: City) -> None:
    city.hospital("A")
    for person, days_ago in ((2, HOUR), (4, HOUR), (6, 2.0), (8, 8.0), (None, 1.0)):
        city.study("A", person, days_ago=days_ago)
    total = whole(city)
    assert picked(total, "results", "linked", "timed", "timely", "timely_rate") == [5, 4, 5, 3, 0.6]
    assert picked(total, "arrival_median_minutes", "arrival_p90_minutes") == [24 * 60, 14 * 24 * 60]
    assert figures(city, within_hours=1)["total"]["timely"] == 2
    assert figures(city, within_hours=48)["total"]["timely_rate"] == 0.8
    assert figures(city, within_hours=168)["total"]["timely"] == 4


def test_a_laboratory_result_arrives_with_the_first_version_of_its_report(city: City) -> None:
    city.hospital("A")
    first = {"reported_at": LABORATORY.reported_at, **of_person(2)}
    take(city, "A", LABORATORY, **first)  # of two days ago
    city.now += timedelta(days=3)
    take(city, "A", LABORATORY, **first | {"reported_at": LABORATORY.reported_at + timedelta(hours=1)})
    (row,) = figures(city, "category", "item")["rows"]
    assert picked(row, "category", "category_name", "results", "arrival_median_minutes") == [
        "laboratory",
        "检验",
        1,
        2880,
    ]
    assert picked(row, "studies", "images_complete_rate", "reported_rate") == [0, None, None]


def test_images_are_complete_as_a_check_sees_it_and_time_alone_makes_them_so(city: City) -> None:
    city.hospital("A")
    city.study("A")
    header = replace(city.header, StudyInstanceUID="2.25.77", exam_time=city.now)
    record = pack_of("A", header, 77, city.now)
    studies.register_pack(city.catalogue, record, expected_revision=0, arriving=True)
    assert picked(whole(city), "studies", "images_complete", "images_complete_rate") == [2, 1, 0.5]
    assert supply_refresh.refresh(city.catalogue) == []  # nothing has changed
    city.now += city.catalogue.limits.quiet
    assert supply_refresh.refresh(city.catalogue) == [date(2026, 6, 1)]
    assert picked(whole(city), "studies", "images_complete") == [2, 2]
    assert supply_refresh.refresh(city.catalogue) == []


def test_a_study_with_fewer_images_than_declared_is_not_complete(city: City) -> None:
    city.hospital("A")
    uid = city.study("A")
    with transaction(city.catalogue.engine) as session:  # as its packs have catalog.arrivals say after a day
        session.execute(text("update study set count_short = true where uid = :uid"), {"uid": uid})
    assert picked(whole(city), "studies", "images_complete") == [1, 0]


def test_a_report_is_final_and_has_found_its_study_or_not(city: City) -> None:
    city.hospital("A")
    final, preliminary, without, cancelled = (city.study("A", person) for person in (2, 4, 6, 8))
    assert without
    report_of(city, final)
    report_of(city, preliminary, "R-2", status=IMAGING.status.PRELIMINARY)
    report_of(city, cancelled, "R-3", status=IMAGING.status.CANCELLED)
    report_of(city, "2.25.999", "R-4")  # of a study nobody has sent
    names = ("studies", "reported", "reported_rate", "reports", "matched", "matched_rate")
    assert picked(whole(city), *names) == [4, 1, 0.25, 3, 2, 0.666667]
    city.study("A", 10, StudyInstanceUID="2.25.999", PatientID="")
    assert picked(whole(city), *names) == [5, 2, 0.4, 3, 3, 1.0]


def test_a_study_is_counted_once_at_its_hospital_and_once_with_each_of_its_items(city: City) -> None:
    city.hospital("A")
    city.study("A", StudyDescription="胸部CT平扫+上腹部CT平扫")
    city.study("A", 4)
    city.study("A", 6, StudyDescription="不知道", BodyPartExamined="")
    assert [picked(each, "studies", "results") for each in figures(city, "hospital")["rows"]] == [[3, 3]]
    rows = figures(city, "item")["rows"]
    assert [picked(each, "item", "studies", "results") for each in rows] == [
        ["", 1, 0],
        ["CT07", 2, 2],
        ["CT10", 1, 1],
    ]
    assert picked(figures(city, "category", "tier")["rows"][0], "category", "studies", "results") == [
        "imaging",
        3,
        3,
    ]
    assert [each["item_name"] for each in rows][:2] == ["不在清单", "胸部CT平扫"]


def test_only_what_had_a_passed_evaluation_on_its_day_bears_the_mark(city: City) -> None:
    city.hospital("A")
    city.hospital("C", marked=False)
    city.study("A")
    city.study("C", 4)
    rows = figures(city, "hospital")["rows"]
    assert [picked(each, "hospital", "marked", "marked_rate") for each in rows] == [
        ["A", 1, 1.0],
        ["C", 0, 0.0],
    ]


def seen(city: City, person: int = 2) -> tuple[Caller, int]:
    """Return B's doctor, whom a check has shown what A did of a person, and the number of its report."""
    city.hospital("A")
    doctor = city.hospital("B")
    number = report_of(city, city.study("A", person))
    city.check(doctor, CT07, person)
    return doctor, number


def test_a_showing_that_is_opened_is_viewed_once_however_often(city: City) -> None:
    doctor, number = seen(city)
    assert picked(whole(city), "shown", "viewed", "viewing_rate") == [1, 0, 0.0]
    report_views.read(city.catalogue, doctor, number)
    report_views.read(city.catalogue, doctor, number)
    assert picked(whole(city), "shown", "viewed", "viewing_rate") == [1, 1, 1.0]
    city.check(doctor, CT07)
    assert picked(whole(city), "shown", "viewed", "viewing_median_minutes") == [2, 1, 1]
    report_views.read(city.catalogue, doctor, number)
    assert picked(whole(city), "shown", "viewed") == [2, 2]
    today = date.today()  # noqa: DTZ011 - the audit's clock is the database's
    with transaction(city.catalogue.engine) as session:
        (counted,) = viewings.by_hospital(
            session, today - timedelta(days=1), today + timedelta(days=1)
        ).items()
        assert counted == (session.scalar(text("select id from hospital where code = 'B'")), 2)
        assert viewings.by_hospital(session, date(2020, 1, 1), date(2020, 12, 31)) == {}


def test_a_hospital_that_opens_what_is_its_own_views_nothing(city: City) -> None:
    _, number = seen(city)
    mine = Caller("dr.A", "doctor", "A")
    city.check(mine, CT07)
    report_views.read(city.catalogue, mine, number)
    assert picked(whole(city), "shown", "viewed") == [2, 0]


def write(city: City, action: str, minute: int, hospital: str = "B", **detail: Any) -> None:
    """Write a record of the audit, so many minutes after noon."""
    statement = text("""
        insert into audit_event (action, caller, role, hospital_id, detail, recorded_at)
        select :action, 'x', 'doctor', id, cast(:detail as jsonb), timestamptz '2026-06-30 12:00+08' + :minute * interval '1 minute'
        from hospital where code = :hospital
    """)
    given = {"action": action, "hospital": hospital, "minute": minute, "detail": json.dumps(detail)}
    with transaction(city.catalogue.engine) as session:
        session.execute(statement, given)


@pytest.mark.parametrize(
    ("minute", "action", "viewed", "median"),
    [
        (25, "report.read", 1, 30),
        (24 * 60, "report.attachment", 1, 1440),
        (24 * 60 + 1, "report.read", 0, None),  # the check can be decided on no more
        (-1, "report.read", 1, 1),  # by the order of the records, whatever the clocks say
        (5, "report.search", 0, None),
        (5, "check.read", 0, None),
    ],
)
def test_what_a_viewing_is_and_how_long_it_took(
    city: City, minute: int, action: str, viewed: int, median: int | None
) -> None:
    city.hospital("A")
    city.hospital("B")
    number = report_of(city, city.study("A"))
    write(city, "check", 0, shown=["1", "404"])
    write(city, action, minute, report_id=number, shown=["1"])
    assert picked(whole(city), "shown", "viewed", "viewing_median_minutes") == [1, viewed, median]


def test_opening_the_study_or_the_value_by_fhir_views_it_too(city: City) -> None:
    city.hospital("A")
    city.hospital("B")
    city.study("A")
    take(city, "A", LABORATORY, **of_person(2))
    with transaction(city.catalogue.engine) as session:
        of_study, value = session.execute(
            text("select id from result order by study_id nulls last")
        ).scalars()
        study = session.scalar(text("select id from study"))
    write(city, "check", 0, shown=[str(of_study), str(value)])
    write(city, "imaging_study.read", 2, shown=[str(study)])
    assert [picked(each, "category", "viewed") for each in figures(city, "category")["rows"]] == [
        ["imaging", 1],
        ["laboratory", 0],
    ]
    write(city, "observation.read", 3, shown=[str(value)])
    assert picked(whole(city), "shown", "viewed") == [2, 2]


def test_late_data_opens_its_month_again_and_says_so_until_it_is_counted(city: City) -> None:
    city.hospital("A")
    city.study("A")
    city.study("A", 4, days_ago=40)
    before = figures(city, "month")
    assert [picked(each, "month", "results", "running") for each in before["rows"]] == [
        ["2026-05", 1, False],
        ["2026-06", 1, True],
    ]
    assert before["running"]
    city.now += timedelta(days=2)
    city.study("A", 6, days_ago=42)
    assert not figures(city, "month", last=date(2026, 6, 30))["running"]
    city.study("A", 8, days_ago=42)
    late = figures(city, "month", counted=False)
    assert [picked(each, "month", "changed", "running") for each in late["months"]] == [
        ["2026-05", True, False],
        ["2026-06", False, False],
    ]
    assert late["rows"][0]["results"] == 2
    assert supply_refresh.refresh(city.catalogue) == [date(2026, 5, 1)]
    after = figures(city, "month")
    assert after["rows"][0]["results"] == 3
    assert after["months"][0]["as_of"] > before["months"][0]["as_of"] == after["as_of"]


def test_what_is_withdrawn_counts_no_more_and_what_comes_back_does_again(city: City) -> None:
    city.hospital("A")
    uid = city.study("A")
    system = Caller("pacs", "hospital_system", "A")
    names = ("studies", "results", "marked", "timed")
    assert picked(whole(city), *names) == [1, 1, 1, 1]
    withdrawals.withdraw_study(city.catalogue, system, uid, "录入错误")
    assert picked(whole(city), *names) == [0, 0, 0, 0]
    withdrawals.restore_study(city.catalogue, system, uid, "已核实")
    assert picked(whole(city), *names) == [1, 1, 1, 1]


def test_what_is_committed_while_a_month_is_counted_is_counted_the_next_time(city: City) -> None:
    city.hospital("A")
    city.study("A")
    with transaction(city.catalogue.engine) as session:
        session.execute(text("update result set person_id = null"))
        session.flush()
        assert picked(whole(city), "results", "linked") == [1, 1]
    assert supply_refresh.refresh(city.catalogue) == [date(2026, 6, 1)]
    assert picked(whole(city), "results", "linked") == [1, 0]


def test_a_month_is_that_of_the_hospitals_zone(city: City) -> None:
    city.hospital("A")
    midnight = city.now.replace(hour=16) - timedelta(days=30)  # of 1 June in Shanghai
    for number, moment in enumerate((midnight, midnight - timedelta(seconds=1))):
        city.study("A", 2 + 2 * number, exam_time=moment)
    rows = figures(city, "month")["rows"]
    assert [picked(each, "month", "results", "studies") for each in rows] == [
        ["2026-05", 1, 1],
        ["2026-06", 1, 1],
    ]


def test_an_examination_that_turns_out_to_be_of_an_earlier_month_leaves_its_first_one(city: City) -> None:
    city.hospital("A")
    uid = city.study("A")
    assert [each["month"] for each in figures(city, "month")["rows"]] == ["2026-06"]
    city.study("A", StudyInstanceUID=uid, days_ago=40)
    assert supply_refresh.refresh(city.catalogue) == [date(2026, 6, 1), date(2026, 5, 1)]
    assert [each["month"] for each in figures(city, "month")["rows"]] == ["2026-05"]


def test_rows_come_page_by_page_under_the_total_of_all(city: City) -> None:
    for code in "ABC":
        city.hospital(code, region="500103" if code == "A" else "500105")
        city.study(code)
    pages = [figures(city, "hospital", offset=at, limit=2) for at in (0, 2)]
    assert [[each["hospital"] for each in page["rows"]] for page in pages] == [["A", "B"], ["C"]]
    assert [page["next"] for page in pages] == [2, None]
    assert [page["total"]["results"] for page in pages] == [3, 3]
    assert [picked(each, "district", "results") for each in figures(city, "district")["rows"]] == [
        ["500103", 1],
        ["500105", 2],
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"within_hours": 7},
        {"within_hours": 0},
        {"first": date(2027, 1, 1)},
    ],
)
def test_a_limit_between_the_steps_and_a_reversed_range_are_refused(
    city: City, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        figures(city, **wrong)
    with pytest.raises(InvalidInput):
        figures(city, "doctor")


def test_minutes_are_ranked_by_steps_and_limits_are_exact_at_them() -> None:
    counts = [0] * len(ARRIVAL)
    counts[0], counts[3], counts[-1] = 8, 1, 1
    assert [rank(counts, ARRIVAL, percent) for percent in (50, 80, 81, 90, 91)] == [1, 1, 4, 4, ARRIVAL[-1]]
    assert [within(counts, minutes) for minutes in (0, 1, 3, 4, 10_080)] == [0, 8, 8, 9, 9]
    assert {24, 48, 168} < set(LIMITS_HOURS)
    assert sorted(set(ARRIVAL)) == list(ARRIVAL)
