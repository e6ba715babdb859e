"""The HR mark: whose, for what, when, and where it helps (Measures 2022, art. 13, 14, 17; DOMAIN §1.1)."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.records import Evaluation, Institution, Order, Policy, Prior, Shown, Verdict
from catalog.rules import decide, hr_marks

NOW = datetime(2026, 6, 30, 4, 0, tzinfo=UTC)
EXAM_DAY = date(2026, 6, 23)
MARKS = {
    "CN": "全国HR",
    "CY": "川渝HR",
    "50": "重庆HR",
    "51": "四川HR",
    "500107": "重庆市九龙坡区HR",
    "500103": "重庆市渝中区HR",
    "YUXI": "渝西医联体HR",
}


def institution(code: str, *scopes: str) -> Institution:
    return Institution(code, f"{code}医院", 3, (), frozenset(scopes))


JIULONGPO = institution("B", "500107", "50", "CY", "CN", "YUXI")
YUZHONG = institution("C", "500103", "50", "CY", "CN")
CHENGDU = institution("D", "510100", "51", "CY", "CN")
WUHAN = institution("E", "420100", "42", "CN")
ISSUER = institution("A", "500107", "50", "CY", "CN", "YUXI")
ASKERS = (JIULONGPO, YUZHONG, CHENGDU, WUHAN)
PRIOR = Prior(
    result_id="1",
    item_code="CT07",
    category="imaging",
    negative=False,
    hospital=ISSUER,
    exam_time=datetime(2026, 6, 23, 4, 0, tzinfo=UTC),
    item_groups=frozenset({"imaging", "CT"}),
)


def mark(
    scope: str, *, passed: bool = True, first: int = -30, last: int = 30, item: bool = True
) -> Evaluation:
    """An evaluation by its days relative to the day of the examination."""
    return Evaluation(
        scope,
        MARKS[scope],
        passed,
        EXAM_DAY + timedelta(days=first),
        EXAM_DAY + timedelta(days=last),
        item_code="CT07" if item else None,
        item_group=None if item else "imaging",
    )


def judged(asker: Institution, *evaluations: Evaluation, prior: Prior = PRIOR) -> Verdict:
    order = Order(
        item_code="CT07",
        category="imaging",
        window_days=30,
        negative=False,
        answered_by=frozenset({"CT07", "CT09"}),
        requester=asker,
        ordered_at=NOW,
    )
    return decide(order, replace(prior, evaluations=evaluations), Policy(), NOW)


EVALUATIONS = st.builds(
    lambda scope, passed, first, length, item: mark(
        scope, passed=passed, first=first, last=first + length, item=item
    ),
    st.sampled_from(sorted(MARKS)),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(0, 6),
    st.booleans(),
)


# row 5: the scope belongs to hospital, item and evaluation


def test_row_5_a_mark_belongs_to_the_hospital_the_item_and_the_evaluation() -> None:
    assert judged(YUZHONG, mark("50")).shown is Shown.RECOGNISABLE
    other_item = replace(mark("50"), item_code="MR02")
    assert judged(YUZHONG, other_item).reasons == ("no_hr_mark",)
    done = replace(PRIOR, item_code="CT09")  # what counts is the item that was done, not the one ordered
    assert judged(YUZHONG, mark("50"), prior=done).reasons == ("no_hr_mark",)


@pytest.mark.parametrize(
    ("scope", "helped"),
    [
        ("CN", {"B", "C", "D", "E"}),
        ("CY", {"B", "C", "D"}),
        ("50", {"B", "C"}),
        ("500107", {"B"}),
        ("YUXI", {"B"}),
    ],
)
def test_row_5_each_level_helps_whom_it_holds_and_nobody_else(scope: str, helped: set[str]) -> None:
    assert {
        asker.code for asker in ASKERS if judged(asker, mark(scope)).shown is Shown.RECOGNISABLE
    } == helped


# row 6: the mark is the scope before HR, only while a passed evaluation is valid


@pytest.mark.parametrize(("scope", "text"), sorted(MARKS.items()))
def test_row_6_the_mark_is_the_scope_and_hr(scope: str, text: str) -> None:
    assert judged(JIULONGPO, mark(scope)).marks == (text,)


def test_row_6_not_evaluated_or_failed_carries_no_mark() -> None:
    assert judged(YUZHONG).marks == judged(YUZHONG, mark("50", passed=False)).marks == ()


@pytest.mark.parametrize(
    ("first", "last", "carries"), [(0, 0, True), (-9, 0, True), (0, 9, True), (1, 9, False), (-9, -1, False)]
)
def test_row_6_the_day_of_the_examination_counts_and_both_ends_are_inside(
    first: int, last: int, carries: bool
) -> None:
    assert bool(judged(YUZHONG, mark("50", first=first, last=last)).marks) is carries


def test_row_6_the_marks_of_one_day_are_a_set_and_one_that_holds_suffices() -> None:
    found = judged(CHENGDU, mark("500107"), mark("50"), mark("CY"))
    assert found.shown is Shown.RECOGNISABLE
    assert set(found.marks) == {"重庆市九龙坡区HR", "重庆HR", "川渝HR"}


def test_row_6_the_day_is_counted_in_the_hospitals_zone() -> None:
    late = replace(PRIOR, exam_time=datetime(2026, 6, 22, 16, 30, tzinfo=UTC))  # 00:30 of the 23rd there
    assert judged(YUZHONG, mark("50", first=0, last=0), prior=late).marks == ("重庆HR",)


# row 7: city marks do not travel


def test_row_7_a_city_mark_does_not_travel_to_another_city() -> None:
    assert judged(CHENGDU, mark("50")).reasons == ("scope_excludes_requester",)
    assert judged(WUHAN, mark("50")).reasons == ("scope_excludes_requester",)
    assert judged(YUZHONG, mark("500107")).reasons == ("scope_excludes_requester",)


def test_row_7_a_mark_that_does_not_help_is_shown_all_the_same() -> None:
    assert judged(CHENGDU, mark("50")).marks == ("重庆HR",)


@given(st.lists(EVALUATIONS, max_size=6), st.sampled_from(ASKERS))
def test_a_mark_whose_scope_does_not_hold_the_asking_hospital_never_helps(
    evaluations: list[Evaluation], asker: Institution
) -> None:
    inside = [each for each in evaluations if each.scope in asker.scopes]
    found, alone = judged(asker, *evaluations), judged(asker, *inside)
    assert found.shown is alone.shown
    if found.shown is Shown.RECOGNISABLE:
        assert any(
            each.scope in asker.scopes for each in hr_marks(replace(PRIOR, evaluations=tuple(evaluations)))
        )


@given(st.lists(EVALUATIONS, max_size=6), st.frozensets(st.sampled_from(sorted(MARKS))))
def test_a_hospital_in_more_scopes_is_never_helped_less(
    evaluations: list[Evaluation], scopes: frozenset[str]
) -> None:
    fewer, more = institution("X", *sorted(scopes)), institution("X", *MARKS)
    if judged(fewer, *evaluations).shown is Shown.RECOGNISABLE:
        assert judged(more, *evaluations).shown is Shown.RECOGNISABLE


# row 10: two classes of match


def test_row_10_marked_for_my_place_is_to_be_recognised_and_all_else_is_reference() -> None:
    assert judged(YUZHONG, mark("50")).shown is Shown.RECOGNISABLE
    assert judged(YUZHONG).shown is judged(CHENGDU, mark("50")).shown is Shown.REFERENCE


# row 15: evaluated regularly; who fails has no mark


def test_row_15_a_later_failed_evaluation_ends_an_earlier_pass_from_its_own_first_day() -> None:
    failed = mark("50", passed=False, first=0, last=60)
    assert judged(YUZHONG, mark("50"), failed).marks == ()
    day_before = replace(PRIOR, exam_time=PRIOR.exam_time - timedelta(days=1))
    assert judged(YUZHONG, mark("50"), failed, prior=day_before).marks == ("重庆HR",)


def test_row_15_a_pass_after_a_failure_gives_the_mark_again() -> None:
    assert judged(YUZHONG, mark("50", passed=False, first=-20), mark("50", first=-10)).marks == ("重庆HR",)


def test_row_15_a_failed_item_ends_the_pass_of_its_group_and_an_item_row_beats_a_group_row() -> None:
    of_group = mark("50", item=False)
    assert judged(YUZHONG, of_group, mark("50", passed=False, first=-5)).marks == ()
    assert judged(YUZHONG, replace(of_group, passed=False), mark("50")).marks == ("重庆HR",)


def test_row_15_failing_in_one_scope_leaves_the_marks_of_the_others() -> None:
    assert judged(YUZHONG, mark("CN"), mark("50"), mark("50", passed=False, first=0)).marks == ("全国HR",)


@given(st.lists(EVALUATIONS, max_size=6), st.permutations(range(6)))
def test_the_order_in_which_evaluations_were_recorded_changes_nothing(
    evaluations: list[Evaluation], order: Iterable[int]
) -> None:
    shuffled = [evaluations[at] for at in order if at < len(evaluations)]
    assert judged(JIULONGPO, *evaluations) == judged(JIULONGPO, *shuffled)


@given(st.lists(EVALUATIONS, max_size=5), st.sampled_from(sorted(MARKS)))
def test_one_more_failed_evaluation_on_the_day_never_gives_a_mark(
    evaluations: list[Evaluation], scope: str
) -> None:
    worse = [*evaluations, mark(scope, passed=False, first=0, last=0)]
    assert set(judged(JIULONGPO, *worse).marks) <= set(judged(JIULONGPO, *evaluations).marks)
