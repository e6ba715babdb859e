"""Where the images of a study lie in the object store, and what is told of them, read from the sidecars of its packs.

Nothing of DICOM is parsed: a sidecar was written when its pack was shipped (dicom_node.sidecar says how). The texts
it has are DICOM JSON (PS3.18 Annex F); long values get an address that begins with ROOT, for who serves them to
replace.
"""

import gzip
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from catalog.errors import IntegrityFault

ROOT: Final = "~/"
_FORMAT: Final = 1
_NAME, _ID, _ACCESSION = "00100010", "00100020", "00080050"
# Other numbers of the patient, and whose they are: documents may be among them.
_OTHER_NUMBERS: Final = ("00100021", "00100024", "00101000", "00101001", "00101002")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ShownPatient:
    """What is told of the patient in place of what the images say: the regional number, and the name in characters."""

    id: int
    name: str = field(repr=False)
    accession_number: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class IndexedInstance:
    """One instance: its Part 10 file is `size_bytes` at `offset` of the pack `key`; `described` is its DICOM JSON.

    A frame is a flat list of position, size pairs in the pack; `bulk` are the places of values by their path,
    tags and item numbers with dots between.
    """

    SOPInstanceUID: str
    SeriesInstanceUID: str
    TransferSyntaxUID: str
    key: str
    offset: int
    size_bytes: int
    frames: tuple[tuple[int, ...], ...]
    bulk: Mapping[str, tuple[int, int]]
    described: bytes = field(repr=False)

    @property
    def held_bytes(self) -> int:
        """Return about how much memory it takes."""
        return 1_000 + len(self.described) + 90 * len(self.bulk) + sum(60 + 40 * len(f) for f in self.frames)


def read_instances(
    key: str, sidecar: bytes, StudyInstanceUID: str, patient: ShownPatient
) -> list[IndexedInstance]:
    """Return the instances of the pack `key`. Raises IntegrityFault where its sidecar cannot be read."""
    try:
        content = orjson.loads(gzip.decompress(sidecar))
        if content["format"] != _FORMAT:
            raise _damaged()
        return [_instance(key, each, StudyInstanceUID, patient) for each in content["instances"]]
    except (OSError, EOFError, zlib.error, KeyError, TypeError, ValueError, IndexError):
        raise _damaged() from None


def by_series(instances: Iterable[IndexedInstance]) -> dict[str, list[IndexedInstance]]:
    """Return instances by series, each once, both in the order of their numbers.

    Of two with one UID the first is the one that counts; the other, of the same bytes, came again.
    """
    once: dict[str, IndexedInstance] = {}
    for each in instances:
        once.setdefault(each.SOPInstanceUID, each)
    told = {uid: orjson.loads(each.described) for uid, each in once.items()}
    found: dict[str, list[IndexedInstance]] = {}
    for each in sorted(once.values(), key=lambda one: _place(told[one.SOPInstanceUID], "00200013")):
        found.setdefault(each.SeriesInstanceUID, []).append(each)
    first = {uid: told[members[0].SOPInstanceUID] for uid, members in found.items()}
    return {uid: found[uid] for uid in sorted(found, key=lambda uid: (*_place(first[uid], "00200011"), uid))}


def _place(described: Json, tag: str) -> tuple[bool, float]:
    number, *_ = described.get(tag, {}).get("Value") or [None]
    return (False, float(number)) if isinstance(number, int | float) else (True, 0.0)


def _instance(key: str, given: Json, StudyInstanceUID: str, patient: ShownPatient) -> IndexedInstance:
    bulk = {path.replace("/", "."): (place[0], place[1]) for path, place in given["bulk"].items()}
    instance, series = given["SOPInstanceUID"], given["SeriesInstanceUID"]
    described = _of_patient(given["metadata"], patient)
    at = f"{ROOT}studies/{StudyInstanceUID}/series/{series}/instances/{instance}/bulkdata/"
    for path in bulk:
        _element(described, path)["BulkDataURI"] = at + path
    return IndexedInstance(
        SOPInstanceUID=instance,
        SeriesInstanceUID=series,
        TransferSyntaxUID=given["TransferSyntaxUID"],
        key=key,
        offset=given["offset"],
        size_bytes=given["size_bytes"],
        frames=tuple(tuple(frame) for frame in given["frames"]),
        bulk=bulk,
        described=orjson.dumps(described),
    )


def _of_patient(described: Json, patient: ShownPatient) -> Json:
    told = {tag: element for tag, element in described.items() if tag not in _OTHER_NUMBERS}
    told[_NAME] = {"vr": "PN", "Value": [{"Alphabetic": patient.name}]} if patient.name else {"vr": "PN"}
    told[_ID] = {"vr": "LO", "Value": [str(patient.id)]}
    accession = {"Value": [patient.accession_number]} if patient.accession_number else {}
    told[_ACCESSION] = {"vr": "SH", **accession}
    return told


def _element(described: Json, path: str) -> Json:
    """Return the element at a path of tags and item numbers."""
    *inside, tag = path.split(".")
    for sequence, number in zip(inside[::2], inside[1::2], strict=True):
        described = described[sequence]["Value"][int(number)]
    element: Json = described[tag]
    return element


def _damaged() -> IntegrityFault:
    return IntegrityFault("影像索引已损坏", "The index of the images is damaged", code="sidecar_damaged")
