"""What lies far from its peers or its past: found whatever the others do, never on few orders or few figures."""

from dataclasses import replace
from datetime import date
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import InvalidInput
from catalog.plausibility import Figure, Thresholds, above_history, above_peers, bound, months_before
from catalog.question_texts import TEXTS, compared_with

JUNE = date(2026, 6, 1)
USUAL = Thresholds()
VALUES = st.lists(st.integers(0, 10_000), min_size=5, max_size=30)


def figures(values: list[int], *, of: int = 100, tier: int = 3) -> list[Figure]:
    return [Figure(f"H{place}", tier, "CT07", JUNE, value, of) for place, value in enumerate(values)]


def raised(given_: list[Figure], **more: float) -> set[str]:
    return {figure.hospital for figure, _ in above_peers(given_, USUAL, **more)}


@given(VALUES)
def test_nothing_at_or_below_the_median_is_asked_about(values: list[int]) -> None:
    found = [figure.value for figure, _ in above_peers(figures(values), USUAL)]
    assert all(value > median(values) for value in found)


@given(VALUES)
def test_fewer_than_half_can_be_asked_about(values: list[int]) -> None:
    assert len(raised(figures(values))) * 2 < len(values)


@given(VALUES, st.randoms())
def test_the_order_of_figures_changes_nothing(values: list[int], random: st.DataObject) -> None:
    told = figures(values)
    mixed = list(told)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert raised(told) == raised(mixed)


@given(VALUES, st.integers(1, 1_000))
def test_whoever_is_asked_is_asked_all_the_more_the_further_he_goes(values: list[int], more: int) -> None:
    told = figures(values)
    for place, figure in enumerate(told):
        if figure.hospital in raised(told):
            further = [*told[:place], replace(figure, value=figure.value + more), *told[place + 1 :]]
            assert figure.hospital in raised(further)


@given(VALUES, st.integers(1, 50))
def test_figures_all_multiplied_raise_the_same_questions(values: list[int], times: int) -> None:
    assert raised(figures(values)) == raised(figures([value * times for value in values]))


@given(VALUES, st.floats(0, 1_000), st.floats(1, 5))
def test_a_gap_and_a_ratio_only_ever_ask_less(values: list[int], gap: float, ratio: float) -> None:
    assert raised(figures(values), gap=gap, ratio=ratio) <= raised(figures(values))
    assert bound(values, 3.5, gap=gap, ratio=ratio) >= bound(values, 3.5)


@given(st.integers(1, 1_000_000))
def test_one_of_five_cannot_hide_itself_however_far_it_goes(value: int) -> None:
    assert raised(figures([100, 100, 100, 100, 100 + value])) == {"H4"}


@given(VALUES)
def test_on_few_orders_or_among_few_nobody_is_asked(values: list[int]) -> None:
    assert raised(figures(values, of=USUAL.least_orders - 1)) == set()
    assert raised(figures(values[: USUAL.least_peers - 1])) == set()


def test_where_a_tier_has_few_hospitals_the_city_is_compared_with() -> None:
    told = [*figures([10, 11, 12, 13], tier=3), Figure("X", 1, "CT07", JUNE, 90, 100)]
    ((figure, expected),) = above_peers(told, USUAL)
    assert (figure.hospital, expected.compared_with, expected.compared) == ("X", "city", 5)
    more = [replace(each, hospital=f"T{each.hospital}", tier=1, value=90) for each in told]
    assert raised([*told, *more]) == set()  # X is as its tier is


def test_above_a_ceiling_somebody_asks_whatever_others_do() -> None:
    assert raised(figures([90, 90, 90, 90, 90]), ceiling=80) == {f"H{place}" for place in range(5)}
    ((_, alone),) = above_peers(figures([90]), USUAL, ceiling=80)
    assert (alone.usual, alone.at_most, alone.compared_with) == (80, 80, "setting")


@pytest.mark.parametrize(
    ("before", "asked"),
    [([100, 110, 90], True), ([100, 110], False), ([300, 310, 290], False), ([], False)],
)
def test_a_month_is_held_against_those_before_it_if_they_are_enough(before: list[int], asked: bool) -> None:
    past = [
        Figure("H", 3, "CT07", months_before(JUNE, ago), value, 100) for ago, value in enumerate(before, 1)
    ]
    found = list(above_history([*past, Figure("H", 3, "CT07", JUNE, 300, 100)], USUAL, JUNE, ratio=1.5))
    assert bool(found) is asked
    assert {figure.month for figure, _ in found} <= {JUNE}


def test_what_lies_further_back_than_history_goes_counts_no_more() -> None:
    past = [Figure("H", 3, "CT07", months_before(JUNE, ago), 100, 100) for ago in (7, 8, 9, 10)]
    assert not list(above_history([*past, Figure("H", 3, "CT07", JUNE, 900, 100)], USUAL, JUNE))


@pytest.mark.parametrize(
    ("month", "count", "before"),
    [(JUNE, 5, date(2026, 1, 1)), (JUNE, 6, date(2025, 12, 1)), (date(2026, 12, 1), -1, date(2027, 1, 1))],
)
def test_months_are_counted_over_the_turn_of_years(month: date, count: int, before: date) -> None:
    assert months_before(month, count) == before


def test_a_threshold_that_asks_about_everything_is_refused() -> None:
    with pytest.raises(InvalidInput, match="least_peers"):
        Thresholds(least_peers=0)


@pytest.mark.parametrize("kind", list(TEXTS))
@pytest.mark.parametrize("whom", ["tier", "city", "history", "setting"])
def test_every_question_is_put_in_chinese_and_english_as_a_question(kind: str, whom: str) -> None:
    facts = dict.fromkeys(
        ("hospital_name", "item_name", "item_name_en", "month", "count", "of", "at_most", "compared"), "x"
    )
    facts |= dict.fromkeys(("value_yuan", "count_yuan", "usual_yuan", "gap_yuan", "deviations", "ratio"), "1")
    facts |= dict.fromkeys(("fast_seconds", "burst_minutes"), "5")
    numbers = dict.fromkeys(("value", "usual", "gap", "fast_share"), 0.5)
    told = TEXTS[kind].told({**compared_with(whom), **facts, **numbers})  # type: ignore[index]
    assert told["question"].endswith("?")
    assert told["question_en"].endswith("?")
    assert told["may_be"].startswith("可能")
    assert told["may_be_en"].startswith("Perhaps")
    assert not any("{" in each or "}" in each for each in told.values())
