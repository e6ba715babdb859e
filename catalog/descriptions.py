"""Reads a free description of an examination into claims: which part, how, with what, which views and side.

Only words of the vocabulary are taken up, so a claim never carries other text that a description may hold.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from catalog.anatomy import lies_within, may_be_same
from catalog.remarks import is_amended, without_comparison, without_suspicion
from catalog.wording import Token, has_clipped_part, has_strange_words, has_unread_words, normalise, tokens


@dataclass(frozen=True, slots=True)
class Claim:
    """One examined part as a text puts it; `contrast` may hold plain, enhanced, both or nothing."""

    part: str = ""
    technique: str = "routine"
    contrast: frozenset[str] = frozenset()
    views: frozenset[str] = frozenset()
    sides: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()

    @property
    def leaves_contrast_open(self) -> bool:
        return not self.contrast and self.technique in ("routine", "low_dose")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one text says: its claims, what it says of no part in particular, devices and other marks.

    `marks` are exclude, localizer, sequence, special, screening, unread: it also holds
    unknown words, strange: unknown English ones, clipped: a part may be a piece of one,
    amended: something else was ordered at first.
    """

    claims: tuple[Claim, ...] = ()
    loose: Claim = Claim()
    devices: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()

    @property
    def parts(self) -> frozenset[str]:
        return frozenset(claim.part for claim in self.claims)


@lru_cache(maxsize=4096)
def read(text: str) -> Reading:
    """Return what a description says; unknown words are passed over."""
    text = without_comparison(normalise(text))
    rest = without_suspicion(text)
    if rest != text and any(token.values("part") or token.values("exam") for token in tokens(rest)):
        text = rest
    found = tokens(text)
    groups = _Groups()
    for chunk in _chunks(found):
        groups.take(_Chunk.of(chunk))
    claims = groups.claims()
    return Reading(
        claims=tuple(claims),
        loose=groups.loose(),
        devices=_all(found, "device"),
        marks=frozenset(
            kind
            for token in found
            for kind, _ in token.effects
            if kind in ("exclude", "localizer", "sequence", "special", "screening")
        )
        | ({"unread"} if has_unread_words(text) else set())
        | ({"strange"} if has_strange_words(text) else set())
        | ({"clipped"} if has_clipped_part(text) else set())
        | ({"amended"} if is_amended(text) else set()),
        words=tuple(token.word for token in found if not token.values("separator")),
    )


def _all(tokens: Iterable[Token], kind: str) -> frozenset[str]:
    return frozenset(value for token in tokens for value in token.values(kind))


def _chunks(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    chunk: list[Token] = []
    for token in tokens:
        if token.values("separator"):
            yield chunk
            chunk = []
        else:
            chunk.append(token)
    yield chunk


@dataclass
class _Chunk:
    """What stands between two separators."""

    parts: list[tuple[str, frozenset[str]]]
    exams: list[tuple[str, str]]
    techniques: frozenset[str]
    contrast: frozenset[str]
    views: frozenset[str]
    sides: frozenset[str]
    special: bool
    has_device: bool
    device_last: bool
    contrast_first: bool
    words: tuple[str, ...]

    @classmethod
    def of(cls, tokens: list[Token]) -> "_Chunk":
        exams = [_exam(value) for token in tokens for value in token.values("exam")]
        bare = [i for i, token in enumerate(tokens) if [kind for kind, _ in token.effects] == ["device"]]
        placed = [i for i, token in enumerate(tokens) if token.values("part")]
        contrast = _all(tokens, "contrast")
        spoken = [i for i, token in enumerate(tokens) if token.values("contrast")]
        return cls(
            parts=_without_exam_parts(_specific(_sided_parts(tokens)), exams, contrast),
            exams=exams,
            techniques=_all(tokens, "technique"),
            contrast=contrast,
            views=_views(_all(tokens, "view")),
            sides=_all(tokens, "side"),
            special=bool(_all(tokens, "special")),
            has_device=bool(bare),
            device_last=bool(bare and placed and bare[-1] > placed[-1]),
            contrast_first=bool(spoken and placed and spoken[0] < placed[0]),
            words=tuple(token.word for token in tokens),
        )

    @property
    def silent(self) -> bool:
        return not (self.techniques or self.contrast or self.views or self.special or self.exams)


def _exam(value: str) -> tuple[str, str]:
    part, _, technique = value.partition("/")
    return part, technique


def _views(views: frozenset[str]) -> frozenset[str]:
    """Return the views with two opposite obliques as a pair, and a single one without its side."""
    sided = views & {"oblique_left", "oblique_right"}
    if not sided:
        return views
    return (views - sided) | {"obliques" if len(sided) == 2 else "oblique"}


def _sided_parts(tokens: Iterable[Token]) -> list[tuple[str, frozenset[str]]]:
    """Return the parts of a chunk with their sides: a side stands before its part, or after the last one.

    Two different sides among several parts could be joined wrongly: then none is taken.
    """
    tokens = list(tokens)
    parts: list[tuple[str, frozenset[str]]] = []
    waiting: frozenset[str] = frozenset()
    for token in tokens:
        waiting |= frozenset(token.values("side"))
        for code in token.values("part"):
            parts.append((code, waiting))
        if token.values("part"):
            waiting = frozenset()
    if len(_all(tokens, "side")) > 1 and len({code for code, _ in parts}) > 1:
        return [(code, frozenset()) for code, _ in parts]
    return [(code, sides or waiting) for code, sides in parts]


def _specific(parts: list[tuple[str, frozenset[str]]]) -> list[tuple[str, frozenset[str]]]:
    """Return the parts without those that only say where another one lies ("Head^Sinus")."""
    return [(code, sides) for code, sides in parts if not any(lies_within(other, code) for other, _ in parts)]


def _without_exam_parts(
    parts: list[tuple[str, frozenset[str]]], exams: list[tuple[str, str]], contrast: frozenset[str]
) -> list[tuple[str, frozenset[str]]]:
    """Return the parts without those that only name the place of a complete examination ("泌尿系CTU")."""
    named = [
        part for part, technique in exams if not (technique == "cholangiography" and "plain" in contrast)
    ]
    return [(code, sides) for code, sides in parts if not any(may_be_same(code, part) for part in named)]


@dataclass
class _Group:
    """Parts that share what is said of them."""

    parts: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    techniques: set[str] = field(default_factory=set)
    contrast: set[str] = field(default_factory=set)
    views: set[str] = field(default_factory=set)
    special: bool = False
    doubtful: bool = False
    has_device: bool = False
    closed: bool = False
    words: list[str] = field(default_factory=list)

    @property
    def silent(self) -> bool:
        return not (self.techniques or self.contrast or self.views or self.special)

    def add(self, chunk: _Chunk) -> None:
        self.parts += chunk.parts
        self.techniques |= chunk.techniques
        self.contrast |= chunk.contrast
        self.views |= chunk.views
        self.special = self.special or chunk.special
        self.has_device = self.has_device or chunk.has_device
        self.closed = self.closed or chunk.device_last
        self.words += chunk.words

    def goes_on_in(self, chunk: _Chunk) -> bool:
        """Return whether the angiography of head or neck goes on in the other ("CTA HEAD & NECK W")."""
        parts = {code for code, _ in (*self.parts, *chunk.parts)}
        return (
            self.techniques == {"angiography"}
            and parts <= {"HEAD", "NECK", "CAROTID"}
            and not (chunk.has_device or chunk.techniques or chunk.special or "plain" in chunk.contrast)
            and "".join(chunk.words).isascii()
        )

    def is_narrowed_by(self, chunk: _Chunk) -> bool:
        """Return whether a chunk only says more closely what was enhanced ("盆腔MR平扫+增强(宫颈)")."""
        return (
            chunk.contrast_first
            and not (chunk.has_device or chunk.techniques)
            and all(any(lies_within(inner, outer) for outer, _ in self.parts) for inner, _ in chunk.parts)
        )

    def give_side(self, sides: frozenset[str]) -> None:
        self.parts = [(code, own or sides) for code, own in self.parts]

    def claims(self) -> Iterator[Claim]:
        for technique in self._techniques():
            for code, sides in self.parts:
                yield Claim(
                    code,
                    technique,
                    frozenset(self.contrast),
                    _views(frozenset(self.views)),
                    sides,
                    tuple(self.words),
                )

    def _techniques(self) -> list[str]:
        if self.doubtful:
            return ["unlisted"]
        techniques = self.techniques - {"low_dose"} or self.techniques
        if not techniques:
            return ["unlisted" if self.special and self.silent_but_special else "routine"]
        routine = self.has_device and "plain" in self.contrast and techniques != {"low_dose"}
        return sorted(techniques) + (["routine"] if routine else [])

    @property
    def silent_but_special(self) -> bool:
        return not (self.contrast or self.views)


class _Groups:
    """The groups of one text, taken chunk by chunk.

    "胸部+上腹部CT平扫": parts before share what follows. "头颅MR平扫+MRA": what has no part of its own
    belongs to the parts before it.
    """

    def __init__(self) -> None:
        self._groups: list[_Group] = []
        self._exams: list[Claim] = []
        self._leading = _Group()
        self._leading_sides: frozenset[str] = frozenset()

    def take(self, chunk: _Chunk) -> None:
        self._exams += [Claim(part, technique, words=chunk.words) for part, technique in chunk.exams]
        if chunk.parts:
            self._take_parts(chunk)
        elif not chunk.exams:
            self._take_attributes(chunk)

    def _take_parts(self, chunk: _Chunk) -> None:
        last = self._groups[-1] if self._groups else None
        if last is not None and last.goes_on_in(chunk):
            last.add(chunk)
            return
        if last is not None and last.is_narrowed_by(chunk):
            last.parts = []
            last.add(chunk)
            return
        joins_next = last is not None and last.silent and not last.closed
        if last is not None and joins_next and not (chunk.has_device and last.has_device):
            last.add(chunk)
        elif last is not None and chunk.silent and not chunk.has_device:
            last.parts += chunk.parts
            last.words += chunk.words
        else:
            group = _Group() if self._groups else self._leading
            group.add(chunk)
            if not self._groups:
                group.give_side(self._leading_sides)
            self._groups.append(group)

    def _take_attributes(self, chunk: _Chunk) -> None:
        if not self._groups:
            self._leading.add(chunk)
            self._leading_sides |= chunk.sides
            return
        last = self._groups[-1]
        if chunk.contrast == {"enhanced"} and len([g for g in self._groups if g.contrast == {"plain"}]) > 1:
            self._doubt_earlier()
        if chunk.techniques - {"low_dose"} and (last.has_device or not last.silent):
            added = _Group(parts=list(last.parts), words=[*last.words])
            added.add(chunk)
            self._groups.append(added)
        elif not (chunk.special and chunk.contrast | chunk.views == frozenset()):
            last.add(chunk)
            last.give_side(chunk.sides)

    def _doubt_earlier(self) -> None:
        """Mark parts as uncertain that a late "+增强" may or may not mean too."""
        for group in self._groups[:-1]:
            group.doubtful = True

    def claims(self) -> list[Claim]:
        claims = [claim for group in self._groups for claim in group.claims()]
        return _united([*claims, *self._exams])

    def loose(self) -> Claim:
        """Return what was said of no part at all."""
        if self._groups:
            return Claim()
        group = self._leading
        technique = next(iter(sorted(group.techniques - {"low_dose"} or group.techniques)), "routine")
        return Claim(
            technique="unlisted"
            if group.special and technique == "routine" and not group.contrast
            else technique,
            contrast=frozenset(group.contrast),
            views=_views(frozenset(group.views)),
            sides=self._leading_sides,
            words=tuple(group.words),
        )


def _united(claims: Iterable[Claim]) -> list[Claim]:
    """Return the claims with one per part and technique."""
    united: dict[tuple[str, str], Claim] = {}
    for claim in claims:
        known = united.get((claim.part, claim.technique))
        united[claim.part, claim.technique] = union(known, claim) if known else claim
    return list(united.values())


def union(one: Claim, other: Claim) -> Claim:
    """Return two claims of the same part and technique as one."""
    return replace(
        one,
        contrast=one.contrast | other.contrast,
        views=_views(one.views | other.views),
        sides=one.sides | other.sides,
        words=tuple(dict.fromkeys(one.words + other.words)),
    )
