"""Ultrasound, ECG, bone density and PET-CT: descriptions that name one of a few examinations, word for word.

These texts are short; what is not one of the phrases below is left to a person.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from catalog.items import Item, ItemList
from catalog.records import Laterality
from catalog.study_facts import Refusal, StudyFacts
from catalog.wording import normalise

OTHER_MODALITIES: Final = {"US": ("US",), "ECG": ("ECG",), "BMD": ("BMD",), "PT": ("PT",)}

# The words of a device say nothing more once the device is known.
_DEVICE_WORDS: Final = {
    "US": r"彩色多普勒|多普勒|彩色|彩超|B超|超声(?!心动)|检查|常规|经腹|二维|床旁|急诊|门诊|体检|\bUS\b|ULTRASOUND|DOPPLER|COLOR",
    "ECG": r"检查|常规|同步|静息|床旁|急诊|门诊|体检|RESTING|ROUTINE",
    "BMD": r"检查|测定|测量|双能X线|常规|体检",
    "PT": r"18F|FDG|显像|检查|扫描|断层|[-/ ^]",
}
_PHRASES: Final = {
    "US": {
        "ABDOMEN": r"上?腹部?(?:\(肝胆[胰脾]{2})?|肝胆[胰脾]{2}|肝、胆、[胰脾]、[胰脾]|(?:UPPER )?ABDOMEN",
        "KIDNEY": r"泌尿系统?|双?肾、?输尿管、?膀胱(?:、?前列腺)?|URINARY TRACT|KIDNEYS? URETERS? BLADDER",
        "UTERUS": r"妇科|子宫[、及]?双?侧?附件|GYNECOLOGY|UTERUS AND ADNEXA",
        "THYROID": r"甲状腺(?:[、及和]?双?侧?颈部?淋巴结)?|THYROID",
        "BREAST": r"(?:双侧?)乳腺?(?:[、及和]?双?侧?(?:腋窝|引流区)淋巴结)?|BREASTS?,? (?:BILATERAL|BOTH)|BILATERAL BREASTS?",
        "HEART": r"心脏(?:及大血管)?|(?:心脏)?超声心动图|ECHOCARDIOGRAPHY|ECHOCARDIOGRAM|TTE",
        "CAROTID": r"双?侧?颈动脉|颈部血管|双?侧?颈动脉[、及和]椎动脉|CAROTID(?: ARTERIES)?",
        "LOWERLIMB": r"[左右双]?侧?下肢(?:血管|动静脉|动脉[、及+]静脉)",
    },
    "ECG": {"HEART": r"(?:十二|12)(?:导联?|通道| ?LEAD) ?(?:心电图|ECG|EKG)|心电图|ECG|EKG"},
    "BMD": {"SPINE": r"骨密度|骨矿密度|DE?XA|BMD|BONE DENSIT(?:Y|OMETRY)"},
    "PT": {"WHOLEBODY": r"(?:全身|躯干|体部)?PET(?:CT)?(?:全身|躯干|体部|WHOLEBODY|WB)?"},
}
_SIDES: Final[dict[str, Laterality]] = {"左": "L", "右": "R", "双": "B"}


@dataclass(frozen=True, slots=True)
class Named:
    """An item that a description names, with its side and the words that did."""

    item: Item
    laterality: Laterality | None
    words: str


def named_items(device: str, facts: StudyFacts, items: ItemList) -> list[Named]:
    """Return the items that the study's own texts name; both texts, where there are two, must name the same.

    Raises: Refusal: where a text holds anything beyond the phrases, or there is none.
    """
    texts = [text for text in (facts.study_description, facts.requested_procedure) if text.strip()]
    if not texts:
        raise Refusal("body_part_unknown")
    readings = [list(_named(device, text, items)) for text in texts]
    if any({each.item for each in reading} != {each.item for each in readings[0]} for reading in readings):
        raise Refusal("body_part_contradiction")
    return readings[0]


def _named(device: str, text: str, items: ItemList) -> Iterator[Named]:
    for words in _examinations(device, normalise(text)):
        part = next((part for part, form in _PHRASES[device].items() if re.fullmatch(form, words)), None)
        if part is None:
            raise Refusal("unknown_words")
        item = next((each for each in items if _is_by(each, device) and each.body_part == part), None)
        if item is None:
            raise Refusal("not_on_list", [words])
        yield Named(item, _SIDES.get(words[0]) if item.laterality == "paired" else None, words)


def _examinations(device: str, text: str) -> list[str]:
    """Return the examinations of a text, each bare of the device's own words."""
    bare = re.sub(_DEVICE_WORDS[device], " " if device == "ECG" else "", text)
    return [re.sub(r"\s+", " ", each).strip(" ()-,:") for each in bare.split("+")]


def _is_by(item: Item, device: str) -> bool:
    return bool(set(OTHER_MODALITIES[device]) & set(item.modalities))
