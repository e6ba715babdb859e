"""From the header of a study, or the text of an order, to the items of the recognised list.

Better unmapped than wrong: texts written for the study come first (StudyDescription and
RequestedProcedureDescription), then ProtocolName and SeriesDescription, then BodyPartExamined;
what contradicts itself or stays uncertain is left to a person.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from catalog.anatomy import listed_part
from catalog.contrast import contrast_settled
from catalog.descriptions import Claim, read
from catalog.evidence import Evidence, device_of, gather
from catalog.items import Item, ItemList
from catalog.other_devices import OTHER_MODALITIES, Named, named_items
from catalog.records import Laterality
from catalog.study_facts import Refusal, StudyFacts, Unmapped
from catalog.views import BASIC_VIEWS, views_settled
from catalog.wording import normalise

__all__ = [
    "MODALITIES",
    "MappedItem",
    "Mapping",
    "StudyFacts",
    "Unmapped",
    "map_order",
    "map_order_text",
    "map_study",
]

Confidence = Literal["certain", "high", "medium"]

MODALITIES: Final = {
    "XR": ("DX", "CR"),
    "MG": ("MG",),
    "CT": ("CT",),
    "MR": ("MR",),
    **OTHER_MODALITIES,
}
_SOURCES: Final = {
    "study_text": ("检查描述", "study description"),
    "scan_text": ("扫描协议或序列描述", "protocol or series description"),
    "body_part": ("检查部位代码及其他字段", "BodyPartExamined and other fields"),
}
_CONTRAST_SAID: Final = {"enhanced": ("按增强", "taken as enhanced"), "plain": ("按平扫", "taken as plain")}


@dataclass(frozen=True, slots=True)
class MappedItem:
    """One item of a study.

    `laterality` None: not two-sided, or not known; `body_part` is set where the item spans several;
    `rule` names what decided: local_code, curator, standard_code, study_text, scan_text, body_part or
    exact_name.
    """

    item_code: str
    laterality: Laterality | None
    body_part: str | None
    confidence: Confidence
    rule: str
    explanation_zh: str
    explanation_en: str


@dataclass(frozen=True, slots=True)
class Mapping:
    """The items of a study, or the reason why there is none."""

    items: tuple[MappedItem, ...] = ()
    unmapped_reason: Unmapped | None = None


def map_study(facts: StudyFacts, item_list: ItemList) -> Mapping:
    """Return the listed items a study holds, each with its confidence and explanation."""
    try:
        device = device_of(facts.modality)
        if not any(set(MODALITIES[device]) & set(item.modalities) for item in item_list):
            raise Refusal("modality_not_listed")
        if device in OTHER_MODALITIES:
            found = [_named_item(each) for each in named_items(device, facts, item_list)]
        else:
            found = list(_mapped(gather(facts), item_list))
    except Refusal as refusal:
        return Mapping(unmapped_reason=refusal.reason)
    return Mapping(tuple(dict.fromkeys(found)))


def map_order(text: str, item_list: ItemList, laterality: Laterality | None = None) -> MappedItem | None:
    """Return the one item a free-text order means, or None where it is not certain.

    `laterality` is the order's own side; a text that names another side is not certain.
    """
    named = _by_exact_name(text, item_list, laterality)
    if named is not None:
        return named
    reading = read(text)
    devices = reading.devices or ({"XR"} if any(c.views for c in reading.claims) else set())
    modality = next(iter(devices), "")
    if len(devices) != 1 or modality not in MODALITIES:
        return None
    items = map_study(StudyFacts(MODALITIES[modality][:1], study_description=text), item_list).items
    if len(items) != 1 or items[0].confidence != "high":
        return None
    return _sided_order(items[0], item_list, laterality)


def map_order_text(text: str, item_list: ItemList, laterality: Laterality | None = None) -> str | None:
    """Return the code of the one item a free-text order means, or None where it is not certain."""
    mapped = map_order(text, item_list, laterality)
    return mapped.item_code if mapped else None


def _by_exact_name(text: str, item_list: ItemList, laterality: Laterality | None) -> MappedItem | None:
    wanted = normalise(text)
    named = [item for item in item_list if wanted in (normalise(item.name_zh), normalise(item.name_en))]
    if len(named) != 1:
        return None
    item = named[0]
    side: Laterality | None = {"none": None, "paired": laterality, "both": "B"}[item.laterality]
    part = item.body_part if item.spans_body_parts else None
    return MappedItem(item.code, side, part, "high", "exact_name", "与清单名称一致", "Equals the item's name")


def _sided_order(mapped: MappedItem, item_list: ItemList, laterality: Laterality | None) -> MappedItem | None:
    item = item_list.get(mapped.item_code)
    if item is None or item.laterality != "paired" or laterality is None:
        return mapped
    if mapped.laterality not in (None, laterality):
        return None
    return replace(mapped, laterality=laterality)


def _named_item(named: Named) -> MappedItem:
    item = named.item
    side: Laterality | None = {"none": None, "paired": named.laterality, "both": "B"}[item.laterality]
    zh, en = _SOURCES["study_text"]
    return MappedItem(
        item.code,
        side,
        item.body_part if item.spans_body_parts else None,
        "high",
        "study_text",
        f"依据{zh}:{named.words}",
        f"From the {en}: {named.words}",
    )


def _mapped(evidence: Evidence, item_list: ItemList) -> Iterator[MappedItem]:
    claims = [_angiographic(claim, evidence.device) for claim in evidence.claims]
    evidence = replace(evidence, claims=tuple(_together(claims, evidence.device)))
    found = False
    refusal: Refusal | None = None
    for claim in contrast_settled(evidence):
        try:
            for item in _items(claim, evidence, item_list):
                found = True
                yield _mapped_item(item, claim, evidence)
        except Refusal as each:
            refusal = refusal or each
    if not found:
        raise refusal or Refusal("contrast_uncertain", _words(evidence.claims))


def _words(claims: Iterable[Claim]) -> list[str]:
    return [word for claim in claims for word in claim.words]


def _angiographic(claim: Claim, device: str) -> Claim:
    """Return a claim on vessels as the angiography it is."""
    if claim.part == "CEREBRALVESSEL" and claim.technique in ("angiography", "venography"):
        return replace(claim, part="HEAD")
    if device != "CT" or claim.technique not in ("routine", "angiography"):
        return claim
    enhanced = "enhanced" in claim.contrast or claim.technique == "angiography"
    if claim.part == "PULMONARYARTERY" and enhanced:
        return replace(claim, part="CHEST", technique="pulmonary_angiography")
    if claim.part == "CORONARYARTERY" and (enhanced or not claim.contrast):
        return replace(claim, technique="angiography")
    if claim.part == "AORTA" and enhanced:
        return replace(claim, technique="angiography")
    return claim


def _together(claims: list[Claim], device: str) -> list[Claim]:
    """Return the claims with head and neck vessels, or both parts of the aorta, as one in CT."""
    for one, others, whole in (
        ("HEAD", ("NECK", "CAROTID"), "HEADNECK"),
        ("THORACICAORTA", ("ABDOMINALAORTA",), "AORTA"),
    ):
        pair = [c for c in claims if c.technique == "angiography" and c.part in (one, *others)]
        if device == "CT" and one in (parts := {c.part for c in pair}) and parts & set(others):
            joined = replace(pair[0], part=whole, words=tuple(dict.fromkeys(_words(pair))))
            claims = [c for c in claims if c not in pair] + [joined]
    return claims


def _items(claim: Claim, evidence: Evidence, item_list: ItemList) -> list[Item]:
    part = listed_part(claim.part, evidence.device)
    modalities = set(MODALITIES[evidence.device])
    candidates = [
        item
        for item in item_list
        if modalities & set(item.modalities)
        and item.body_part == part
        and item.technique == claim.technique
        and _contrast_fits(item, claim, evidence)
    ]
    if evidence.device == "XR" and candidates:
        candidates = _by_views(candidates, views_settled(claim, evidence))
    if not candidates:
        raise Refusal("not_on_list", claim.words)
    return [item for item in candidates if _sides_fit(item, claim, evidence)]


def _contrast_fits(item: Item, claim: Claim, evidence: Evidence) -> bool:
    if item.contrast == "any" or evidence.device in ("XR", "MG"):
        return True
    if item.contrast == "with":
        return "enhanced" in claim.contrast or (item.technique != "routine" and claim.contrast != {"plain"})
    unexplained = item.technique != "routine" and evidence.agent and len(evidence.claims) == 1
    return "enhanced" not in claim.contrast and not unexplained


def _by_views(candidates: list[Item], views: frozenset[str]) -> list[Item]:
    """Return the items whose views are all there, largest first; every basic view must be used up."""
    left, chosen = set(views), []
    for item in sorted(candidates, key=lambda each: -len(each.views)):
        if item.views <= left:
            chosen.append(item)
            left -= item.views
    return [] if left & BASIC_VIEWS else sorted(chosen, key=lambda each: each.code)


def _sides_fit(item: Item, claim: Claim, evidence: Evidence) -> bool:
    if item.laterality != "both":
        return True
    side = _side(claim, evidence)
    if side == "B" or (side is None and evidence.device != "MG"):
        return True
    if evidence.device == "MG" and side is None and (evidence.screening or _four_views(evidence.positions)):
        return True
    raise Refusal("side_unknown", claim.words)


def _four_views(positions: tuple[str, ...]) -> bool:
    return all(positions.count(view) >= 2 for view in ("CC", "MLO"))


def _side(claim: Claim, evidence: Evidence) -> Laterality | None:
    """Return the side of a claim; unknown where the text and (0020,0060) disagree."""
    scanned = evidence.scan.loose.sides.union(*(each.sides for each in evidence.scan.claims))
    said = _one_side(claim.sides) or (_one_side(scanned) if len(evidence.claims) == 1 else None)
    recorded = _one_side(evidence.sides) if len(evidence.claims) == 1 else None
    if said and recorded and said != recorded:
        return None
    return said or recorded


def _one_side(sides: frozenset[str]) -> Laterality | None:
    if "B" in sides or sides >= {"L", "R"}:
        return "B"
    return "L" if "L" in sides else "R" if "R" in sides else None


def _mapped_item(item: Item, claim: Claim, evidence: Evidence) -> MappedItem:
    side = {"none": None, "paired": _side(claim, evidence), "both": "B"}[item.laterality]
    source_zh, source_en = _SOURCES[evidence.rule]
    words = "、".join(dict.fromkeys(claim.words))
    note_zh, note_en = _contrast_note(claim, evidence)
    return MappedItem(
        item_code=item.code,
        laterality=side,
        body_part=claim.part if item.spans_body_parts else None,
        confidence="high" if evidence.rule == "study_text" else "medium",
        rule=evidence.rule,
        explanation_zh=f"依据{source_zh}:{words}{note_zh}",
        explanation_en=f"From the {source_en}: {words}{note_en}",
    )


def _contrast_note(claim: Claim, evidence: Evidence) -> tuple[str, str]:
    if evidence.device not in ("CT", "MR") or claim.technique != "routine":
        return "", ""
    zh, en = _CONTRAST_SAID["enhanced" if "enhanced" in claim.contrast else "plain"]
    return f";{zh}", f"; {en}"
