"""Complete or not, from counts and summaries; and how that stands as time passes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
from hypothesis import given
from hypothesis import strategies as st

from catalog.completeness import judge, stands, summarise
from catalog.records import Placed

AXIAL = (0, 0, 1000)
NOW = datetime(2026, 6, 30, 4, 0, tzinfo=UTC)


def slices(count: int, series: str = "1", **more: object) -> list[Placed]:
    plain = [Placed(series, number, number * 1000, AXIAL) for number in range(1, count + 1)]
    return [replace(one, **more) for one in plain]  # type: ignore[arg-type]


def found(placed: list[Placed], *packs: list[Placed]) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    everything = [one for pack in (placed, *packs) for one in pack]
    counts = {uid: sum(one.SeriesInstanceUID == uid for one in everything) for uid in ("1", "2")}
    told = [orjson.loads(orjson.dumps(summarise(pack))) for pack in (placed, *packs)]
    judgement = judge(counts, told)
    return judgement.short, judgement.missing_slices, judgement.acquisition_open


def test_nothing_declared_and_no_gap_lacks_nothing() -> None:
    assert found(slices(20)) == ((), (), False)


def test_fewer_instances_than_the_study_or_series_declares_are_named() -> None:
    assert found(slices(20, study_instances=40))[0] == ("study:40",)
    assert found(slices(20, series_instances=21))[0] == ("1:21",)
    assert found(slices(20, study_instances=40), slices(20, series="2"))[0] == ()


def test_images_in_acquisition_counted_per_series_or_over_all_of_them_are_both_met() -> None:
    per_series = slices(20, acquisition=1, acquisition_images=20)
    assert not found(per_series, slices(20, series="2", acquisition=1, acquisition_images=20))[2]
    over_all = slices(20, acquisition=1, acquisition_images=40)
    assert found(over_all)[2]
    assert not found(over_all, slices(20, series="2", acquisition=1, acquisition_images=40))[2]


def test_a_series_in_two_orientations_is_not_judged() -> None:
    tilted = [replace(one, normal=(0, 500, 866)) for one in slices(60)[40:]]
    gapped = [one for one in slices(40) if one.number != 9]
    assert found(gapped)[1] == ("1:9-9",)
    assert found(gapped + tilted)[1] == ()
    assert found(gapped, tilted)[1] == ()


def test_a_summary_stays_small_however_many_slices_it_tells_of() -> None:
    assert len(orjson.dumps(summarise(slices(2000)))) < 200


@given(st.permutations(range(30)), st.integers(0, 30), st.booleans())
def test_the_order_and_cut_of_packs_change_nothing(order: list[int], cut: int, declared: bool) -> None:
    everything = [one for one in slices(30, series_instances=31 if declared else 0) if one.number != 14]
    shuffled = [everything[at % 29] for at in order if at < 29]
    assert found(shuffled[:cut], shuffled[cut:]) == found(everything)


@given(
    st.booleans(), st.one_of(st.none(), st.integers(-5, 5)), st.booleans(), st.booleans(), st.integers(0, 9)
)
def test_time_only_completes_and_never_reopens(
    complete: bool, settles_in: int | None, flagged: bool, short: bool, later: int
) -> None:
    settles_at = None if settles_in is None else NOW + timedelta(hours=settles_in)

    def at(hours: int) -> tuple[bool, bool]:
        return stands(
            NOW + timedelta(hours=hours),
            images_complete=complete,
            settles_at=settles_at,
            flagged=flagged,
            count_short=short,
        )

    assert at(later)[0] >= at(0)[0]
    assert at(0)[1] == (flagged or (short and at(0)[0]))
