"""The report for outsiders: small counts withheld as an answer and in every file, with what would tell them."""

from typing import Any

import pytest
from sqlalchemy import text

from catalog import publication
from catalog.db import transaction
from catalog.settings import Settings
from tests.exchange.conftest import Service
from tests.exchange.test_savings_api import JUNE, read, recognised
from tests.exchange.test_savings_files import cells_of, fetch
from tests.exchange.test_savings_pdf import pages_of

PUBLIC = f"/v1/savings?{JUNE}&publication=true"
COUNTS = ("reminders", "recognised", "beyond_duty", "refused", "excused", "cited", "undone", "unpriced")
MONEY = ("saved_fen", "reversed_fen", "net_fen")


@pytest.fixture
def uneven(service: Service) -> Service:
    """B recognised once, with all that follows; three others have figures of 7, 9 and 11 recognitions."""
    recognised(service)
    with transaction(service.city.catalogue.engine) as session:
        session.execute(
            text(
                "insert into hospital (code, name, tier, region_code) select code, code || '院', 2, '500103'"
                " from unnest('{C,D,E}'::text[]) code"
            )
        )
        session.execute(
            text(
                "insert into monthly (hospital_id, item_code, month, own_hospital, emergency, reminders, recognised,"
                " saved_fen) select id, 'CT07', '2026-06-01', false, false, 20, told.count, told.count * 19800"
                " from hospital join (values ('C', 7), ('D', 9), ('E', 11)) told(code, count) using (code)"
            )
        )
    return service


def rows_of(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["hospital"]: row for row in answer["rows"]}


def test_a_small_count_is_withheld_with_the_smallest_beside_it_and_the_money_and_the_rate(
    uneven: Service,
) -> None:
    plain = read(uneven, f"/v1/savings?{JUNE}&group_by=hospital")
    answer = read(uneven, f"{PUBLIC}&group_by=hospital")
    rows, whole = rows_of(answer), rows_of(plain)
    assert answer["publication"] == {"least_count": 5}
    money = dict.fromkeys(("rate", *MONEY), "follows")
    assert rows["B"]["withheld"] == {"reminders": "small", "recognised": "small", **money}
    assert rows["C"]["withheld"] == {"reminders": "complement", "recognised": "complement", **money}
    for code in "BC":
        assert all(rows[code][name] is None for name in rows[code]["withheld"])
    for code in "DE":
        shown = (*COUNTS, "rate", *MONEY)
        assert rows[code]["withheld"] == {}
        assert [rows[code][name] for name in shown] == [whole[code][name] for name in shown]
    assert answer["total"]["withheld"] == {}
    assert answer["total"]["net_fen"] == plain["total"]["net_fen"] == 28 * 19800


def test_neither_parts_nor_ways_to_the_entries_are_published(uneven: Service) -> None:
    for row in (answer := read(uneven, f"{PUBLIC}&group_by=hospital"))["rows"]:
        assert not {"entries", "own_hospital", "emergency"} & set(row)
    assert not {"own_hospital", "emergency"} & set(answer["total"])


def test_each_page_has_the_marks_of_the_whole(uneven: Service) -> None:
    whole = read(uneven, f"{PUBLIC}&group_by=hospital")
    found, offset = [], 0
    while offset is not None:
        page = read(uneven, f"{PUBLIC}&group_by=hospital&limit=1&offset={offset}")
        assert page["total"] == whole["total"]
        found += page["rows"]
        offset = page["next"]
    assert found == whole["rows"]


def test_where_everything_is_small_the_total_is_withheld_too(service: Service) -> None:
    recognised(service)
    answer = read(service, f"{PUBLIC}&group_by=item")
    assert answer["total"]["recognised"] is None
    assert answer["total"]["net_fen"] is None
    assert answer["total"]["withheld"]["recognised"] == "total"


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_a_file_for_publication_marks_what_it_withholds(uneven: Service, form: str) -> None:
    _, *rows, total = cells_of(fetch(uneven, f"{PUBLIC}&group_by=hospital&format={form}").content, form)
    told = {row[0]: row[2:] for row in rows}
    assert told["B"] == ["<5", "<5", "0", "0", "0", "0", "0", "0", "*", "*", "*", "*"]
    assert told["C"] == ["*", "*", "0", "0", "0", "0", "0", "0", "*", "*", "*", "*"]
    assert told["D"][:2] == ["20", "9"]
    assert total[-1] == "5544.00"


def test_a_pdf_for_publication_draws_no_chart_that_its_rows_do_not_show(uneven: Service) -> None:
    def shown(grouping: str) -> str:
        return "".join(pages_of(fetch(uneven, f"{PUBLIC}&group_by={grouping}&format=pdf").content))

    assert "各月净节约" not in shown("hospital")
    assert "各机构净节约" in shown("hospital")
    assert "1,782.00" in shown("hospital")
    for hidden in ("198.00", "1,386.00"):
        assert hidden not in shown("hospital").replace("5,544.00", "").replace("2,178.00", "")
    assert "各机构净节约" not in shown("hospital,month")


def figures(recognised: int, *, own: int = 0, reminders: int = 40) -> dict[str, Any]:
    counted = dict.fromkeys(COUNTS, 0) | {"reminders": reminders, "recognised": recognised}
    mine = dict.fromkeys(COUNTS, 0) | {"reminders": own, "recognised": own}
    return counted | dict.fromkeys(MONEY, 0) | {"rate": 0.5, "own_hospital": mine}


@pytest.mark.parametrize(("own", "told"), [(0, True), (6, True), (2, False), (18, False)])
def test_a_rate_that_would_tell_how_few_priors_are_the_hospitals_own_or_not_is_withheld(
    own: int, told: bool
) -> None:
    row = figures(20, own=own)
    answer = {
        "group_by": ["tier"],
        "rows": [{"tier": "2", **row}],
        "total": row,
        "unpriced": [],
        "months": [],
    }
    (shown,) = publication.published(answer, 5)["rows"]
    assert shown["recognised"] == 20
    assert (shown["rate"] is not None) is told


def test_a_gap_is_published_without_its_count() -> None:
    gap = {"hospital": "B", "item": "CT22", "recognised": 2}
    answer = {"group_by": [], "rows": [], "total": figures(20), "unpriced": [gap], "months": []}
    assert publication.published(answer, 5)["unpriced"] == [gap | {"recognised": None}]


def test_the_threshold_is_set_by_the_house_and_never_so_low_that_a_mark_tells_the_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Settings().publication_least_count == 5
    monkeypatch.setenv("HUREN_PUBLICATION_LEAST_COUNT", "2")
    with pytest.raises(ValueError, match="greater than or equal to 3"):
        Settings()


@pytest.mark.parametrize(
    "finer", ["hospital=B", "as_of=2026-06-29", "group_by=day", "group_by=hospital,department"]
)
def test_a_publication_is_of_everything_and_of_the_present_and_no_finer_than_the_monthly_sums(
    uneven: Service, finer: str
) -> None:
    refused = uneven.call("GET", f"/v1/savings?{JUNE}&publication=true&{finer}", role="regulator")
    assert (refused.status_code, refused.json()["field"]) == (422, "publication")
