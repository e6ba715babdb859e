"""Studies: packs registered once, first digest wins, what contradicts is kept apart."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import (
    arrivals,
    audit,
    erasures,
    people,
    registry,
    report_links,
    reports,
    results,
    sealed_numbers,
    settling,
)
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict as ConflictError
from catalog.identity import NATIONAL_ID, Demographics, Document, find_national_id, sex_from_dicom
from catalog.instance_index import hash_instances
from catalog.records import PackRecord, StudyHeader
from catalog.tables import Conflict, Hospital, Pack, Result, Study

ConflictKind = Literal["other_bytes", "other_owner"]
_SHIPPER: Final = "dicom-node"


@dataclass(frozen=True, slots=True)
class KnownStudy:
    """What the catalogue holds of a study: its owner and where the instances already kept are listed."""

    hospital_code: str
    PatientID: str
    revision: int
    sidecar_keys: tuple[str, ...]
    conflict_digests: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An instance that contradicts what is kept; `first_sha256` is the digest that came first, if any."""

    SOPInstanceUID: str
    sha256: str
    first_sha256: str | None
    kind: ConflictKind


def known_study(catalogue: Catalogue, StudyInstanceUID: str) -> KnownStudy | None:
    """Return what is held of a study, or None. Raises DatabaseDown."""
    with transaction(catalogue.engine) as session:
        row = session.execute(
            select(Study, Hospital.code)
            .join(Hospital, Hospital.id == Study.hospital_id)
            .where(Study.uid == StudyInstanceUID)
        ).one_or_none()
        if row is None:
            return None
        study, code = row
        packs = session.scalars(select(Pack).where(Pack.study_id == study.id, Pack.role == "archive"))
        apart = session.execute(
            select(Conflict.SOPInstanceUID, Conflict.sha256).where(Conflict.study_id == study.id)
        )
        return KnownStudy(
            hospital_code=code,
            PatientID=sealed_numbers.opened(session, catalogue, study.patient_id),
            revision=study.revision,
            sidecar_keys=tuple(pack.sidecar_key for pack in packs),
            conflict_digests=frozenset((uid, sha256) for uid, sha256 in apart),
        )


def register_pack(
    catalogue: Catalogue, record: PackRecord, *, expected_revision: int, arriving: bool = False
) -> bool:
    """Register an archived pack, its study and its results in one transaction; False if it was there already.

    `expected_revision` is the study's when the pack was compared with it (0: unknown then); `arriving` says that
    its association has more, or broke off (`catalog.completeness`). Raises Conflict where the study has moved on
    since, so that the comparison must be made again.
    """
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, record.hospital_code)
        report_links.lock_meeting(session, hospital.id, record.header.StudyInstanceUID)
        national_id = find_national_id(record.header.identifiers, people.today_of(catalogue))
        kept = sealed_numbers.keep(session, catalogue, hospital.id, record.header.PatientID)
        record = replace(record, header=replace(record.header, PatientID=kept))
        _hold_still(session, catalogue, hospital.id, record.header, national_id)
        study = _claim_study(session, hospital, record)
        erasures.refuse_erased(session, study.uid)
        if _is_registered(session, record.key):
            return False
        if study.revision != expected_revision:
            raise ConflictError("检查已更新,须重新比对", "The study has moved on", code="study_moved")
        _add_pack(session, study, hospital, record, "archive")
        _grow(session, study, record)
        arrivals.settle(session, catalogue, study, arriving=arriving)
        people.link_study(session, catalogue, study, national_id, _told(record.header))
        if not study.withdrawn:
            results.map_results(session, catalogue, study)
        report_links.join_waiting(session, catalogue, study)
        caller = Caller(record.calling_ae, _SHIPPER, record.hospital_code)
        reports.take_documents(session, catalogue, caller, study, record.reports)
        settle(session, catalogue, study)
        return True


def register_conflicts(
    catalogue: Catalogue, record: PackRecord, contradictions: Iterable[Contradiction]
) -> bool:
    """Register a pack of contradicting instances beside the study they contradict; False if known already.

    The study stays visible as reference only until a human has looked. Raises NotFound for an unknown
    hospital.
    """
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, record.hospital_code)
        query = select(Study).where(Study.uid == record.header.StudyInstanceUID).with_for_update()
        study = session.scalars(query).one()
        if _is_registered(session, record.key):
            return False
        pack = _add_pack(session, study, hospital, record, "conflict")
        for contradiction in contradictions:
            row = {
                "study_id": study.id,
                "pack_id": pack.id,
                "hospital_id": hospital.id,
                "kind": contradiction.kind,
                "SOPInstanceUID": contradiction.SOPInstanceUID,
                "sha256": contradiction.sha256,
                "first_sha256": contradiction.first_sha256,
            }
            session.execute(insert(Conflict).values(row).on_conflict_do_nothing())
        study.uid_conflict = True
        caller = Caller(record.calling_ae, _SHIPPER, record.hospital_code)
        audit.record(session, caller, "study.conflict", hospital_id=hospital.id, study_id=study.id)
        return True


def _claim_study(session: Session, hospital: Hospital, record: PackRecord) -> Study:
    """Return the study row locked for this transaction, made with revision 0 if it is new."""
    header = record.header
    row = {
        "uid": header.StudyInstanceUID,
        "hospital_id": hospital.id,
        "identity": people.UNLINKED,
        "patient_id": header.PatientID,
        "patient_name": header.PatientName,
        "name_rule": header.name_rule,
        "birth_date": header.PatientBirthDate,
        "sex": sex_from_dicom(header.PatientSex),
        "accession_number": header.AccessionNumber,
        "exam_time": header.exam_time,
        "exam_time_source": header.exam_time_source,
        "modalities": [],
        "description": header.StudyDescription,
        "facts": {},
        "series_count": 0,
        "instance_count": 0,
        "size_bytes": 0,
        "revision": 0,
        "first_received_at": record.received_at,
        "last_received_at": record.received_at,
    }
    session.execute(insert(Study).values(row).on_conflict_do_nothing())
    return session.scalars(
        select(Study).where(Study.uid == header.StudyInstanceUID).with_for_update(key_share=True)
    ).one()


def _is_registered(session: Session, key: str) -> bool:
    return session.scalars(select(Pack.id).where(Pack.key == key)).one_or_none() is not None


def _add_pack(session: Session, study: Study, hospital: Hospital, record: PackRecord, role: str) -> Pack:
    pack = Pack(
        study_id=study.id,
        hospital_id=hospital.id,
        role=role,
        key=record.key,
        sidecar_key=record.sidecar_key,
        sha256=record.sha256,
        size_bytes=record.size_bytes,
        instance_count=len(record.instances),
        series=dict(Counter(instance.SeriesInstanceUID for instance in record.instances)),
        instance_hashes=hash_instances(instance.SOPInstanceUID for instance in record.instances),
        completeness=arrivals.pack_says(record),
        received_at=record.received_at,
    )
    session.add(pack)
    session.flush()
    return pack


def _grow(session: Session, study: Study, record: PackRecord) -> None:
    header = record.header
    study.revision += 1
    study.instance_count += len(record.instances)
    study.size_bytes += record.size_bytes
    study.modalities = sorted({*study.modalities, *header.modalities})
    study.facts = results.merge_facts(study.facts, _facts(header))
    study.description = study.description or header.StudyDescription
    study.exam_time = min(study.exam_time, header.exam_time)
    study.first_received_at = min(study.first_received_at, record.received_at)
    study.last_received_at = max(study.last_received_at, record.received_at)
    packs = session.scalars(select(Pack).where(Pack.study_id == study.id, Pack.role == "archive"))
    study.series_count = len(set().union(*(pack.series for pack in packs)))


def _facts(header: StudyHeader) -> dict[str, Any]:
    return {
        "modality": list(header.modalities),
        "body_part_examined": header.BodyPartExamined,
        "laterality": header.Laterality,
        "contrast_agent": header.ContrastBolusAgent,
        "study_description": header.StudyDescription,
        "requested_procedure": header.RequestedProcedureDescription,
        "series_descriptions": list(header.series_descriptions),
        "protocol_names": list(header.protocol_names),
        "view_positions": list(header.view_positions),
        "manufacturer": header.Manufacturer,
        "procedure_codes": list(header.procedure_codes),
        "anatomic_regions": list(header.anatomic_regions),
    }


def _hold_still(
    session: Session, catalogue: Catalogue, hospital_id: int, header: StudyHeader, national_id: str | None
) -> None:
    document = Document(NATIONAL_ID, national_id) if national_id else None
    numbers = {"PatientID": header.PatientID, "AccessionNumber": header.AccessionNumber}
    people.hold_still(session, catalogue, hospital_id, document, **numbers)


def _told(header: StudyHeader) -> Demographics:
    return Demographics(
        name=header.PatientName or None,
        birth_date=header.PatientBirthDate,
        sex=sex_from_dicom(header.PatientSex),
    )


def settle(session: Session, catalogue: Catalogue, study: Study) -> None:
    """New results may be the very examinations that earlier decisions claimed to avoid."""
    if study.person_id is not None:
        people.lock(session, {study.person_id})
        session.execute(update(Result).where(Result.study_id == study.id).values(person_id=study.person_id))
        settling.settle(session, catalogue, study.person_id)
