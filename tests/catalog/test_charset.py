"""Chinese names as hospitals really send them, western names that must stay right, and hostile bytes."""

import re
from pathlib import Path

import pydicom
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydicom.data import get_charset_files

from catalog.charset import DecodedText, decode, split_values

# --- a labelled set: bytes as sent, declaration as sent, the name that was meant ------------------------

COMMON_SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎"
)
RARE_SURNAMES = (
    "欧阳",
    "司马",
    "尉迟",
    "鲜于",
    "逄",
    "亓",
    "佘",
    "芈",
    "禚",
    "仉",
    "璩",
    "麴",
    "張",
    "劉",
    "陳",
    "黃",
    "區",
    "關",
)
COMMON_GIVEN = (
    "伟",
    "秀英",
    "三丰",
    "小东",
    "建国",
    "丽",
    "志强",
    "子涵",
    "雨桐",
    "明",
    "桂兰",
    "海燕",
    "永强",
    "玉珍",
    "婷婷",
)
RARE_GIVEN = (
    "喆",
    "玥",
    "昇",
    "㛃",
    "𬭎",
    "𠮷",
    "小璣",
    "誠",
    "珺垚",
    "煜堃",
    "謀",
    "錦",
    "文琡",
    "㛃涵",
    "子𬭎",
    "龑",
)
PINYIN = "Zhang^San"


def invented_names() -> list[str]:
    surnames = [*COMMON_SURNAMES, *RARE_SURNAMES]
    names = []
    for position, surname in enumerate(surnames):
        for step in range(3):
            given = (COMMON_GIVEN, RARE_GIVEN)[(position + step) % 2]
            chosen = given[(position * 5 + step * 7) % len(given)]
            names.append((f"{surname}{chosen}", f"{surname}^{chosen}", f"{PINYIN}={surname}^{chosen}")[step])
    return [*names, "买买提·艾力", "阿依古丽·吐尔逊", f"{PINYIN}=欧阳^小东=", "张 三丰", "张\u3000三"]


def iso2022_ir_58(name: str) -> bytes:
    r"""Encode as PS3.5 Annex K shows: ESC $ ) A again after each ^ and =, where Chinese follows."""
    parts = re.split(r"([\^=])", name)
    return b"".join(part.encode() if part.isascii() else b"\x1b$)A" + part.encode("gb2312") for part in parts)


ENCODERS = {
    "GB18030": lambda name: name.encode("gb18030"),
    "GBK": lambda name: name.encode("gbk"),
    "ISO_IR 192": lambda name: name.encode(),
    "ISO 2022 IR 58": iso2022_ir_58,
}
DECLARATIONS = (
    (),
    ("",),
    ("ISO_IR 6",),
    ("ISO_IR 100",),
    ("ISO_IR 192",),
    ("GB18030",),
    ("GBK",),
    ("", "ISO 2022 IR 58"),
    ("ISO 2022 IR 100", "ISO 2022 IR 58"),
)


def labelled_set() -> list[tuple[str, str, tuple[str, ...], bytes]]:
    """(name, encoding, declaration, bytes) for each pair that the encoding can write."""
    cases = []
    for name in invented_names():
        for encoding, encode in ENCODERS.items():
            try:
                raw = encode(name)
            except UnicodeEncodeError:
                continue
            cases += [(name, encoding, declared, raw) for declared in DECLARATIONS]
    return cases


def test_at_least_99_in_100_labelled_chinese_names_are_read_right() -> None:
    cases = labelled_set()
    assert len(cases) >= 500
    found = [decode(raw, declared, vr="PN").text for _, _, declared, raw in cases]
    misses = [(*case[:3], text) for case, text in zip(cases, found, strict=True) if text != case[0]]
    print(f"{len(cases)} cases, {len(misses)} misses", *misses, sep="\n")
    assert len(misses) <= len(cases) / 100, misses


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("GB18030", ("GB18030",)),
        ("GBK", ("GBK",)),
        ("GBK", ("GB18030",)),
        ("ISO_IR 192", ("ISO_IR 192",)),
        ("ISO 2022 IR 58", ("", "ISO 2022 IR 58")),
    ],
)
def test_a_right_declaration_is_followed_without_doubt(encoding: str, declared: tuple[str, ...]) -> None:
    for name, sent_in, told, raw in labelled_set():
        if (sent_in, told) == (encoding, declared):
            assert decode(raw, declared, vr="PN").text == name
            assert decode(raw, declared, vr="PN").rule == "declared"
            assert decode(raw, declared, vr="PN").confidence == "high"


@pytest.mark.parametrize(
    ("encoding", "declared", "rule"),
    [
        ("GBK", (), "gb18030_undeclared"),
        ("GBK", ("ISO_IR 100",), "gb18030_over_latin1"),
        ("GBK", ("ISO_IR 192",), "gb18030_over_utf8"),
        ("GBK", ("", "ISO 2022 IR 58"), "gb18030_over_iso2022"),
        ("ISO_IR 192", (), "utf8_undeclared"),
        ("ISO_IR 192", ("ISO_IR 100",), "utf8_over_latin1"),
        ("ISO_IR 192", ("GB18030",), "utf8_over_gb18030"),
        ("ISO 2022 IR 58", (), "iso2022_undeclared"),
        ("ISO 2022 IR 58", ("GB18030",), "iso2022_over_gb18030"),
    ],
)
def test_the_rule_that_fired_is_named(encoding: str, declared: tuple[str, ...], rule: str) -> None:
    found = decode(ENCODERS[encoding]("Zhang^San=张^三丰"), declared, vr="PN")
    assert found == DecodedText("Zhang^San=张^三丰", found.charset, rule, "high")


# --- western and other sets -----------------------------------------------------------------------------

WESTERN = (
    "Äneas^Rüdiger",
    "Buc^Jérôme",
    "Müller",
    "Åse^Øyvind",
    "Jääskeläinen^Väinö",
    "JÄÄSKELÄINEN",
    "Guðríður^Íris",
    "Núñez^Íñigo",
    "François^Éloïse",
    "Ö^Karl",
    "Groß^Jürgen",
    "Schichtdicke 5 mm ±2°",
)


@pytest.mark.parametrize("name", WESTERN)
@pytest.mark.parametrize("declared", [("ISO_IR 100",), ("ISO 2022 IR 100",), ("ISO_IR_100",)])
def test_a_western_name_under_latin_1_stays_right(name: str, declared: tuple[str, ...]) -> None:
    found = decode(name.encode("latin_1"), declared, vr="PN")
    assert (found.text, found.rule, found.confidence) == (name, "declared", "high")


@pytest.mark.parametrize("name", WESTERN)
def test_a_western_name_without_declaration_is_read_but_not_trusted(name: str) -> None:
    found = decode(name.encode("latin_1"), (), vr="PN")
    assert (found.text, found.rule, found.confidence) == (name, "latin1_undeclared", "low")


@pytest.mark.parametrize("name", [name for name in WESTERN if name != "Ö^Karl"])
@pytest.mark.parametrize("declared", [(), ("ISO_IR 100",), ("ISO_IR 192",), ("GB18030",)])
def test_a_western_name_in_utf_8_is_read_under_any_declaration(name: str, declared: tuple[str, ...]) -> None:
    assert decode(name.encode(), declared, vr="PN").text == name


OTHER_SETS = (
    ("Łukasz^Żółć", "ISO_IR 101", "iso8859_2"),
    ("Ħal^Ċensu", "ISO_IR 109", "iso8859_3"),
    ("Jānis^Bērziņš", "ISO_IR 110", "iso8859_4"),
    ("Люкceмбypг", "ISO_IR 144", "iso8859_5"),
    ("قباني^لنزار", "ISO_IR 127", "iso8859_6"),
    ("Διονυσιος", "ISO_IR 126", "iso8859_7"),
    ("שרון^דבורה", "ISO_IR 138", "iso8859_8"),
    ("Çavuşoğlu^İlkay", "ISO_IR 148", "iso8859_9"),
    ("สมชาย^ใจดี", "ISO_IR 166", "iso8859_11"),
    ("ﾔﾏﾀﾞ^ﾀﾛｳ", "ISO_IR 13", "shift_jis"),
)


@pytest.mark.parametrize(("name", "term", "codec"), OTHER_SETS)
def test_every_other_single_byte_set_is_read_as_declared(name: str, term: str, codec: str) -> None:
    assert decode(name.encode(codec), (term,), vr="PN") == DecodedText(name, term, "declared", "high")


def name_and_declaration(path: Path) -> tuple[bytes, tuple[str, ...], str]:
    """Return the bytes, the declaration that holds for them, and the name as pydicom reads it."""
    outer = pydicom.dcmread(path)
    item = outer if "PatientName" in outer else outer.RequestedProcedureCodeSequence[0]
    declared = item.get("SpecificCharacterSet", outer.get("SpecificCharacterSet"))
    sent = item.get_item("PatientName").value
    return sent, (declared,) if isinstance(declared, str) else tuple(declared), str(item.PatientName)


@pytest.mark.parametrize("path", get_charset_files("*.dcm"), ids=lambda path: Path(path).name)
def test_the_example_files_read_as_pydicom_reads_them(path: Path) -> None:
    sent, declared, name = name_and_declaration(path)
    found = decode(sent, declared, vr="PN")
    assert (found.text.rstrip("="), found.rule) == (name, "declared")


def test_japanese_characters_that_contain_delimiter_codes_are_not_split() -> None:
    raw = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
    assert decode(raw, ("", "ISO 2022 IR 87"), vr="PN").text == "Yamada^Tarou=山田^太郎=やまだ^たろう"


def test_jis_x_0212_is_read_by_its_own_escape_sequence() -> None:
    raw = b"\x1b$(D" + "丂".encode("iso2022_jp_2")[4:6] + b"\x1b(B"
    assert decode(raw, ("", "ISO 2022 IR 159"), vr="PN").text == "丂"


def test_korean_is_read_with_and_without_its_escape_sequence() -> None:
    parts = [b"\x1b$)C" + part.encode("euc_kr") for part in ("홍", "길동")]
    assert (
        decode(b"Hong^Gildong==" + b"^".join(parts), ("", "ISO 2022 IR 149"), vr="PN").text[-4:] == "홍^길동"
    )
    assert decode("홍^길동".encode("euc_kr"), ("", "ISO 2022 IR 149"), vr="PN").text == "홍^길동"


# --- traps ----------------------------------------------------------------------------------------------


def test_a_chinese_set_not_designated_again_after_a_delimiter_is_still_read() -> None:
    raw = b"\x1b$)A" + "张".encode("gb2312") + b"^" + "小东".encode("gb2312")
    assert decode(raw, ("", "ISO 2022 IR 58"), vr="PN").text == "张^小东"


def characters_that_end_in(tail: int) -> list[str]:
    pairs = (bytes([lead, tail]).decode("gbk", "ignore") for lead in range(0x81, 0xFF))
    return [character for character in pairs if "\u4e00" <= character <= "\u9fa5"]


def test_a_backslash_that_is_half_a_character_splits_nothing() -> None:
    endings = characters_that_end_in(0x5C)
    assert {*"誠謀錦璡"} <= {*endings}
    assert len(endings) > 100
    for character in endings:
        for declared in ((), ("GB18030",), ("GBK",), ("ISO_IR 100",)):
            values = split_values(f"李{character}\\王五".encode("gbk"), declared)
            assert [value.text for value in values] == [f"李{character}", "王五"]


def test_a_caret_that_is_half_a_character_separates_no_name_components() -> None:
    endings = characters_that_end_in(0x5E)
    assert {*"璣區絕館"} <= {*endings}
    assert len(endings) > 100
    for character in endings:
        for declared in ((), ("GB18030",), ("GBK",), ("ISO_IR 100",)):
            decoded = decode(f"李^{character}".encode("gbk"), declared, vr="PN").text
            assert decoded.split("^") == ["李", character]


def test_a_two_byte_japanese_character_with_a_backslash_in_it_does_not_split() -> None:
    raw = b"\x1b$B\x21\x5c\x1b(B\\\x1b$B;3\x1b(B"
    assert [value.text for value in split_values(raw, ("", "ISO 2022 IR 87"))] == ["＋", "山"]


def test_a_backslash_in_a_long_text_ends_no_designation() -> None:
    raw = b"\x1b$)A" + "胸部".encode("gb2312") + b"\\" + "正位".encode("gb2312")
    assert decode(raw, ("", "ISO 2022 IR 58"), vr="LT").rule == "declared"
    assert decode(raw, ("", "ISO 2022 IR 58"), vr="LO").rule == "gb18030_over_iso2022"


@pytest.mark.parametrize(
    "text", ["胸部CT平扫+增强", "MR脑 T2加权", "左膝关节正侧位(DR)", "头颅CTA 1.0mm", "双侧乳腺钼靶,〇度"]
)
@pytest.mark.parametrize("declared", [(), ("ISO_IR 100",), ("ISO_IR 192",), ("GBK",), ("", "ISO 2022 IR 58")])
def test_a_chinese_description_among_latin_letters_is_read(text: str, declared: tuple[str, ...]) -> None:
    assert decode(text.encode("gbk"), declared, vr="LO").text == text
    assert decode(text.encode(), declared, vr="LO").text == text


def test_short_chinese_text_that_happens_to_be_valid_utf_8_is_chinese() -> None:
    raw = "谢强".encode("gbk")
    assert raw.decode() != "谢强"  # it is valid UTF-8
    for declared in ((), ("ISO_IR 100",), ("ISO_IR 192",), ("GBK",)):
        assert decode(raw, declared, vr="PN").text == "谢强"


def test_a_declared_rare_name_is_not_taken_for_utf_8_that_mixes_scripts() -> None:
    raw = "袁^臧坴".encode("gbk")
    assert raw.decode() != "袁^臧坴"
    assert decode(raw, ("GB18030",), vr="PN") == DecodedText("袁^臧坴", "GB18030", "declared", "high")


def test_a_windows_apostrophe_is_not_read_as_a_rare_chinese_character() -> None:
    assert b"O\x92Brien".decode("gb18030") != "O’Brien"
    assert decode(b"O\x92Brien", ("ISO_IR 100",), vr="PN").text == "O\ufffdBrien"
    assert decode(b"O\x92Brien", ("ISO_IR 100",), vr="PN").confidence == "low"


def test_bytes_that_are_gb_18030_but_no_chinese_are_not_trusted() -> None:
    assert decode(b"\xaa\xa1\xaa\xa2", ()).confidence == "low"


def test_bytes_that_the_declared_set_leaves_unused_are_chinese_if_they_can_be() -> None:
    found = decode("張三".encode("gbk"), ("ISO_IR 144",), vr="PN")
    assert (found.text, found.rule, found.confidence) == ("張三", "gb18030_over_ir144", "medium")


@pytest.mark.parametrize("codec", ["utf-8", "gb18030"])
@pytest.mark.parametrize("declared", [(), ("ISO_IR 192",), ("GB18030",), ("ISO_IR 100",)])
def test_a_value_cut_inside_a_character_keeps_the_characters_before(
    codec: str, declared: tuple[str, ...]
) -> None:
    found = decode("胸部平扫".encode(codec)[:-1], declared)
    assert found.text == "胸部平\ufffd"
    assert found.rule.endswith("_truncated")
    assert found.confidence == "medium"


def test_characters_that_gb_18030_2022_moved_out_of_the_private_area_are_the_same_in_both_encodings() -> None:
    assert decode(b"\xfe\x59", ("GB18030",)).text == decode("龴".encode(), ("ISO_IR 192",)).text == "龴"


def test_a_character_of_a_hospitals_own_font_is_kept_as_declared() -> None:
    assert decode("张\ue863".encode(), ("ISO_IR 192",)).rule == "declared"
    own = decode(b"\xd5\xc5\xaa\xa1", ("GB18030",))
    assert (own.text, own.rule, own.confidence) == ("张\ue000", "declared", "medium")


def test_broken_bytes_under_a_multi_byte_declaration_are_shown_and_not_trusted() -> None:
    found = decode(b"A\xff\xfe=" + "张三".encode("gbk"), ("GB18030",), vr="PN")
    assert (found.rule, found.confidence) == ("declared_damaged", "low")
    assert found.text.endswith("张三")


def test_bytes_that_fit_nothing_come_out_as_something_and_are_not_trusted() -> None:
    assert decode(b"\xff\xfe\x80", ()) == DecodedText("ÿþ\ufffd", "ISO_IR 100", "latin1_last_resort", "low")


@pytest.mark.parametrize("term", ["ISO-IR 192", "iso_ir_192", "UTF-8", "ISO IR 192", " ISO_IR 192 "])
def test_a_misspelt_term_is_understood(term: str) -> None:
    assert decode("张三".encode(), (term,), vr="PN") == DecodedText("张三", "ISO_IR 192", "declared", "high")


def test_ascii_is_always_right_and_padding_goes() -> None:
    for declared in DECLARATIONS:
        assert decode(b"Zhang^San \0", declared, vr="PN").text == "Zhang^San"
        assert decode(b"Zhang^San ", declared, vr="PN").rule == "declared"
    assert decode(b"", ()).text == ""


def test_control_characters_do_not_come_through() -> None:
    assert decode(b"a\x1b[31mb\0c\r\nd", ()).text == "a[31mbc\r\nd"
    assert decode(b"\x9b31m", ("ISO_IR 100",)).text == "\ufffd31m"


# --- properties -----------------------------------------------------------------------------------------

ANY_TERM = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "ISO_IR 6", "ISO_IR 100", "ISO_IR 192", "GB18030", "GBK", "ISO_IR 13", "ISO_IR 144"]
    ),
    st.sampled_from([f"ISO 2022 IR {n}" for n in (6, 13, 58, 87, 100, 149, 159)]),
)
ESCAPES = st.sampled_from(
    [b"\x1b$)A", b"\x1b$B", b"\x1b$(D", b"\x1b$)C", b"\x1b(B", b"\x1b-A", b"\x1b)I", b"\x1b", b"^"]
)
ANY_BYTES = st.one_of(st.binary(), st.lists(st.one_of(ESCAPES, st.binary(max_size=6))).map(b"".join))
HAN = st.one_of(
    st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5),
    st.characters(min_codepoint=0x3400, max_codepoint=0x4DB5),
    st.characters(min_codepoint=0x20000, max_codepoint=0x2A6D6),
)
HAN_NAMES = st.text(HAN, min_size=1, max_size=6)


@given(ANY_BYTES, st.lists(ANY_TERM, max_size=3).map(tuple), st.sampled_from(["PN", "LO", "LT", "CS"]))
def test_any_bytes_under_any_declaration_decode_to_storable_text(
    raw: bytes, declared: tuple[str, ...], vr: str
) -> None:
    found = decode(raw, declared, vr=vr)
    assert found == decode(raw, declared, vr=vr)
    assert not re.search(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]", found.text)
    found.text.encode()
    assert split_values(raw, declared, vr=vr)


def is_valid_utf8(raw: bytes) -> bool:
    try:
        return bool(raw.decode())
    except UnicodeDecodeError:
        return False


@given(HAN_NAMES, HAN_NAMES)
def test_encoding_then_decoding_with_the_right_declaration_is_identity(family: str, given_name: str) -> None:
    name = f"{family}^{given_name}"
    assert decode(name.encode(), ("ISO_IR 192",), vr="PN").text == name
    sent = name.encode("gb18030")
    assume(not is_valid_utf8(sent))  # about 3 in 100,000 random rare names are; then UTF-8 is believed
    assert decode(sent, ("GB18030",), vr="PN").text == name


@given(
    st.text(
        st.sampled_from("".join(chr(c) for c in range(0x4E00, 0x9FA6) if chr(c).encode("gb2312", "ignore")))
    )
)
def test_encoding_then_decoding_by_escape_sequences_is_identity(name: str) -> None:
    assert decode(iso2022_ir_58(f"A=张^{name}"), ("", "ISO 2022 IR 58"), vr="PN").text == f"A=张^{name}"
