"""Whose reports are: they follow their hospital's PatientID, as studies do, and are held where facts conflict."""

from collections.abc import Iterable

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from catalog.identity import Demographics, conflicts
from catalog.tables import Alias, Result
from catalog.tables_reports import Observation, Report


def held(session: Session, person_id: int) -> bool:
    """Say whether a report that claims to be this person's waits for a human."""
    query = select(Report.id).where(Report.claimed_person_id == person_id, Report.identity == "doubtful")
    return session.scalars(query.limit(1)).first() is not None


def follow_alias(session: Session, alias: Alias, known: Demographics) -> None:
    """Give the unlinked reports of a PatientID to its person, or hold what contradicts `known`."""
    for report in _reports_of(session, alias):
        if report.identity != "unlinked":
            continue
        clash = conflicts(known, demographics(report), None)
        if clash:
            hold(session, [report], alias.person_id, clash)
        else:
            give(session, [report], alias.person_id)


def hold_alias(session: Session, alias: Alias, claimant_id: int, reasons: tuple[str, ...]) -> None:
    """Hold every report of a PatientID that two people claim, or that contradicts its person."""
    hold(session, _reports_of(session, alias), claimant_id, reasons)


def demographics(report: Report) -> Demographics:
    """Return what a report itself says of its patient."""
    return Demographics(name=report.patient_name or None, birth_date=report.birth_date, sex=report.sex)


def give(session: Session, reports: Iterable[Report], person_id: int) -> None:
    """Make these reports, and the laboratory results in them, this person's."""
    _set(session, list(reports), "linked", person_id, person_id, ())


def hold(session: Session, reports: Iterable[Report], claimed_id: int, reasons: tuple[str, ...]) -> None:
    """Take these reports from whoever had them until a human has looked."""
    _set(session, list(reports), "doubtful", None, claimed_id, reasons)


def _set(
    session: Session,
    reports: list[Report],
    identity: str,
    person_id: int | None,
    claimed_id: int,
    reasons: tuple[str, ...],
) -> None:
    for report in reports:
        report.identity, report.person_id, report.claimed_person_id = identity, person_id, claimed_id
        report.reasons = list(reasons)
    session.flush()
    measuring = [r.id for r in reports if r.category == "laboratory" and r.version_count]
    if measuring:
        measured = select(Observation.result_id).where(Observation.report_id.in_(measuring))
        session.execute(update(Result).where(Result.id.in_(measured)).values(person_id=person_id))


def _reports_of(session: Session, alias: Alias) -> list[Report]:
    query = select(Report).where(
        Report.hospital_id == alias.hospital_id, Report.patient_id == alias.patient_id
    )
    return list(session.scalars(query.order_by(Report.id).with_for_update()))
