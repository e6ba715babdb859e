"""Headers that say the same have one fingerprint, and those that do not have two."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.fingerprint import fingerprint
from catalog.study_facts import StudyFacts

FACTS = StudyFacts(
    ("CT",),
    body_part_examined="CHEST",
    study_description="胸部CT平扫",
    series_descriptions=("Lung 1.0", "Med 5.0"),
    protocol_names=("5.1 Chest",),
    procedure_codes=("99A|K-17",),
)


@pytest.mark.parametrize(
    "facts",
    [
        replace(FACTS, study_description=" 胸部 ＣＴ 平扫 "),
        replace(FACTS, series_descriptions=("Med 3.0", "Lung 1.25")),
        replace(FACTS, manufacturer="UIH"),
        replace(FACTS, body_part_examined="chest"),
    ],
)
def test_spelling_order_slices_and_maker_do_not_matter(facts: StudyFacts) -> None:
    assert fingerprint(facts) == fingerprint(FACTS)


@pytest.mark.parametrize(
    "facts",
    [
        replace(FACTS, study_description="胸部CT"),
        replace(FACTS, contrast_agent="碘海醇"),
        replace(FACTS, laterality="L"),
        replace(FACTS, procedure_codes=("99A|K-18",)),
        replace(FACTS, series_descriptions=("动脉期",)),
        replace(FACTS, protocol_names=("5.2 Chest",)),
        replace(FACTS, view_positions=("PA",)),
    ],
)
def test_whatever_can_change_the_item_changes_the_fingerprint(facts: StudyFacts) -> None:
    assert fingerprint(facts) != fingerprint(FACTS)


@given(st.text(max_size=100))
def test_a_fingerprint_is_short_and_repeats_no_text(text: str) -> None:
    found = fingerprint(replace(FACTS, study_description=text))
    assert len(found) == 42
    assert found.startswith("1:")
