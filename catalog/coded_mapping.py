"""From a study to items by what others have said of it: the hospital's table, a curator, a standard code.

These come before the rules over texts; the rules still tell side and part, and may contradict a standard code.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from catalog.errors import InvalidInput
from catalog.evidence import device_of
from catalog.items import Item, ItemList
from catalog.local_codes import LocalMeaning, LocalTable, side
from catalog.mapping import MODALITIES, Confidence, MappedItem, Mapping, map_study
from catalog.records import Laterality
from catalog.standard_codes import listed_item
from catalog.study_facts import Refusal, StudyFacts, agent_given

# Where the rules only lack words, a code may speak; where they found a contradiction, it may not.
_SILENT: Final = frozenset(
    {
        "body_part_unknown",
        "body_part_only",
        "unknown_words",
        "views_unknown",
        "contrast_uncertain",
        "side_unknown",
    }
)
_SOURCES: Final = {
    "local_code": ("机构自有项目代码", "the hospital's own code"),
    "curator": ("人工确认", "a curator's answer"),
    "standard_code": ("标准检查代码", "a standard procedure code"),
}


@dataclass(frozen=True, slots=True)
class Answered:
    """One item a curator gave to a header."""

    item_code: str
    laterality: Laterality | None = None
    body_part: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The items of a study; `unknown_codes` are the hospital's codes that its table lacks."""

    mapping: Mapping
    unknown_codes: tuple[str, ...] = ()


def answered(text: str) -> Answered:
    """Return an item as a curator writes it: CT07, MR10:L or CT17:R:KNEE. Raises InvalidInput."""
    code, *more = text.strip().upper().split(":")
    sides = [each for each in more if each in ("L", "R", "B")]
    parts = [each for each in more if each and each not in ("L", "R", "B")]
    if not code or len(sides) > 1 or len(parts) > 1:
        raise InvalidInput("写作 项目[:L|R|B][:部位]", "Write an item as CODE[:L|R|B][:PART]", field="item")
    return Answered(code, side(sides[0]) if sides else None, parts[0] if parts else None)


def map_with_codes(
    facts: StudyFacts, items: ItemList, table: LocalTable, answer: Sequence[Answered] | None = None
) -> Outcome:
    """Return the items of a study: by the hospital's table, else a curator's answer, a standard code, the rules."""
    rules = map_study(facts, items)
    try:
        meanings, unknown = table.found(facts)
        if meanings:
            return Outcome(_by_meanings(meanings, facts, items, rules), tuple(unknown))
        if answer is not None:
            return Outcome(_by_answer(answer, items, rules))
        codes = [code for code in map(listed_item, facts.procedure_codes) if code]
        if codes:
            return Outcome(_by_standard(codes, facts, items, rules))
    except Refusal as refusal:
        return Outcome(Mapping(unmapped_reason=refusal.reason))
    return Outcome(rules)


def _by_meanings(
    meanings: Sequence[LocalMeaning], facts: StudyFacts, items: ItemList, rules: Mapping
) -> Mapping:
    words = [meaning.code for meaning in meanings]
    said = [
        (_item(meaning.item_code, items, words), meaning.laterality, meaning.body_part)
        for meaning in meanings
        if meaning.item_code
    ]
    if not said:
        raise Refusal("said_unlisted", words)
    if any(not _fits_device(item, facts) for item, _, _ in said):
        raise Refusal("local_code_contradiction", words)
    return _mapping(said, rules, "local_code")


def _by_answer(answer: Sequence[Answered], items: ItemList, rules: Mapping) -> Mapping:
    if not answer:
        raise Refusal("said_unlisted")
    said = [(_item(each.item_code, items, ()), each.laterality, each.body_part) for each in answer]
    return _mapping(said, rules, "curator")


def _by_standard(codes: Sequence[str], facts: StudyFacts, items: ItemList, rules: Mapping) -> Mapping:
    """Return what standard codes say, where nothing else says otherwise. Raises: Refusal."""
    known = [item for item in map(items.get, dict.fromkeys(codes)) if item is not None]
    if not known:
        return rules
    by_rules = {mapped.item_code for mapped in rules.items}
    silent = rules.unmapped_reason is not None and rules.unmapped_reason.code in _SILENT
    plain_with_agent = agent_given(facts.contrast_agent) and all(item.contrast == "none" for item in known)
    if not silent and by_rules != {item.code for item in known}:
        raise Refusal("code_contradiction", codes)
    if plain_with_agent or any(not _fits_device(item, facts) for item in known):
        raise Refusal("code_contradiction", codes)
    return _mapping([(item, None, None) for item in known], rules, "standard_code")


def _item(code: str, items: ItemList, words: Iterable[str]) -> Item:
    item = items.get(code)
    if item is None:
        raise Refusal("local_code_unlisted", [*words, code])
    return item


def _fits_device(item: Item, facts: StudyFacts) -> bool:
    device = device_of(facts.modality)
    return bool(set(MODALITIES[device]) & set(item.modalities))


def _mapping(
    said: Iterable[tuple[Item, Laterality | None, str | None]], rules: Mapping, source: str
) -> Mapping:
    by_rules = {mapped.item_code: mapped for mapped in rules.items}
    found = [_mapped(item, side, part, by_rules.get(item.code), source) for item, side, part in said]
    return Mapping(tuple(dict.fromkeys(found)))


def _mapped(
    item: Item, said: Laterality | None, part: str | None, rule: MappedItem | None, source: str
) -> MappedItem:
    """Return an item as said; where it leaves side or part open, they are what the rules read."""
    told = said or (rule.laterality if rule else None)
    laterality: Laterality | None = {"none": None, "paired": told, "both": "B"}[item.laterality]
    body_part = (part or (rule.body_part if rule else None)) if item.spans_body_parts else None
    zh, en = _SOURCES[source]
    confidence: Confidence = "high" if source == "standard_code" else "certain"
    return MappedItem(item.code, laterality, body_part, confidence, source, f"依据{zh}", f"From {en}")
