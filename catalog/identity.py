"""Who a person is: identity documents, names, and the facts that confirm or contradict them.

A person is a document type and a number; name, birth date and sex only confirm. Numbers and names stay out
of `repr` and of every message.
"""

import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from catalog.errors import InvalidInput

Sex = Literal["male", "female", "other", "unknown"]  # FHIR R4 administrative-gender

# --- the national ID number (GB 11643-1999) -------------------------------------------------------------

NATIONAL_ID = "01"
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
CHECK_DIGITS = "10X98765432"
_EARLIEST_BIRTH = date(1850, 1, 1)
_HALF_WIDTH = {0x3000: " ", **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}}
_DASHES = re.compile(r"[\u2010-\u2015\u2212]")


@dataclass(frozen=True, slots=True)
class NationalId:
    """A checked national ID number of 18 characters and what its digits say."""

    number: str = field(repr=False)
    birth_date: date = field(repr=False)
    sex: Literal["male", "female"]


def check_national_id(raw: str, today: date) -> NationalId:
    """Check a national ID number by GB 11643-1999; 15 digits become 18, x becomes X, separators go.

    The region code is not looked up: regions come and go, and old numbers keep theirs.
    Raises InvalidInput with code `id_number_characters`, `id_number_length`, `id_number_check_digit` or
    `id_number_birth_date` (no such day, before 1850, after `today`).
    """
    number = _eighteen(half_width(raw, separators=" -"))
    if check_digit(number[:17]) != number[17]:
        raise _refused("id_number_check_digit", "校验码不符，请核对号码", "the check digit does not fit")
    sex: Literal["male", "female"] = "male" if int(number[16]) % 2 else "female"
    return NationalId(number, _birth_date(number[6:14], today), sex)


def check_digit(body: str) -> str:
    """Return the check digit of the first 17 digits (GB 11643-1999, ISO 7064 MOD 11-2)."""
    total = sum(int(digit) * weight for digit, weight in zip(body, _WEIGHTS, strict=True))
    return CHECK_DIGITS[total % 11]


def find_national_id(candidates: Iterable[str], today: date) -> str | None:
    """Return the first text that is itself a national ID number of 18 characters.

    For fields that do not say what they hold: PatientID (0010,0020), OtherPatientIDs (0010,1000),
    OtherPatientIDsSequence (0010,1002). Fifteen digits carry no check digit and may as well be a hospital's
    own number, so they count only where a document type is given.
    """
    for text in candidates:
        with suppress(InvalidInput):
            number = half_width(text.strip("\0 "), separators=" -")
            if len(number) == 18:
                return check_national_id(number, today).number
    return None


def _eighteen(text: str) -> str:
    if re.fullmatch(r"[0-9]*X?", text) is None or (len(text) == 15 and text.endswith("X")):
        raise _refused("id_number_characters", "只能是数字，末位可为 X", "digits only; the last one may be X")
    if len(text) == 15:
        body = f"{text[:6]}19{text[6:]}"
        return body + check_digit(body)
    if len(text) != 18:
        raise _refused("id_number_length", "应为 18 位（旧号码 15 位）", "18 characters (old numbers 15)")
    return text


def _birth_date(digits: str, today: date) -> date:
    try:
        born = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        born = date.min
    if not _EARLIEST_BIRTH <= born <= today:
        raise _refused("id_number_birth_date", "其中的出生日期不成立", "the birth date in it cannot be")
    return born


def half_width(raw: str, *, separators: str) -> str:
    """Return a number in half-width capitals with one kind of dash, without its `separators`."""
    text = _DASHES.sub("-", raw.translate(_HALF_WIDTH)).strip().upper()
    return text.translate({ord(char): None for char in separators})


def _refused(code: str, zh: str, en: str) -> InvalidInput:
    return InvalidInput(f"证件号码无法接受：{zh}", f"the document number: {en}", field="id_number", code=code)


# --- identity documents (WS 364 CV02.01.101) ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DocumentType:
    """A kind of identity document; the groups of `pattern` make the number that is kept.

    A number of a `scoped` type is unique only within whoever issued it, so its issuer becomes part of it.
    """

    code: str
    zh: str
    en: str
    pattern: re.Pattern[str]
    scoped: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """A document type and a normalised number: together, one person."""

    id_type: str
    number: str = field(repr=False)


def _type(code: str, zh: str, en: str, pattern: str, *, scoped: bool = False) -> DocumentType:
    return DocumentType(code, zh, en, re.compile(pattern, re.ASCII), scoped)


_HOUSEHOLD = "02"
PASSPORT = "03"
_RESIDENCE_PERMIT = "91"
NEWBORN = "95"
_CHILDLIKE = frozenset({"93", "94", NEWBORN, "99"})  # documents that a newborn may have
_NATIONAL_PATTERN = r"([0-9]{15}|[0-9]{17}[0-9X])"

# The travel permits end in a count of reissues; the digits before it stay with the person for life.
# 91 to 95 are codes of this exchange: WS 364 has none that the hospitals agree on.
DOCUMENT_TYPES = {
    kind.code: kind
    for kind in (
        _type(NATIONAL_ID, "居民身份证", "resident identity card", _NATIONAL_PATTERN),
        _type(_HOUSEHOLD, "居民户口簿", "household register", _NATIONAL_PATTERN),
        _type(PASSPORT, "护照", "passport", r"([A-Z0-9]{5,20})", scoped=True),
        _type("04", "军官证", "military officer card", r"([一-龥]?)字?第?([A-Z0-9]{6,12})号?"),
        _type("05", "驾驶证", "driving licence", r"([A-Z0-9]{6,18})"),
        _type("06", "港澳居民来往内地通行证", "travel permit, Hong Kong and Macao", r"([HM]\d{8})(?:\d\d)?"),
        _type("07", "台湾居民来往大陆通行证", "travel permit, Taiwan", r"(\d{8})(?:\d\d(?:\(?[A-Z]\)?)?)?"),
        _type(
            _RESIDENCE_PERMIT,
            "港澳台居民居住证",
            "residence permit, Hong Kong, Macao, Taiwan",
            _NATIONAL_PATTERN,
        ),
        _type(
            "92",
            "外国人永久居留身份证",
            "foreigner's permanent residence card",
            r"([A-Z]{3}\d{12}|9\d{16}[0-9X])",
        ),
        _type("93", "出生医学证明", "birth certificate", r"([A-Z]\d{9})"),
        _type("94", "临时标识", "temporary identifier", r"([!-~]{1,64})", scoped=True),
        _type(
            NEWBORN, "新生儿(母亲证件)", "newborn, by the mother", r"(\d\d):(.+):(\d{8}):([1-9])", scoped=True
        ),
        _type("99", "其他", "other", r"([!-~]{1,64})", scoped=True),
    )
}


def normalise_document(
    id_type: str, raw: str, today: date, *, issuer: str = "", country: str = ""
) -> Document:
    """Check and normalise a document number for its type; the same document always gives the same value.

    `issuer` is the hospital's code, needed for the scoped types 94 and 99, and `country` the three letters of
    ICAO 9303 that issued a passport; they become part of the number. A residence permit (91) shares the numbers
    of the identity card and becomes 01, since a number found in a header does not say which card it is of; so
    does a household register (02), of which only the personal number counts: its own belongs to a family.
    Raises InvalidInput with code `id_type_unknown`, `id_issuer_required`, `id_number_format` or one of
    `check_national_id`.
    """
    kind = DOCUMENT_TYPES.get(id_type)
    if kind is None:
        raise InvalidInput(
            "没有这种证件类型", "unknown document type", field="id_type", code="id_type_unknown"
        )
    if id_type in (NATIONAL_ID, _RESIDENCE_PERMIT, _HOUSEHOLD):
        return _national_document(id_type, raw, today)
    text = half_width(raw, separators=" " if kind.scoped else " -")
    if id_type == PASSPORT:
        issuer = _country(country or (text.partition(":")[0] if ":" in text else ""))
        text = text.replace("-", "")
    text = text.removeprefix(f"{issuer}:".upper()) if kind.scoped else text
    found = kind.pattern.fullmatch(text)
    if found is None:
        raise _refused("id_number_format", f"不符合{kind.zh}的格式", f"not in the form of a {kind.en}")
    if id_type == NEWBORN:
        return _newborn(found, today)
    number = "".join(found.groups())
    return Document(id_type, _scoped(issuer, number) if kind.scoped else number)


def newborn_document(mother: Document, born: date, order: int) -> Document:
    """Return the document of a child without one: the mother's, the day of birth, and the order among that day's.

    It is nobody else's: not the mother's, not a twin's. Raises InvalidInput where the order is not 1 to 9.
    """
    if not 1 <= order <= 9:
        raise _refused("id_number_format", "出生顺序为 1 到 9", "the order of birth is 1 to 9")
    return Document(NEWBORN, f"{mother.id_type}:{mother.number}:{born:%Y%m%d}:{order}")


def _newborn(found: re.Match[str], today: date) -> Document:
    id_type, number, born, order = found.groups()
    if id_type == NEWBORN:
        raise _refused("id_number_format", "母亲证件不能是新生儿标识", "a newborn is no mother")
    scope, _, rest = number.rpartition(":")
    mother = normalise_document(id_type, rest, today, issuer=scope, country=scope)
    return newborn_document(mother, _birth_date(born, today), int(order))


def mask_number(number: str) -> str:
    """Return the number for a screen: three first and two last characters of a long one, else one and one."""
    first, last = (3, 2) if len(number) >= 12 else (1, 1)
    if len(number) < 6:
        return "*" * len(number)
    return number[:first] + "*" * (len(number) - first - last) + number[-last:]


def _national_document(id_type: str, raw: str, today: date) -> Document:
    number = check_national_id(raw, today).number
    if id_type == _RESIDENCE_PERMIT and number[:2] not in ("81", "82", "83"):
        raise _refused(
            "id_number_format", "港澳台居民居住证以 81、82 或 83 开头", "it starts with 81, 82 or 83"
        )
    return Document(NATIONAL_ID, number)


def _country(code: str) -> str:
    if re.fullmatch(r"[A-Za-z]{3}", code) is None:
        raise InvalidInput(
            "护照须注明签发国家或地区(三位字母代码,如 CHN)",
            "A passport needs the country that issued it, three letters such as CHN",
            field="country",
            code="id_country_required",
        )
    return code.upper()


def _scoped(issuer: str, number: str) -> str:
    if not issuer:
        raise InvalidInput(
            "这种证件号码只在签发机构内唯一，须说明签发机构",
            "such a number is unique only within its issuer, which must be given",
            field="id_number",
            code="id_issuer_required",
        )
    return f"{issuer.upper()}:{number}"


# --- names (PS3.5 §6.2, VR PN) --------------------------------------------------------------------------

_HAN = r"\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_IS_HAN = re.compile(f"[{_HAN}]")
_MIDDLE_DOT = re.compile(rf"[ ^]?[·•・‧∙⋅●。ᐧㆍ][ ^]?|(?<=[{_HAN}])[ ^]?\.[ ^]?(?=[{_HAN}])")
_GAP_IN_CHARACTERS = re.compile(rf"(?<=[{_HAN}·])[ ^]+(?=[{_HAN}·])")
_LATIN_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]{2,}")
_OF_A_CHILD = re.compile(
    r"之.?[子女婴儿胎]|新生儿|[男女]?婴儿?$|\b(?:BABY|NEWBORN|NEONATE|INFANT|TWIN|B/O)\b", re.IGNORECASE
)
_NOBODY = frozenset({"无名氏", "无名", "无名男", "无名女", "不详", "未知", "佚名"})
_UNREADABLE = re.compile(r"[?*□\ufffd\ue000-\uf8ff]")


@dataclass(frozen=True, slots=True)
class Name:
    """A name in characters and in letters, each for display and "" when there is none."""

    ideographic: str = field(repr=False)
    alphabetic: str = field(repr=False)


def normalise_name(text: str) -> Name:
    """Split a PN value into its name in characters and its name in letters, whichever group holds them.

    Each comes in one spelling: NFKC, one space, one kind of middle dot. Chinese may stand in the first group,
    and family and given name may be one component (PS3.5 §6.2.1).
    """
    groups = _one_spelling(text).split("=")
    ideographic = next((group for group in groups if _IS_HAN.search(group)), "")
    alphabetic = next((group for group in groups if group and not _IS_HAN.search(group)), "")
    return Name(_without_gaps(ideographic), _without_gaps(alphabetic))


def display_name(text: str) -> str:
    """Return the name for a screen: in characters if there are any, else in letters."""
    name = normalise_name(text)
    return name.ideographic or name.alphabetic


def is_placeholder(text: str) -> bool:
    """Say whether a name only says that nobody knows it, as of an unconscious patient."""
    return display_name(text) in _NOBODY


def names_a_newborn(text: str) -> bool:
    """Say whether this is what a child is called before it has a name: 张丽之女, Baby^Of Zhang."""
    return _OF_A_CHILD.search(_one_spelling(text).replace("^", " ")) is not None


def _without_gaps(group: str) -> str:
    return re.sub(r"[ ^]+", " ", _GAP_IN_CHARACTERS.sub("", group)).strip()


def _one_spelling(text: str) -> str:
    once = _normalised(text)  # taking something out can bring combining characters together
    return once if once == text else _one_spelling(once)


def _normalised(text: str) -> str:
    text = "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cf") or char.isspace())
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text))
    text = re.sub(r"[ ^]?= ?", "=", re.sub(r" ?\^[ ^]*", "^", text))
    return _MIDDLE_DOT.sub("·", text).strip().rstrip("=^")


def _same_characters(one: str, other: str) -> bool:
    """Compare two names in characters; one that cannot be read may stand for any (张? and 张三)."""
    first, second = _characters(one), _characters(other)
    return _fits(first, second) or _fits(second, first)


def _characters(name: str) -> str:
    """Keep the characters, and single letters or digits beside them: 之子A and 之子B are two children."""
    kept = _UNREADABLE.sub("?", _LATIN_WORD.sub(" ", name))
    return "".join(char for char in kept if char.isalnum() or char == "?").upper()


def _fits(pattern: str, name: str) -> bool:
    """Match one to one; where several signs stand for one character, as of 𬭎 in old systems, they count once."""
    return any(
        len(signs) == len(name) and all(sign in ("?", char) for sign, char in zip(signs, name, strict=True))
        for signs in (pattern, re.sub(r"\?+", "?", pattern))
    )


# --- what is said of a person ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Demographics:
    """Name (as a PN value or plain text), birth date and sex, as far as they are known."""

    name: str | None = field(default=None, repr=False)
    birth_date: date | None = field(default=None, repr=False)
    sex: Sex | None = None


def sex_from_dicom(PatientSex: str) -> Sex:
    """Return the FHIR code of PatientSex (0010,0040): M, F or O; anything else is unknown."""
    codes: dict[str, Sex] = {"M": "male", "F": "female", "O": "other"}
    return codes.get(PatientSex.strip("\0 ").upper(), "unknown")


def sex_from_gbt2261(code: str) -> Sex:
    """Return the FHIR code of a GB/T 2261.1 sex: 1 male, 2 female; 0 unknown and 9 not stated are unknown."""
    codes: dict[str, Sex] = {"1": "male", "2": "female"}
    return codes.get(code.strip(), "unknown")


def document_facts(document: Document) -> Demographics:
    """Return what the number itself says of birth date and sex; nothing for types whose digits say nothing."""
    if document.id_type != NATIONAL_ID:
        return Demographics()
    found = check_national_id(document.number, date.max)
    return Demographics(birth_date=found.birth_date, sex=found.sex)


def conflicts(known: Demographics, given: Demographics, document: Document | None) -> tuple[str, ...]:
    """Return what in `given` contradicts what is known of the person or the digits of the number.

    The codes are `name_conflict`, `newborn_conflict`, `birth_date_conflict` and `sex_conflict`. A newborn often
    comes under the mother's number: unless the birth date says otherwise, a child without a name is not the
    person of an adult's document. Beside that, what is missing contradicts nothing, nor does a sex that is unknown or other, nor any spelling in letters: only another name in
    characters does (a traditional character is another character, and a human decides).
    """
    if given == Demographics():
        return ()
    digits = document_facts(document) if document else Demographics()
    found = []
    if given.name and _is_other_name(known.name, given.name):
        found.append("name_conflict")
    if given.name and names_a_newborn(given.name) and not _may_be_newborn(known, digits, given, document):
        found.append("newborn_conflict")
    if given.birth_date and {known.birth_date, digits.birth_date} - {None, given.birth_date}:
        found.append("birth_date_conflict")
    if given.sex in ("male", "female") and {known.sex, digits.sex} & {"male", "female"} - {given.sex}:
        found.append("sex_conflict")
    return tuple(found)


def _may_be_newborn(
    known: Demographics, digits: Demographics, given: Demographics, document: Document | None
) -> bool:
    if document is not None and document.id_type in _CHILDLIKE:
        return True
    if known.name and names_a_newborn(known.name):
        return True
    return given.birth_date is not None and given.birth_date in (known.birth_date, digits.birth_date)


def _is_other_name(known: str | None, given: str) -> bool:
    if is_placeholder(known or "") or is_placeholder(given):
        return False
    one, other = normalise_name(known or "").ideographic, normalise_name(given).ideographic
    return bool(one and other) and not _same_characters(one, other)
