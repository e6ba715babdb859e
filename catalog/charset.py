"""Text of DICOM data sets: what (0008,0005) declares, and what was really sent.

`decode` tries readings in a fixed order and says which one held (`rule`):

    declared                 the declaration is right (always so for ASCII)
    utf8_… gb18030_…         it is absent (…_undeclared) or wrong (…_over_latin1, …_over_utf8, …)
    iso2022_…                escape sequences that the declaration does not name
    latin1_…                 a western name where nothing, or something else, was declared
    …_truncated              the value was cut inside its last character
    declared_damaged         a multi-byte declaration with broken bytes, shown as U+FFFD
    latin1_last_resort       no reading is plausible

The bytes are never changed; whoever calls keeps them. Same bytes and declaration, same answer.
"""

import codecs
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Confidence = Literal["high", "medium", "low"]


@dataclass(frozen=True, slots=True)
class DecodedText:
    """A text, the defined term of the character set that was used, the rule that fired and its weight."""

    text: str
    charset: str
    rule: str
    confidence: Confidence


class _Set(NamedTuple):
    """A character set of PS3.3 Tables C.12-2 to C.12-4 as one code element."""

    ir: str
    element: Literal["G0", "G1"]
    designator: bytes
    codec: str
    wide: bool = False


_SETS = (
    _Set("6", "G0", b"(B", "ascii"),
    _Set("13", "G0", b"(J", "ascii"),  # JIS X 0201 puts the yen sign at 5/12; as a delimiter it stays "\"
    _Set("13", "G1", b")I", "shift_jis"),
    _Set("100", "G1", b"-A", "latin_1"),
    _Set("101", "G1", b"-B", "iso8859_2"),
    _Set("109", "G1", b"-C", "iso8859_3"),
    _Set("110", "G1", b"-D", "iso8859_4"),
    _Set("126", "G1", b"-F", "iso8859_7"),
    _Set("127", "G1", b"-G", "iso8859_6"),
    _Set("138", "G1", b"-H", "iso8859_8"),
    _Set("144", "G1", b"-L", "iso8859_5"),
    _Set("148", "G1", b"-M", "iso8859_9"),
    _Set("166", "G1", b"-T", "iso8859_11"),
    _Set("203", "G1", b"-b", "iso8859_15"),
    _Set("87", "G0", b"$B", "iso2022_jp", wide=True),
    _Set("159", "G0", b"$(D", "iso2022_jp_2", wide=True),
    _Set("149", "G1", b"$)C", "euc_kr"),
    _Set("58", "G1", b"$)A", "gb18030"),  # a superset: characters beyond GB 2312 are sent like this too
)
_State = tuple[_Set, _Set]  # what G0 and G1 hold
_ASCII = _SETS[0]
_BY_DESIGNATOR = {s.designator: s for s in _SETS}
_G1_BY_IR = {s.ir: s for s in _SETS if s.element == "G1"}
_CODECS = {s.ir: s.codec for s in _SETS if s.element == "G1" and s.ir != "58"}
_ESCAPE = re.compile(rb"\x1b(" + b"|".join(re.escape(s.designator) for s in _SETS) + b")")

# PS3.5 §6.1.2.5.3: each of these brings back the sets of value 1.
_CONTROL = re.compile(rb"[\t\n\f\r]")
_DELIMITERS = {"PN": re.compile(rb"[\\^=\t\n\f\r]"), "TEXT": _CONTROL, "": re.compile(rb"[\\\t\n\f\r]")}
_RUNS = re.compile(rb"[\x80-\xff]+|[\x21-\x7e]+|[\x00-\x20\x7f]+")

_HAN = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_IS_HAN = re.compile(f"[{_HAN}]")
_BESIDE_HAN = re.compile(rf"[{_HAN}\u00b7\u2000-\u206f\u2160-\u217f\u2460-\u24ff\u3000-\u303f\uff00-\uffef]")
_HAN_BETWEEN_LETTERS = re.compile(f"(?<=[A-Za-z])[{_HAN}](?=[A-Za-z])")

# Western text has single high letters among ASCII ones; GB 2312 text has even runs of high bytes.
# Runs of two exist: "Fríða", "Núñez", "Jääskeläinen", "Íñigo".
_LETTER, _UPPER, _LOWER = r"\u00c0-\u00ff", r"\u00c0-\u00d6\u00d8-\u00de", r"\u00df-\u00f6\u00f8-\u00ff"
_WESTERN = re.compile(
    r"(?<![\x80-\xff])(?:"
    rf"[{_LETTER}°±²³µ·´¿¡§®©¼½¾]"
    rf"|(?<=[a-z])[{_LOWER}]{{2}}|(?<=[A-Za-z])[{_LOWER}]{{2}}(?=[a-z])"
    rf"|(?<=[A-Za-z])([{_LETTER}])\1|[{_UPPER}][{_LOWER}](?=[a-z]{{3}})"
    r")(?![\x80-\xff])"
)
_LATIN_IN_WORD = re.compile(
    r"(?<=[A-Za-z])[\u00c0-\u024f]+|[\u00c0-\u024f]+(?=[A-Za-z])|(?<=[0-9])[°±²³µ]|[±µ](?=[0-9A-Za-z])"
)

# Codes that GB 18030-2005 and -2022 moved out of the private use area; the codec is older.
_MOVED = {
    **dict(zip((0xE816, 0xE817, 0xE818), (0x20087, 0x20089, 0x200CC), strict=True)),
    **dict(zip((0xE831, 0xE83B, 0xE855), (0x215D7, 0x2298F, 0x241FE), strict=True)),
    **dict(zip((0xE81E, 0xE826, 0xE82B, 0xE82C), range(0x9FB4, 0x9FB8), strict=True)),
    **dict(zip((0xE832, 0xE843, 0xE854, 0xE864), range(0x9FB8, 0x9FBC), strict=True)),
}
_SHOWN = {c: None for c in range(32) if chr(c) not in "\t\n\f\r"} | {c: 0xFFFD for c in range(0x7F, 0xA0)}


def decode(raw: bytes, declared: tuple[str, ...], *, vr: str = "LO") -> DecodedText:
    """Decode one element's value; never raises.

    `declared` holds the values of (0008,0005) as sent, `()` when absent. `vr` tells which delimiters end an
    ISO 2022 designation (PS3.5 §6.1.2.5.3). Trailing padding and control characters are left out.
    """
    value, terms = raw.rstrip(b"\0 "), _terms(declared)
    if _ESCAPE.search(value):
        found = _escaped(value, terms, vr)
        if found is not None:
            return found
        value = _ESCAPE.sub(b"", value)
    found = _unescaped(value, terms)
    return replace(found, text=found.text.translate(_SHOWN))


def split_values(raw: bytes, declared: tuple[str, ...], *, vr: str = "LO") -> tuple[DecodedText, ...]:
    r"""Decode a multi-valued element and split it at each backslash that is a character of its own.

    5/12 as the second byte of a GBK or JIS X 0208 character splits nothing (PS3.5 §6.1.2.3), and the values
    of one element are all read by one rule.
    """
    whole = decode(raw, declared, vr=vr)
    return tuple(replace(whole, text=part.rstrip(" ")) for part in whole.text.split("\\"))


def _terms(declared: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_term(value) for value in declared)


def _term(value: str) -> str:
    """Reduce a defined term, or a common misspelling of one, to its registration number, "GB" or ""."""
    name = re.sub(r"[\s_-]+", "", value).upper()
    if name.startswith("GB"):
        return "GB"
    if name == "UTF8":
        return "192"
    number = re.fullmatch(r"ISO(?:2022)?IR([0-9]+)", name)
    return number.group(1) if number else ""


def _base(terms: tuple[str, ...]) -> str:
    """Return the term that rules bytes outside any escape sequence."""
    for whole in ("192", "GB"):  # allowed only alone (PS3.3 C.12.1.1.2), found in second place as well
        if whole in terms:
            return whole
    return next((term for term in terms if term not in ("", "6")), "")


def _charset(terms: tuple[str, ...]) -> str:
    base = _base(terms)
    if base in ("192", "GB", "") or len(terms) == 1:
        return {"192": "ISO_IR 192", "GB": "GB18030"}.get(base, f"ISO_IR {base or '6'}")
    return "\\".join(f"ISO 2022 IR {term or '6'}" for term in terms)


def _rule(reading: str, terms: tuple[str, ...]) -> str:
    base = _base(terms)
    names = {"192": "utf8", "GB": "gb18030", "100": "latin1", "58": "iso2022"}
    return f"{reading}_over_{names.get(base, 'ir' + base)}" if base else f"{reading}_undeclared"


# --- with escape sequences (PS3.5 §6.1.2.4, §6.1.2.5) ---------------------------------------------------


def _escaped(value: bytes, terms: tuple[str, ...], vr: str) -> DecodedText | None:
    """Read ISO 2022 text; None when a run of bytes does not fit the set that is invoked."""
    try:
        text = _read_designations(value, terms, vr)
    except UnicodeDecodeError:
        return None
    if any("\x80" <= char < "\xa0" for char in text):
        return None
    used = dict.fromkeys(_BY_DESIGNATOR[found].ir for found in _ESCAPE.findall(value))
    shown = text.translate(_SHOWN)
    if set(used) <= {*terms, "6"}:
        return DecodedText(shown, _charset(terms), "declared", "high")
    return DecodedText(shown, _charset(("6", *used)), _rule("iso2022", terms), "high")


def _read_designations(value: bytes, terms: tuple[str, ...], vr: str) -> str:
    initial = (_ASCII, _G1_BY_IR.get(terms[0] if terms else "", _ASCII))
    delimiters = _DELIMITERS.get("TEXT" if vr in ("ST", "LT", "UT") else vr, _DELIMITERS[""])
    state, texts = initial, []
    for position, chunk in enumerate(_ESCAPE.split(value)):
        if position % 2:
            designated = _BY_DESIGNATOR[chunk]
            state = (designated, state[1]) if designated.element == "G0" else (state[0], designated)
        else:
            text, state = _read_chunk(chunk, state, initial, delimiters)
            texts.append(text)
    return "".join(texts)


def _read_chunk(
    chunk: bytes, state: _State, initial: _State, delimiters: re.Pattern[bytes]
) -> tuple[str, _State]:
    start, texts = 0, []
    while start < len(chunk):
        # Inside a two-byte G0 set the delimiters' codes are halves of characters.
        found = (_CONTROL if state[0].wide else delimiters).search(chunk, start)
        end = found.end() if found else len(chunk)
        texts += [_read_run(run, *state) for run in _RUNS.findall(chunk, start, end)]
        state, start = (initial if found else state), end
    return "".join(texts), state


def _read_run(run: bytes, g0: _Set, g1: _Set) -> str:
    if run[0] >= 0x80:
        return run.decode(g1.codec).translate(_MOVED)
    if g0.wide and 0x21 <= run[0] <= 0x7E:
        return (b"\x1b" + g0.designator + run).decode(g0.codec)
    return run.decode("ascii")


# --- without escape sequences ---------------------------------------------------------------------------


def _unescaped(value: bytes, terms: tuple[str, ...]) -> DecodedText:
    if value.isascii():
        return DecodedText(value.decode("ascii"), _charset(terms), "declared", "high")
    for reading in _READINGS:
        found = reading(value, terms)
        if found is not None:
            return found
    return DecodedText(value.decode("latin_1"), "ISO_IR 100", "latin1_last_resort", "low")


def _as_utf8(value: bytes, terms: tuple[str, ...]) -> DecodedText | None:
    """UTF-8 goes first: text in any other set is hardly ever valid as UTF-8 with characters above U+07FF."""
    base = _base(terms)
    rule = "declared" if base == "192" else _rule("utf8", terms)
    text, cut = _before_cut(value, "utf-8")
    if not text or not _is_utf8(value, text, cut, base):
        return None
    if cut:
        return DecodedText(text + "\ufffd", "ISO_IR 192", f"{rule}_truncated", "medium")
    sure = base == "192" or any(char > "\u07ff" for char in text)
    return DecodedText(text, "ISO_IR 192", rule, "high" if sure else "medium")


def _is_utf8(value: bytes, text: str, cut: bool, base: str) -> bool:
    if base != "192" and any(_is_no_character(char) for char in text if char > "\x7f"):
        return False
    besides = _LATIN_IN_WORD.sub("", text)
    if base == "GB" and not all(char <= "\x7f" or _BESIDE_HAN.match(char) for char in besides):
        return False
    above = sum(char > "\u07ff" for char in text)
    if cut:
        return above >= (1 if base == "192" else 3)
    return above > 0 or _is_utf8_latin(value, text, base)


def _is_utf8_latin(value: bytes, text: str, base: str) -> bool:
    """Judge UTF-8 whose characters all have two bytes, as some pairs of common Chinese characters do."""
    if base in _CODECS and base != "100":
        return False
    chinese = _strict(value, "gb18030")
    if _LATIN_IN_WORD.sub("", text).isascii() or chinese is None or not _is_chinese(chinese):
        return True
    return base != "GB" and _is_one_alphabet(text) and (base == "192" or not _is_common(chinese))


def _is_no_character(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Co", "Cn") and not _IS_HAN.match(char)


def _is_one_alphabet(text: str) -> bool:
    high = [char for char in text if char > "\x7f"]
    blocks = {"Latin" if char < "\u0180" else ord(char) >> 8 for char in high}
    return len(blocks) == 1 and all(char.isalpha() and not "\u017f" < char < "\u0370" for char in high)


def _as_declared(value: bytes, terms: tuple[str, ...]) -> DecodedText | None:
    base = _base(terms)
    text = _strict(value, "gb18030" if base == "GB" else _CODECS.get(base, "ascii"))
    if text is None or any("\x80" <= char < "\xa0" for char in text):
        return None
    if base == "100" and not _is_western(text):
        return None
    private = any(unicodedata.category(char) == "Co" for char in text)
    return DecodedText(text, _charset(terms), "declared", "medium" if private or base == "149" else "high")


def _as_chinese(value: bytes, terms: tuple[str, ...]) -> DecodedText | None:
    text = _strict(value, "gb18030")
    if text is None or not _is_chinese(text) or _is_western(value.decode("latin_1")):
        return None
    sure = _is_common(text) and len(_IS_HAN.findall(text)) > 1
    return DecodedText(text, "GB18030", _rule("gb18030", terms), "high" if sure else "medium")


def _as_western(value: bytes, terms: tuple[str, ...]) -> DecodedText | None:
    text = value.decode("latin_1")
    return DecodedText(text, "ISO_IR 100", _rule("latin1", terms), "low") if _is_western(text) else None


def _as_cut_chinese(value: bytes, terms: tuple[str, ...]) -> DecodedText | None:
    text, cut = _before_cut(value, "gb18030")
    if not cut or not _IS_HAN.search(text) or not _is_common(text):
        return None
    rule = "declared" if _base(terms) == "GB" else _rule("gb18030", terms)
    return DecodedText(text + "\ufffd", "GB18030", f"{rule}_truncated", "medium")


def _as_declared_after_all(value: bytes, terms: tuple[str, ...]) -> DecodedText | None:
    base = _base(terms)
    if base in ("192", "GB"):
        text = value.decode("utf-8" if base == "192" else "gb18030", "replace")
        return DecodedText(text, _charset(terms), "declared_damaged", "low")
    implausible = _strict(value, _CODECS.get(base, "ascii"))
    return None if implausible is None else DecodedText(implausible, _charset(terms), "declared", "low")


_READINGS: tuple[Callable[[bytes, tuple[str, ...]], DecodedText | None], ...] = (
    _as_utf8,
    _as_declared,
    _as_chinese,
    _as_western,
    _as_cut_chinese,
    _as_declared_after_all,
)


def _strict(value: bytes, codec: str) -> str | None:
    try:
        text = value.decode(codec)
    except UnicodeDecodeError:
        return None
    return text.translate(_MOVED) if codec == "gb18030" else text


def _before_cut(value: bytes, codec: str) -> tuple[str, bool]:
    """Return the text up to an incomplete last character, and whether there is one; "" when it is broken."""
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        text = decoder.decode(value)
    except UnicodeDecodeError:
        return "", False
    return text.translate(_MOVED), bool(decoder.getstate()[0])


def _is_western(latin1: str) -> bool:
    return _WESTERN.sub("", latin1).isascii()


def _is_chinese(text: str) -> bool:
    """Say whether this may be Chinese: Han characters and what stands beside them, rare ones not in words."""
    if not all(_BESIDE_HAN.match(char) or _is_common(char) for char in text):
        return False
    return all(_is_common(found) for found in _HAN_BETWEEN_LETTERS.findall(text))


def _is_common(text: str) -> bool:
    """Say whether every character is ASCII or in GB/T 2312."""
    try:
        text.replace("·", "").replace("—", "").encode("gb2312")
    except UnicodeEncodeError:
        return False
    return True
