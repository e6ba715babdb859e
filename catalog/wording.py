"""Words of a description: one writing for all, then the words of the vocabulary that stand in it, in order."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from catalog.anatomy import COMBINATIONS, PARTS
from catalog.remarks import ENGLISH_FILLERS, FILLERS, REMARKS
from catalog.techniques import LATE_PATTERNS, LEXICON, PATTERNS, TYPING_ERRORS

Effects = tuple[tuple[str, str], ...]

_IDEOGRAPH: Final = re.compile(r"[\u4e00-\u9fff]")
# An organ's name may begin another's; a region's name says that it is one (胸部, 盆腔, 膝关节, 颈椎).
_ORGAN: Final = re.compile(r"[\u4e00-\u9fff](?<![部腔节椎颅区])$")
LONGEST_TEXT: Final = 512  # LO holds 64 characters (PS3.5 table 6.2-1); an order's text somewhat more


@dataclass(frozen=True, slots=True)
class Token:
    """One word of the vocabulary, and what it says as pairs of kind and value."""

    word: str
    effects: Effects

    def values(self, kind: str) -> list[str]:
        return [value for each, value in self.effects if each == kind]


def normalise(text: str) -> str:
    """Return a text in one writing: half width, capitals, usual characters, known slips corrected."""
    text = unicodedata.normalize("NFKC", text[:LONGEST_TEXT])
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).upper()
    text = re.sub(r"[_^\\\s]+", " ", text.replace("，", ",").replace("；", ";")).strip()
    text = re.sub(r"[(][^()]*除外[^()]*[)]", " ", text)
    text = re.sub(r"[(]?[包]?含(?!增强|平扫)[^+,;)]*[)]?", " ", text)
    for wrong, right in TYPING_ERRORS.items():
        text = text.replace(wrong, right)
    return re.sub(r"[A-Z]{5,}", lambda match: _without_slip(match[0]), text)


def tokens(text: str) -> list[Token]:
    """Return the words of the vocabulary in a normalised text, without those that only hide others."""
    return [token for _, token in _scanned(text) if isinstance(token, Token) and not token.values("noise")]


def has_unread_words(text: str) -> bool:
    """Return whether a normalised text holds words that are neither vocabulary nor mere filling.

    Such a word may name the very part that was examined.
    """
    left = _between_words(text)
    return bool(re.search(r"[\u4e00-\u9fff]", re.sub(FILLERS, " ", left)) or _strange_words(left, 3))


def has_strange_words(text: str) -> bool:
    """Return whether a normalised text holds English words of three letters or more that nobody knows.

    Texts in English are short and made of terms: an unknown one changes what was examined (SCALP, MYELOGRAM).
    """
    return bool(_strange_words(_between_words(text), 3))


def _between_words(text: str) -> str:
    return "".join(each if isinstance(each, str) else " " for _, each in _scanned(text))


def _strange_words(text: str, letters: int) -> set[str]:
    return set(re.findall(rf"[A-Z]{{{letters},}}", text)) - ENGLISH_FILLERS


def has_clipped_part(text: str) -> bool:
    """Return whether a named part may be a piece of a longer unknown word (髋 in 髋臼, 子宫 in 子宫输卵管)."""
    found = list(_scanned(text))
    for place, (_, each) in enumerate(found):
        if not (isinstance(each, Token) and each.values("part") and _ORGAN.search(each.word)):
            continue
        if _unread_after(text, found, place) or (len(each.word) == 1 and _unread_before(text, found, place)):
            return True
    return False


def _unread_before(text: str, found: list[tuple[int, Token | str]], place: int) -> bool:
    at, before = found[place - 1] if place else (0, " ")
    if isinstance(before, Token) or not _IDEOGRAPH.fullmatch(before):
        return False
    return not re.search(rf"(?:{FILLERS})$", text[: at + 1])


def _unread_after(text: str, found: list[tuple[int, Token | str]], place: int) -> bool:
    at, after = found[place + 1] if place + 1 < len(found) else (0, " ")
    if isinstance(after, Token) or not _IDEOGRAPH.fullmatch(after):
        return False
    return not re.match(rf"{FILLERS}|{REMARKS}", text[at:])


def _scanned(text: str) -> Iterator[tuple[int, Token | str]]:
    """Yield the words of the vocabulary, and the characters between them one by one, with their places."""
    scanners, at = _scanners(), 0
    while at < len(text):
        scanner = scanners.get(text[at])
        match = scanner[0].match(text, at) if scanner else None
        if scanner and match and match.lastgroup:
            yield at, Token(match[0].strip(), scanner[1][int(match.lastgroup[1:])])
            at = match.end()
        else:
            yield at, text[at]
            at += 1


@lru_cache(maxsize=1)
def _scanners() -> dict[str, tuple[re.Pattern[str], list[Effects]]]:
    """Return, by first character, one pattern of all words (longest first) and the effects of its groups."""
    words = [(_bounded(word), word, _effects(effects)) for row, effects in _vocabulary() for word in row]
    words.sort(key=lambda each: -_length(each[1]))
    by_start: dict[str, list[tuple[str, Effects]]] = {}
    for starts, pattern, effects in (
        *((starts, pattern, _effects(effects)) for starts, pattern, effects in PATTERNS),
        *((_starts(word), pattern, effects) for pattern, word, effects in words),
        *((starts, pattern, _effects(effects)) for starts, pattern, effects in LATE_PATTERNS),
    ):
        for start in starts:
            by_start.setdefault(start, []).append((pattern, effects))
    return {start: _scanner(rows) for start, rows in by_start.items()}


def _scanner(rows: list[tuple[str, Effects]]) -> tuple[re.Pattern[str], list[Effects]]:
    pattern = "|".join(f"(?P<t{number}>{each})" for number, (each, _) in enumerate(rows))
    return re.compile(pattern), [effects for _, effects in rows]


def _starts(word: str) -> str:
    """Return the characters a word can begin with: its first, and the next where that is optional."""
    return word[0] + (word[2] if word[1:2] == "?" else "")


def _vocabulary() -> Iterator[tuple[list[str], str]]:
    for part in PARTS:
        yield part.words.split("|"), f"part:{part.code}"
    for words, codes in COMBINATIONS.items():
        yield words.split("|"), " ".join(f"part:{code}" for code in codes)
    for words, effects in LEXICON:
        yield words.split("|"), effects


def _effects(text: str) -> Effects:
    pairs = (pair.partition(":") for pair in text.split())
    return tuple((kind, value) for kind, _, value in pairs)


def _length(word: str) -> int:
    """Return how many characters a word of the vocabulary matches at most."""
    bare = re.sub(r"\(\?[^)]*\)", "", word)
    return len(re.sub(r"\[[^\]]*\]", "x", bare).replace("?", ""))


def _bounded(word: str) -> str:
    pattern = word.replace(" ", r"[ .\-]*")
    before = "(?<![A-Z])" if re.match("[A-Z]", word) else "(?<![0-9])" if re.match("[0-9]", word) else ""
    return f"{before}{pattern}{'(?![A-Z])' if re.search('[A-Z]$', word) else ''}"


@lru_cache(maxsize=1)
def _english_words() -> frozenset[str]:
    rows = (word for words, _ in _vocabulary() for word in words)
    return frozenset(part for word in rows for part in word.split() if re.fullmatch("[A-Z]{3,}", part))


@lru_cache(maxsize=4096)
def _without_slip(word: str) -> str:
    known = _english_words()
    if word in known:
        return word
    near = [right for right in known if len(right) >= 5 and _one_slip(word, right)]
    return near[0] if len(near) == 1 else word


def _one_slip(wrong: str, right: str) -> bool:
    """Return whether one letter is missing, too many, swapped with the next or, in long words, wrong."""
    short, long = sorted((wrong, right), key=len)
    start = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(long) - len(short) == 1:
        return long[start + 1 :] == short[start:]
    if len(long) != len(short):
        return False
    swapped = short[start : start + 2] == long[start : start + 2][::-1]
    if swapped and short[start + 2 :] == long[start + 2 :]:
        return True
    return len(right) >= 7 and short[start + 1 :] == long[start + 1 :]
