"""What one instance says about its study, and the header of a study put together from its instances.

Everything here comes from outside: texts are cut to a sane length, lists to a sane count, dates are tried.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter
from typing import Any, Final, Literal

from catalog.records import Laterality, Placed, StudyHeader
from catalog.uids import is_uid
from dicom_node.dataset import Unreadable
from dicom_node.exam_time import ExamTime, exam_time, parse_date
from dicom_node.placing import PLACES, place

Place = tuple[int, int]
Found = dict[Place, list[Any]]

SOP_CLASS: Final[Place] = (0, 0x00080016)
PATIENT_NAME: Final[Place] = (0, 0x00100010)
PIXEL_REPRESENTATION: Final[Place] = (0, 0x00280103)
TEXT_LIMIT: Final = 1024
PATIENT_ID_LIMIT: Final = 256  # VR LO holds 64 characters; senders exceed it, an index row has its own limit
LIST_LIMIT: Final = 64

# (tag of the sequence or 0, tag)
_TEXTS: Final[Mapping[str, tuple[Place, ...]]] = {
    "AccessionNumber": ((0, 0x00080050),),
    "BodyPartExamined": ((0, 0x00180015),),
    "ContrastBolusAgent": ((0, 0x00180010), (0x00180012, 0x00080104)),
    "Manufacturer": ((0, 0x00080070),),
    "Modality": ((0, 0x00080060),),
    "PatientSex": ((0, 0x00100040),),
    "ProtocolName": ((0, 0x00181030),),
    "RequestedProcedureDescription": (
        (0, 0x00321060),
        (0x00321064, 0x00080104),
        (0x00081032, 0x00080104),
        (0x00400275, 0x00321060),
    ),
    "SeriesDescription": ((0, 0x0008103E),),
    "StudyDescription": ((0, 0x00081030),),
}
_LISTS: Final[Mapping[str, tuple[Place, ...]]] = {
    "laterality": ((0, 0x00200060), (0, 0x00200062), (0x00209071, 0x00209072)),
    "other_patient_ids": ((0, 0x00101000), (0x00101002, 0x00100020)),
    "view_positions": ((0, 0x00185101), (0x00540220, 0x00080104)),
}
# Coded sequences (PS3.3 Table 8.8-1): of each, the tags of the sequences that hold it.
_CODES: Final[Mapping[str, tuple[int, ...]]] = {
    # requested, performed, and the protocols scheduled and performed
    "procedure_codes": (0x00321064, 0x00081032, 0x00400008, 0x00400260),
    "anatomic_regions": (0x00082218,),
}
_CODE_VALUE, _CODING_SCHEME = 0x00080100, 0x00080102
_UIDS: Final[Mapping[str, Place]] = {
    "study": (0, 0x0020000D),
    "series": (0, 0x0020000E),
    "instance": (0, 0x00080018),
}
_PATIENT_ID: Final[Place] = (0, 0x00100020)
_BIRTH_DATE: Final[Place] = (0, 0x00100030)
_TIMES: Final[Mapping[str, Place]] = {
    "AcquisitionDateTime": (0, 0x0008002A),
    "AcquisitionDate": (0, 0x00080022),
    "AcquisitionTime": (0, 0x00080032),
    "ContentDate": (0, 0x00080023),
    "ContentTime": (0, 0x00080033),
    "SeriesDate": (0, 0x00080021),
    "SeriesTime": (0, 0x00080031),
    "StudyDate": (0, 0x00080020),
    "StudyTime": (0, 0x00080030),
    "TimezoneOffsetFromUTC": (0, 0x00080201),
}
_PIXEL_TAGS: Final = (0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00287FE0)

WANTED: Final = frozenset(
    {
        *(place for places in (*_TEXTS.values(), *_LISTS.values()) for place in places),
        *((held, tag) for tags in _CODES.values() for held in tags for tag in (_CODE_VALUE, _CODING_SCHEME)),
        *_UIDS.values(),
        *_TIMES.values(),
        *((0, tag) for tag in _PIXEL_TAGS),
        *PLACES,
        PATIENT_NAME,
        PIXEL_REPRESENTATION,
        _PATIENT_ID,
        _BIRTH_DATE,
        SOP_CLASS,
    }
)


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What one instance says of itself, its patient and its study."""

    StudyInstanceUID: str
    SeriesInstanceUID: str
    SOPClassUID: str
    PatientID: str
    PatientName: str
    name_rule: str
    PatientBirthDate: date | None
    exam_time: ExamTime | None
    SpecificCharacterSet: str
    texts: dict[str, str]
    lists: dict[str, list[str]]
    placed: Placed


def instance_facts(
    found: Found, SOPInstanceUID: str, *, name: str, name_rule: str, declared: tuple[str, ...]
) -> InstanceFacts:
    """Return the facts of one instance; `SOPInstanceUID` is the one its sender named in the command.

    Raises Unreadable where a UID is missing, is none or is another, or the PatientID is beyond reason.
    """
    uids = {kind: _uid(found, kind) for kind in _UIDS}
    if uids["instance"] != SOPInstanceUID:
        raise Unreadable("instance_uid_mismatch")
    patient_id = _first(found, (_PATIENT_ID,))
    if len(patient_id) > PATIENT_ID_LIMIT:
        raise Unreadable("patient_id_invalid")
    return InstanceFacts(
        StudyInstanceUID=uids["study"],
        SeriesInstanceUID=uids["series"],
        SOPClassUID=_first(found, (SOP_CLASS,)),
        PatientID=patient_id,
        PatientName=name[:TEXT_LIMIT],
        name_rule=name_rule,
        PatientBirthDate=parse_date(_first(found, (_BIRTH_DATE,))),
        exam_time=exam_time({keyword: _first(found, (place,)) for keyword, place in _TIMES.items()}),
        SpecificCharacterSet="\\".join(declared)[:TEXT_LIMIT],
        texts={keyword: _first(found, places)[:TEXT_LIMIT] for keyword, places in _TEXTS.items()},
        lists={name: _every(found, places) for name, places in _LISTS.items()}
        | {name: _codes(found, sequences) for name, sequences in _CODES.items()},
        placed=place(found, uids["series"]),
    )


def study_header(facts: Sequence[InstanceFacts], received_at: datetime) -> StudyHeader:
    """Put the header of one study together from the facts of its instances; at least one, of one PatientID."""
    named = next((fact for fact in facts if fact.PatientName), facts[0])
    examined = _earliest(facts) or ExamTime(received_at, "received", False)
    return StudyHeader(
        StudyInstanceUID=facts[0].StudyInstanceUID,
        PatientID=facts[0].PatientID,
        PatientName=named.PatientName,
        name_rule=named.name_rule,
        PatientBirthDate=next((fact.PatientBirthDate for fact in facts if fact.PatientBirthDate), None),
        PatientSex=_said(facts, "PatientSex"),
        AccessionNumber=_said(facts, "AccessionNumber"),
        exam_time=examined.at,
        exam_time_source=examined.source,
        identifiers=_distinct(
            [facts[0].PatientID, *(i for fact in facts for i in fact.lists["other_patient_ids"])]
        ),
        modalities=_all_said(facts, "Modality"),
        BodyPartExamined="/".join(_all_said(facts, "BodyPartExamined"))[:TEXT_LIMIT],
        Laterality=_laterality(facts),
        ContrastBolusAgent=_said(facts, "ContrastBolusAgent"),
        StudyDescription=_said(facts, "StudyDescription"),
        RequestedProcedureDescription=_said(facts, "RequestedProcedureDescription"),
        series_descriptions=_all_said(facts, "SeriesDescription"),
        protocol_names=_all_said(facts, "ProtocolName"),
        view_positions=_distinct(view for fact in facts for view in fact.lists["view_positions"]),
        Manufacturer=_said(facts, "Manufacturer"),
        SpecificCharacterSet=next((f.SpecificCharacterSet for f in facts if f.SpecificCharacterSet), ""),
        procedure_codes=_distinct(code for fact in facts for code in fact.lists["procedure_codes"]),
        anatomic_regions=_distinct(code for fact in facts for code in fact.lists["anatomic_regions"]),
    )


def _earliest(facts: Iterable[InstanceFacts]) -> ExamTime | None:
    """The earliest time; one with a time of day beats a bare date, whose midnight is no time of an examination."""
    times = [fact.exam_time for fact in facts if fact.exam_time]
    exact = [time for time in times if time.has_time_of_day]
    return min(exact or times, key=attrgetter("at"), default=None)


def _laterality(facts: Iterable[InstanceFacts]) -> Laterality | Literal[""]:
    sides = {side.upper() for fact in facts for side in fact.lists["laterality"]}
    if "B" in sides or {"L", "R"} <= sides:
        return "B"
    return "L" if "L" in sides else "R" if "R" in sides else ""


def _said(facts: Iterable[InstanceFacts], keyword: str) -> str:
    return next((fact.texts[keyword] for fact in facts if fact.texts[keyword]), "")


def _all_said(facts: Iterable[InstanceFacts], keyword: str) -> tuple[str, ...]:
    return _distinct(fact.texts[keyword] for fact in facts)


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))[:LIST_LIMIT]


def _uid(found: Found, kind: str) -> str:
    uid = _first(found, (_UIDS[kind],))
    if not uid:
        raise Unreadable(f"{kind}_uid_missing")
    if not is_uid(uid):
        raise Unreadable("instance_uid_mismatch" if kind == "instance" else f"{kind}_uid_invalid")
    return uid


def _first(found: Found, places: Iterable[Place]) -> str:
    return next(
        (str(value) for place in places for value in found.get(place, ()) if value not in (None, "")), ""
    )


def _codes(found: Found, sequences: Iterable[int]) -> list[str]:
    """Codes as "scheme|code"; where an item of the sequence has no scheme, none is told from the others'."""
    codes: list[str] = []
    for sequence in sequences:
        values = [str(value)[:64] for value in found.get((sequence, _CODE_VALUE), ()) if value]
        schemes = [str(value)[:64] for value in found.get((sequence, _CODING_SCHEME), ()) if value]
        if len(schemes) != len(values):
            schemes = [""] * len(values)
        codes += [f"{scheme}|{value}" for scheme, value in zip(schemes, values, strict=True)]
    return list(dict.fromkeys(codes))[:LIST_LIMIT]


def _every(found: Found, places: Iterable[Place]) -> list[str]:
    values = (str(value)[:TEXT_LIMIT] for place in places for value in found.get(place, ()) if value)
    return list(dict.fromkeys(values))[:LIST_LIMIT]
