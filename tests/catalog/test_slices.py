"""Missing slices: found where number and place skip together, never anywhere else."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.slices import SMALLEST_STACK, Point, missing_numbers, points_of, runs_of

STEPS_UM = st.sampled_from([-5000, -1250, -625, 500, 625, 1000, 3300, 5000])


def stack(count: int, step_um: int = 1000, first: int = 1, start_um: int = -120_000) -> list[Point]:
    return [(first + each, start_um + step_um * each) for each in range(count)]


def without(points: Sequence[Point], *numbers: int) -> list[Point]:
    return [point for point in points if point[0] not in numbers]


@given(st.integers(40, 120), STEPS_UM, st.data())
def test_every_gap_inside_a_stack_is_found_and_nothing_else(
    count: int, step_um: int, data: st.DataObject
) -> None:
    gone = data.draw(st.sets(st.integers(2, count - 1), min_size=1, max_size=count // 10))
    found = missing_numbers(without(stack(count, step_um), *gone))
    assert {number for first, last in found for number in range(first, last + 1)} == gone


@given(st.integers(1, 200), STEPS_UM, st.integers(0, 50))
def test_a_whole_stack_lacks_nothing_wherever_its_numbers_begin(count: int, step_um: int, first: int) -> None:
    assert missing_numbers(stack(count, step_um, first)) == []


@given(st.integers(6, 60), STEPS_UM, st.data())
def test_positions_rounded_to_a_tenth_of_a_millimetre_raise_no_alarm(
    count: int, step_um: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(-200_000, 200_000))
    rounded = [(number, round(um / 100) * 100) for number, um in stack(count, step_um, 1, start)]
    assert missing_numbers(rounded) == []


def phases(count: int, of: int, gap: int = 0) -> list[Point]:
    return [(phase * (of + gap) + number, um) for phase in range(count) for number, um in stack(of)]


HARMLESS = {
    "phases numbered on": phases(3, 40),
    "phases numbered by hundreds": phases(3, 40, gap=60),
    "phases that begin their numbers anew": sorted(stack(40) + [(n, um + 1) for n, um in stack(40)]),
    "two stacks of the same numbers, one beside the other": stack(40) + stack(40, start_um=-118_500),
    "two echoes slice by slice": [(2 * each + echo, each * 5000) for each in range(20) for echo in (1, 2)],
    "one of two echoes, every second number": [(2 * each + 1, each * 5000) for each in range(20)],
    "a slice thrown out and the rest in place": [(n if n < 10 else n + 1, um) for n, um in stack(30)],
    "two stacks with a space between, numbered on": stack(15) + stack(15, first=16, start_um=0),
    "two stacks with a space and a jump in numbers": stack(15) + stack(15, first=116, start_um=0),
    "cine: every phase at the same place": [
        (place * 25 + n, place * 8000) for place in range(9) for n in range(25)
    ],
    "a few key images": [
        (12, 12_000),
        (45, 45_000),
        (88, 88_000),
        (103, 103_000),
        (150, 150_000),
        (190, 190_000),
    ],
    "a scout of three": stack(3, 10_000),
    "fewer than a stack": without(stack(SMALLEST_STACK), 3),
    "every slice at one place": [(number, 0) for number in (1, 2, 3, 5, 6, 7, 9)],
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_like_a_gap_is_not_reported(name: str) -> None:
    assert missing_numbers(HARMLESS[name]) == []


def test_a_slice_missing_in_a_later_phase_is_found() -> None:
    assert missing_numbers(without(phases(3, 40), 63, 64)) == [(63, 64)]


def test_slices_sent_thinned_out_count_by_their_own_stride() -> None:
    thinned = [(2 * each + 1, each * 2000) for each in range(30)]
    assert missing_numbers(without(thinned, 21)) == [(21, 21)]


@given(st.integers(1, 80), STEPS_UM, st.data())
def test_runs_of_packs_in_any_order_and_cut_give_the_same_verdict(
    count: int, step_um: int, data: st.DataObject
) -> None:
    points = data.draw(st.permutations(stack(count, step_um)))
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=4)))
    packs = [points[a:b] for a, b in zip([0, *cuts], [*cuts, count], strict=True)]
    gone = data.draw(st.sets(st.integers(2, max(2, count - 1)), max_size=3))
    kept = [without(pack, *gone) for pack in packs]
    whole = without(sorted(points), *gone)
    joined = points_of(run for pack in kept for run in runs_of(pack))
    assert [number for number, _ in joined] == [number for number, _ in whole]
    assert missing_numbers(joined) == missing_numbers(whole)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(-9, 9).map(lambda mm: mm * 1000)), max_size=40))
def test_runs_keep_every_number_and_never_more_points(points: list[Point]) -> None:
    unique = set(points)
    runs = runs_of(points)
    assert {number for number, _ in points_of(runs)} == {number for number, _ in unique}
    assert sum(run[2] for run in runs) == len(unique)


def test_a_thousand_slices_are_one_run() -> None:
    assert runs_of(stack(1000, 625)) == [(1, 1000, 1000, -120_000, -120_000 + 999 * 625)]
