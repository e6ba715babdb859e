"""Which savings stand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from catalog.settlement import Examination, Recognition, Standing, settle

CHECKED = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
FIRST = Recognition(
    decision_id=1,
    hospital_id=7,
    answered_by=frozenset({"CT07", "CT09"}),
    laterality=None,
    body_part=None,
    window_days=30,
    checked_at=CHECKED,
    decided_at=CHECKED + timedelta(minutes=5),
    price_fen=19800,
)
DONE = Examination(9, 7, "CT07", None, None, CHECKED + timedelta(days=3))


def test_a_recognition_without_a_later_examination_saves_its_price() -> None:
    assert settle([FIRST], []) == {1: Standing(19800)}


def test_an_examination_done_anyway_takes_the_saving_away() -> None:
    assert settle([FIRST], [DONE]) == {1: Standing(0, "examination", 9)}
    assert settle([FIRST], [replace(DONE, item_code="CT09")])[1].net_fen == 0


def test_what_was_done_before_the_check_elsewhere_or_of_another_item_takes_nothing_away() -> None:
    for other in (
        replace(DONE, exam_time=CHECKED),
        replace(DONE, hospital_id=8),
        replace(DONE, item_code="CT08"),
    ):
        assert settle([FIRST], [other])[1].net_fen == 19800


def test_the_window_is_counted_from_the_day_of_the_decision_its_last_day_included() -> None:
    last = datetime(2026, 4, 1, 15, 59, tzinfo=UTC)  # 23:59 on 1 April in Shanghai, 30 days after 2 March
    assert settle([FIRST], [replace(DONE, exam_time=last)])[1].net_fen == 0
    assert settle([FIRST], [replace(DONE, exam_time=last + timedelta(minutes=1))])[1].net_fen == 19800


def test_one_examination_reverses_one_saving_the_earliest_standing() -> None:
    second = replace(FIRST, decision_id=2, decided_at=FIRST.decided_at + timedelta(hours=1))
    assert {k: s.net_fen for k, s in settle([second, FIRST], [DONE]).items()} == {1: 0, 2: 19800}
    undone = replace(FIRST, undone_by=3)
    assert settle([second, undone], [DONE]) == {1: Standing(0, "undo", 3), 2: Standing(0, "examination", 9)}


def test_the_other_side_is_another_examination_and_both_sides_hold_either() -> None:
    left = replace(FIRST, laterality="L")
    assert settle([left], [replace(DONE, laterality="R")])[1].net_fen == 19800
    assert settle([left], [replace(DONE, laterality="B")])[1].net_fen == 0


recognitions = st.lists(
    st.builds(
        lambda i, minutes, price, undone: replace(
            FIRST,
            decision_id=i,
            decided_at=CHECKED + timedelta(minutes=minutes),
            price_fen=price,
            undone_by=1000 + i if undone else None,
        ),
        st.integers(1, 50),
        st.integers(0, 10_000),
        st.integers(0, 100_000),
        st.booleans(),
    ),
    unique_by=lambda r: r.decision_id,
    max_size=8,
)
examinations = st.lists(
    st.builds(
        lambda i, hours: replace(DONE, result_id=i, exam_time=CHECKED + timedelta(hours=hours)),
        st.integers(1, 50),
        st.integers(-10, 2000),
    ),
    unique_by=lambda e: e.result_id,
    max_size=8,
)


@given(recognitions, examinations)
def test_every_decision_nets_to_nothing_or_its_price_and_no_examination_counts_twice(
    decided: list[Recognition], done: list[Examination]
) -> None:
    found = settle(decided, done)
    assert found.keys() == {r.decision_id for r in decided}
    for recognition in decided:
        standing = found[recognition.decision_id]
        assert standing.net_fen in (0, recognition.price_fen)
        if recognition.undone_by is not None:
            assert standing == Standing(0, "undo", recognition.undone_by)
    causes = [s.cause_id for s in found.values() if s.cause == "examination"]
    assert len(causes) == len(set(causes)) <= len(done)


@given(recognitions, examinations)
def test_the_order_in_which_things_are_learnt_does_not_matter(
    decided: list[Recognition], done: list[Examination]
) -> None:
    assert settle(decided, done) == settle(decided[::-1], done[::-1])
