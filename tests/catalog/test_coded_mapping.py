"""Codes before rules: the hospital's table, a curator's answer, a standard code, and what may contradict them."""

from typing import Any

import pytest

from catalog.coded_mapping import Answered, Outcome, answered, map_with_codes
from catalog.datafile import InvalidList
from catalog.errors import InvalidInput
from catalog.items import load_item_list
from catalog.local_codes import LocalMeaning, LocalTable, read_local_codes
from catalog.spreadsheet import read_sheet
from catalog.standard_codes import CODES, listed_item, region_name
from catalog.study_facts import StudyFacts

ITEMS = load_item_list()
NOTHING = LocalTable.of(())


def outcome(
    description: str = "",
    *codes: str,
    modality: str = "CT",
    table: LocalTable = NOTHING,
    answer: list[Answered] | None = None,
    **facts: Any,
) -> Outcome:
    return map_with_codes(
        StudyFacts((modality,), study_description=description, procedure_codes=codes, **facts),
        ITEMS,
        table,
        answer,
    )


def found(told: Outcome) -> list[tuple[str, str]]:
    return [(item.item_code, item.rule) for item in told.mapping.items]


def why(told: Outcome) -> str | None:
    return told.mapping.unmapped_reason.code if told.mapping.unmapped_reason else None


def table(*rows: tuple[str, str, str]) -> LocalTable:
    return LocalTable.of(LocalMeaning(code, name, item) for code, name, item in rows)


CHEST = table(("K-17", "胸部CT(普放)", "CT07"), ("K-18", "上腹CT", "CT10"), ("K-99", "骨龄", ""))


def test_the_hospital_s_own_code_comes_before_what_any_text_says() -> None:
    told = outcome("头颅CT平扫", "99HIS|K-17", table=CHEST)
    assert found(told) == [("CT07", "local_code")]
    assert told.mapping.items[0].confidence == "certain"


def test_several_codes_of_one_study_are_several_items() -> None:
    assert found(outcome("", "|K-17", "|K-18", table=CHEST)) == [
        ("CT07", "local_code"),
        ("CT10", "local_code"),
    ]


def test_the_hospital_s_own_name_is_as_good_as_its_code_where_it_means_one_thing() -> None:
    assert found(outcome("胸部ＣＴ (普放)", table=CHEST)) == [("CT07", "local_code")]
    twofold = table(("1", "CT检查", "CT07"), ("2", "CT检查", "CT10"))
    assert found(outcome("CT检查", table=twofold)) == []


def test_a_code_the_table_lacks_is_asked_about_beside_those_it_has() -> None:
    told = outcome("", "|K-17", "|K-55", table=CHEST)
    assert found(told) == [("CT07", "local_code")]
    assert told.unknown_codes == ("K-55",)


def test_a_code_the_hospital_calls_unlisted_is_not_guessed_at() -> None:
    assert why(outcome("胸部CT平扫", "|K-99", table=CHEST)) == "said_unlisted"


def test_a_code_of_another_modality_is_not_believed() -> None:
    assert why(outcome("", "|K-17", modality="MR", table=CHEST)) == "local_code_contradiction"


def test_a_code_for_an_item_that_is_listed_no_more_is_left_to_a_person() -> None:
    assert why(outcome("", "|K-1", table=table(("K-1", "", "CT99")))) == "local_code_unlisted"


def test_side_and_part_that_a_code_leaves_open_are_what_the_rules_read() -> None:
    told = outcome("右踝关节CT平扫", "|J", table=table(("J", "四肢CT", "CT17")))
    assert [(i.laterality, i.body_part) for i in told.mapping.items] == [("R", "ANKLE")]
    said = LocalTable.of([LocalMeaning("J", "", "CT17", "L", "KNEE")])
    told = outcome("", "|J", table=said)
    assert [(i.laterality, i.body_part) for i in told.mapping.items] == [("L", "KNEE")]


def test_a_curator_s_answer_stands_between_the_hospital_s_table_and_the_rules() -> None:
    answer = [Answered("MR10", "L")]
    told = outcome("左膝特检", modality="MR", answer=answer)
    assert [(i.item_code, i.laterality, i.rule) for i in told.mapping.items] == [("MR10", "L", "curator")]
    assert found(outcome("", "|K-17", table=CHEST, answer=[Answered("CT10")])) == [("CT07", "local_code")]
    assert why(outcome("胸部CT平扫", answer=[])) == "said_unlisted"


def test_a_standard_code_speaks_where_the_texts_are_silent() -> None:
    assert found(outcome("", "LN|29252-4")) == [("CT07", "standard_code")]
    assert found(outcome("检查", "LOINC|30799-1")) == [("CT01", "standard_code")]
    assert found(outcome("", "RADLEX|RPID18", contrast_agent="Iohexol")) == [("CT09", "standard_code")]


@pytest.mark.parametrize(
    "told",
    [
        outcome("胸部CT增强", "LN|29252-4"),
        outcome("头颅CT平扫", "LN|29252-4"),
        outcome("CT引导下肺穿刺", "LN|29252-4"),
        outcome("", "LN|29252-4", contrast_agent="Iohexol"),
        outcome("", "LN|29252-4", modality="MR"),
    ],
    ids=["contrast", "part", "procedure", "agent", "device"],
)
def test_a_standard_code_that_anything_contradicts_is_left_to_a_person(told: Outcome) -> None:
    assert why(told) == "code_contradiction"


def test_a_standard_code_that_agrees_with_the_texts_keeps_their_side() -> None:
    told = outcome("左膝关节MR平扫", "LN|30691-0", modality="MR")
    assert [(i.item_code, i.laterality) for i in told.mapping.items] == [("MR10", "L")]


def test_a_code_nobody_knows_changes_nothing() -> None:
    assert found(outcome("胸部CT平扫", "LN|00000-0", "99X|1")) == [("CT07", "study_text")]


def test_every_standard_code_names_an_item_of_the_list_and_a_part_of_the_vocabulary() -> None:
    codes = [line.split(",")[:2] for line in (CODES / "procedures.csv").read_text("utf-8").splitlines()[1:]]
    assert all(ITEMS.get(listed_item(f"{scheme}|{code}") or "") for scheme, code in codes)
    assert (region_name("SRT|T-D1100"), region_name("SCT|1")) == ("HEAD", "")


FILE = """local_code,name,item_code,laterality,body_part
K-17,胸部CT,CT07,,
K-20,左膝MR,MR10,l,
K-21,踝CT,CT17,R,ankle
K-99,骨龄片,NONE,,
"""


def test_a_hospital_s_table_is_read_with_side_part_and_what_is_unlisted() -> None:
    rows = read_local_codes("codes.csv", read_sheet("codes.csv", FILE.encode("gb18030")), ITEMS)
    assert [(r.code, r.item_code, r.laterality, r.body_part) for r in rows] == [
        ("K-17", "CT07", None, None),
        ("K-20", "MR10", "L", None),
        ("K-21", "CT17", "R", "ANKLE"),
        ("K-99", "", None, None),
    ]


def test_a_hospital_s_table_is_refused_whole_with_every_fault_by_line() -> None:
    wrong = (
        FILE
        + "K-17,again,CT07,,\n,no code,CT07,,\nK-30,,ZZ99,,\nK-31,,CT07,L,\nK-32,,MR10,x,\nK-33,,CT07,,CHEST\n"
    )
    with pytest.raises(InvalidList) as caught:
        read_local_codes("codes.csv", read_sheet("codes.csv", wrong.encode()), ITEMS)
    assert [(each.line, each.field) for each in caught.value.problems] == [
        (6, "local_code"),
        (7, "local_code"),
        (8, "item_code"),
        (9, "laterality"),
        (10, "laterality"),
        (11, "body_part"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ct07", Answered("CT07")),
        ("MR10:L", Answered("MR10", "L")),
        ("CT17:R:KNEE", Answered("CT17", "R", "KNEE")),
        ("CT17:KNEE", Answered("CT17", None, "KNEE")),
    ],
)
def test_an_answer_is_written_as_item_side_and_part(text: str, expected: Answered) -> None:
    assert answered(text) == expected


@pytest.mark.parametrize("text", ["", ":L", "CT17:L:R", "CT17:KNEE:ANKLE"])
def test_an_answer_that_says_two_things_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        answered(text)
