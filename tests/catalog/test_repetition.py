"""What an examination repeated and how that came, as a pure function."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from catalog.repetition import AVOIDABLE, KINDS, Asked, Done, Prior, Repetition, classify
from catalog.settlement import Examination

NOON = datetime(2026, 6, 30, 4, 0, tzinfo=UTC)
B = 2
FIRST = Prior(result_id=1, hospital_id=1, own_hospital=False, in_time=True, recognisable=True)
OWN = Prior(result_id=2, hospital_id=B, own_hospital=True, in_time=True, recognisable=True)


def examined(result_id: int, hours: float, *priors: Prior, item: str = "CT07") -> Done:
    return Done(Examination(result_id, B, item, None, None, NOON + timedelta(hours=hours)), priors)


def asked(hours: float, order: str = "o", number: int = 1, *, shown: set[int] | None = None) -> Asked:
    return Asked(
        number=number,
        check_id=uuid.UUID(int=number),
        order_number=order,
        hospital_id=B,
        answered_by=frozenset({"CT07", "CT09"}),
        laterality=None,
        body_part=None,
        window_days=30,
        asked_at=NOON + timedelta(hours=hours),
        emergency=False,
        shown=frozenset({1} if shown is None else shown),
    )


def only(done: Done, *orders: Asked) -> Repetition | None:
    return classify([done], orders).get(done.examination.result_id)


def test_without_a_recognisable_prior_nothing_was_repeated() -> None:
    assert classify([examined(9, 1)], [asked(0)]) == {}
    doubtful = replace(FIRST, recognisable=False)
    assert classify([examined(9, 1, doubtful)], [asked(0, shown=set())]) == {}


def test_what_a_check_showed_as_recognisable_counts_though_it_is_not_by_now() -> None:
    doubtful = replace(FIRST, recognisable=False)
    found = only(examined(9, 1, doubtful), asked(0))
    assert found is not None
    assert found.kind == "no_answer"
    late = replace(doubtful, in_time=False)
    assert only(examined(9, 1, late), asked(0)) == found, "what was shown was there"


def test_an_order_that_was_not_shown_the_prior_is_not_blamed_for_it() -> None:
    found = only(examined(9, 1, FIRST), asked(0, shown=set()))
    assert found is not None
    assert (found.kind, found.order_number) == ("not_visible", "o")


def test_the_prior_named_is_the_one_that_was_shown() -> None:
    found = only(examined(9, 1, FIRST, OWN), asked(0, shown={2}))
    assert found is not None
    assert (found.prior_result_id, found.own_hospital) == (2, True)


def test_a_question_of_a_later_time_another_item_or_too_long_ago_lies_behind_no_examination() -> None:
    done = examined(9, 1, FIRST)
    for other in (asked(2), replace(asked(0), answered_by=frozenset({"CT01"})), asked(-24 * 31)):
        found = only(done, other)
        assert found is not None
        assert found.kind == "no_check"


def test_the_latest_open_order_lies_behind_an_examination_with_everything_it_was_shown() -> None:
    first = asked(0, "first", 1)
    again = asked(0.6, "second", 3, shown=set())
    found = only(examined(9, 1, FIRST), first, asked(0.5, "second", 2), again)
    assert found is not None
    assert (found.order_number, found.check_id, found.kind) == ("second", again.check_id, "no_answer")


def test_an_examination_that_repeated_nothing_uses_its_order_up() -> None:
    order = replace(asked(0), decided="refused", decision_id=5)
    found = classify([examined(8, 1), examined(9, 2, FIRST)], [order])
    assert {result_id: repeat.kind for result_id, repeat in found.items()} == {9: "no_check"}


priors = st.lists(
    st.builds(
        Prior,
        result_id=st.integers(1, 4),
        hospital_id=st.integers(1, 3),
        own_hospital=st.booleans(),
        in_time=st.booleans(),
        recognisable=st.booleans(),
    ),
    max_size=3,
)
examinations = st.lists(
    st.builds(
        lambda number, hours, found: examined(number, hours, *found),
        st.integers(5, 20),
        st.integers(0, 99),
        priors,
    ),
    max_size=6,
    unique_by=lambda done: done.examination.result_id,
)
orders = st.lists(
    st.builds(
        lambda hours, order, number, shown, decided: replace(
            asked(hours, order, number, shown=shown), decided=decided, decision_id=number if decided else None
        ),
        st.integers(-30, 99),
        st.sampled_from("abc"),
        st.integers(1, 99),
        st.sets(st.integers(1, 4)),
        st.sampled_from([None, "recognised_and_done", "refused", "lawfully_repeated"]),
    ),
    max_size=6,
    unique_by=lambda ask: ask.number,
)


@given(examinations, orders)
def test_each_repeat_has_one_kind_and_what_that_kind_stands_by(done: list[Done], asks: list[Asked]) -> None:
    found = classify(done, asks)
    of = {each.examination.result_id: each for each in done}
    for result_id, repeat in found.items():
        assert repeat.kind in KINDS
        assert repeat.prior_result_id in {prior.result_id for prior in of[result_id].priors}
        if repeat.kind == "no_check":
            assert repeat.check_id is None
        if repeat.kind in ("recognised_and_done", "refused", "lawfully_repeated"):
            assert repeat.decision_id is not None
        if repeat.kind == "no_answer":
            assert repeat.check_id is not None
            assert repeat.decision_id is None
    behind = [repeat.order_number for repeat in found.values() if repeat.order_number]
    assert len(behind) == len(set(behind)), "an order lies behind one examination"


@given(examinations, orders)
def test_the_order_in_which_things_are_told_changes_nothing(done: list[Done], asks: list[Asked]) -> None:
    assert classify(done, asks) == classify(done[::-1], asks[::-1])


@given(examinations, orders)
def test_a_hospital_that_asks_is_never_blamed_for_more_than_one_that_does_not(
    done: list[Done], asks: list[Asked]
) -> None:
    """Undecided orders that show nothing turn what was avoidable into what was not visible, never the other way."""
    silent = [replace(ask, shown=frozenset(), decided=None, decision_id=None) for ask in asks]
    blamed = {key for key, repeat in classify(done, silent).items() if repeat.kind in AVOIDABLE}
    assert blamed <= {key for key, repeat in classify(done, []).items() if repeat.kind in AVOIDABLE}
