"""Prices: yuan and fen, the one that applies, and faulty files refused with their lines."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.datafile import InvalidList, read_header
from catalog.errors import InvalidInput
from catalog.items import ITEM_LISTS, load_item_list
from catalog.pricing import (
    COLUMNS,
    PRICES,
    PriceRow,
    format_yuan,
    load_prices,
    parse_yuan,
    price_that_applies,
)

DAY = date(2024, 6, 1)
DAYS = st.dates(date(2022, 1, 1), date(2026, 12, 31))
SEED = load_prices()
EXTENSION = PRICES.parent / "extension" / "proposal-2.csv"


def row(kind: str, scope: str, fen: int, start: date = DAY, end: date | None = None) -> PriceRow:
    return PriceRow(kind, scope, "CT07", fen, start, end, f"{kind}:{scope}:{fen}")  # type: ignore[arg-type]


def applies(rows: list[PriceRow], on: date = DAY) -> int | None:
    found = price_that_applies(
        rows,
        hospital_code="A",
        regions_small_to_large=("500107", "50", "CN"),
        tier=3,
        item_code="CT07",
        on=on,
    )
    return found.price_fen if found else None


def write_prices(folder: Path, *lines: str) -> Path:
    path = folder / "trial.csv"
    path.write_text("\n".join([",".join(COLUMNS), *lines]), encoding="utf-8")
    return path


@pytest.mark.parametrize(("text", "fen"), [("220.00", 22000), ("220", 22000), ("0.01", 1), ("0", 0)])
def test_yuan_are_read_whole_or_with_two_decimals(text: str, fen: int) -> None:
    assert parse_yuan(text) == fen


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "1.5",
        "1.234",
        "1e3",
        " 1",
        "1,000",
        "٣",
        "22０",
        "01",
        ".50",
        "nan",
        "1" * 10,
        "1.00\n",
    ],
)
def test_anything_else_is_no_price(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_yuan(text)


@given(st.integers(0, 99_999_999_999))
def test_writing_and_reading_yuan_is_identity(fen: int) -> None:
    assert parse_yuan(format_yuan(fen)) == fen


def test_a_negative_amount_keeps_its_sign() -> None:
    assert format_yuan(-5) == "-0.05"
    assert format_yuan(-22000) == "-220.00"


def test_the_hospital_beats_the_smallest_region_and_that_the_larger_and_the_tier() -> None:
    rows = [row("tier", "3", 4), row("region", "CN", 3), row("region", "500107", 2), row("hospital", "A", 1)]
    assert [applies(rows[:count]) for count in (1, 2, 3, 4)] == [4, 3, 2, 1]


def test_prices_of_another_hospital_region_tier_or_item_do_not_apply() -> None:
    other_item = PriceRow("tier", "3", "CT08", 9, DAY, None, "x")
    assert applies([row("hospital", "B", 1), row("region", "51", 2), row("tier", "2", 3), other_item]) is None


def test_the_latest_start_wins_an_overlap_wherever_it_stands() -> None:
    early, late = row("tier", "3", 1, DAY - timedelta(30)), row("tier", "3", 2, DAY)
    assert applies([early, late]) == applies([late, early]) == 2


def test_days_are_inclusive_at_both_ends() -> None:
    rows = [row("tier", "3", 1, DAY, DAY + timedelta(1))]
    found = [applies(rows, DAY + timedelta(shift)) for shift in (-1, 0, 1, 2)]
    assert found == [None, 1, 1, None]


ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from(["hospital", "region", "tier"]),
        st.sampled_from(["A", "B", "500107", "50", "3", "2"]),
        st.integers(0, 10**6),
        DAYS,
        st.none() | DAYS,
    ),
    max_size=12,
)


@given(ROWS, DAYS)
def test_what_applies_holds_on_the_day_and_nothing_closer_does(rows: list[PriceRow], on: date) -> None:
    scopes = [("hospital", "A"), ("region", "500107"), ("region", "50"), ("region", "CN"), ("tier", "3")]
    holding = [each for each in rows if each.holds_on(on) and (each.scope_kind, each.scope) in scopes]
    ranks = [(scopes.index((each.scope_kind, each.scope)), -each.valid_from.toordinal()) for each in holding]
    found = price_that_applies(
        rows,
        hospital_code="A",
        regions_small_to_large=("500107", "50", "CN"),
        tier=3,
        item_code="CT07",
        on=on,
    )
    if found is None:
        assert not holding
    else:
        assert ranks[holding.index(found)] == min(ranks)


@given(ROWS, DAYS, st.randoms())
def test_the_order_of_rows_with_different_starts_does_not_matter(
    rows: list[PriceRow], on: date, random: object
) -> None:
    distinct = list({(each.scope_kind, each.scope, each.valid_from): each for each in rows}.values())
    shuffled = list(distinct)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert applies(distinct, on) == applies(shuffled, on)


def test_the_seed_prices_every_item_for_every_tier() -> None:
    codes = {item.code for item in load_item_list()}
    assert {(each.scope, each.item_code) for each in SEED} == {(t, c) for t in "123" for c in codes}
    assert len({each.row_id for each in SEED}) == len(SEED) == 336


@pytest.mark.parametrize(
    ("code", "yuan"),
    [
        ("XR01", ("50.00", "45.00", "40.00")),
        ("XR06", ("70.00", "63.00", "56.00")),
        ("XR17", ("70.00", "63.00", "56.00")),
        ("XR23", ("50.00", "45.00", "40.00")),
        ("XR24", ("150.00", "135.00", "120.00")),
        ("CT07", ("220.00", "198.00", "176.00")),
        ("CT09", ("380.00", "342.00", "304.00")),
        ("CT22", ("600.00", "540.00", "480.00")),
        ("MR03", ("480.00", "432.00", "384.00")),
        ("MR20", ("700.00", "630.00", "560.00")),
    ],
)
def test_tiers_are_priced_at_100_90_and_80_percent(code: str, yuan: tuple[str, str, str]) -> None:
    found = {each.scope: format_yuan(each.price_fen) for each in SEED if each.item_code == code}
    assert tuple(found[tier] for tier in "321") == yuan


def test_the_extended_list_is_priced_for_every_tier_but_for_bone_density_of_which_no_price_was_found() -> (
    None
):
    released = {item.code for item in load_item_list()}
    added = {item.code for item in load_item_list(ITEM_LISTS / "extension" / "proposal-2.toml")} - released
    rows = load_prices(EXTENSION)
    assert {(each.scope, each.item_code) for each in rows} == {
        (tier, code) for tier in "123" for code in added - {"BD01"}
    }
    yuan = {(each.item_code, each.scope): format_yuan(each.price_fen) for each in rows}
    assert [yuan["US01", tier] for tier in "321"] == ["120.00", "108.00", "96.00"]
    assert [yuan["EC01", tier] for tier in "321"] == ["25.00", "22.50", "20.00"]
    assert [yuan["PT01", tier] for tier in "321"] == ["4980.00", "4482.00", "3984.00"]
    header = read_header(EXTENSION.with_suffix(".toml"))
    assert (header.version, header.status) == ("proposal-2", "proposal")
    assert "骨密度" in header.source


def test_a_price_file_tells_every_fault_with_its_line(tmp_path: Path) -> None:
    faulty = write_prices(
        tmp_path,
        "tier,3,CT07,220.00,2024-01-01,,",
        "tier,4,CT07,220.00,2024-01-01,,",
        "city,50,CT07,220.00,2024-01-01,,",
        "region,50,CT07,220.5,2024-01-01,,",
        "region,50,CT08,220.00,2024-01-01,2023-12-31,",
        "hospital,,CT07,220.00,01/02/2024,,",
        "tier,3,CT07,230.00,2024-01-01,,",
    )
    with pytest.raises(InvalidList) as caught:
        load_prices(faulty)
    assert [(problem.line, problem.field) for problem in caught.value.problems] == [
        (3, "scope"),
        (4, "scope_kind"),
        (5, "price"),
        (6, "to"),
        (7, "from"),
        (7, "scope"),
        (8, "from"),
    ]
