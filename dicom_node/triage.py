"""What a pack brings to a study that may be known: new instances, the same again, or contradictions. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from catalog.studies import ConflictKind, Contradiction, KnownStudy


@dataclass(frozen=True, slots=True)
class Arrival:
    """One instance as it came: its UID and the SHA-256 of its data set."""

    SOPInstanceUID: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Triage:
    """Positions in the list of arrivals, each in exactly one of the three."""

    new: tuple[int, ...]
    duplicates: tuple[int, ...]
    contradictions: tuple[tuple[int, Contradiction], ...]


def compare(
    arrivals: Iterable[Arrival],
    hospital_code: str,
    PatientID: str,
    known: KnownStudy | None,
    kept: Mapping[str, str],
) -> Triage:
    """Compare the instances of one study and one PatientID with what is kept of the study.

    `kept` maps the SOPInstanceUID of every archived instance of the study to its SHA-256. The first digest
    wins: the same bytes again are a duplicate whoever sends them, other bytes contradict. An instance that is
    not known contradicts where the study belongs to another hospital or another PatientID. What contradicted
    in the same way before is a duplicate.
    """
    first = dict(kept)
    apart = set(known.conflict_digests) if known else set()
    is_owner = known is None or (known.hospital_code, known.PatientID) == (hospital_code, PatientID)
    new: list[int] = []
    duplicates: list[int] = []
    contradictions: list[tuple[int, Contradiction]] = []
    for position, arrival in enumerate(arrivals):
        seen = first.get(arrival.SOPInstanceUID)
        if seen == arrival.sha256 or (arrival.SOPInstanceUID, arrival.sha256) in apart:
            duplicates.append(position)
        elif seen is None and is_owner:
            first[arrival.SOPInstanceUID] = arrival.sha256
            new.append(position)
        else:
            apart.add((arrival.SOPInstanceUID, arrival.sha256))
            contradictions.append((position, _contradiction(arrival, seen)))
    return Triage(tuple(new), tuple(duplicates), tuple(contradictions))


def _contradiction(arrival: Arrival, seen: str | None) -> Contradiction:
    kind: ConflictKind = "other_owner" if seen is None else "other_bytes"
    return Contradiction(arrival.SOPInstanceUID, arrival.sha256, seen, kind)
