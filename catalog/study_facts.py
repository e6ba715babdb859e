"""What a study says of itself for mapping, and the reasons why it may have no item."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from catalog.records import StudyHeader

_NO_AGENT: Final = re.compile(
    r"$|(N|NO|NONE|NON(?!.?IONIC)|NULL|NA|N/A|NOT|W/O|WITHOUT|PLAIN|UNKNOWN|0)(?![A-Z0-9])|[-无未否]|平扫"
)
UNMAPPED: Final[dict[str, tuple[str, str]]] = {
    "modality_not_listed": ("该设备类型不在互认清单内", "No item on the list is done with this modality"),
    "several_modalities": ("一次检查含多种设备类型", "The study holds several modalities"),
    "modality_contradiction": ("描述与设备类型不符", "The description names another kind of device"),
    "no_image_series": ("只有定位像或剂量报告", "There are only localizers or dose reports"),
    "excluded_procedure": (
        "属引导、定位、术中、核医学或质控扫描,不是清单所列检查",
        "A guided, planning, intraoperative, nuclear or test scan is no listed examination",
    ),
    "body_part_unknown": ("未能识别检查部位", "No body part could be recognised"),
    "unknown_words": (
        "描述中有未识别的词,可能指另一部位或检查",
        "Unknown words may name another body part or examination",
    ),
    "order_amended": (
        "医嘱有改动,未能确认是否增强",
        "The order was changed; whether a contrast agent was given is uncertain",
    ),
    "body_part_only": (
        "除检查部位代码外无其他依据",
        "Nothing but BodyPartExamined speaks of the examination",
    ),
    "body_part_contradiction": ("各处所写部位互相矛盾", "The body parts named contradict each other"),
    "contrast_contradiction": ("平扫与增强的依据互相矛盾", "Plain and enhanced contradict each other"),
    "contrast_uncertain": (
        "多个部位,无法确定哪些做了增强",
        "Which of several parts were enhanced is uncertain",
    ),
    "technique_contradiction": ("检查方法的依据互相矛盾", "The techniques named contradict each other"),
    "views_unknown": ("未能识别投照体位", "The views could not be recognised"),
    "views_contradiction": ("各处所写体位互相矛盾", "The views named contradict each other"),
    "side_unknown": ("须为双侧检查,未能确认", "The item is two-sided and both sides are not shown"),
    "side_contradiction": ("各处所写左右侧互相矛盾", "The sides named contradict each other"),
    "local_code_contradiction": (
        "机构代码所指项目与设备类型不符",
        "The hospital's code means an item of another modality",
    ),
    "local_code_unlisted": (
        "机构代码所指项目不在现行清单内",
        "The hospital's code means an item no longer listed",
    ),
    "code_contradiction": (
        "标准检查代码与其他依据互相矛盾",
        "The standard procedure code and the other evidence contradict each other",
    ),
    "said_unlisted": ("机构代码表或人工确认:清单内没有", "By the hospital's table or a curator: on no list"),
    "not_on_list": ("互认清单内没有该项目", "The list has no such item"),
}


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What one study says of itself, texts decoded; absent is empty. Codes are written "scheme|code"."""

    modality: tuple[str, ...]
    body_part_examined: str = ""
    laterality: str = ""
    contrast_agent: str = ""
    study_description: str = ""
    requested_procedure: str = ""
    series_descriptions: tuple[str, ...] = ()
    protocol_names: tuple[str, ...] = ()
    view_positions: tuple[str, ...] = ()
    manufacturer: str = ""
    procedure_codes: tuple[str, ...] = ()
    anatomic_regions: tuple[str, ...] = ()

    @classmethod
    def of(cls, header: StudyHeader) -> "StudyFacts":
        """Return the facts of a study as its header was read."""
        return cls(
            modality=header.modalities,
            body_part_examined=header.BodyPartExamined,
            laterality=header.Laterality,
            contrast_agent=header.ContrastBolusAgent,
            study_description=header.StudyDescription,
            requested_procedure=header.RequestedProcedureDescription,
            series_descriptions=header.series_descriptions,
            protocol_names=header.protocol_names,
            view_positions=header.view_positions,
            manufacturer=header.Manufacturer,
            procedure_codes=header.procedure_codes,
            anatomic_regions=header.anatomic_regions,
        )


@dataclass(frozen=True, slots=True)
class Unmapped:
    """Why a study has no item: a code of `UNMAPPED` and its texts, with the words that were recognised."""

    code: str
    zh: str
    en: str


class Refusal(Exception):
    """The header cannot be mapped with certainty."""

    def __init__(self, code: str, words: Iterable[str] = ()) -> None:
        super().__init__(code)
        zh, en = UNMAPPED[code]
        seen = "、".join(dict.fromkeys(words))
        self.reason = Unmapped(
            code, f"{zh}(识别到:{seen})" if seen else zh, f"{en} (recognised: {seen})" if seen else en
        )


def agent_given(agent: str) -> bool:
    """Return whether (0018,0010) records a contrast agent given into a vessel."""
    text = unicodedata.normalize("NFKC", agent).strip().upper()
    if _NO_AGENT.match(text):
        return False
    return not ("ORAL" in text or "口服" in text) or "IV" in text or "INTRAVENOUS" in text
