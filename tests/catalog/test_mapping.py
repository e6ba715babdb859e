"""From headers and order texts to items: better unmapped than wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.items import load_item_list
from catalog.mapping import Mapping, StudyFacts, map_order, map_order_text, map_study
from catalog.records import Laterality
from catalog.study_facts import UNMAPPED

ITEMS = load_item_list()
map_order_text("CHEST", ITEMS)  # compiles the vocabulary once, outside the deadline of a property's example


def study(modality: str = "CT", description: str = "", **facts: object) -> Mapping:
    return map_study(StudyFacts((modality,), study_description=description, **facts), ITEMS)  # type: ignore[arg-type]


def codes(mapping: Mapping) -> list[str]:
    return [item.item_code for item in mapping.items]


def reason(mapping: Mapping) -> str | None:
    return mapping.unmapped_reason.code if mapping.unmapped_reason else None


@pytest.mark.parametrize("item", [item for item in ITEMS if item.category == "imaging"], ids=lambda i: i.code)
def test_an_item_s_own_names_map_to_it_as_a_study_and_as_an_order(item) -> None:  # type: ignore[no-untyped-def]
    for name in (item.name_zh, item.name_en):
        assert codes(study(item.modalities[0], name)) == [item.code]
        assert map_order_text(name, ITEMS) == item.code


@given(st.lists(st.text(max_size=60), min_size=9, max_size=9))
def test_no_header_makes_mapping_fail_and_what_it_returns_is_items_or_a_reason(texts: list[str]) -> None:
    mapping = map_study(
        StudyFacts(("CT",), *texts[:5], series_descriptions=(texts[5],), protocol_names=(texts[6], texts[7])),
        ITEMS,
    )
    assert bool(mapping.items) != bool(mapping.unmapped_reason)


@given(st.text(max_size=300))
def test_no_order_text_makes_mapping_fail(text: str) -> None:
    found = map_order_text(text, ITEMS)
    assert found is None or ITEMS.get(found) is not None


@pytest.mark.parametrize("text", ["W/" * 5000, "含" * 9000, "胸" * 100000, "A" * 100000, "左右" * 9000])
def test_a_hostile_text_is_read_in_time_and_maps_to_nothing_wrong(text: str) -> None:
    assert len(study("CT", text).items) <= 1


def test_an_explanation_repeats_only_words_of_the_vocabulary() -> None:
    mapping = study("CT", "刘备玄德 胸部CT平扫 13800000000")
    assert "刘" not in mapping.items[0].explanation_zh + mapping.items[0].explanation_en
    assert "138" not in mapping.items[0].explanation_zh
    refused = study("CT", "刘备玄德 头颅MR平扫").unmapped_reason
    assert refused is not None
    assert "刘" not in refused.zh + refused.en


@pytest.mark.parametrize(
    ("description", "agent", "expected"),
    [
        ("胸部CT", "", ["CT07"]),
        ("胸部CT", "碘海醇", ["CT09"]),
        ("胸部CT", "无", ["CT07"]),
        ("胸部CT增强", "", ["CT09"]),
        ("胸部CT平扫+增强", "Iohexol", ["CT09"]),
        ("头颅CT平扫+胸部CT增强", "Iohexol", ["CT01", "CT09"]),
        ("胸部+上腹部CT平扫+增强", "Iohexol", ["CT09", "CT11"]),
        ("胸部CT未做增强", "", ["CT07"]),
        ("胸部CT平扫,建议增强", "", ["CT07"]),
    ],
)
def test_a_study_is_plain_unless_text_or_agent_says_contrast(
    description: str, agent: str, expected: list[str]
) -> None:
    assert codes(study("CT", description, contrast_agent=agent)) == expected


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"description": "胸部CT平扫", "contrast_agent": "Iohexol"}, "contrast_contradiction"),
        ({"description": "胸部CT平扫", "series_descriptions": ("动脉期",)}, "contrast_contradiction"),
        ({"description": "胸部CT平扫", "requested_procedure": "胸部CT增强"}, "contrast_contradiction"),
        ({"description": "头颅+膝关节CT", "contrast_agent": "Iohexol"}, "contrast_uncertain"),
        ({"description": "胸部CT平扫", "requested_procedure": "头颅CT平扫"}, "body_part_contradiction"),
        ({"description": "头颅CT平扫", "body_part_examined": "KNEE"}, "body_part_contradiction"),
        ({"description": "头颅CT平扫", "protocol_names": ("Knee",)}, "body_part_contradiction"),
        ({"description": "头颅MR平扫"}, "modality_contradiction"),
        ({"description": "胸部CT平扫", "protocol_names": ("LowDoseChest",)}, "technique_contradiction"),
        ({"body_part_examined": "CHEST"}, "body_part_only"),
        ({"description": "e+1", "contrast_agent": "ISOVUE300/100"}, "body_part_unknown"),
        (
            {"description": "胸部CT平扫", "series_descriptions": ("Topogram", "Dose Report")},
            "no_image_series",
        ),
        ({"description": "CT引导下肺穿刺活检"}, "excluded_procedure"),
        ({"description": "PET/CT 胸部"}, "excluded_procedure"),
        ({"description": "髋臼旁肿物CT"}, "unknown_words"),
        ({"description": "子宫输卵管CT"}, "unknown_words"),
        ({"description": "CT SCALP MASS HEAD"}, "unknown_words"),
        ({"description": "茎突CT", "body_part_examined": "HEAD"}, "unknown_words"),
        ({"description": "头颅CT平扫(取消)"}, "excluded_procedure"),
        ({"description": "颈部CT增强"}, "not_on_list"),
        ({"description": "冠脉钙化积分"}, "not_on_list"),
        ({"modality": "US", "description": "腹部彩超"}, "modality_not_listed"),
        ({"modality": "PT", "description": "胸部CT平扫"}, "modality_not_listed"),
        ({"modality": "MR"}, "body_part_unknown"),
        ({"modality": "DX", "description": "胸部"}, "views_unknown"),
        (
            {"modality": "DX", "description": "胸部正位", "view_positions": ("PA", "LL")},
            "views_contradiction",
        ),
        ({"modality": "DX", "description": "胸部侧位"}, "not_on_list"),
        ({"modality": "DX", "description": "左髋关节正侧位"}, "not_on_list"),
        ({"modality": "MG", "description": "乳腺钼靶"}, "side_unknown"),
        ({"modality": "MG", "description": "左侧乳腺钼靶"}, "side_unknown"),
    ],
)
def test_what_is_contradictory_uncertain_or_unlisted_is_unmapped_with_its_reason(
    facts: dict[str, object], code: str
) -> None:
    mapping = study(**facts)  # type: ignore[arg-type]
    assert reason(mapping) == code
    assert mapping.unmapped_reason is not None
    assert mapping.unmapped_reason.zh.startswith(UNMAPPED[code][0])


def test_a_wrong_body_part_is_outvoted_when_the_scan_agrees_with_the_description() -> None:
    assert codes(study("CT", "头颅CT平扫", body_part_examined="CHEST", protocol_names=("HeadSeq",))) == [
        "CT01"
    ]


def test_several_modalities_are_not_guessed_but_reports_beside_images_do_not_disturb() -> None:
    assert (
        reason(map_study(StudyFacts(("CT", "MR"), study_description="头颅"), ITEMS)) == "several_modalities"
    )
    assert codes(map_study(StudyFacts(("CT", "SR", "PR"), study_description="头颅CT"), ITEMS)) == ["CT01"]


@pytest.mark.parametrize(
    ("description", "recorded", "side"),
    [
        ("左膝关节MR平扫", "", "L"),
        ("MRI KNEE RT", "", "R"),
        ("双膝关节MR平扫", "", "B"),
        ("膝关节MR平扫", "R", "R"),
        ("膝关节MR平扫", "", None),
        ("左膝关节MR平扫", "R", None),
        ("左膝+右膝关节MR平扫", "", "B"),
    ],
)
def test_the_side_is_the_text_s_or_the_header_s_and_unknown_where_they_differ(
    description: str, recorded: str, side: Laterality | None
) -> None:
    (mapped,) = study("MR", description, laterality=recorded).items
    assert (mapped.item_code, mapped.laterality) == ("MR10", side)


def test_sides_of_several_parts_are_not_exchanged() -> None:
    mapped = study("DX", "左膝关节正侧位+右踝关节正侧位").items
    assert {(item.item_code, item.laterality) for item in mapped} == {("XR12", "L"), ("XR13", "R")}
    unclear = study("DX", "KNEE LEFT ANKLE RIGHT AP LAT").items
    assert {item.laterality for item in unclear} == {None}


def test_a_two_sided_item_is_of_both_sides_and_an_unpaired_one_of_none() -> None:
    assert study("MG", "双侧乳腺钼靶").items[0].laterality == "B"
    assert study("CT", "胸部CT平扫", laterality="L").items[0].laterality is None


def test_the_joint_ct_says_which_joint() -> None:
    (mapped,) = study("CT", "右踝关节CT平扫").items
    assert (mapped.item_code, mapped.body_part, mapped.laterality) == ("CT17", "ANKLE", "R")


def test_a_late_enhancement_after_two_plain_parts_is_taken_only_for_the_last() -> None:
    assert codes(study("CT", "胸部CT平扫+上腹部CT平扫+增强")) == ["CT11"]


def test_a_description_is_surer_than_series_and_body_part() -> None:
    confidences = [
        study("CT", "胸部CT平扫").items[0],
        study("CT", "", series_descriptions=("Chest 5.0",)).items[0],
        study("CT", "CT平扫", body_part_examined="CHEST").items[0],
    ]
    assert [(item.rule, item.confidence) for item in confidences] == [
        ("study_text", "high"),
        ("scan_text", "medium"),
        ("body_part", "medium"),
    ]


@pytest.mark.parametrize(
    ("text", "laterality", "code", "side"),
    [
        ("胸部CT平扫", None, "CT07", None),
        ("CT chest plain", None, "CT07", None),
        ("左膝关节MR", "L", "MR10", "L"),
        ("左膝关节MR", None, "MR10", "L"),
        ("膝关节MR平扫", "R", "MR10", "R"),
        ("胸部正侧位", None, "XR02", None),
        ("双侧乳腺钼靶", None, "XR24", "B"),
        ("头颅MRA", None, "MR03", None),
        ("糖化血红蛋白(HbA1c)", None, "LB13", None),
    ],
)
def test_a_clear_order_text_gives_its_item(
    text: str, laterality: Laterality | None, code: str, side: Laterality | None
) -> None:
    mapped = map_order(text, ITEMS, laterality)
    assert mapped is not None
    assert (mapped.item_code, mapped.laterality) == (code, side)


@pytest.mark.parametrize(
    ("text", "laterality"),
    [
        ("", None),
        ("检查", None),
        ("胸部", None),
        ("膝关节平扫", None),
        ("左膝关节MR", "R"),
        ("头颅CT平扫+胸部CT平扫", None),
        ("头颅CT或MR", None),
        ("血常规", None),
        ("腹部彩超", None),
        ("颈部CT增强", None),
    ],
)
def test_an_unclear_order_text_gives_none(text: str, laterality: Laterality | None) -> None:
    assert map_order_text(text, ITEMS, laterality) is None


def test_a_region_code_stands_in_for_an_empty_body_part() -> None:
    mapping = study("CT", "CT平扫", anatomic_regions=("SCT|69536005",))
    assert codes(mapping) == ["CT01"]
    told = study("CT", "CT平扫", body_part_examined="CHEST", anatomic_regions=("SCT|69536005",))
    assert codes(told) == ["CT07"]


def test_what_narrows_an_enhanced_region_is_no_second_examination() -> None:
    assert codes(study("MR", "盆腔MR平扫+动态增强(宫颈)", contrast_agent="Gd")) == ["MR17"]
    assert codes(study("MR", "颅脑MR平扫+增强(垂体除外)", contrast_agent="Gd")) == ["MR02"]


@pytest.mark.parametrize(
    "said", ["no CE", "non CE", "no Gd", "no gadolinium", "no enhancement", "no contrast"]
)
def test_a_protocol_without_contrast_is_plain_however_contrast_is_abbreviated(said: str) -> None:
    mapping = study("MR", "Prostate MRI", protocol_names=(f"Prostate {said}",))
    assert codes(mapping) == ["MR18"]


@pytest.mark.parametrize(
    ("description", "found"),
    [
        ("胸部CT平扫(与外院增强片对比)", ["CT07"]),
        ("胸部CT增强(对比剂80ml)", ["CT09"]),
        ("腰椎MR平扫 前列腺癌骨转移待排", ["MR08"]),
        ("肝癌术后 胸部CT平扫", ["CT07"]),
        ("胸部CT平扫 腰椎骨折术前", ["CT07"]),
        ("胸部CT会诊 外院片读片", []),
        ("胸部CT平扫(与前片对比,会诊)", []),
    ],
)
def test_what_a_title_remarks_of_other_films_and_illnesses_is_no_examination(
    description: str, found: list[str]
) -> None:
    assert codes(study("MR" if "MR" in description else "CT", description)) == found


@pytest.mark.parametrize("amended", ["上腹部CT平扫 原开增强,碘过敏改平扫", "上腹部CT增强 拒绝增强"])
def test_whether_a_changed_order_was_enhanced_is_left_to_a_curator(amended: str) -> None:
    assert reason(study("CT", amended)) == "order_amended"
