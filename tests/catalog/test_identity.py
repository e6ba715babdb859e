"""Numbers, names and the facts that confirm or contradict them; all people here are invented."""

from datetime import date, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from catalog.errors import InvalidInput
from catalog.identity import (
    DOCUMENT_TYPES,
    Demographics,
    Document,
    check_digit,
    check_national_id,
    conflicts,
    display_name,
    document_facts,
    find_national_id,
    mask_number,
    names_a_newborn,
    newborn_document,
    normalise_document,
    normalise_name,
    sex_from_dicom,
    sex_from_gbt2261,
)

TODAY = date(2026, 3, 1)


def invented(born: date, sequence: int = 1, region: str = "999901") -> str:
    """Make a national ID number of a region that does not exist."""
    body = f"{region}{born:%Y%m%d}{sequence:03d}"
    return body + check_digit(body)


MAN, WOMAN = invented(date(1980, 1, 1), 11), invented(date(1990, 12, 31), 12)
ENDING_IN_X = next(n for n in (invented(date(1975, 5, 5), k) for k in range(100)) if n.endswith("X"))


def refusal_of(raw: str, today: date = TODAY) -> str:
    with pytest.raises(InvalidInput) as refusal:
        check_national_id(raw, today)
    assert refusal.value.field == "id_number"
    assert len(raw) < 4 or raw not in str(refusal.value)
    return refusal.value.code


# --- the national ID number -----------------------------------------------------------------------------


def test_birth_date_and_sex_are_read_from_the_digits() -> None:
    man, woman = check_national_id(MAN, TODAY), check_national_id(WOMAN, TODAY)
    assert (man.number, man.birth_date, man.sex) == (MAN, date(1980, 1, 1), "male")
    assert (woman.birth_date, woman.sex) == (date(1990, 12, 31), "female")


@pytest.mark.parametrize("number", ["11010519491231002X", "440524188001010014"])
def test_the_examples_of_gb_11643_are_valid(number: str) -> None:
    assert check_national_id(number, TODAY).number == number


def full_width(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) for char in text)


@pytest.mark.parametrize(
    "written",
    [
        ENDING_IN_X.lower(),
        full_width(ENDING_IN_X),
        full_width(ENDING_IN_X.lower()),
        f"\u3000{ENDING_IN_X} ",
        f"{ENDING_IN_X[:6]} {ENDING_IN_X[6:14]} {ENDING_IN_X[14:]}",
        f"{ENDING_IN_X[:6]}-{ENDING_IN_X[6:14]}－{ENDING_IN_X[14:]}",
    ],
)
def test_the_same_number_written_otherwise_is_the_same_number(written: str) -> None:
    assert check_national_id(written, TODAY).number == ENDING_IN_X


def test_an_old_number_of_15_digits_becomes_18() -> None:
    assert check_national_id(MAN[:6] + MAN[8:17], TODAY).number == MAN


def test_a_number_with_a_wrong_check_digit_is_refused() -> None:
    wrong = "0" if MAN[17] != "0" else "1"
    assert refusal_of(MAN[:17] + wrong) == "id_number_check_digit"


@pytest.mark.parametrize("number", ["110211198001010001", "330101196206066789"])
def test_numbers_of_public_demonstrations_fail_the_check_digit(number: str) -> None:
    assert refusal_of(number) == "id_number_check_digit"


@pytest.mark.parametrize("length", [0, 1, 14, 16, 17, 19, 40])
def test_a_number_of_another_length_is_refused(length: int) -> None:
    assert refusal_of("1" * length) == "id_number_length"


@pytest.mark.parametrize(
    "raw",
    [
        "9999011980010100A1",
        f"X{MAN[1:]}",
        "99990180010100X",
        f"{MAN[:17]}\0",
        f"{MAN[:9]}\n{MAN[9:]}",
        "٩" * 18,
        "①" * 18,
        "'; drop",
        "张三",
    ],
)
def test_a_number_with_other_characters_is_refused(raw: str) -> None:
    assert refusal_of(raw) == "id_number_characters"


@pytest.mark.parametrize(
    "digits", ["20230229", "19800001", "19801301", "19800100", "18491231", "00000000", "20260302"]
)
def test_a_number_with_an_impossible_birth_date_is_refused(digits: str) -> None:
    body = f"999901{digits}001"
    assert refusal_of(body + check_digit(body)) == "id_number_birth_date"


def test_a_child_born_today_has_a_number_and_one_born_tomorrow_has_none() -> None:
    assert check_national_id(invented(TODAY), TODAY).birth_date == TODAY
    assert refusal_of(invented(TODAY + timedelta(days=1))) == "id_number_birth_date"


BIRTHS = st.dates(date(1850, 1, 1), TODAY)
NUMBERS = st.builds(
    invented, BIRTHS, st.integers(0, 999), st.integers(0, 999_999).map(lambda region: f"{region:06d}")
)


@given(NUMBERS)
def test_any_17_digits_with_their_check_digit_are_valid(number: str) -> None:
    assert check_national_id(number, TODAY).number == number


@given(NUMBERS, st.integers(0, 17), st.sampled_from("0123456789X"))
def test_any_single_changed_character_is_refused(number: str, place: int, character: str) -> None:
    assume(number[place] != character)
    with pytest.raises(InvalidInput):
        check_national_id(number[:place] + character + number[place + 1 :], TODAY)


@given(NUMBERS, st.integers(0, 16))
def test_two_neighbours_swapped_are_refused(number: str, place: int) -> None:
    assume(number[place] != number[place + 1])
    swapped = number[:place] + number[place + 1] + number[place] + number[place + 2 :]
    with pytest.raises(InvalidInput):
        check_national_id(swapped, TODAY)


def test_an_unlabelled_field_gives_an_18_character_number_and_no_15_digit_one() -> None:
    assert find_national_id(["P0001", "", f"{MAN}\0", WOMAN], TODAY) == MAN
    assert find_national_id([MAN[:6] + MAN[8:17]], TODAY) is None
    assert find_national_id(["123456789012345678", "20260301083000001234", "张三", "a\0b"], TODAY) is None
    assert find_national_id([], TODAY) is None


# --- documents ------------------------------------------------------------------------------------------


def number_of(id_type: str, raw: str, **options: str) -> str:
    return normalise_document(id_type, raw, TODAY, **options).number


@pytest.mark.parametrize(
    ("id_type", "raw", "number"),
    [
        ("01", full_width(MAN), MAN),
        ("04", "军字第1234567号", "军1234567"),
        ("04", "军1234567", "军1234567"),
        ("05", "ab１２3456789", "AB123456789"),
        ("06", "h12345678", "H12345678"),
        ("06", "H1234567802", "H12345678"),
        ("07", "12345678", "12345678"),
        ("07", "1234567801(B)", "12345678"),
        ("92", "chn110180010101", "CHN110180010101"),
        ("93", "t 123456789", "T123456789"),
    ],
)
def test_each_type_of_document_has_one_spelling(id_type: str, raw: str, number: str) -> None:
    assert normalise_document(id_type, raw, TODAY) == Document(id_type, number)


@pytest.mark.parametrize(
    ("id_type", "raw"),
    [
        ("02", "12345"),
        ("02", "NO12345678"),
        ("03", "E1"),
        ("03", "USA:E12345678"),
        ("95", "01:1:20260101:1"),
        ("95", f"95:01:{WOMAN}:20260101:1:20260102:1"),
        ("03", "护照12345678"),
        ("03", "E1234\x1b5678"),
        ("04", "军官"),
        ("06", "X12345678"),
        ("06", "H123456789"),
        ("07", "1234567"),
        ("92", "110180010101"),
        ("93", "1234567890"),
        ("05", "1" * 100),
        ("01", ""),
        ("03", "../../x"),
    ],
)
def test_a_number_that_its_type_cannot_have_is_refused_without_being_repeated(id_type: str, raw: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        normalise_document(id_type, raw, TODAY, country="CHN")
    assert refusal.value.code.startswith("id_number_")
    assert len(raw) < 4 or raw not in str(refusal.value)


def test_a_passport_is_of_the_country_that_issued_it() -> None:
    chinese = normalise_document("03", " e1234-5678 ", TODAY, country="chn")
    assert chinese == Document("03", "CHN:E12345678")
    assert normalise_document("03", "E12345678", TODAY, country="KOR") != chinese
    for country in ("", "CN", "中国人", "C1N"):
        with pytest.raises(InvalidInput) as refusal:
            normalise_document("03", "E12345678", TODAY, country=country)
        assert refusal.value.code == "id_country_required"


def test_a_household_register_stands_for_one_person_and_never_for_the_household() -> None:
    assert normalise_document("02", MAN, TODAY) == Document("01", MAN)
    with pytest.raises(InvalidInput):
        normalise_document("02", "500103000123", TODAY)


def test_a_newborn_is_neither_the_mother_nor_a_twin_nor_a_later_child() -> None:
    mother, born = normalise_document("01", WOMAN, TODAY), date(2026, 1, 1)
    first = newborn_document(mother, born, 1)
    later = newborn_document(mother, date(2024, 1, 1), 1)
    assert len({mother, first, newborn_document(mother, born, 2), later}) == 4
    assert normalise_document("95", first.number, TODAY) == first
    with pytest.raises(InvalidInput):
        newborn_document(mother, born, 0)


@pytest.mark.parametrize("name", ["林晓渝之女", "林晓渝之大子", "新生儿", "Baby^Of Lin", "LIN B/O", "王婴"])
def test_a_child_without_a_name_is_not_the_person_of_the_mothers_number(name: str) -> None:
    mother = Document("01", WOMAN)
    for known in (Demographics(), Demographics(name="Lin^Xiaoyu")):
        assert "newborn_conflict" in conflicts(known, Demographics(name=name), mother)
    born = document_facts(mother).birth_date
    assert conflicts(Demographics(), Demographics(name=name, birth_date=born), mother) == ()
    for own in (Document("93", "T123456789"), newborn_document(mother, date(2026, 1, 1), 1)):
        assert conflicts(Demographics(), Demographics(name=name, birth_date=date(2026, 1, 1)), own) == ()


@pytest.mark.parametrize("name", ["张三", "王子涵", "李之琳", "欧阳之洲", "Babylon^Li", "婴宁"])
def test_an_ordinary_name_is_not_taken_for_a_newborns(name: str) -> None:
    assert not names_a_newborn(name)


def test_a_name_that_nobody_knows_contradicts_no_name() -> None:
    for nobody in ("无名氏", "未知", " 不详 "):
        assert conflicts(Demographics(name=nobody), Demographics(name="张三"), None) == ()
        assert conflicts(Demographics(name="张三"), Demographics(name=nobody), None) == ()


def test_a_health_card_or_a_telephone_is_no_document() -> None:
    assert all("健康卡" not in kind.zh and "医保" not in kind.zh for kind in DOCUMENT_TYPES.values())
    assert not {"phone", "age"} & set(Demographics.__dataclass_fields__)


def test_an_unknown_type_of_document_is_refused() -> None:
    for id_type in ("", "1", "00", "08", "身份证"):
        with pytest.raises(InvalidInput) as refusal:
            normalise_document(id_type, MAN, TODAY)
        assert (refusal.value.code, refusal.value.field) == ("id_type_unknown", "id_type")


def test_the_types_of_ws_364_are_all_there() -> None:
    assert {"01", "02", "03", "04", "05", "06", "07", "99"} <= set(DOCUMENT_TYPES)
    assert all(kind.zh and kind.en and kind.code == code for code, kind in DOCUMENT_TYPES.items())


def test_a_residence_permit_is_one_person_whichever_card_it_is_given_as() -> None:
    permit = invented(date(1988, 8, 8), 8, region="810000")
    assert normalise_document("91", permit, TODAY) == normalise_document("01", permit, TODAY)
    with pytest.raises(InvalidInput):
        normalise_document("91", MAN, TODAY)


@pytest.mark.parametrize("id_type", ["94", "99"])
def test_equal_temporary_numbers_of_two_hospitals_are_two_people(id_type: str) -> None:
    first, second = (number_of(id_type, "tmp-0001", issuer=issuer) for issuer in ("H001", "H002"))
    assert (first, second) == ("H001:TMP-0001", "H002:TMP-0001")
    assert number_of(id_type, first, issuer="H001") == first
    with pytest.raises(InvalidInput) as refusal:
        normalise_document(id_type, "tmp-0001", TODAY)
    assert refusal.value.code == "id_issuer_required"


@given(st.sampled_from(sorted(DOCUMENT_TYPES)), st.text(max_size=20))
def test_normalising_a_document_twice_changes_nothing(id_type: str, raw: str) -> None:
    try:
        once = normalise_document(id_type, raw, TODAY, issuer="H001")
    except InvalidInput:
        return
    assert normalise_document(once.id_type, once.number, TODAY, issuer="H001") == once


def test_numbers_and_names_stay_out_of_repr() -> None:
    shown = repr(
        (Document("01", MAN), check_national_id(MAN, TODAY), Demographics("张三", date(1980, 1, 1), "male"))
    )
    assert MAN not in shown
    assert "张三" not in shown
    assert "1980" not in shown


def test_a_masked_number_keeps_three_and_two_characters_of_a_long_number() -> None:
    assert mask_number("999901198001010111") == "999*************11"
    assert mask_number("E1234567") == "E******7"
    assert mask_number("12345") == "*****"
    assert mask_number("") == ""


# --- names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        "张三丰",
        "张^三丰",
        "张 三丰",
        "张\u3000三丰 ",
        "张三丰^^^^",
        "Zhang^Sanfeng=张^三丰",
        "=张三丰=",
        "Zhang^San Feng=张 三丰=zhang^sanfeng",
    ],
)
def test_a_chinese_name_is_one_name_however_it_is_split(written: str) -> None:
    assert normalise_name(written).ideographic == "张三丰"
    assert display_name(written) == "张三丰"


@pytest.mark.parametrize("dot", "·•・．･‧.。")
def test_every_middle_dot_is_the_same_dot(dot: str) -> None:
    for written in (f"买买提{dot}艾力", f"买买提 {dot} 艾力", f"Maimaiti^Aili=买买提{dot}艾力"):
        assert normalise_name(written).ideographic == "买买提·艾力"


def test_letters_are_kept_apart_from_characters() -> None:
    name = normalise_name("Zhang^San=张^三=")
    assert (name.ideographic, name.alphabetic) == ("张三", "Zhang San")
    assert normalise_name("ＺＨＡＮＧ^ＳＡＮ").alphabetic == "ZHANG SAN"
    assert display_name("Rüdiger^Äneas^^Dr.") == "Rüdiger Äneas Dr."
    assert display_name("") == display_name("^^==") == ""


@given(st.one_of(st.text(), st.text(st.sampled_from("张三A a^= ·.•\u3000\u200b\u0308\u0338¨"))))
def test_normalising_a_name_twice_changes_nothing(text: str) -> None:
    name = normalise_name(text)
    assert normalise_name(name.ideographic).ideographic == name.ideographic
    assert display_name(display_name(text)) == display_name(text)


# --- conflicts ------------------------------------------------------------------------------------------


def name_conflict(known: str | None, given_name: str | None) -> bool:
    pairs = ((known, given_name), (given_name, known))
    both = [conflicts(Demographics(name=one), Demographics(name=two), None) for one, two in pairs]
    assert both[0] == both[1]
    return both[0] == ("name_conflict",)


@pytest.mark.parametrize(
    ("known", "given_name"),
    [
        ("张三", "李四"),
        ("张三", "张三丰"),
        ("張三", "张三"),
        ("Zhang^San=张三", "Zhang^San=章三"),
        ("王某之子A", "王某之子B"),
        ("王某大双", "王某小双"),
        ("张?", "李三"),
    ],
)
def test_another_name_in_characters_is_a_conflict(known: str, given_name: str) -> None:
    assert name_conflict(known, given_name)


@pytest.mark.parametrize(
    ("known", "given_name"),
    [
        ("张三", "Zhang^San"),
        ("Zhang^San", "Chang^San"),
        ("张三", "Li^Si"),
        ("张三", None),
        ("张三", ""),
        ("张三", "Zhang^San=张^三"),
        ("张三", "张三 Zhang San"),
        ("买买提·艾力", "买买提.艾力"),
        ("买买提·艾力", "买买提艾力"),
        ("张𬭎", "张?"),
        ("张𬭎", "张????"),
        ("张𬭎", "张\ufffd"),
        ("张三", "???"),
    ],
)
def test_pinyin_a_missing_name_or_another_spelling_is_no_conflict(known: str, given_name: str | None) -> None:
    assert not name_conflict(known, given_name)


def test_another_birth_date_is_a_conflict_also_against_the_digits_of_the_number() -> None:
    document = normalise_document("01", MAN, TODAY)
    right, wrong = Demographics(birth_date=date(1980, 1, 1)), Demographics(birth_date=date(1980, 1, 2))
    assert conflicts(right, wrong, None) == ("birth_date_conflict",)
    assert conflicts(Demographics(), wrong, document) == ("birth_date_conflict",)
    assert conflicts(right, right, document) == ()
    assert conflicts(right, Demographics(), document) == ()


def test_another_sex_is_a_conflict_also_against_the_digits_of_the_number() -> None:
    document = normalise_document("01", MAN, TODAY)
    assert conflicts(Demographics(sex="male"), Demographics(sex="female"), None) == ("sex_conflict",)
    assert conflicts(Demographics(), Demographics(sex="female"), document) == ("sex_conflict",)
    for sex in ("unknown", "other", None, "male"):
        assert conflicts(Demographics(sex="male"), Demographics(sex=sex), document) == ()
    for sex in ("unknown", "other", None):
        assert conflicts(Demographics(sex=sex), Demographics(sex="female"), None) == ()


def test_all_conflicts_are_named_together() -> None:
    known = Demographics("张三", date(1980, 1, 1), "male")
    other = Demographics("李四", date(1990, 1, 1), "female")
    assert conflicts(known, other, None) == ("name_conflict", "birth_date_conflict", "sex_conflict")


def test_only_a_national_id_number_says_anything_of_the_person() -> None:
    assert document_facts(Document("01", WOMAN)) == Demographics(None, date(1990, 12, 31), "female")
    assert document_facts(Document("03", "E12345678")) == Demographics()


def test_sex_codes_of_dicom_and_of_gb_t_2261_become_those_of_fhir() -> None:
    assert [sex_from_dicom(code) for code in ("M", "F ", "O", "", "m\0", "?")] == [
        "male",
        "female",
        "other",
        "unknown",
        "male",
        "unknown",
    ]
    assert [sex_from_gbt2261(code) for code in ("0", "1", "2", "9", "")] == [
        "unknown",
        "male",
        "female",
        "unknown",
        "unknown",
    ]
