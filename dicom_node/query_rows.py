"""The rows of C-FIND: which attributes each level has, what matches, and what is answered (PS3.4 §C.2.2, C.6)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from catalog.attribute_matching import matches
from catalog.image_index import IndexedInstance, Json
from catalog.image_views import ShownStudy
from catalog.study_rows import study_row
from dicom_node.dataset import vr_in_dictionary
from dicom_node.identifier import CHARACTER_SET, Identifier

PATIENT, STUDY, SERIES, IMAGE = LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
LEVEL: Final = "00080052"
PATIENT_ID, ISSUER = "00100020", "00100021"
STUDY_UID, SERIES_UID, INSTANCE_UID = "0020000D", "0020000E", "00080018"
OURS: Final = "HUREN"  # the issuer of regional numbers
_RETRIEVE_AE_TITLE: Final = "00080054"
_AVAILABILITY: Final = "00080056"
_PATIENT_STUDIES, _PATIENT_SERIES, _PATIENT_INSTANCES = "00201200", "00201202", "00201204"
_OF_LEVEL: Final[Mapping[str, frozenset[str]]] = {
    PATIENT: frozenset(
        f"{PATIENT_ID} {ISSUER} 00100010 00100030 00100040 {_PATIENT_STUDIES} {_PATIENT_SERIES}"
        f" {_PATIENT_INSTANCES}".split()
    ),
    STUDY: frozenset(f"{STUDY_UID} 00080020 00080030 00080050 00080061 00081030 00201206 00201208".split()),
    SERIES: frozenset(
        f"{SERIES_UID} 00080021 00080031 00080060 00080070 00081010 0008103E 00180015 00181030 00185100 00200011"
        " 00200060 00201209 00400244 00400245".split()
    ),
}
# What says how the request is to be read, or is seen to before rows are made.
_NO_KEYS: Final = frozenset({LEVEL, CHARACTER_SET, _RETRIEVE_AE_TITLE, _AVAILABILITY, PATIENT_ID, ISSUER})
_NOT_ANSWERED: Final = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UN"])


def of_study(study: ShownStudy, patient: Mapping[str, Json]) -> dict[str, Json]:
    """Return the row of a study, with the number and counts of its patient as given."""
    return {**study_row(study), **patient}


def of_patient(number: str, issuer: str, studies: Sequence[ShownStudy]) -> dict[str, Json]:
    """Return what is told of a patient under a number: how much of him may be seen."""
    return {
        PATIENT_ID: _one("LO", number),
        ISSUER: _one("LO", issuer) if issuer else {"vr": "LO"},
        _PATIENT_STUDIES: _one("IS", len(studies)),
        _PATIENT_SERIES: _one("IS", sum(study.series_count for study in studies)),
        _PATIENT_INSTANCES: _one("IS", sum(study.instance_count for study in studies)),
    }


def of_series(study: Mapping[str, Json], members: Sequence[IndexedInstance]) -> dict[str, Json]:
    """Return the row of a series, by its first instance."""
    described: Json = orjson.loads(members[0].described)
    own = {tag: described[tag] for tag in _OF_LEVEL[SERIES] if tag in described}
    return {
        **study,
        **own,
        SERIES_UID: _one("UI", members[0].SeriesInstanceUID),
        "00201209": _one("IS", len(members)),
    }


def of_instance(series: Mapping[str, Json], instance: IndexedInstance) -> dict[str, Json]:
    """Return the row of an instance: everything its header says that is no list and no bytes."""
    described: Json = orjson.loads(instance.described)
    return {**described, **series, INSTANCE_UID: _one("UI", instance.SOPInstanceUID)}


def is_match(row: Mapping[str, Json], asked: Identifier, level: str) -> bool:
    """Say whether a row has every value asked for; keys that the level does not have are left out (§C.2.2.1.2)."""
    return all(
        matches(row.get(tag, {"vr": vr_in_dictionary(int(tag, 16))}), wanted)
        for tag in asked.wanted
        if tag not in _NO_KEYS and _has(level, tag) and (wanted := asked.get(tag))
    )


def answer(
    row: Mapping[str, Json], asked: Identifier, level: str, ae_title: str
) -> tuple[dict[str, Json], bool]:
    """Return what is told of a row: the keys asked for, no others; and whether the level has all of them."""
    known = [tag for tag in asked.wanted if tag in _NO_KEYS or _has(level, tag)]
    told = {tag: row.get(tag, {"vr": vr_in_dictionary(int(tag, 16))}) for tag in known}
    if _AVAILABILITY in told:
        told[_AVAILABILITY] = _one("CS", "ONLINE")
    told |= {
        CHARACTER_SET: _one("CS", asked.character_set),
        LEVEL: _one("CS", level),
        _RETRIEVE_AE_TITLE: _one("AE", ae_title),
    }
    return told, len(known) == len(asked.wanted)


def _has(level: str, tag: str) -> bool:
    above = LEVELS[: LEVELS.index(level) + 1]
    if any(tag in _OF_LEVEL.get(each, ()) for each in above):
        return True
    number = int(tag, 16)
    return level == IMAGE and not number >> 16 & 1 and vr_in_dictionary(number) not in _NOT_ANSWERED


def _one(vr: str, value: Any) -> Json:
    return {"vr": vr, "Value": [value]}
