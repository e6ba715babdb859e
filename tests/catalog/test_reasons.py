"""Override reasons: the six of the Measures word for word, local ones under them, faulty files refused."""

from pathlib import Path

import pytest

from catalog.datafile import InvalidList, read_header
from catalog.reasons import COLUMNS, EMERGENCY_CODE, NATIONAL_CODES, OVERRIDE_REASONS, load_reasons

SEED = load_reasons()
NATIONAL = {
    "1": "因病情变化,检查检验结果与患者临床表现、疾病诊断不符,难以满足临床诊疗需求的",
    "2": "检查检验结果在疾病发展演变过程中变化较快的",
    "3": "检查检验项目对于疾病诊疗意义重大的(如手术、输血等重大医疗措施前)",
    "4": "患者处于急诊、急救等紧急状态下的",
    "5": "涉及司法、伤残及病退等鉴定的",
    "6": "其他情形确需复查的",
}


def write_reasons(folder: Path, *lines: str) -> Path:
    path = folder / "trial.csv"
    path.write_text("\n".join([",".join(COLUMNS), *lines]), encoding="utf-8")
    return path


def test_the_six_national_reasons_stand_word_for_word_and_first() -> None:
    assert {code: SEED[code].zh for code in NATIONAL_CODES} == NATIONAL
    assert list(SEED)[:6] == list(NATIONAL_CODES)


def test_other_circumstances_need_a_text() -> None:
    assert [code for code in NATIONAL_CODES if SEED[code].needs_text] == ["6"]


def test_missing_images_and_serial_examination_are_no_refusals() -> None:
    assert {code for code, reason in SEED.items() if not reason.counts_as_refusal} == {"98", "99"}


def test_insufficient_image_quality_opens_a_quality_task() -> None:
    assert [reason.zh for reason in SEED.values() if reason.opens_quality_task] == ["图像质量不满足诊断要求"]


def test_every_local_reason_falls_under_a_national_one() -> None:
    assert {reason.national_code for reason in SEED.values()} <= set(NATIONAL_CODES)
    assert SEED["99"].national_code == "2"
    assert SEED[EMERGENCY_CODE].national_code == "4"


def test_every_reason_has_an_english_text() -> None:
    assert all(reason.en.isascii() and reason.en for reason in SEED.values())


def test_the_reasons_name_their_source_and_start() -> None:
    assert "国卫医发〔2022〕6号" in read_header(OVERRIDE_REASONS.with_suffix(".toml")).source


def test_a_faulty_list_of_reasons_tells_every_line(tmp_path: Path) -> None:
    six = [f"{code},文,text,,false,true,false,{code}" for code in NATIONAL_CODES]
    faulty = write_reasons(
        tmp_path,
        *six,
        "6,文,text,,false,true,false,7",
        "70,文,text,9,false,true,false,8",
        "71,,text,6,maybe,true,false,9",
        "72,文,text,6,false,true,false,x",
        "3,文,text,1,false,true,false,10",
    )
    with pytest.raises(InvalidList) as caught:
        load_reasons(faulty)
    assert [(problem.line, problem.field) for problem in caught.value.problems] == [
        (8, "code"),
        (9, "parent"),
        (10, "zh"),
        (10, "needs_text"),
        (11, "order"),
        (12, "code"),
        (12, "parent"),
    ]


def test_a_list_without_the_six_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidList, match="six national"):
        load_reasons(write_reasons(tmp_path, "1,文,text,,false,true,false,1"))
