"""A structured report as readable text, from its DICOM JSON (PS3.3 C.17.3, PS3.18 Annex F). Pure.

The JSON was made from the bytes by the limited child that reads headers, so nothing of the data set is parsed
here, and its text is decoded already.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from catalog.identity import display_name
from catalog.report_records import TEXT_LIMIT
from catalog.report_sections import Section, named_section

Json = Mapping[str, Any]

CONTENT: Final = "0040A730"
VALUE_TYPE: Final = "0040A040"
CONCEPT_NAME: Final = "0040A043"
_RELATIONSHIP: Final = "0040A010"
_LEFT_OUT: Final = "（内容过长，见原始文件）"
_CUT: Final = "……"
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# value type → the element that holds its value (PS3.3 Table C.17.3-7)
_PLAIN: Final = {
    "TEXT": "0040A160",
    "DATE": "0040A121",
    "TIME": "0040A122",
    "DATETIME": "0040A120",
    "UIDREF": "0040A124",
}
_REFERENCES: Final = {
    "IMAGE": "［影像］",
    "COMPOSITE": "［对象］",
    "WAVEFORM": "［波形］",
    "SCOORD": "［坐标］",
    "SCOORD3D": "［坐标］",
    "TCOORD": "［时间坐标］",
}


@dataclass(frozen=True, slots=True)
class SrText:
    """A report in words."""

    title: str
    findings: str
    conclusion: str


def render(metadata: Json) -> SrText:
    """Return the content of a Basic Text, Enhanced or Comprehensive SR document as text.

    What stands under a heading that concludes (impression, conclusion, 印象, …) is the conclusion, all else
    findings. Too long a text is cut, and says so.
    """
    lines: dict[Section, list[str]] = {"findings": [], "conclusion": []}
    for section, line in _lines(metadata, "findings", 0):
        lines[section].append(line)
    texts = {section: _cut("\n".join(each)) for section, each in lines.items()}
    return SrText(_meaning(metadata, CONCEPT_NAME), texts["findings"], texts["conclusion"])


def first(item: Json, tag: str) -> Any:
    """Return the first value of an element, or None."""
    values = item.get(tag, {}).get("Value") or [None]
    return values[0]


def text(item: Json, tag: str) -> str:
    """Return the first value of an element as clean text; a name as it is shown."""
    value = first(item, tag)
    if isinstance(value, Mapping):
        value = display_name("=".join(str(part) for part in value.values()))
    return _CONTROL.sub(" ", str(value)).strip() if value is not None else ""


def items(item: Json, tag: str) -> list[Json]:
    """Return the items of a sequence."""
    return [each for each in item.get(tag, {}).get("Value") or [] if isinstance(each, Mapping)]


def _lines(parent: Json, section: Section, depth: int) -> Iterator[tuple[Section, str]]:
    for item in items(parent, CONTENT):
        heading = _meaning(item, CONCEPT_NAME)
        own = named_section([_code(item, CONCEPT_NAME)], [heading]) or section
        value = _value(item)
        if text(item, _RELATIONSHIP) == "HAS OBS CONTEXT" and text(item, VALUE_TYPE) == "UIDREF":
            continue  # an identifier for machines
        if heading or value:
            yield (
                own,
                "  " * min(depth, 8) + (f"{heading}: {value}" if heading and value else heading or value),
            )
        yield from _lines(item, own, depth + 1)


def _value(item: Json) -> str:
    kind = text(item, VALUE_TYPE)
    if kind in _PLAIN:
        value = text(item, _PLAIN[kind])
        return value or (_LEFT_OUT if _PLAIN[kind] in item and kind == "TEXT" else "")
    if kind == "CODE":
        return _meaning(item, "0040A168")
    if kind == "PNAME":
        return text(item, "0040A123")
    if kind == "NUM":
        return next((_measured(each) for each in items(item, "0040A300")), "")
    return _REFERENCES.get(kind, "")


def _measured(item: Json) -> str:
    unit = next(iter(items(item, "004008EA")), {})
    shown = text(unit, "00080100")
    number = first(item, "0040A30A")
    whole = int(number) if isinstance(number, float) and number.is_integer() else number
    return f"{whole} {'' if shown == '1' else shown}".strip() if number is not None else ""


def _meaning(item: Json, tag: str) -> str:
    return next((text(code, "00080104") for code in items(item, tag)), "")


def _code(item: Json, tag: str) -> str:
    return next((text(code, "00080100") for code in items(item, tag)), "")


def _cut(whole: str) -> str:
    return whole if len(whole) <= TEXT_LIMIT else whole[: TEXT_LIMIT - len(_CUT)] + _CUT
