"""Five hundred labelled names under every encoding hospitals use and every declaration they give it."""

import random
import re
import subprocess
import sys
from collections import Counter

from catalog.charset import decode
from catalog.identity import normalise_name
from tests.catalog.test_charset import RARE_GIVEN

SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎"
)
RARE = ("逄", "亓", "佘", "芈", "禚", "仉", "璩", "麴", "張", "劉", "陳", "黃", "區", "關", "欧阳", "尉迟")
GIVEN = ("伟", "秀英", "三丰", "小东", "建国", "丽", "志强", "子涵", "雨桐", "明", "桂兰", "海燕")
JAPANESE = ("小川", "明", "高山", "林", "和子", "大和", "森本", "中村")


def names() -> list[str]:
    """500 different names, every fourth with a rare character, in three forms: whole, split, with pinyin."""
    plain = [(family, given) for family in SURNAMES for given in GIVEN]
    hard = [(family, given) for family in (*SURNAMES, *RARE) for given in RARE_GIVEN]
    chance = random.Random(500)
    chosen = chance.sample(plain, 375) + chance.sample(hard, 125)
    forms = (lambda f, g: f + g, lambda f, g: f"{f}^{g}", lambda f, g: f"Zhang^San={f}^{g}")
    return [forms[number % 3](*pair) for number, pair in enumerate(chosen)]


def iso2022(name: str, designator: bytes, codec: str) -> bytes:
    """Designate anew after each delimiter, as PS3.5 Annexes H and K show."""
    parts = re.split(r"([\^=])", name)
    return b"".join(
        part.encode() if part.isascii() else _designated(part, designator, codec) for part in parts
    )


def _designated(part: str, designator: bytes, codec: str) -> bytes:
    raw = part.encode(codec)
    if codec == "gb2312":
        return designator + raw
    return designator + bytes(byte & 0x7F for byte in raw) + b"\x1b(B"


ENCODERS = {
    "GB18030": lambda name: name.encode("gb18030"),
    "GBK": lambda name: name.encode("gbk"),
    "ISO_IR 192": lambda name: name.encode(),
    "ISO 2022 IR 58": lambda name: iso2022(name, b"\x1b$)A", "gb2312"),
    "ISO 2022 IR 87": lambda name: iso2022(name, b"\x1b$B", "euc_jp"),
}
RIGHT = {
    "GB18030": ("GB18030",),
    "GBK": ("GBK",),
    "ISO_IR 192": ("ISO_IR 192",),
    "ISO 2022 IR 58": ("", "ISO 2022 IR 58"),
    "ISO 2022 IR 87": ("", "ISO 2022 IR 87"),
}
# Not ISO_IR 13: GB bytes under it are valid half-width katakana too, and a Japanese name stays one.
WRONG = (("ISO_IR 100",), ("ISO_IR 192",), ("GB18030",), ("", "ISO 2022 IR 58"), ("", "ISO 2022 IR 87"))


def cases() -> list[tuple[str, str, str, tuple[str, ...], bytes]]:
    """(name, encoding, declared | undeclared | wrong, declaration, bytes) wherever the encoding can write the name."""
    found = []
    for name in [*names(), *(f"Yamada^Tarou={one}^{other}" for one in JAPANESE for other in JAPANESE)]:
        for encoding, encode in ENCODERS.items():
            try:
                raw = encode(name)
            except UnicodeEncodeError:
                continue
            if encoding == "ISO 2022 IR 87" and not name.startswith("Yamada"):
                continue  # nobody writes a Chinese name in a Japanese set
            right = RIGHT[encoding]
            told = [("declared", right), ("undeclared", ())]
            told += [("wrong", wrong) for wrong in WRONG if wrong != right]
            found += [(name, encoding, kind, declared, raw) for kind, declared in told]
    return found


def test_at_least_99_in_100_of_500_names_are_read_right_declared_undeclared_and_wrongly_declared() -> None:
    tried, right = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for name, encoding, kind, declared, raw in cases():
        tried[encoding, kind] += 1
        right[encoding, kind] += decode(raw, declared, vr="PN").text == name
    assert len(set(names())) == 500
    for (encoding, kind), count in sorted(tried.items()):
        print(f"{encoding:15} {kind:10} {right[encoding, kind]:5} / {count}")
    print(f"{right.total()} / {tried.total()} = {right.total() / tried.total():.2%}")
    assert all(right[key] >= 0.99 * count for key, count in tried.items()), (tried, right)


def test_the_name_a_person_is_compared_by_is_the_same_in_every_encoding() -> None:
    keys: dict[str, set[str]] = {}
    for name, _, kind, declared, raw in cases():
        if kind == "declared":
            found = normalise_name(decode(raw, declared, vr="PN").text).ideographic
            keys.setdefault(name, set()).add(found)
    assert all(len(found) == 1 for found in keys.values())


def test_no_name_is_ever_decoded_differently_twice_in_any_order_or_process() -> None:
    read = "\n".join(repr(decode(raw, declared, vr="PN")) for *_, declared, raw in cases())
    shuffled = cases()
    random.Random(1).shuffle(shuffled)
    again = {(declared, raw): repr(decode(raw, declared, vr="PN")) for *_, declared, raw in shuffled}
    assert read == "\n".join(again[declared, raw] for *_, declared, raw in cases())
    program = (
        "import importlib.util as u, sys; s = u.spec_from_file_location('names', sys.argv[1]);"
        "m = u.module_from_spec(s); s.loader.exec_module(m);"
        "sys.stdout.buffer.write('\\n'.join(repr(m.decode(raw, declared, vr='PN'))"
        " for *_, declared, raw in m.cases()).encode())"
    )
    other = subprocess.run(
        [sys.executable, "-c", program, __file__],
        capture_output=True,
        check=True,
        env={"PYTHONHASHSEED": "7"},
    )
    assert other.stdout.decode() == read
