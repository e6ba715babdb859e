"""No count that is withheld can be computed from what is shown, and nothing is withheld where nothing is small."""

from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from catalog.suppression import Mark, Withheld, withhold

LEAST = st.integers(3, 6)
COUNTS = st.lists(st.integers(0, 9), max_size=6)


def possible(counts: list[int], least: int, found: Withheld) -> list[set[int]]:
    """Return, for each withheld row, every number that agrees with all that a reader sees, by trying them all.

    He knows the rule: a small one is 1 to least - 1, any other at least `least`; and the total, unless it is withheld.
    """
    highest = max(counts, default=0) + 2
    ranges = [
        range(1, least) if mark is Mark.SMALL else range(least, highest + 1) for mark in found.rows.values()
    ]
    hidden = sum(counts[place] for place in found.rows)
    sums = [tried for tried in product(*ranges) if found.total or sum(tried) == hidden]
    return [set(numbers) for numbers in zip(*sums, strict=True)]


@given(counts=COUNTS, least=LEAST)
@example(counts=[1, 5], least=5)
@example(counts=[1, 5, 5], least=5)
@example(counts=[4, 4, 0], least=5)
@example(counts=[1, 1, 1, 1, 1], least=5)
@example(counts=[2, 2], least=3)
@example(counts=[3, 9, 9], least=5)
@example(counts=[4, 0, 0], least=5)
def test_no_withheld_count_can_be_computed_from_the_rows_and_the_total_shown(
    counts: list[int], least: int
) -> None:
    found = withhold(counts, least)
    numbers = possible(counts, least, found)
    assert len(numbers) == len(found.rows)
    assert all(len(each) > 1 for each in numbers)


@given(counts=COUNTS, least=LEAST)
@example(counts=[1, 2], least=5)
def test_every_small_count_is_withheld_a_small_total_as_well_and_no_zero_ever(
    counts: list[int], least: int
) -> None:
    found = withhold(counts, least)
    small = {place for place, count in enumerate(counts) if 0 < count < least}
    assert {place for place, mark in found.rows.items() if mark is Mark.SMALL} == small
    assert all(counts[place] >= least for place in found.rows.keys() - small)
    assert found.total or not 0 < sum(counts) < least


@given(counts=st.lists(st.sampled_from((0, 6, 7, 50)), max_size=8), least=LEAST)
def test_nothing_is_withheld_where_nothing_is_small(counts: list[int], least: int) -> None:
    assert withhold(counts, least) == Withheld({}, total=False)


@pytest.mark.parametrize("counts", [[1, 9, 9], [1, 3, 0, 50], [4, 6, 7, 8], [1, 5, 6]])
def test_the_total_is_shown_where_the_rows_can_keep_their_own(counts: list[int]) -> None:
    assert not withhold(counts, 5).total


@given(counts=COUNTS, least=LEAST)
def test_what_is_withheld_beside_the_small_is_the_smallest_that_does(counts: list[int], least: int) -> None:
    found = withhold(counts, least)
    beside = [counts[place] for place, mark in found.rows.items() if mark is Mark.COMPLEMENT]
    kept = [count for place, count in enumerate(counts) if count >= least and place not in found.rows]
    assert not kept or max(beside, default=0) <= min(kept)
    assert len(beside) <= 2 or set(beside[:-1]) == {least}


@pytest.mark.parametrize(("counts", "least"), [([1, -1], 5), ([1], 2), ([1], 0)])
def test_counts_and_thresholds_that_make_no_sense_are_refused(counts: list[int], least: int) -> None:
    with pytest.raises(ValueError, match="at least 3"):
        withhold(counts, least)
