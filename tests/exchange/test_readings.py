"""Numbers, money and times as they are read, in Chinese and in English: never another amount than the books'."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.web.readings import Readings

ZH, EN = Readings("zh"), Readings("en")
FEN = st.integers(-(10**15), 10**15)
WORTH: Final = {"亿元": 10**10, "万元": 10**6, "billion": 10**11, "million": 10**8, "thousand": 10**5}


@given(FEN)
def test_an_amount_in_yuan_can_be_read_back_to_the_fen(fen: int) -> None:
    for readings in (ZH, EN):
        assert Decimal(readings.yuan(fen).replace("¥", "").replace(",", "")) * 100 == fen


@given(FEN)
def test_a_brief_amount_is_the_amount_rounded_to_a_hundredth_of_what_it_is_counted_in(fen: int) -> None:
    for readings in (ZH, EN):
        said = readings.briefly(fen)
        if not said:
            assert abs(fen) < 10**6
            continue
        number, word = re.fullmatch(r"¥?(-?[\d,.]+) (\w+)", said).groups()  # type: ignore[union-attr]
        assert abs(Decimal(number.replace(",", "")) * WORTH[word] - fen) <= WORTH[word] // 200


@pytest.mark.parametrize(
    ("fen", "zh", "en"),
    [
        (3_900_000_000_00 // 100, "3,900.00 万元", "¥39.00 million"),
        (3_388_278, "3.39 万元", "¥33.88 thousand"),
        (130_000_000_00 * 10, "13.00 亿元", "¥1.30 billion"),
        (999_999, "", ""),
    ],
)
def test_large_amounts_are_told_as_each_language_counts(fen: int, zh: str, en: str) -> None:
    assert (ZH.briefly(fen), EN.briefly(fen)) == (zh, en)


def test_a_moment_is_told_in_the_hospitals_zone() -> None:
    moment = datetime(2026, 6, 30, 16, 5, tzinfo=UTC)
    assert (ZH.when(moment), EN.when(moment)) == ("2026-07-01 00:05", "1 Jul 2026, 00:05".replace(",", ""))
    assert (ZH.day(moment.isoformat()), EN.day("2026-07-01")) == ("2026-07-01", "1 Jul 2026")
    assert (ZH.month("2026-07"), EN.month("2026-07-01")) == ("2026年7月", "Jul 2026")


def test_nothing_is_told_as_nothing_and_never_as_a_zero() -> None:
    for said in (ZH.when(None), ZH.day(""), ZH.yuan(None), ZH.number(None), ZH.percent(None), ZH.size(None)):
        assert said == "–"
    assert (ZH.yuan(0), ZH.percent(0.0), ZH.size(0)) == ("¥0.00", "0.0%", "0 B")


@pytest.mark.parametrize(("size", "said"), [(1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")])
def test_a_size_is_told_in_the_largest_unit_of_which_it_has_one(size: int, said: str) -> None:
    assert EN.size(size) == said


def test_what_a_row_says_in_two_languages_is_told_in_the_one_that_is_read() -> None:
    row = {"name": "胸部CT平扫", "name_en": "CT chest"}
    assert (ZH.told(row, "name"), EN.told(row, "name")) == ("胸部CT平扫", "CT chest")
    assert EN.told({"name": "甲医院"}, "name") == "甲医院"
