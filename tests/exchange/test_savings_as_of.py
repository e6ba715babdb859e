"""The regulator asks how figures stood, by which events and of whom; every row leads to its entries."""

from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest
from typer.testing import CliRunner

from catalog.event_figures import GROUPINGS
from exchange.cli_savings import savings_app
from tests.city import environment_of_commands
from tests.exchange.conftest import Service
from tests.exchange.test_savings_api import JUNE, read, recognised
from tests.exchange.test_savings_files import busy, cells_of_csv  # noqa: F401 (a fixture)

SOME = [*((name,) for name in GROUPINGS), *combinations(GROUPINGS, 2), ("hospital", "item", "month")]
FILTERS = (
    "hospital=B",
    "district=500107&district=500103",
    "tier=2",
    "item=CT07&item=CT09",
    "category=imaging",
)


@pytest.fixture
def reversed_late(busy: Service) -> Service:  # noqa: F811
    """What the first of two recognitions was to avoid was done too, which came on 3 July."""
    busy.city.now += timedelta(days=3)
    busy.city.study("B", 2, days_ago=3)
    return busy


@pytest.mark.parametrize("as_of", ["", "&as_of=2026-07-01"])
def test_every_row_by_whatever_leads_to_the_entries_that_make_it(reversed_late: Service, as_of: str) -> None:
    expected = 19800 if as_of else 0
    for number, grouping in enumerate(SOME):
        narrowed = FILTERS[number % len(FILTERS)]
        report = read(reversed_late, f"/v1/savings?{JUNE}&group_by={','.join(grouping)}&{narrowed}{as_of}")
        assert report["rows"], grouping
        for row in report["rows"]:
            entries = read(reversed_late, row["entries"])["entries"]
            assert sum(each["amount_fen"] for each in entries) == row["net_fen"], (grouping, row["entries"])
        assert sum(row["net_fen"] for row in report["rows"]) == report["total"]["net_fen"] == expected


def test_a_row_leads_to_its_own_entries_and_to_no_others(service: Service) -> None:
    recognised(service)
    service.city.study("A", 4)
    service.city.now += timedelta(days=1)
    recognised(service, "2", 4)
    path = "/v1/savings?from=2026-06&to=2026-07&group_by=day"
    days = {row["day"]: read(service, row["entries"])["entries"] for row in read(service, path)["rows"]}
    assert {day: [each["business_date"] for each in entries] for day, entries in days.items()} == {
        "2026-06-30": ["2026-06-30"],
        "2026-07-01": ["2026-07-01"],
    }
    for query in (
        "department=骨科",
        "issuing_hospital=B",
        "day=2026-06-29",
        "category=laboratory",
        "tier=3",
        "district=500103",
    ):
        assert read(service, f"/v1/savings/entries?from=2026-06&to=2026-07&{query}")["entries"] == [], query
    for query in (
        "department=呼吸内科",
        "issuing_hospital=A",
        "category=imaging",
        "tier=2",
        "district=500107",
    ):
        assert len(read(service, f"/v1/savings/entries?from=2026-06&to=2026-07&{query}")["entries"]) == 2, (
            query
        )


def test_a_report_names_its_moment_and_how_often_its_months_were_opened_again(reversed_late: Service) -> None:
    def months(as_of: str) -> tuple[Any, Any, list[Any]]:
        answer = read(reversed_late, f"/v1/savings?from=2026-06&to=2026-07{as_of}")
        told = [(each["month"], each["revision"], each["reopened_at"]) for each in answer["months"]]
        return answer["as_of"], answer["total"]["reversed_fen"], told

    assert months("") == (
        "2026-07-03T05:00:00+00:00",
        39600,
        [("2026-06", 2, "2026-07-03T13:00:00+08:00"), ("2026-07", 0, None)],
    )
    assert months("&as_of=2026-07-02T12:00:00%2B08:00") == (
        "2026-07-02T04:00:00+00:00",
        19800,
        [("2026-06", 1, None), ("2026-07", 0, None)],
    )
    assert months("&as_of=2026-06-30")[1:] == (19800, [("2026-06", 0, None)])
    assert months("&as_of=2026-06-29")[1:] == (0, [("2026-06", 0, None)])
    assert months("&as_of=2026-05-31")[1:] == (0, [])


def test_a_file_ends_with_its_moment_and_the_revisions(reversed_late: Service) -> None:
    path = f"/v1/savings?{JUNE}&group_by=day,department,issuing_hospital,category&format=csv"
    answer = reversed_late.call("GET", path, role="regulator")
    heading, row, _total = cells_of_csv(answer.content)
    assert heading[:6] == [
        "日期 day",
        "科室 department",
        "出具机构代码 issuing hospital",
        "出具机构名称 issuing hospital name",
        "类别 category",
        "提醒 reminders",
    ]
    assert row[:6] == ["2026-06-30", "呼吸内科", "A", "A医院", "imaging", ""]
    as_of, june = answer.content.decode("utf-8-sig").split("\r\n")[-3:-1]
    assert as_of.startswith('"截至 as of","2026-07-03T05:00:00+00:00",')
    assert june.startswith('"2026-06 修订 revision","2 (2026-07-03T13:00:00+08:00)",')
    assert as_of.count(",") == june.count(",") == len(heading) - 1


@pytest.mark.parametrize("path", ["/v1/savings", "/v1/savings/entries"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("as_of=2026-07-01", "as_of"),
        ("as_of=2026-06-29T12:00:00", "as_of"),
        ("as_of=2026-06-29T12:00:00+08:00", "as_of"),  # a + that the address does not say is a space
        ("category=x", "category"),
        ("hospital=%00", "hospital.0"),
        ("tier=" + "&tier=".join("1" * 101), "tier"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_its_field(
    quiet: Service, path: str, query: str, field: str
) -> None:
    answer = quiet.call("GET", f"{path}?{query}", role="regulator")
    assert answer.status_code == 422
    told = answer.json()
    assert [each["field"] for each in told.get("errors", [told])] == [field]


def test_a_hospitals_own_auditor_is_told_of_its_own_months_alone(reversed_late: Service) -> None:
    for hospital, told in (("B", [("2026-06", 2)]), ("A", [])):
        own = {"Authorization": f"Bearer {reversed_late.token('auditor', hospital)}"}
        for as_of in ("", "&as_of=2026-07-03T05:00:00Z"):
            answer = reversed_late.call(
                "GET", f"/v1/savings?{JUNE}&group_by=issuing_hospital{as_of}", role="", headers=own
            ).json()
            assert [(each["month"], each["revision"]) for each in answer["months"]] == told
            assert [row["issuing_hospital"] for row in answer["rows"]] == (["A"] if told else [])


def test_the_command_tells_of_a_past_moment_what_the_service_tells(
    reversed_late: Service, tmp_path: Any
) -> None:
    city = reversed_late.city
    address = city.catalogue.engine.url.render_as_string(hide_password=False)
    environment = environment_of_commands(address, tmp_path, city.now)
    words = ("report", "--from", "2026-06", "--to", "2026-06", "--group-by", "day", "--tier", "2", "--as-of")

    def said(*more: str) -> str:
        done = CliRunner(env=environment).invoke(savings_app, [*words, *more])
        assert done.exit_code == 0, done.output
        return done.output

    assert "2026-06 修订 revision: 2 (2026-07-03T13:00:00+08:00)" in said(city.now.isoformat())
    assert "2026-06 修订 revision: 1\n" in said("2026-07-01")
    assert "198.00" in said("2026-07-01")
