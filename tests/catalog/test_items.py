"""The recognised list: what the seed holds, what one item answers for, and what is refused with its line."""

from datetime import date
from pathlib import Path

import pytest

from catalog.datafile import InvalidList
from catalog.items import COLUMNS, ITEM_LISTS, Item, ItemList, load_item_list

SEED = load_item_list()
HEADER = """version = "{version}"
title_zh = "试用清单"
title_en = "Trial list"
effective_from = {start}
status = "proposal"
source = "test"
"""
CHEST = "CT07,胸部CT平扫,CT chest,imaging,CT,CHEST,none,none,routine,,30,false,CT08,false,,,"
LOW_DOSE = "CT08,胸部低剂量CT,CT chest low dose,imaging,CT,CHEST,none,none,low_dose,,180,false,,false,,,"


def item(code: str) -> Item:
    found = SEED.get(code)
    assert found is not None
    return found


def write_list(folder: Path, *lines: str, version: str = "v1", start: str = "2024-01-01") -> Path:
    header = folder / f"{version}.toml"
    header.write_text(HEADER.format(version=version, start=start), encoding="utf-8")
    header.with_suffix(".csv").write_text("\n".join([",".join(COLUMNS), *lines]), encoding="utf-8")
    return header


def problems(header: Path) -> list[tuple[int, str]]:
    with pytest.raises(InvalidList) as caught:
        load_item_list(header)
    return [(problem.line, problem.field) for problem in caught.value.problems]


def test_the_seed_holds_67_imaging_and_45_laboratory_items_in_order() -> None:
    counts = {"XR": 24, "CT": 22, "MR": 21, "LB": 45}
    expected = [f"{series}{number:02}" for series, count in counts.items() for number in range(1, count + 1)]
    assert [each.code for each in SEED] == expected
    assert sum(each.category == "imaging" for each in SEED) == 67


def test_the_seed_says_that_it_is_a_proposal_with_its_source() -> None:
    assert SEED.status == "proposal"
    assert "不是官方清单" in SEED.source
    assert SEED.effective_from <= date(2024, 1, 1)


def test_covers_are_the_listed_pairs_and_no_others() -> None:
    pairs = {(each.code, covered) for each in SEED for covered in each.covers}
    assert pairs == {
        ("XR02", "XR01"),
        ("CT02", "CT01"),
        ("CT07", "CT08"),
        ("CT09", "CT07"),
        ("CT09", "CT08"),
        ("CT11", "CT10"),
        ("CT13", "CT12"),
        ("MR02", "MR01"),
        ("MR09", "MR08"),
        ("MR14", "MR13"),
        ("MR17", "MR16"),
        ("MR19", "MR18"),
    }


def test_an_order_is_answered_by_its_own_item_and_those_covering_it() -> None:
    assert SEED.covered_by("CT08") == {"CT07", "CT08", "CT09"}
    assert SEED.covered_by("CT09") == {"CT09"}
    assert SEED.covered_by("CT18") == {"CT18"}
    assert SEED.covered_by("ZZ99") == frozenset()


def test_covering_is_not_carried_on_from_pair_to_pair(tmp_path: Path) -> None:
    enhanced = CHEST.replace("CT07", "CT09").replace("CT08", "CT07")
    items = load_item_list(write_list(tmp_path, enhanced, CHEST, LOW_DOSE))
    assert items.covered_by("CT08") == {"CT07", "CT08"}


@pytest.mark.parametrize(
    ("codes", "days"),
    [
        ("XR01 XR02 XR03 XR04 XR22 CT01 CT02 CT06 CT07 CT09 CT10 CT11 CT12 CT13 MR01 MR02 MR03 MR04", 30),
        ("XR05 XR12 XR23 CT03 CT04 CT05 CT14 CT17 CT18 CT21 CT22 MR05 MR06 MR10 MR13 MR15 MR21", 90),
        ("XR24 CT08", 180),
        ("MR09 MR14 MR17 MR19 MR20 LB13", 60),
        ("LB01 LB12 LB45", 30),
        ("LB14 LB22 LB31 LB38", 7),
        ("LB23 LB30", 14),
        ("LB39 LB44", 90),
    ],
)
def test_windows_are_those_of_the_proposal(codes: str, days: int) -> None:
    assert {code: item(code).window_days for code in codes.split()} == dict.fromkeys(codes.split(), days)


def test_paired_items_ask_for_a_side_and_two_sided_ones_do_not() -> None:
    assert {each.code for each in SEED if each.laterality == "both"} == {"XR24", "MR20"}
    paired = {each.code for each in SEED if each.laterality == "paired"}
    assert paired == {f"XR{n}" for n in range(11, 19)} | {"CT17", "MR10", "MR11", "MR12"}


def test_only_the_joint_ct_spans_body_parts() -> None:
    assert [each.code for each in SEED if each.spans_body_parts] == ["CT17"]


def test_an_item_belongs_to_its_category_and_its_series() -> None:
    assert item("CT09").groups == {"imaging", "CT"}
    assert item("LB01").groups == {"laboratory", "LB"}
    assert SEED.groups == {"imaging", "laboratory", "XR", "CT", "MR", "LB"}


def test_laboratory_items_name_one_loinc_each() -> None:
    codes = [each.loinc for each in SEED if each.category == "laboratory"]
    assert all(_loinc_check_digit_holds(code) for code in codes)
    assert len(set(codes)) == 45


def _loinc_check_digit_holds(code: str) -> bool:
    number, _, check = code.partition("-")
    digits = [int(digit) for digit in reversed(number)]
    doubled = sum(sum(divmod(digit * 2, 10)) for digit in digits[::2]) + sum(digits[1::2])
    return -doubled % 10 == int(check)


def test_of_several_lists_in_a_folder_the_newest_is_taken(tmp_path: Path) -> None:
    write_list(tmp_path, LOW_DOSE, version="old", start="2023-01-01")
    write_list(tmp_path, LOW_DOSE, version="new", start="2024-01-01")
    assert load_item_list(tmp_path).version == "new"


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    faulty = write_list(
        tmp_path,
        CHEST,
        LOW_DOSE.replace(",180,", ",0,"),
        CHEST.replace(",CT08,false", ",CT99,false"),
        CHEST.replace("CT07", "CT10").replace(",CT08,false", ",CT10,false"),
        LOW_DOSE.replace("CT08", "CT11").replace("imaging", "picture"),
        LOW_DOSE.replace("CT08", "c t"),
        LOW_DOSE.replace("CT08", "CT12").replace("low_dose,", "low_dose,backwards"),
    )
    assert problems(faulty) == [
        (3, "window_days"),
        (4, "code"),
        (4, "covers"),
        (5, "covers"),
        (6, "category"),
        (7, "code"),
        (8, "views"),
    ]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    header = write_list(tmp_path, CHEST)
    header.with_suffix(".csv").write_text("code,name_zh\nCT07,胸部CT平扫\n", encoding="utf-8")
    with pytest.raises(InvalidList, match="window_days"):
        load_item_list(header)


@pytest.mark.parametrize("text", ["version = 1", 'version = "x"', "not toml ["])
def test_a_header_that_is_incomplete_or_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    header = tmp_path / "v1.toml"
    header.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidList):
        load_item_list(header)


def test_a_list_that_is_not_utf_8_or_not_there_is_refused(tmp_path: Path) -> None:
    header = write_list(tmp_path, CHEST)
    header.with_suffix(".csv").write_bytes("胸部".encode("gb18030"))
    with pytest.raises(InvalidList, match="UTF-8"):
        load_item_list(header)
    with pytest.raises(InvalidList, match="does not exist"):
        load_item_list(tmp_path / "none.toml")


def test_a_line_with_too_many_columns_is_refused(tmp_path: Path) -> None:
    assert problems(write_list(tmp_path, LOW_DOSE + ",more")) == [(2, "")]


def test_the_seed_lies_where_the_default_looks() -> None:
    assert isinstance(load_item_list(ITEM_LISTS / "proposal-1.toml"), ItemList)
