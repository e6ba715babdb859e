"""The sidecar: gzipped JSON beside each pack, from which it can be served and the catalogue remade.

    format        1
    pack          sha256, size_bytes, pack_id, hospital, calling_ae, received
    role          archive, or conflict: then contradictions says what contradicts what
    revision      how often the study had grown when this pack was compared with it; orders a rebuild
    study         the StudyHeader as registered
    completeness  what catalog.completeness made of the instances; unreadable: UIDs of what came with them
                  and could not be read. Sidecars from before have neither.
    instances     SOPInstanceUID, SOPClassUID, SeriesInstanceUID, TransferSyntaxUID, offset, size_bytes,
                  dataset_offset, dataset_size_bytes, sha256, flaws
                  frames    each a flat list of position, size pairs
                  bulk      path of tags and item numbers → [position, size], the values `metadata` leaves out
                  metadata  DICOM JSON (PS3.18 Annex F)

Positions are absolute in the tar, sizes are bytes. The same pack gives the same bytes.
"""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, Final, Literal

import orjson

from catalog.completeness import summarise
from catalog.errors import IntegrityFault
from catalog.records import InstanceRecord, PackRecord, StudyHeader
from catalog.studies import Contradiction
from catalog.uids import pack_key, sidecar_key
from dicom_node.header import ReadInstance
from dicom_node.pack import Member, PackIndex

FORMAT: Final = 1
CONTENT_TYPE: Final = "application/gzip"
_LEVEL: Final = 6
_MTIME: Final = 0
# RFC 1952 §2.3 without flags or time; the last byte names a system, Unix or unknown by release of Python.
_HEADS: Final = (bytes.fromhex("1f8b0800000000000003"), bytes.fromhex("1f8b08000000000000ff"))
_INFLATED_LIMIT_BYTES: Final = 1 << 30
_TUPLES: Final = (
    "identifiers",
    "modalities",
    "series_descriptions",
    "protocol_names",
    "view_positions",
    "procedure_codes",  # these two are missing in sidecars from before
    "anatomic_regions",
)

Role = Literal["archive", "conflict"]


@dataclass(frozen=True, slots=True)
class PackObject:
    """A pack file that becomes an object: its index, its SHA-256 (hex) and its size."""

    index: PackIndex
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SidecarInstance:
    """One instance in a sidecar; `record.metadata` is its DICOM JSON."""

    record: InstanceRecord
    frames: tuple[tuple[int, ...], ...]
    bulk: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A sidecar as read back: the record to register, and where everything in the pack lies."""

    pack: PackRecord
    pack_id: str
    role: Role
    revision: int
    contradictions: tuple[Contradiction, ...]
    instances: tuple[SidecarInstance, ...]


def pack_record(
    pack: PackObject,
    header: StudyHeader,
    instances: Sequence[ReadInstance],
    *,
    unreadable: Sequence[str] = (),
) -> PackRecord:
    """Return the record of a pack that holds exactly `instances`, in its members' order."""
    return PackRecord(
        key=pack_key(pack.sha256),
        sidecar_key=sidecar_key(pack.sha256),
        sha256=pack.sha256,
        size_bytes=pack.size_bytes,
        hospital_code=pack.index.hospital,
        calling_ae=pack.index.calling_ae,
        received_at=datetime.fromisoformat(pack.index.received),
        header=header,
        instances=tuple(_record(*pair) for pair in zip(pack.index.members, instances, strict=True)),
        completeness=summarise(instance.facts.placed for instance in instances),
        unreadable=tuple(unreadable),
    )


def write_sidecar(
    pack_id: str,
    record: PackRecord,
    instances: Sequence[ReadInstance],
    *,
    role: Role = "archive",
    revision: int = 0,
    contradictions: Sequence[Contradiction] = (),
) -> bytes:
    """Return the bytes of a sidecar."""
    content = {
        "format": FORMAT,
        "pack": {
            "sha256": record.sha256,
            "size_bytes": record.size_bytes,
            "pack_id": pack_id,
            "hospital": record.hospital_code,
            "calling_ae": record.calling_ae,
            "received": record.received_at,
        },
        "role": role,
        "revision": revision,
        "contradictions": list(contradictions),
        "study": record.header,
        "completeness": record.completeness,
        "unreadable": record.unreadable,
        "instances": [_instance(*pair) for pair in zip(record.instances, instances, strict=True)],
    }
    return gzip.compress(orjson.dumps(content), _LEVEL, mtime=_MTIME)


def read_sidecar(content: bytes) -> Sidecar:
    """Read a sidecar. Raises IntegrityFault where it is none, or of a format not known here."""
    try:
        values = orjson.loads(_inflated(content))
        if values["format"] != FORMAT:
            raise _damaged()
        return _sidecar(values)
    except (zlib.error, KeyError, TypeError, ValueError):
        raise _damaged() from None


def _inflated(content: bytes) -> bytes:
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    inflated = inflater.decompress(content, _INFLATED_LIMIT_BYTES)
    if not inflater.eof or inflater.unused_data or not content.startswith(_HEADS):
        raise _damaged()
    return inflated


def _record(member: Member, instance: ReadInstance) -> InstanceRecord:
    return InstanceRecord(
        SOPInstanceUID=member.SOPInstanceUID,
        SOPClassUID=instance.facts.SOPClassUID or member.SOPClassUID,
        SeriesInstanceUID=instance.facts.SeriesInstanceUID,
        TransferSyntaxUID=member.TransferSyntaxUID,
        offset=member.offset,
        size_bytes=member.size_bytes,
        dataset_offset=member.dataset_offset,
        dataset_size_bytes=member.dataset_size_bytes,
        sha256=member.sha256,
        flaws=instance.flaws,
    )


def _instance(record: InstanceRecord, instance: ReadInstance) -> dict[str, Any]:
    start = record.dataset_offset
    values: dict[str, Any] = {field.name: getattr(record, field.name) for field in fields(record)}
    values["frames"] = [_moved(frame, start) for frame in instance.frames]
    values["bulk"] = {path: _moved(place, start) for path, place in instance.bulk.items()}
    values["metadata"] = orjson.Fragment(instance.metadata)
    return values


def _moved(places: Sequence[int], start: int) -> list[int]:
    """Turn positions in the data set into positions in the pack; every second number is a size."""
    return [number + start if order % 2 == 0 else number for order, number in enumerate(places)]


def _sidecar(values: dict[str, Any]) -> Sidecar:
    instances = tuple(_read_instance(dict(instance)) for instance in values["instances"])
    pack = values["pack"]
    record = PackRecord(
        key=pack_key(pack["sha256"]),
        sidecar_key=sidecar_key(pack["sha256"]),
        sha256=pack["sha256"],
        size_bytes=pack["size_bytes"],
        hospital_code=pack["hospital"],
        calling_ae=pack["calling_ae"],
        received_at=datetime.fromisoformat(pack["received"]),
        header=_header(dict(values["study"])),
        instances=tuple(instance.record for instance in instances),
        completeness=values.get("completeness", {}),
        unreadable=tuple(values.get("unreadable", ())),
    )
    contradictions = tuple(Contradiction(**contradiction) for contradiction in values["contradictions"])
    return Sidecar(record, pack["pack_id"], values["role"], values["revision"], contradictions, instances)


def _read_instance(values: dict[str, Any]) -> SidecarInstance:
    frames = tuple(tuple(frame) for frame in values.pop("frames"))
    bulk = {path: (place[0], place[1]) for path, place in values.pop("bulk").items()}
    values["flaws"] = tuple(values["flaws"])
    return SidecarInstance(InstanceRecord(**values), frames, bulk)


def _header(values: dict[str, Any]) -> StudyHeader:
    values["exam_time"] = datetime.fromisoformat(values["exam_time"])
    born = values["PatientBirthDate"]
    values["PatientBirthDate"] = date.fromisoformat(born) if born else None
    values.update({name: tuple(values[name]) for name in _TUPLES if name in values})
    return StudyHeader(**values)


def _damaged() -> IntegrityFault:
    return IntegrityFault("索引文件已损坏", "The sidecar is damaged", code="sidecar_damaged")
