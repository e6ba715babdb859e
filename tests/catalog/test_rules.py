"""The rules, one by one and as properties."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.records import (
    Evaluation,
    Institution,
    Order,
    Policy,
    Prior,
    ReportStatus,
    ReportVersion,
    Shown,
    Verdict,
)
from catalog.rules import REASONS, decide, local_day

NOW = datetime(2026, 6, 30, 4, 0, tzinfo=UTC)  # noon in Shanghai
ASKER = Institution("B", "乙医院", 2, ("500107", "50", "CN"), frozenset({"500107", "50", "CN", "CY"}))
ISSUER = Institution("A", "甲医院", 3, ("500103", "50", "CN"), frozenset({"500103", "50", "CN", "CY"}))
PASSED = Evaluation("50", "重庆HR", True, date(2026, 1, 1), date(2026, 12, 31), item_group="imaging")
ORDER = Order(
    item_code="CT07",
    category="imaging",
    window_days=30,
    negative=False,
    answered_by=frozenset({"CT07", "CT09"}),
    requester=ASKER,
    ordered_at=NOW,
)
PRIOR = Prior(
    result_id="1",
    item_code="CT07",
    category="imaging",
    negative=False,
    hospital=ISSUER,
    exam_time=NOW - timedelta(days=7),
    evaluations=(PASSED,),
    item_groups=frozenset({"imaging", "CT"}),
)
KNEE = replace(ORDER, item_code="XR12", answered_by=frozenset({"XR12"}), paired=True, laterality="L")
KNEE_PRIOR = replace(PRIOR, item_code="XR12", laterality="L")


def judge(order: Order = ORDER, prior: Prior = PRIOR, policy: Policy | None = None) -> Verdict:
    return decide(order, prior, policy or Policy(), NOW)


def reports(*versions: tuple[ReportStatus, int]) -> tuple[ReportVersion, ...]:
    return tuple(ReportVersion(status, NOW - timedelta(days=days)) for status, days in versions)


def test_a_marked_prior_inside_its_window_is_recognisable() -> None:
    found = judge()
    assert found.shown is Shown.RECOGNISABLE
    assert found.reasons == ()
    assert found.marks == ("重庆HR",)
    assert found.valid_until == local_day(PRIOR.exam_time) + timedelta(days=30)


def test_an_enhanced_ct_answers_a_plain_order_but_not_the_other_way_round() -> None:
    assert judge(prior=replace(PRIOR, item_code="CT09")).shown is Shown.RECOGNISABLE
    enhanced = replace(ORDER, item_code="CT09", answered_by=frozenset({"CT09"}))
    assert judge(enhanced).shown is Shown.HIDDEN


@pytest.mark.parametrize(
    "change", [{"person_linked": False}, {"person_in_conflict": True}, {"opted_out": True}]
)
def test_a_person_not_linked_in_conflict_or_opted_out_is_not_shown(change: dict[str, bool]) -> None:
    assert judge(prior=replace(PRIOR, **change)).shown is Shown.HIDDEN


@pytest.mark.parametrize(
    ("ordered", "done", "shown", "reasons"),
    [
        ("L", "L", Shown.RECOGNISABLE, ()),
        ("L", "B", Shown.RECOGNISABLE, ()),
        ("B", "B", Shown.RECOGNISABLE, ()),
        ("L", "R", Shown.HIDDEN, ()),
        ("B", "L", Shown.HIDDEN, ()),
        ("R", None, Shown.REFERENCE, ("laterality_unknown",)),
    ],
)
def test_the_side_of_a_paired_part_must_answer_the_ordered_side(
    ordered: str, done: str | None, shown: Shown, reasons: tuple[str, ...]
) -> None:
    found = judge(replace(KNEE, laterality=ordered), replace(KNEE_PRIOR, laterality=done))
    assert (found.shown, found.reasons) == (shown, reasons)


def test_an_item_over_several_parts_is_answered_by_the_same_part_only() -> None:
    order = replace(ORDER, spans_body_parts=True, body_part="KNEE")
    assert judge(order, replace(PRIOR, body_part="KNEE")).shown is Shown.RECOGNISABLE
    assert judge(order, replace(PRIOR, body_part="ANKLE")).shown is Shown.HIDDEN
    assert judge(order, replace(PRIOR, body_part=None)).shown is Shown.HIDDEN


def test_an_item_on_the_negative_list_is_reference_only_whichever_side_names_it() -> None:
    assert judge(replace(ORDER, negative=True)).reasons == ("negative_list",)
    assert judge(prior=replace(PRIOR, negative=True)).reasons == ("negative_list",)


@pytest.mark.parametrize(
    ("versions", "reasons"),
    [
        ((), ()),
        (((ReportStatus.FINAL, 5),), ()),
        (((ReportStatus.PRELIMINARY, 5),), ("report_not_final",)),
        (((ReportStatus.FINAL, 5), (ReportStatus.PRELIMINARY, 4)), ()),
        (((ReportStatus.FINAL, 5), (ReportStatus.CANCELLED, 4)), ("withdrawn",)),
        (((ReportStatus.ENTERED_IN_ERROR, 5), (ReportStatus.CORRECTED, 4)), ()),
        (((ReportStatus.APPENDED, 5), (ReportStatus.ENTERED_IN_ERROR, 4)), ("withdrawn",)),
    ],
)
def test_the_newest_report_must_be_final(
    versions: tuple[tuple[ReportStatus, int], ...], reasons: tuple[str, ...]
) -> None:
    assert judge(prior=replace(PRIOR, reports=reports(*versions))).reasons == reasons


def test_images_without_a_report_are_an_obstacle_only_by_policy() -> None:
    assert judge().shown is Shown.RECOGNISABLE
    assert judge(policy=Policy(report_required=True)).reasons == ("report_missing",)


def test_a_laboratory_result_without_a_report_is_no_result_and_has_no_images_to_judge() -> None:
    lab = replace(PRIOR, category="laboratory", images_complete=False, quality_flagged=True)
    assert judge(prior=lab).reasons == ("report_missing",)


def test_incomplete_flagged_and_conflicting_images_are_each_a_reason() -> None:
    prior = replace(PRIOR, images_complete=False, quality_flagged=True, uid_conflict=True)
    assert judge(prior=prior).reasons == ("images_incomplete", "quality_flagged", "uid_conflict")


def test_without_a_passed_evaluation_there_is_no_mark() -> None:
    assert judge(prior=replace(PRIOR, evaluations=())).reasons == ("no_hr_mark",)


def test_a_mark_of_another_city_does_not_travel() -> None:
    wuhan = replace(PASSED, scope="4201", mark="武汉HR")
    assert judge(prior=replace(PRIOR, evaluations=(wuhan,))).reasons == ("scope_excludes_requester",)


def test_one_mark_whose_scope_holds_the_asking_hospital_suffices() -> None:
    district = replace(PASSED, scope="500103", mark="重庆市渝中区HR")
    found = judge(prior=replace(PRIOR, evaluations=(district, PASSED)))
    assert found.shown is Shown.RECOGNISABLE
    assert set(found.marks) == {"重庆HR", "重庆市渝中区HR"}


@pytest.mark.parametrize(("first", "last", "marked"), [(0, 0, True), (1, 9, False), (-9, -1, False)])
def test_an_evaluation_counts_on_the_exam_day_days_inclusive(first: int, last: int, marked: bool) -> None:
    day = local_day(PRIOR.exam_time)
    row = replace(PASSED, valid_from=day + timedelta(days=first), valid_to=day + timedelta(days=last))
    assert (judge(prior=replace(PRIOR, evaluations=(row,))).shown is Shown.RECOGNISABLE) is marked


def test_an_item_row_beats_a_group_row() -> None:
    failed = replace(PASSED, item_code="CT07", item_group=None, passed=False)
    assert judge(prior=replace(PRIOR, evaluations=(PASSED, failed))).reasons == ("no_hr_mark",)
    passed = replace(failed, passed=True)
    group_failed = replace(PASSED, passed=False)
    assert judge(prior=replace(PRIOR, evaluations=(group_failed, passed))).shown is Shown.RECOGNISABLE


@pytest.mark.parametrize(("failed_from", "marked"), [(date(2026, 6, 23), False), (date(2026, 6, 24), True)])
def test_a_later_failed_row_ends_an_earlier_pass_from_its_own_first_day(
    failed_from: date, marked: bool
) -> None:
    failed = replace(PASSED, passed=False, valid_from=failed_from)
    assert local_day(PRIOR.exam_time) == date(2026, 6, 23)
    assert (judge(prior=replace(PRIOR, evaluations=(PASSED, failed))).shown is Shown.RECOGNISABLE) is marked


def test_a_pass_after_a_failure_counts_again() -> None:
    failed = replace(PASSED, passed=False, valid_from=date(2026, 3, 1))
    again = replace(PASSED, valid_from=date(2026, 4, 1))
    assert judge(prior=replace(PRIOR, evaluations=(PASSED, failed, again))).shown is Shown.RECOGNISABLE


@pytest.mark.parametrize(("minutes", "reasons"), [(5, ()), (6, ("exam_in_future",))])
def test_an_exam_more_than_five_minutes_after_the_order_is_in_the_future(
    minutes: int, reasons: tuple[str, ...]
) -> None:
    assert judge(prior=replace(PRIOR, exam_time=NOW + timedelta(minutes=minutes))).reasons == reasons


def test_the_last_day_of_the_window_is_inside_it_and_days_are_counted_in_shanghai() -> None:
    last = datetime(2026, 5, 30, 16, 0, tzinfo=UTC)  # 31 May 00:00 in Shanghai, 30 days before 30 June
    assert judge(prior=replace(PRIOR, exam_time=last)).reasons == ()
    assert judge(prior=replace(PRIOR, exam_time=last - timedelta(seconds=1))).reasons == ("out_of_window",)


def test_by_policy_the_window_counts_from_the_report() -> None:
    old = replace(PRIOR, exam_time=NOW - timedelta(days=40), reports=reports((ReportStatus.FINAL, 20)))
    assert judge(prior=old).reasons == ("out_of_window",)
    assert judge(prior=old, policy=Policy(window_from="report")).reasons == ()


def test_own_hospital_needs_no_mark_and_can_be_hidden_by_policy() -> None:
    own = replace(PRIOR, hospital=ASKER, evaluations=(), exam_time=NOW - timedelta(hours=3))
    assert judge(prior=own).shown is Shown.RECOGNISABLE
    assert judge(prior=own).own_hospital
    assert judge(prior=own, policy=Policy(own_hospital_hidden_hours=4)).shown is Shown.HIDDEN
    assert judge(prior=own, policy=Policy(own_hospital_hidden_hours=3)).shown is Shown.RECOGNISABLE
    assert judge(prior=own, policy=Policy(own_hospital="hide")).shown is Shown.HIDDEN


def test_reasons_come_in_the_order_of_the_rules() -> None:
    worst = replace(
        KNEE_PRIOR,
        laterality=None,
        negative=True,
        withdrawn=True,
        quality_flagged=True,
        evaluations=(),
        exam_time=NOW - timedelta(days=400),
    )
    assert judge(KNEE, worst).reasons == (
        "laterality_unknown",
        "negative_list",
        "withdrawn",
        "quality_flagged",
        "no_hr_mark",
        "out_of_window",
    )


def test_every_reason_has_a_chinese_and_an_english_text() -> None:
    assert all(zh and en for zh, en in REASONS.values())


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 200))
def test_once_too_old_stays_too_old(first_days: int, more_days: int, window_days: int) -> None:
    order = replace(ORDER, window_days=window_days)
    at = PRIOR.exam_time + timedelta(days=first_days)
    early = decide(replace(order, ordered_at=at), PRIOR, Policy(), at)
    later_at = at + timedelta(days=more_days)
    later = decide(replace(order, ordered_at=later_at), PRIOR, Policy(), later_at)
    if "out_of_window" in early.reasons:
        assert "out_of_window" in later.reasons
    assert ("out_of_window" in early.reasons) == (first_days > window_days)


@given(
    st.sampled_from([PASSED, replace(PASSED, passed=False), replace(PASSED, scope="4201")]),
    st.booleans(),
    st.booleans(),
    st.integers(-2, 60),
)
def test_recognisable_means_exactly_that_no_reason_was_found(
    row: Evaluation, flagged: bool, withdrawn: bool, days: int
) -> None:
    prior = replace(
        PRIOR,
        evaluations=(row,),
        quality_flagged=flagged,
        withdrawn=withdrawn,
        exam_time=NOW - timedelta(days=days),
    )
    found = judge(prior=prior)
    assert (found.shown is Shown.RECOGNISABLE) == (found.reasons == ())
    assert set(found.reasons) <= set(REASONS)
