"""Studies, series and instances as QIDO-RS tells and matches them (PS3.18 §10.6, Annex F). Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from catalog.attribute_matching import matches
from catalog.errors import InvalidInput
from catalog.image_index import IndexedInstance, Json
from catalog.image_views import ShownStudy
from catalog.study_rows import study_row

MEDIA_TYPE: Final = "application/dicom+json"
WRITTEN_AS: Final = frozenset(
    {MEDIA_TYPE, "application/json", "*/*", "application/*"}
)  # who accepts one of these
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
PATIENT: Final = "00100020"
_ALL: Final = "all"
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_RETRIEVE_URL: Final = "00081190"
# Of a series and of an instance, the attributes that are always told (Tables 10.6.3-4 and 10.6.3-5).
_OF_SERIES: Final = (
    "00080005",
    "00080060",
    "0008103E",
    SERIES,
    "00200011",
    "00080021",
    "00080031",
    "00400244",
)
_OF_INSTANCE: Final = (
    "00080005",
    "00080016",
    INSTANCE,
    "00200013",
    "00280008",
    "00280010",
    "00280011",
    "00280100",
)
STUDY_KEYS: Final = frozenset(
    (
        STUDY,
        PATIENT,
        "00080020",
        "00080030",
        "00080050",
        "00080061",
        "00081030",
        "00100010",
        "00100030",
        "00100040",
    )
)
SERIES_KEYS: Final = frozenset((STUDY, SERIES, "00080060", "0008103E", "00200011", "00080021", "00400244"))
INSTANCE_KEYS: Final = frozenset((STUDY, SERIES, INSTANCE, "00080016", "00200013", "00280008"))
_MOST: Final = 1_000
_ACCEPTED: Final = "fuzzymatching"  # and without effect


@dataclass(frozen=True, slots=True)
class Query:
    """A search: what must match, by tag; what is told beside the usual, by tag or everything; and which part of it."""

    matching: Mapping[str, str]
    include: frozenset[str] = frozenset()
    limit: int = _MOST
    offset: int = 0

    def page(self, rows: Sequence[Json]) -> Sequence[Json]:
        """Return the part asked for."""
        return rows[self.offset : self.offset + self.limit]

    def ask_only(self, known: frozenset[str]) -> "Query":
        """Return itself. Raises InvalidInput where something else than these attributes is to match."""
        for tag in self.matching.keys() - known:
            keyword = keyword_for_tag(int(tag, 16)) or tag
            raise InvalidInput(
                f"此处不能按 {keyword} 查询", f"There is no search by {keyword} here", field=keyword
            )
        return self

    def matches(self, row: Json) -> bool:
        """Say whether a row has every value asked for."""
        return all(matches(row.get(tag, {}), wanted) for tag, wanted in self.matching.items())

    def without(self, *tags: str) -> "Query":
        """Return the search without what was seen to already."""
        rest = {tag: wanted for tag, wanted in self.matching.items() if tag not in tags}
        return Query(rest, self.include, self.limit, self.offset)


def read_query(given: Iterable[tuple[str, str]]) -> Query:
    """Read parameters: keywords or tags, in any order (PS3.18 §8.3.4). Raises InvalidInput."""
    matching: dict[str, str] = {}
    include: set[str] = set()
    numbers = {"limit": _MOST, "offset": 0}
    for name, text in given:
        if name in numbers:
            numbers[name] = _number(name, text)
        elif name == "includefield":
            include |= {_ALL if each == _ALL else _tag(each) for each in text.split(",") if each}
        elif name != _ACCEPTED and text not in ("", "*"):
            matching[_tag(name)] = text
    return Query(matching, frozenset(include), min(numbers["limit"], _MOST), numbers["offset"])


def of_study(study: ShownStudy, root: str) -> Json:
    """Return what is told of a study (Table 10.6.3-3)."""
    return study_row(study) | {
        "00080056": _element("CS", "ONLINE"),
        "00080090": {"vr": "PN"},
        _RETRIEVE_URL: _element("UR", f"{root}/studies/{study.StudyInstanceUID}"),
    }


def of_series(
    study: ShownStudy, members: Sequence[IndexedInstance], root: str, include: frozenset[str] = frozenset()
) -> Json:
    """Return what is told of a series, by its first instance."""
    described = orjson.loads(members[0].described)
    row = _chosen(described, _OF_SERIES, include)
    at = f"{root}/studies/{study.StudyInstanceUID}/series/{members[0].SeriesInstanceUID}"
    return row | {
        _RETRIEVE_URL: _element("UR", at),
        STUDY: _element("UI", study.StudyInstanceUID),
        "00201209": _element("IS", len(members)),
    }


def of_instance(
    study: ShownStudy, instance: IndexedInstance, root: str, include: frozenset[str] = frozenset()
) -> Json:
    """Return what is told of an instance."""
    described = orjson.loads(instance.described)
    row = _chosen(described, _OF_INSTANCE, include)
    series = f"{root}/studies/{study.StudyInstanceUID}/series/{instance.SeriesInstanceUID}"
    return row | {
        "00080056": _element("CS", "ONLINE"),
        _RETRIEVE_URL: _element("UR", f"{series}/instances/{instance.SOPInstanceUID}"),
        STUDY: _element("UI", study.StudyInstanceUID),
        SERIES: _element("UI", instance.SeriesInstanceUID),
    }


def _chosen(described: Json, usual: Iterable[str], include: frozenset[str]) -> Json:
    wanted = described if _ALL in include else {*usual, *include}
    return {tag: described[tag] for tag in sorted(wanted) if tag in described}


def _element(vr: str, one: Any) -> Json:
    return {"vr": vr} if one is None else {"vr": vr, "Value": [one]}


def _tag(name: str) -> str:
    if _TAG.fullmatch(name):
        return name.upper()
    tag = tag_for_keyword(name)
    if tag is None:
        raise InvalidInput("不是 DICOM 属性", "That is no DICOM attribute", field=_shown(name))
    return f"{tag:08X}"


def _shown(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9]{1,64}", name) else ""


def _number(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise InvalidInput("须为非负整数", "It must be a whole number, 0 or more", field=name)
    return int(text)
